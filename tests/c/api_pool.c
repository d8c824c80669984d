/* Pools: made with every option, named, asked, trimmed, closed, freed. */
#include "check.h"

static void default_pool(void) {
    const millpond_pool pool = millpond_default_pool();
    char name[MILLPOND_NAME_MAX + 1];
    size_t len = 0;
    CHECK(pool != 0);
    CHECK(pool == millpond_default_pool());
    WORKS(millpond_pool_name(pool, name, sizeof name, &len));
    CHECK(strcmp(name, "default") == 0 && len == 7);
    GIVES(MILLPOND_ERR_INVALID_ARGUMENT, millpond_pool_close(pool));
    GIVES(MILLPOND_ERR_INVALID_ARGUMENT, millpond_pool_free(pool));
    millpond_lease lease;
    WORKS(millpond_get(pool, 1000, &lease));
    WORKS(millpond_put(pool, lease.id));
}

static void names(void) {
    const millpond_pool pool = new_pool("frames");
    char name[4] = {'x', 'x', 'x', 'x'};
    size_t len = 0;
    WORKS(millpond_pool_name(pool, NULL, 0, &len));
    CHECK(len == 6);
    WORKS(millpond_pool_name(pool, name, sizeof name, &len));
    CHECK(strcmp(name, "fra") == 0 && len == 6);
    WORKS(millpond_pool_free(pool));
}

static void every_option(void) {
    static const size_t classes[] = {1024, 8192, 65536};
    millpond_pool_options options = MILLPOND_POOL_OPTIONS_INIT;
    millpond_pool pool;
    size_t count = 0;
    options.name = "everything";
    options.classes = classes;
    options.class_count = 3;
    options.max_bytes = 1 << 20;
    options.max_retained_bytes = 1 << 18;
    options.alignment = 4096;
    options.thread_cache_bytes = MILLPOND_ZERO;
    options.on_limit = MILLPOND_LIMIT_WAIT;
    options.wait_ms = 1;
    options.clear = MILLPOND_CLEAR_ON_GET;
    options.maintain_every_ms = 1000;
    if (!WORKS(millpond_pool_new(&options, &pool)))
        return;
    WORKS(millpond_pool_class_count(pool, &count));
    CHECK(count == 3);
    millpond_lease lease, second;
    WORKS(millpond_get(pool, 5000, &lease));
    CHECK(lease.capacity == 8192 && (uintptr_t)lease.data % 4096 == 0);
    millpond_class_stats of_class = MILLPOND_CLASS_STATS_INIT;
    WORKS(millpond_pool_class_stats(pool, 1, &of_class));
    CHECK(of_class.size == 8192 && of_class.in_use == 1);
    GIVES(MILLPOND_ERR_EXHAUSTED, millpond_get(pool, 1 << 20, &second));
    WORKS(millpond_put(pool, lease.id));
    CHECK(stats_of(pool).limit_bytes == 1 << 20);
    check_reconciled(pool);
    WORKS(millpond_pool_free(pool));
}

static void four_per_doubling(void) {
    millpond_pool_options options = MILLPOND_POOL_OPTIONS_INIT;
    millpond_pool pool;
    millpond_lease lease;
    options.class_min = 1024;
    options.class_max = 8192;
    if (!WORKS(millpond_pool_new(&options, &pool)))
        return;
    WORKS(millpond_get(pool, 1025, &lease));
    CHECK(lease.capacity == 1280);
    WORKS(millpond_put(pool, lease.id));
    WORKS(millpond_pool_free(pool));
}

static void trim_and_maintain(void) {
    const millpond_pool pool = new_pool("trimmed");
    millpond_lease lease;
    size_t bytes = 0;
    WORKS(millpond_get(pool, 4096, &lease));
    WORKS(millpond_put(pool, lease.id));
    CHECK(stats_of(pool).retained_bytes == 4096);
    WORKS(millpond_pool_maintain(pool, &bytes));
    WORKS(millpond_pool_trim(pool, &bytes));
    CHECK(stats_of(pool).retained_bytes == 0);
    check_reconciled(pool);
    WORKS(millpond_pool_free(pool));
}

static void prometheus(void) {
    const millpond_pool pool = new_pool("exposed");
    size_t len = 0, again = 0;
    WORKS(millpond_pool_prometheus(pool, NULL, 0, &len));
    char *text = (char *)malloc(len + 1);
    if (!CHECK(text != NULL))
        return;
    WORKS(millpond_pool_prometheus(pool, text, len + 1, &again));
    CHECK(again == len && strlen(text) == len);
    CHECK(strstr(text, "millpond_buffer_gets_total") && strstr(text, "exposed"));
    free(text);
    WORKS(millpond_pool_free(pool));
}

static void version(void) {
    CHECK(strcmp(millpond_version(), MILLPOND_VERSION) == 0);
    CHECK(millpond_version_number() == MILLPOND_VERSION_NUMBER);
}

int main(void) {
    default_pool();
    names();
    every_option();
    four_per_doubling();
    trim_and_maintain();
    prometheus();
    version();
    return report("api_pool");
}
