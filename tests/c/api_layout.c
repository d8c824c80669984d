/* The binary interface of the 0 series: sizes and places of all fields that a compiled program relies on. A change here breaks
 * programs that were compiled before, and needs another SONAME. */
#include "check.h"

#define AT(TYPE, FIELD, OFFSET) CHECK(offsetof(TYPE, FIELD) == (OFFSET))

int main(void) {
    CHECK(sizeof(millpond_status) == 4 && sizeof(millpond_pool) == 8);

    CHECK(sizeof(millpond_lease) == 32);
    AT(millpond_lease, id, 0);
    AT(millpond_lease, data, 8);
    AT(millpond_lease, len, 16);
    AT(millpond_lease, capacity, 24);

    CHECK(sizeof(millpond_detached) == 24);
    AT(millpond_detached, id, 0);
    AT(millpond_detached, data, 8);
    AT(millpond_detached, len, 16);

    CHECK(sizeof(millpond_leak) == 192 && MILLPOND_SITE_MAX == 160);
    AT(millpond_leak, id, 0);
    AT(millpond_leak, len, 8);
    AT(millpond_leak, capacity, 16);
    AT(millpond_leak, age_ms, 24);
    AT(millpond_leak, site, 32);

    /* These may grow at their end. */
    CHECK(sizeof(millpond_pool_options) >= 104);
    AT(millpond_pool_options, struct_size, 0);
    AT(millpond_pool_options, name, 8);
    AT(millpond_pool_options, classes, 16);
    AT(millpond_pool_options, class_count, 24);
    AT(millpond_pool_options, class_min, 32);
    AT(millpond_pool_options, class_max, 40);
    AT(millpond_pool_options, max_bytes, 48);
    AT(millpond_pool_options, max_retained_bytes, 56);
    AT(millpond_pool_options, alignment, 64);
    AT(millpond_pool_options, thread_cache_bytes, 72);
    AT(millpond_pool_options, wait_ms, 80);
    AT(millpond_pool_options, maintain_every_ms, 88);
    AT(millpond_pool_options, on_limit, 96);
    AT(millpond_pool_options, clear, 100);
    AT(millpond_pool_options, check, 104);

    CHECK(sizeof(millpond_stats) >= 208);
    AT(millpond_stats, allocations, 8);
    AT(millpond_stats, gets, 16);
    AT(millpond_stats, puts, 24);
    AT(millpond_stats, in_use, 32);
    AT(millpond_stats, retained_bytes, 104);
    AT(millpond_stats, created, 152);
    AT(millpond_stats, exhausted, 200);
    AT(millpond_stats, unguarded, 208);

    CHECK(sizeof(millpond_class_stats) >= 96);
    AT(millpond_class_stats, size, 8);
    AT(millpond_class_stats, gets, 16);
    AT(millpond_class_stats, leaked, 88);

    /* The initialisers say all fields and leave every option at its default. */
    const millpond_pool_options options = MILLPOND_POOL_OPTIONS_INIT;
    CHECK(options.struct_size == sizeof options);
    CHECK(all_bytes((const uint8_t *)&options + sizeof(size_t), sizeof options - sizeof(size_t), 0));
    const millpond_stats stats = MILLPOND_STATS_INIT;
    CHECK(stats.struct_size == sizeof stats);
    const millpond_class_stats classes = MILLPOND_CLASS_STATS_INIT;
    CHECK(classes.struct_size == sizeof classes);
    return report("api_layout");
}
