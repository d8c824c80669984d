// millpond::pool: options, borrowing, statistics, names, moves.
#include "check.hpp"

#include <type_traits>

static_assert(!std::is_copy_constructible_v<millpond::pool> && !std::is_copy_assignable_v<millpond::pool>);
static_assert(std::is_nothrow_move_constructible_v<millpond::pool> && std::is_nothrow_move_assignable_v<millpond::pool>);
static_assert(!std::is_convertible_v<const char *, millpond::pool>);

static void options() {
    millpond::options wanted;
    wanted.name = "built";
    wanted.classes = {1024, 8192};
    wanted.raw.max_bytes = 1 << 20;
    wanted.raw.max_retained_bytes = 1 << 16;
    const millpond::pool pool(wanted);
    CHECK(pool.name() == "built");
    CHECK(pool.stats().limit_bytes == 1 << 20);
    {
        const millpond::lease lease = pool.get(5000);
        CHECK(lease.size() == 5000 && lease.capacity() == 8192);
        const auto classes = pool.class_stats();
        CHECK(classes.size() == 2 && classes[1].size == 8192 && classes[1].in_use == 1);
        CHECK(pool.leaks().size() == 1 && pool.leaks()[0].len == 5000);
    }
    CHECK(pool.leaks().empty());
    CHECK(pool.trim() > 0);
    CHECK(pool.maintain() == 0);
    wanted.raw.alignment = 3;
    THROWS(MILLPOND_ERR_INVALID_ARGUMENT, const millpond::pool refused(wanted));
}

static void default_pool() {
    {
        const millpond::pool pool = millpond::pool::default_pool();
        CHECK(pool.handle() == millpond_default_pool() && pool.name() == "default");
        THROWS(MILLPOND_ERR_INVALID_ARGUMENT, pool.close());
    }
    CHECK(!millpond::pool::default_pool().is_closed());
}

static void scopes() {
    millpond_pool handle = 0;
    {
        const millpond::pool pool("scoped");
        handle = pool.handle();
        CHECK(!pool.is_closed());
        pool.close();
        CHECK(pool.is_closed());
        THROWS(MILLPOND_ERR_CLOSED, pool.get(10));
        {
            const millpond::pool borrowed = millpond::pool::borrow(handle);
        }
        CHECK(pool.is_closed());
    }
    GIVES(MILLPOND_ERR_INVALID_HANDLE, millpond_pool_close(handle));
}

static void moves() {
    millpond::pool first("first"), second("second");
    const millpond_pool one = first.handle(), two = second.handle();
    first = std::move(second);
    CHECK(first.handle() == two);
    GIVES(MILLPOND_ERR_INVALID_HANDLE, millpond_pool_close(one));
    THROWS(MILLPOND_ERR_INVALID_HANDLE, second.get(1));
    const millpond::pool third(std::move(first));
    CHECK(third.name() == "second");
}

static void limits() {
    millpond::options wanted;
    wanted.raw.max_bytes = 64 * 1024;
    wanted.raw.max_retained_bytes = MILLPOND_ZERO;
    const millpond::pool pool(wanted);
    const millpond::lease all = pool.get(60 * 1024);
    THROWS(MILLPOND_ERR_EXHAUSTED, pool.get(60 * 1024));
    THROWS(MILLPOND_ERR_EXHAUSTED, pool.try_get(60 * 1024));
    THROWS(MILLPOND_ERR_EXHAUSTED, pool.get_timeout(60 * 1024, 5));
    THROWS(MILLPOND_ERR_INVALID_ARGUMENT, pool.get(SIZE_MAX));
}

int main() {
    options();
    default_pool();
    scopes();
    moves();
    limits();
    return report("api_pool.cpp");
}
