/* Input that cannot be: NULLs, numbers that are no handles, sizes that do not exist, structs of other versions. */
#include "check.h"

static void nulls(millpond_pool pool) {
    millpond_lease lease;
    size_t n = 42;
    char text[8];
    millpond_pool_options options = MILLPOND_POOL_OPTIONS_INIT;
    SAYS(MILLPOND_ERR_NULL, "out_lease", millpond_get(pool, 1, NULL));
    SAYS(MILLPOND_ERR_NULL, "out_lease", millpond_try_get(pool, 1, NULL));
    SAYS(MILLPOND_ERR_NULL, "out_lease", millpond_get_timeout(pool, 1, 1, NULL));
    SAYS(MILLPOND_ERR_NULL, "out_lease", millpond_lease_lookup(1, NULL));
    SAYS(MILLPOND_ERR_NULL, "out_pool", millpond_lease_pool(1, NULL));
    SAYS(MILLPOND_ERR_NULL, "out_pool", millpond_pool_new(&options, NULL));
    SAYS(MILLPOND_ERR_NULL, "options", millpond_pool_new(NULL, &pool));
    SAYS(MILLPOND_ERR_NULL, "out_closed", millpond_pool_is_closed(pool, NULL));
    SAYS(MILLPOND_ERR_NULL, "out_stats", millpond_pool_stats(pool, NULL));
    SAYS(MILLPOND_ERR_NULL, "out_stats", millpond_pool_class_stats(pool, 0, NULL));
    SAYS(MILLPOND_ERR_NULL, "out_count", millpond_pool_class_count(pool, NULL));
    SAYS(MILLPOND_ERR_NULL, "out_bytes", millpond_pool_trim(pool, NULL));
    SAYS(MILLPOND_ERR_NULL, "out_bytes", millpond_pool_maintain(pool, NULL));
    SAYS(MILLPOND_ERR_NULL, "out_detached", millpond_detach(pool, 1, NULL));
    SAYS(MILLPOND_ERR_NULL, "leaks", millpond_pool_leaks(pool, NULL, 3, &n));
    SAYS(MILLPOND_ERR_NULL, "out_count", millpond_pool_leaks(pool, NULL, 0, NULL));
    SAYS(MILLPOND_ERR_NULL, "buffer", millpond_pool_name(pool, NULL, 3, &n));
    SAYS(MILLPOND_ERR_NULL, "out_len", millpond_pool_name(pool, text, sizeof text, NULL));
    SAYS(MILLPOND_ERR_NULL, "buffer", millpond_pool_prometheus(pool, NULL, 3, &n));
    SAYS(MILLPOND_ERR_NULL, "out_len", millpond_pool_prometheus(pool, text, sizeof text, NULL));
    CHECK(n == 42);
    /* With nothing to write, NULL is fine; and a call site may be unknown. */
    WORKS(millpond_pool_leaks(pool, NULL, 0, &n));
    CHECK(n == 0);
    WORKS(millpond_get_at(pool, 1, &lease, NULL, 0));
    WORKS(millpond_put_at(pool, lease.id, NULL, 7));
}

static void sizes(millpond_pool pool) {
    static const size_t impossible[] = {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 63, SIZE_MAX - 4095, (size_t)PTRDIFF_MAX + 1,
                                        PTRDIFF_MAX};
    millpond_lease lease = {42, NULL, 0, 0};
    for (size_t i = 0; i < sizeof impossible / sizeof *impossible; ++i) {
        GIVES(MILLPOND_ERR_INVALID_ARGUMENT, millpond_get(pool, impossible[i], &lease));
        GIVES(MILLPOND_ERR_INVALID_ARGUMENT, millpond_try_get(pool, impossible[i], &lease));
        GIVES(MILLPOND_ERR_INVALID_ARGUMENT, millpond_get_timeout(pool, impossible[i], 1, &lease));
    }
    for (int bit = 40; bit < 62; ++bit) {
        const millpond_status status = millpond_try_get(pool, (size_t)1 << bit, &lease);
        CHECK(status == MILLPOND_ERR_EXHAUSTED || status == MILLPOND_ERR_NO_MEMORY);
    }
    CHECK(lease.id == 42);
    for (size_t len = 0; len <= 1 << 20; len = len * 4 + (len == 0)) {
        for (int step = -1; step <= 1; ++step) {
            if (len == 0 && step < 0)
                continue;
            const size_t wanted = len + (size_t)step;
            if (WORKS(millpond_get(pool, wanted, &lease))) {
                CHECK(lease.len == wanted && lease.capacity >= wanted && lease.data != NULL);
                memset(lease.data, 1, wanted);
                WORKS(millpond_put(pool, lease.id));
            }
        }
    }
}

static void handle(millpond_pool pool, uint64_t forged) {
    millpond_lease lease;
    millpond_pool owner;
    millpond_detached detached;
    const millpond_status put = millpond_put(pool, forged);
    CHECK(put == MILLPOND_ERR_INVALID_HANDLE || put == MILLPOND_ERR_DOUBLE_PUT || put == MILLPOND_ERR_FOREIGN_LEASE);
    CHECK(millpond_put_used(pool, forged, 0) != MILLPOND_OK);
    CHECK(millpond_lease_lookup(forged, &lease) != MILLPOND_OK);
    CHECK(millpond_lease_pool(forged, &owner) != MILLPOND_OK);
    CHECK(millpond_lease_pin(forged) != MILLPOND_OK);
    CHECK(millpond_lease_unpin(forged) != MILLPOND_OK);
    CHECK(millpond_lease_reclaim(pool, forged) != MILLPOND_OK);
    CHECK(millpond_detach(pool, forged, &detached) != MILLPOND_OK);
    CHECK(millpond_detached_free(forged) != MILLPOND_OK);
}

static void forged_leases(millpond_pool pool) {
    static const uint64_t plain[] = {0, 1, 2, UINT64_MAX, UINT64_C(1) << 63, 0xDEADBEEF, UINT64_C(0xFFFFFFFF00000000)};
    millpond_lease lease;
    for (size_t i = 0; i < sizeof plain / sizeof *plain; ++i)
        handle(pool, plain[i]);
    WORKS(millpond_get(pool, 100, &lease));
    for (int bit = 0; bit < 64; ++bit)
        handle(pool, lease.id ^ (UINT64_C(1) << bit));
    for (uint64_t step = 1; step < 300; ++step) {
        handle(pool, lease.id + step);
        handle(pool, lease.id - step);
        handle(pool, lease.id + (step << 24));
        handle(pool, lease.id + (step << 32));
    }
    handle(pool, pool);
    handle(pool, (uint64_t)(uintptr_t)lease.data);
    /* A splitmix sequence: the seed is printed so that a find can be run again. */
    uint64_t seed = 0x5EED;
    printf("own_bad_input: seed %#llx\n", (unsigned long long)seed);
    for (int i = 0; i < 20000; ++i) {
        uint64_t z = seed += UINT64_C(0x9E3779B97F4A7C15);
        z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
        CHECK(millpond_put(pool, z ^ (z >> 31)) != MILLPOND_OK);
    }
    WORKS(millpond_put(pool, lease.id));
    CHECK(stats_of(pool).in_use == 0);
}

static void dead_pool(millpond_pool pool) {
    millpond_lease lease;
    size_t n;
    bool closed;
    millpond_stats stats = MILLPOND_STATS_INIT;
    millpond_class_stats classes = MILLPOND_CLASS_STATS_INIT;
    GIVES(MILLPOND_ERR_INVALID_HANDLE, millpond_get(pool, 1, &lease));
    GIVES(MILLPOND_ERR_INVALID_HANDLE, millpond_try_get(pool, 1, &lease));
    GIVES(MILLPOND_ERR_INVALID_HANDLE, millpond_get_timeout(pool, 1, 1, &lease));
    GIVES(MILLPOND_ERR_INVALID_HANDLE, millpond_pool_close(pool));
    GIVES(MILLPOND_ERR_INVALID_HANDLE, millpond_pool_free(pool));
    GIVES(MILLPOND_ERR_INVALID_HANDLE, millpond_pool_is_closed(pool, &closed));
    GIVES(MILLPOND_ERR_INVALID_HANDLE, millpond_pool_trim(pool, &n));
    GIVES(MILLPOND_ERR_INVALID_HANDLE, millpond_pool_maintain(pool, &n));
    GIVES(MILLPOND_ERR_INVALID_HANDLE, millpond_pool_stats(pool, &stats));
    GIVES(MILLPOND_ERR_INVALID_HANDLE, millpond_pool_class_count(pool, &n));
    GIVES(MILLPOND_ERR_INVALID_HANDLE, millpond_pool_class_stats(pool, 0, &classes));
    GIVES(MILLPOND_ERR_INVALID_HANDLE, millpond_pool_leaks(pool, NULL, 0, &n));
    GIVES(MILLPOND_ERR_INVALID_HANDLE, millpond_pool_name(pool, NULL, 0, &n));
    GIVES(MILLPOND_ERR_INVALID_HANDLE, millpond_pool_prometheus(pool, NULL, 0, &n));
    CHECK(millpond_put(pool, 1) == MILLPOND_ERR_INVALID_HANDLE);
}

static void forged_pools(millpond_pool pool) {
    dead_pool(0);
    dead_pool(1);
    dead_pool(UINT64_MAX);
    for (int bit = 0; bit < 64; ++bit)
        dead_pool(pool ^ (UINT64_C(1) << bit));
    dead_pool(pool + 1);
    dead_pool(pool - 1);
    const millpond_pool freed = new_pool("freed");
    WORKS(millpond_pool_free(freed));
    dead_pool(freed);
    const millpond_pool next = new_pool("next");
    CHECK(next != freed);
    dead_pool(freed);
    WORKS(millpond_pool_free(next));
}

static void option(const char *says, millpond_pool_options options) {
    millpond_pool pool = 42;
    check_says(millpond_pool_new(&options, &pool), MILLPOND_ERR_INVALID_ARGUMENT, says, says, __FILE__, __LINE__);
    CHECK(pool == 42);
}

static void options(void) {
    static const size_t odd[] = {100}, descending[] = {1024, 512}, fine[] = {1024};
    const millpond_pool_options init = MILLPOND_POOL_OPTIONS_INIT;
    millpond_pool_options bad;
    char long_name[100];
#define BAD(says, assignment) (bad = init, assignment, option(says, bad))
    BAD("struct_size", bad.struct_size = 0);
    BAD("struct_size", bad.struct_size = 8);
    BAD("struct_size", bad.struct_size = SIZE_MAX);
    BAD("on_limit", bad.on_limit = 3);
    BAD("clear", bad.clear = 3);
    BAD("wait_ms", bad.wait_ms = 5);
    BAD("alignment", bad.alignment = 3);
    BAD("max_bytes", bad.max_bytes = MILLPOND_ZERO);
    BAD("class", (bad.classes = odd, bad.class_count = 1));
    BAD("class", (bad.classes = descending, bad.class_count = 2));
    BAD("class", (bad.classes = fine, bad.class_count = 0));
    BAD("class", (bad.classes = fine, bad.class_count = 100000));
    BAD("contradict", (bad.classes = fine, bad.class_count = 1, bad.class_min = 64, bad.class_max = 128));
    BAD("class", (bad.class_min = 4096, bad.class_max = 1024));
    BAD("class", bad.class_max = SIZE_MAX);
    BAD("name", bad.name = "");
    BAD("name", bad.name = "bell\a");
    BAD("UTF-8", bad.name = "\xff\xfe");
    memset(long_name, 'x', sizeof long_name);
    BAD("name", bad.name = long_name); /* no NUL in it: no byte behind the 65th is read */
#undef BAD
    bad = init;
    bad.class_count = 1;
    millpond_pool pool;
    SAYS(MILLPOND_ERR_NULL, "options.classes", millpond_pool_new(&bad, &pool));
}

/* What a program compiled against a later header passes. */
struct later_options {
    millpond_pool_options known;
    uint64_t unknown;
};

static void versions(void) {
    const millpond_pool_options init = MILLPOND_POOL_OPTIONS_INIT;
    struct later_options later;
    millpond_pool pool;
    later.known = init;
    later.known.struct_size = sizeof later;
    later.unknown = 0;
    if (WORKS(millpond_pool_new(&later.known, &pool)))
        WORKS(millpond_pool_free(pool));
    later.unknown = 1;
    SAYS(MILLPOND_ERR_INVALID_ARGUMENT, "newer", millpond_pool_new(&later.known, &pool));

    struct {
        millpond_stats known;
        uint64_t unknown;
    } figures;
    memset(&figures, 0x55, sizeof figures);
    figures.known.struct_size = sizeof figures;
    WORKS(millpond_pool_stats(millpond_default_pool(), &figures.known));
    CHECK(figures.known.struct_size == sizeof figures && figures.known.limit_bytes > 0);
    CHECK(figures.unknown == UINT64_C(0x5555555555555555));
    figures.known.struct_size = 16;
    SAYS(MILLPOND_ERR_INVALID_ARGUMENT, "struct_size", millpond_pool_stats(millpond_default_pool(), &figures.known));
}

static void classes(millpond_pool pool) {
    millpond_class_stats stats = MILLPOND_CLASS_STATS_INIT;
    GIVES(MILLPOND_ERR_INVALID_ARGUMENT, millpond_pool_class_stats(pool, 9, &stats));
    GIVES(MILLPOND_ERR_INVALID_ARGUMENT, millpond_pool_class_stats(pool, SIZE_MAX, &stats));
    stats.struct_size = 0;
    GIVES(MILLPOND_ERR_INVALID_ARGUMENT, millpond_pool_class_stats(pool, 0, &stats));
}

static void unaligned(millpond_pool pool) {
    static uint64_t room[16];
    char *const odd = (char *)room + 1;
    millpond_lease *lease;
    memcpy(&lease, &odd, sizeof lease);
    SAYS(MILLPOND_ERR_INVALID_ARGUMENT, "out_lease", millpond_get(pool, 1, lease));
    size_t n;
    millpond_leak leak;
    SAYS(MILLPOND_ERR_INVALID_ARGUMENT, "leaks", millpond_pool_leaks(pool, &leak, SIZE_MAX, &n));
}

int main(void) {
    const millpond_pool pool = new_pool("bad input");
    nulls(pool);
    sizes(pool);
    forged_leases(pool);
    forged_pools(pool);
    options();
    versions();
    classes(pool);
    unaligned(pool);
    check_reconciled(pool);
    CHECK(stats_of(pool).in_use == 0);
    WORKS(millpond_pool_free(pool));
    return report("own_bad_input");
}
