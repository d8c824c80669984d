// The header in two translation units of one program.
#include "check.hpp"

std::size_t other_unit(const millpond::pool &pool);

int main() {
    const millpond::pool pool("units");
    CHECK(other_unit(pool) == 10);
    const millpond::lease lease = pool.get(20);
    CHECK(lease.size() == 20);
    // The names of the C header are macros; the wrapper's members are not.
    const millpond::lease another = pool.get_timeout(5, 1);
    CHECK(another.size() == 5);
    millpond_lease raw;
    WORKS(::millpond_get(pool.handle(), 7, &raw));
    WORKS(::millpond_put(pool.handle(), raw.id));
    return report("link_units.cpp");
}
