// millpond::memory_resource under std::pmr containers, on several threads, with every alignment, and given back wrongly.
#include "check.hpp"

#include <atomic>
#include <deque>
#include <list>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <unordered_map>

static void containers(std::pmr::memory_resource *resource) {
    std::pmr::vector<std::uint64_t> numbers(resource);
    for (std::uint64_t i = 0; i < 100000; ++i)
        numbers.push_back(i);
    CHECK(numbers[99999] == 99999);
    std::pmr::string text("a string that is too long for the place inside the object", resource);
    text.append(10000, 'x');
    CHECK(text.size() > 10000);
    std::pmr::unordered_map<int, std::pmr::string> map(resource);
    for (int i = 0; i < 2000; ++i)
        map.emplace(i, std::pmr::string(static_cast<std::size_t>(i % 300), 'v', resource));
    CHECK(map.at(1999).size() == 1999 % 300);
    std::pmr::list<int> list(resource);
    std::pmr::deque<int> deque(resource);
    std::pmr::map<int, int> tree(resource);
    for (int i = 0; i < 1000; ++i) {
        list.push_front(i);
        deque.push_front(i);
        tree[i] = i;
    }
    CHECK(list.size() == 1000 && deque[999] == 0 && tree.at(500) == 500);
    const std::pmr::vector<std::uint64_t> copy(numbers, resource);
    CHECK(copy == numbers);
}

static void every_container() {
    millpond::memory_resource resource(millpond::options{"containers", {}, MILLPOND_POOL_OPTIONS_INIT});
    containers(&resource);
    {
        std::pmr::unsynchronized_pool_resource upper(&resource);
        containers(&upper);
        std::pmr::monotonic_buffer_resource arena(&resource);
        containers(&arena);
    }
    const millpond::resource_stats stats = resource.stats();
    CHECK(stats.allocations > 100 && stats.live_blocks == 0 && stats.live_bytes == 0 && stats.refused == 0);
    CHECK(resource.source().stats().in_use == 0);
    check_reconciled(resource.source().handle());
}

static void blocks_of_a_power_of_two_fit_their_class() {
    millpond::options listed, ranged;
    listed.classes = millpond::memory_resource::classes_for({4096, 65536});
    CHECK(listed.classes == (std::vector<std::size_t>{4160, 65600}));
    ranged.raw.class_min = 4096;
    ranged.raw.class_max = 65536;
    const millpond::pool plain("plain"), fitting(listed);
    millpond::memory_resource own, made(listed), between(ranged), over(fitting), beside(plain);
    const auto taken = [](millpond::memory_resource &resource, std::size_t bytes, std::size_t alignment) {
        void *const block = resource.allocate(bytes, alignment);
        const std::uint64_t capacity = resource.source().stats().live_bytes;
        resource.deallocate(block, bytes, alignment);
        return capacity;
    };
    const std::vector<std::size_t> few{4096, 65536}, alignments{1, 16, 64};
    for (std::size_t bytes = 512; bytes <= 16 << 20; bytes *= bytes == 512 ? 2 : 4)
        for (const std::size_t alignment : alignments)
            CHECK(taken(own, bytes, alignment) == bytes + 64);
    CHECK(own.source().stats().oversized == 0);
    for (const std::size_t bytes : few)
        CHECK(taken(made, bytes, 16) == bytes + 64 && taken(over, bytes, 16) == bytes + 64);
    // Where the classes are somebody else's, the next one.
    CHECK(taken(between, 4096, 16) == 5120 && taken(beside, 4096, 16) == 16384);
}

static void several_threads() {
    millpond::memory_resource resource;
    std::vector<std::thread> threads;
    for (int i = 0; i < 6; ++i)
        threads.emplace_back([&resource] { containers(&resource); });
    for (std::thread &thread : threads)
        thread.join();
    CHECK(resource.stats().live_blocks == 0 && resource.stats().live_bytes == 0);

    // Containers that are filled on one thread and destroyed on another.
    std::vector<std::pmr::vector<int>> made;
    for (int i = 0; i < 64; ++i)
        made.emplace_back(static_cast<std::size_t>(i) * 100, i, &resource);
    std::thread([taken = std::move(made)]() mutable { taken.clear(); }).join();
    CHECK(resource.stats().live_blocks == 0 && resource.source().stats().in_use == 0);
}

// Gives blocks out and back on a thread that counts for itself, or with others, or not any more.
struct counted {
    millpond::memory_resource *resource = nullptr;
    void *kept = nullptr;

    void pairs(int count) {
        for (int i = 0; i < count; ++i)
            resource->deallocate(resource->allocate(100), 100);
    }
    ~counted() {
        if (resource == nullptr)
            return;
        pairs(4000);
        resource->deallocate(kept, 5000);
    }
};

static void counts_of_many_threads() {
    constexpr unsigned many = 40, pairs = 4000;
    millpond::memory_resource resource;
    std::atomic<unsigned> ready{0};
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < many; ++i)
        threads.emplace_back([&] {
            resource.deallocate(resource.allocate(64), 64);
            // More live at once than can count for themselves.
            ready.fetch_add(1);
            while (ready.load() < many)
                std::this_thread::yield();
            for (unsigned pair = 0; pair < pairs; ++pair)
                resource.deallocate(resource.allocate(300), 300);
        });
    for (std::thread &thread : threads)
        thread.join();
    CHECK(resource.stats().allocations == many * (pairs + 1) && resource.stats().deallocations == many * (pairs + 1));
    CHECK(resource.stats().live_bytes == 0);

    // One after the other in two rows, each in the place of one that ended; each goes on at its end, when it has left that place,
    // which the next of the other row may have taken.
    const std::uint64_t before = resource.stats().allocations;
    const auto row = [&] {
        for (unsigned i = 0; i < many; ++i)
            std::thread([&] {
                static thread_local counted late;
                late.resource = &resource;
                late.kept = resource.allocate(5000);
                late.pairs(4000);
            }).join();
    };
    std::thread other(row);
    row();
    other.join();
    CHECK(resource.stats().allocations == before + 2 * many * 8001 && resource.stats().live_blocks == 0);
    CHECK(resource.stats().live_bytes == 0 && resource.stats().refused == 0);
}

static void alignments() {
    millpond::memory_resource resource;
    std::mt19937 random(7);
    struct block {
        void *memory;
        std::size_t bytes, alignment;
    };
    std::vector<block> blocks;
    for (int round = 0; round < 3000; ++round) {
        const std::size_t alignment = std::size_t{1} << (random() % 17);
        const std::size_t bytes = random() % 20000;
        void *const memory = resource.allocate(bytes, alignment);
        CHECK(reinterpret_cast<std::uintptr_t>(memory) % alignment == 0);
        std::memset(memory, 0x5A, bytes);
        blocks.push_back({memory, bytes, alignment});
        if (blocks.size() > 50) {
            std::swap(blocks[random() % blocks.size()], blocks.back());
            resource.deallocate(blocks.back().memory, blocks.back().bytes, blocks.back().alignment);
            blocks.pop_back();
        }
    }
    for (const block &one : blocks)
        resource.deallocate(one.memory, one.bytes, one.alignment);
    CHECK(resource.stats().refused == 0 && resource.stats().live_blocks == 0);
    CHECK(resource.source().stats().overruns == 0 && resource.source().stats().in_use == 0);
    struct alignas(128) wide {
        char bytes[256];
    };
    std::pmr::vector<wide> wides(100, &resource);
    CHECK(reinterpret_cast<std::uintptr_t>(wides.data()) % 128 == 0);
}

template <typename Call> static bool bad_alloc(Call call, millpond_status wanted) {
    try {
        call();
    } catch (const millpond::allocation_error &caught) {
        return caught.code() == wanted && *caught.what() != 0;
    } catch (const std::bad_alloc &) {
    }
    return false;
}

static void limits_are_bad_alloc() {
    millpond::options wanted;
    wanted.raw.max_bytes = 64 * 1024;
    wanted.raw.max_retained_bytes = MILLPOND_ZERO;
    millpond::memory_resource resource(wanted);
    CHECK(bad_alloc([&] { std::pmr::vector<char>(1 << 20, 'x', &resource); }, MILLPOND_ERR_EXHAUSTED));
    // Volatile, or the compiler warns of what is tested here.
    volatile std::size_t impossible = SIZE_MAX;
    CHECK(bad_alloc([&] { (void)resource.allocate(impossible); }, MILLPOND_ERR_INVALID_ARGUMENT));
    CHECK(bad_alloc([&] { (void)resource.allocate(impossible - 20, 4096); }, MILLPOND_ERR_INVALID_ARGUMENT));
    CHECK(resource.stats().allocations == 0);
    std::pmr::vector<char> fits(1000, 'x', &resource);
    CHECK(fits[999] == 'x');
}

static void wrong_deallocations_are_refused() {
    millpond::memory_resource one, two;
    void *const block = one.allocate(100);
    two.deallocate(block, 100);
    CHECK(two.stats().refused == 1 && one.stats().live_blocks == 1);
    alignas(64) static char foreign[128];
    one.deallocate(foreign + 64, 32);
    CHECK(one.stats().refused == 1);
    one.deallocate(block, 100);
    CHECK(one.stats().live_blocks == 0);
    CHECK(one != two && one == one);
}

static millpond::resource_stats told;
static char told_name[MILLPOND_NAME_MAX + 1];

static void leaks_are_told() {
    void *forgotten = nullptr;
    millpond_pool pool = 0;
    {
        millpond::memory_resource resource(millpond::options{"forgetful", {}, MILLPOND_POOL_OPTIONS_INIT});
        resource.on_leak([](const char *name, const millpond::resource_stats &stats) {
            told = stats;
            std::snprintf(told_name, sizeof told_name, "%s", name);
        });
        forgotten = resource.allocate(5000);
        pool = resource.source().handle();
        CHECK(resource.source().leaks().size() == 1);
    }
    CHECK(told.live_blocks == 1 && told.live_bytes == 5000 && std::string(told_name) == "forgetful");
    std::memset(forgotten, 1, 5000); // it stays valid
    GIVES(MILLPOND_ERR_INVALID_HANDLE, millpond_pool_close(pool));
}

static void over_a_shared_pool() {
    const millpond::pool pool("shared");
    {
        millpond::memory_resource first(pool), second(pool);
        std::pmr::vector<int> a(1000, 1, &first), b(1000, 2, &second);
        CHECK(pool.stats().in_use == 2 && first != second);
        a = b; // different resources: copied
        CHECK(a[999] == 2 && first.stats().live_blocks == 1);
    }
    CHECK(!pool.is_closed() && pool.stats().in_use == 0);
}

int main() {
    every_container();
    blocks_of_a_power_of_two_fit_their_class();
    several_threads();
    counts_of_many_threads();
    alignments();
    limits_are_bad_alloc();
    wrong_deallocations_are_refused();
    leaks_are_told();
    over_a_shared_pool();
    return report("own_pmr.cpp");
}
