// millpond::lease: the ownership table in C++.
#include "check.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <thread>
#include <type_traits>

static_assert(!std::is_copy_constructible_v<millpond::lease> && !std::is_copy_assignable_v<millpond::lease>);
static_assert(std::is_nothrow_move_constructible_v<millpond::lease> && std::is_nothrow_move_assignable_v<millpond::lease>);
static_assert(std::is_nothrow_default_constructible_v<millpond::lease>);

static void span_like(const millpond::pool &pool) {
    millpond::lease lease = pool.get(1000);
    CHECK(lease && lease.live() && lease.size() == 1000 && !lease.empty());
    CHECK(std::all_of(lease.begin(), lease.end(), [](std::byte b) { return b == std::byte{0}; }));
    std::fill(lease.begin(), lease.end(), std::byte{7});
    lease[3] = std::byte{9};
    lease.at(4) = std::byte{10};
    CHECK(lease.data()[3] == std::byte{9} && std::as_const(lease)[4] == std::byte{10});
    bool thrown = false;
    try {
        (void)lease.at(1000);
    } catch (const std::out_of_range &) {
        thrown = true;
    }
    CHECK(thrown);
    CHECK(std::distance(lease.begin(), lease.end()) == 1000);
    lease.check();
    CHECK(pool.get(0).empty());
}

static void scope_ends(const millpond::pool &pool) {
    const std::uint64_t puts = pool.stats().puts;
    {
        const millpond::lease lease = pool.get(10);
        millpond::lease put_early = pool.get(10);
        put_early.put();
    } // silent for the one that was put
    CHECK(pool.stats().puts == puts + 2 && pool.stats().double_puts == 0);
    try {
        const millpond::lease lease = pool.get(10);
        throw 7;
    } catch (int) {
    }
    CHECK(pool.stats().in_use == 0);
}

static void second_put_and_use_after_put(const millpond::pool &pool) {
    millpond::lease lease = pool.get(10);
    lease.put();
    CHECK(!lease && lease.size() == 0 && lease.empty() && lease.capacity() == 0);
    THROWS(MILLPOND_ERR_DOUBLE_PUT, lease.put());
    THROWS(MILLPOND_ERR_DOUBLE_PUT, lease.put_used(0));
    THROWS(MILLPOND_ERR_USE_AFTER_PUT, (void)lease.data());
    THROWS(MILLPOND_ERR_USE_AFTER_PUT, (void)lease[0]);
    THROWS(MILLPOND_ERR_USE_AFTER_PUT, (void)lease.begin());
    THROWS(MILLPOND_ERR_USE_AFTER_PUT, (void)lease.end());
    THROWS(MILLPOND_ERR_USE_AFTER_PUT, (void)lease.release());
    THROWS(MILLPOND_ERR_USE_AFTER_PUT, lease.check());
    THROWS(MILLPOND_ERR_USE_AFTER_PUT, lease.pin());
    CHECK(pool.stats().stale_uses >= 4);
    millpond::lease never;
    THROWS(MILLPOND_ERR_INVALID_HANDLE, never.put());
    THROWS(MILLPOND_ERR_USE_AFTER_PUT, (void)never.data());
}

static void moves(const millpond::pool &pool) {
    millpond::lease first = pool.get(10), second = pool.get(20);
    millpond::lease third(std::move(first));
    CHECK(!first && third.size() == 10);
    THROWS(MILLPOND_ERR_USE_AFTER_PUT, (void)first.data());
    third = std::move(second); // puts the 10 bytes
    CHECK(third.size() == 20 && pool.stats().in_use == 1);
    millpond::lease &same = third;
    third = std::move(same);
    CHECK(third.size() == 20);
    std::vector<millpond::lease> many;
    for (std::size_t i = 0; i < 100; ++i)
        many.push_back(pool.get(i));
    CHECK(pool.stats().in_use == 101);
    std::swap(many[1], many[99]);
    CHECK(many[1].size() == 99);
}

static void other_pools(const millpond::pool &pool) {
    const millpond::pool other("other");
    millpond::lease lease = pool.get(10);
    THROWS(MILLPOND_ERR_FOREIGN_LEASE, other.put(std::move(lease)));
    CHECK(lease.live()); // NOLINT: it stays live, as the contract says
    pool.put(std::move(lease));
    CHECK(!lease.live());
    THROWS(MILLPOND_ERR_DOUBLE_PUT, pool.put(std::move(lease)));
}

static void pins(const millpond::pool &pool) {
    millpond::lease lease = pool.get(10);
    lease.pin();
    THROWS(MILLPOND_ERR_BUSY, lease.put());
    CHECK(lease.live());
    lease.unpin();
    THROWS(MILLPOND_ERR_INVALID_ARGUMENT, lease.unpin());
    lease.put();
}

static void overruns(const millpond::pool &pool) {
    if (std::getenv("MILLPOND_TEST_WATCHED") != nullptr) return;
    const std::uint64_t before = pool.stats().overruns;
    millpond::lease lease = pool.get(10);
    lease.data()[10] ^= std::byte{0xFF};
    THROWS(MILLPOND_ERR_OVERRUN, lease.put());
    CHECK(!lease.live());
    {
        millpond::lease silent = pool.get(10);
        silent.data()[10] ^= std::byte{0xFF};
    }
    CHECK(pool.stats().overruns == before + 2);
}

static void used(const millpond::pool &pool) {
    millpond::lease lease = pool.get(100);
    THROWS(MILLPOND_ERR_INVALID_ARGUMENT, lease.put_used(101));
    CHECK(lease.live());
    lease[0] = std::byte{1};
    lease.put_used(1);
}

static void release(const millpond::pool &pool) {
    millpond::lease lease = pool.get(10);
    const millpond_lease raw = lease.release();
    CHECK(!lease.live() && raw.len == 10);
    THROWS(MILLPOND_ERR_INVALID_HANDLE, lease.put()); // it is the caller's now
    millpond::lease again(pool.handle(), raw);
    CHECK(again.size() == 10);
    again.put();
}

static void outlives_its_pool() {
    millpond::lease lease;
    {
        const millpond::pool pool("gone");
        lease = pool.get(1000);
    }
    lease[999] = std::byte{1};
    lease.put();
    THROWS(MILLPOND_ERR_DOUBLE_PUT, lease.put());
}

static void other_threads(const millpond::pool &pool) {
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i)
        threads.emplace_back([lease = pool.get(1000), &pool]() mutable {
            lease[1] = std::byte{1};
            lease.put();
            for (int n = 0; n < 1000; ++n)
                pool.get(static_cast<std::size_t>(n) * 9).put();
        });
    for (std::thread &thread : threads)
        thread.join();
    CHECK(pool.stats().in_use == 0);
}

int main() {
    const millpond::pool pool("leases");
    span_like(pool);
    scope_ends(pool);
    second_put_and_use_after_put(pool);
    moves(pool);
    CHECK(pool.stats().in_use == 0);
    other_pools(pool);
    pins(pool);
    overruns(pool);
    used(pool);
    release(pool);
    outlives_its_pool();
    other_threads(pool);
    check_reconciled(pool.handle());
    CHECK(pool.stats().in_use == 0);
    return report("own_lease.cpp");
}
