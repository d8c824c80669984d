/* The ownership table of ffi-c/README.md, row by row. */
#include "check.h"

#include <stdlib.h>

static void put_and_second_put(millpond_pool pool) {
    millpond_lease lease;
    WORKS(millpond_get(pool, 100, &lease));
    CHECK(lease.id != 0 && lease.len == 100 && lease.capacity >= 100 && (uintptr_t)lease.data % 64 == 0);
    CHECK(all_bytes(lease.data, lease.len, 0));
    memset(lease.data, 7, lease.len);
    WORKS(millpond_put(pool, lease.id));
    GIVES(MILLPOND_ERR_DOUBLE_PUT, millpond_put(pool, lease.id));
    GIVES(MILLPOND_ERR_DOUBLE_PUT, millpond_put_used(pool, lease.id, 1));
    CHECK(stats_of(pool).double_puts == 2);
}

static void access_after_put(millpond_pool pool) {
    millpond_lease lease, found = {42, NULL, 42, 42};
    millpond_pool owner = 0;
    WORKS(millpond_get(pool, 100, &lease));
    WORKS(millpond_lease_lookup(lease.id, &found));
    CHECK(found.id == lease.id && found.data == lease.data && found.len == 100 && found.capacity == lease.capacity);
    WORKS(millpond_lease_pool(lease.id, &owner));
    CHECK(owner == pool);
    WORKS(millpond_put(pool, lease.id));
    found.len = 42;
    GIVES(MILLPOND_ERR_USE_AFTER_PUT, millpond_lease_lookup(lease.id, &found));
    CHECK(found.len == 42); /* outputs are written on success only */
    GIVES(MILLPOND_ERR_USE_AFTER_PUT, millpond_lease_pool(lease.id, &owner));
    GIVES(MILLPOND_ERR_USE_AFTER_PUT, millpond_lease_pin(lease.id));
    GIVES(MILLPOND_ERR_USE_AFTER_PUT, millpond_lease_unpin(lease.id));
    GIVES(MILLPOND_ERR_USE_AFTER_PUT, millpond_lease_reclaim(pool, lease.id));
}

static void foreign_pool(millpond_pool pool) {
    const millpond_pool other = new_pool("other");
    millpond_lease lease;
    millpond_detached detached;
    WORKS(millpond_get(pool, 100, &lease));
    GIVES(MILLPOND_ERR_FOREIGN_LEASE, millpond_put(other, lease.id));
    GIVES(MILLPOND_ERR_FOREIGN_LEASE, millpond_put_used(other, lease.id, 1));
    GIVES(MILLPOND_ERR_FOREIGN_LEASE, millpond_detach(other, lease.id, &detached));
    GIVES(MILLPOND_ERR_FOREIGN_LEASE, millpond_lease_reclaim(other, lease.id));
    memset(lease.data, 1, lease.len);
    WORKS(millpond_put(pool, lease.id));
    check_reconciled(other);
    WORKS(millpond_pool_free(other));
}

static void pinned(millpond_pool pool) {
    millpond_lease lease;
    millpond_detached detached;
    WORKS(millpond_get(pool, 100, &lease));
    WORKS(millpond_lease_pin(lease.id));
    WORKS(millpond_lease_pin(lease.id));
    GIVES(MILLPOND_ERR_BUSY, millpond_put(pool, lease.id));
    GIVES(MILLPOND_ERR_BUSY, millpond_detach(pool, lease.id, &detached));
    GIVES(MILLPOND_ERR_BUSY, millpond_lease_reclaim(pool, lease.id));
    WORKS(millpond_lease_unpin(lease.id));
    GIVES(MILLPOND_ERR_BUSY, millpond_put_used(pool, lease.id, 1));
    WORKS(millpond_lease_unpin(lease.id));
    GIVES(MILLPOND_ERR_INVALID_ARGUMENT, millpond_lease_unpin(lease.id));
    WORKS(millpond_put(pool, lease.id));
}

static void overrun(millpond_pool pool) {
    if (getenv("MILLPOND_TEST_WATCHED")) return;
    const uint64_t before = stats_of(pool).overruns;
    millpond_lease lease;
    WORKS(millpond_get(pool, 100, &lease));
    lease.data[100] = (uint8_t)~lease.data[100];
    GIVES(MILLPOND_ERR_OVERRUN, millpond_put(pool, lease.id));
    GIVES(MILLPOND_ERR_DOUBLE_PUT, millpond_put(pool, lease.id));
    CHECK(stats_of(pool).overruns == before + 1);
}

static void used(millpond_pool pool) {
    millpond_lease lease;
    WORKS(millpond_get(pool, 1000, &lease));
    GIVES(MILLPOND_ERR_INVALID_ARGUMENT, millpond_put_used(pool, lease.id, 1001));
    GIVES(MILLPOND_ERR_INVALID_ARGUMENT, millpond_put_used(pool, lease.id, SIZE_MAX));
    memset(lease.data, 1, 10); /* it is still live */
    WORKS(millpond_put_used(pool, lease.id, 10));
    WORKS(millpond_get(pool, 1000, &lease));
    CHECK(all_bytes(lease.data, 1000, 0));
    WORKS(millpond_put_used(pool, lease.id, 0));
}

static void detach(millpond_pool pool) {
    millpond_lease lease;
    millpond_detached detached;
    WORKS(millpond_get(pool, 5000, &lease));
    memset(lease.data, 9, lease.len);
    WORKS(millpond_detach(pool, lease.id, &detached));
    CHECK(detached.id != 0 && detached.len == 5000 && all_bytes(detached.data, 5000, 9));
    GIVES(MILLPOND_ERR_DOUBLE_PUT, millpond_put(pool, lease.id));
    memset(detached.data, 8, detached.len);
    WORKS(millpond_detached_free(detached.id));
    GIVES(MILLPOND_ERR_INVALID_HANDLE, millpond_detached_free(detached.id));
    /* A length of 0 has a handle too. */
    WORKS(millpond_get(pool, 0, &lease));
    WORKS(millpond_detach(pool, lease.id, &detached));
    CHECK(detached.len == 0);
    WORKS(millpond_detached_free(detached.id));
    CHECK(stats_of(pool).detached == 2);
}

static void reclaim(millpond_pool pool) {
    millpond_lease lease;
    WORKS(millpond_get(pool, 100, &lease));
    WORKS(millpond_lease_reclaim(pool, lease.id));
    CHECK(stats_of(pool).leaked == 1);
    GIVES(MILLPOND_ERR_DOUBLE_PUT, millpond_put(pool, lease.id));
}

static void closed_with_leases_out(void) {
    const millpond_pool pool = new_pool("closing");
    millpond_lease lease, other;
    bool closed = true;
    millpond_detached detached;
    WORKS(millpond_get(pool, 100, &lease));
    WORKS(millpond_get(pool, 100, &other));
    WORKS(millpond_pool_is_closed(pool, &closed));
    CHECK(!closed);
    WORKS(millpond_pool_close(pool));
    WORKS(millpond_pool_close(pool));
    WORKS(millpond_pool_is_closed(pool, &closed));
    CHECK(closed);
    millpond_lease none;
    GIVES(MILLPOND_ERR_CLOSED, millpond_get(pool, 1, &none));
    GIVES(MILLPOND_ERR_CLOSED, millpond_try_get(pool, 1, &none));
    GIVES(MILLPOND_ERR_CLOSED, millpond_get_timeout(pool, 1, 5, &none));
    memset(lease.data, 3, lease.len);
    WORKS(millpond_put(pool, lease.id));
    WORKS(millpond_detach(pool, other.id, &detached));
    WORKS(millpond_detached_free(detached.id));
    check_reconciled(pool);
    WORKS(millpond_pool_free(pool));
}

static void freed_with_leases_out(void) {
    const millpond_pool pool = new_pool("freeing");
    millpond_lease lease, other;
    WORKS(millpond_get(pool, 100, &lease));
    WORKS(millpond_get(pool, 100, &other));
    WORKS(millpond_pool_free(pool));
    GIVES(MILLPOND_ERR_INVALID_HANDLE, millpond_pool_free(pool));
    millpond_lease none;
    GIVES(MILLPOND_ERR_INVALID_HANDLE, millpond_get(pool, 1, &none));
    memset(lease.data, 3, lease.len);
    WORKS(millpond_lease_lookup(lease.id, &none));
    WORKS(millpond_put(pool, lease.id));
    memset(other.data, 4, other.len);
    WORKS(millpond_put_used(pool, other.id, 100));
}

static void limits(void) {
    millpond_pool_options options = MILLPOND_POOL_OPTIONS_INIT;
    millpond_pool pool;
    millpond_lease first, second;
    options.max_bytes = 64 * 1024;
    options.max_retained_bytes = MILLPOND_ZERO;
    if (!WORKS(millpond_pool_new(&options, &pool)))
        return;
    WORKS(millpond_get(pool, 60 * 1024, &first));
    GIVES(MILLPOND_ERR_EXHAUSTED, millpond_get(pool, 60 * 1024, &second));
    GIVES(MILLPOND_ERR_EXHAUSTED, millpond_try_get(pool, 60 * 1024, &second));
    GIVES(MILLPOND_ERR_EXHAUSTED, millpond_get_timeout(pool, 60 * 1024, 10, &second));
    CHECK(stats_of(pool).exhausted == 3);
    WORKS(millpond_put(pool, first.id));
    WORKS(millpond_get(pool, 60 * 1024, &second));
    WORKS(millpond_put(pool, second.id));
    check_reconciled(pool);
    WORKS(millpond_pool_free(pool));
}

static void contents(void) {
    static const uint32_t policies[] = {MILLPOND_CLEAR_ON_PUT, MILLPOND_CLEAR_ON_GET};
    for (size_t i = 0; i < 2; ++i) {
        millpond_pool_options options = MILLPOND_POOL_OPTIONS_INIT;
        millpond_pool pool;
        millpond_lease lease;
        options.clear = policies[i];
        if (!WORKS(millpond_pool_new(&options, &pool)))
            return;
        for (size_t len = 1; len < 200000; len = len * 3 + 1) {
            WORKS(millpond_get(pool, len, &lease));
            CHECK(all_bytes(lease.data, len, 0));
            memset(lease.data, 0xEE, len);
            WORKS(millpond_put(pool, lease.id));
        }
        for (size_t len = 1; len < 200000; len = len * 3 + 1) {
            WORKS(millpond_get(pool, len, &lease));
            CHECK(all_bytes(lease.data, len, 0));
            WORKS(millpond_put(pool, lease.id));
        }
        WORKS(millpond_pool_free(pool));
    }
}

int main(void) {
    const millpond_pool pool = new_pool("table");
    put_and_second_put(pool);
    access_after_put(pool);
    foreign_pool(pool);
    pinned(pool);
    overrun(pool);
    used(pool);
    detach(pool);
    reclaim(pool);
    check_reconciled(pool);
    CHECK(stats_of(pool).in_use == 0);
    WORKS(millpond_pool_free(pool));
    closed_with_leases_out();
    freed_with_leases_out();
    limits();
    contents();
    return report("own_table");
}
