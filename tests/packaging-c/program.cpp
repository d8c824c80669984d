// What a user of the installed library writes first, in C++.
#include <millpond.hpp>

#include <iostream>
#include <vector>

int main() {
    millpond::pool pool("installed");
    millpond::lease lease = pool.get(1000);
    lease[0] = std::byte{1};
    lease.put();
    try {
        lease.put();
    } catch (const millpond::error &caught) {
        std::cout << "c++: " << caught.what() << '\n';
        millpond::memory_resource resource(pool);
        return std::pmr::vector<int>(1000, 1, &resource).back() == 1 ? 0 : 1;
    }
    return 1;
}
