/* The system gives no memory: an error, and everything as it was before the call. */
#include "check.h"

#include <sys/resource.h>
#include <unistd.h>

int main(void) {
    millpond_pool_options options = MILLPOND_POOL_OPTIONS_INIT;
    millpond_pool pool;
    millpond_lease first, lease;
    struct rlimit limit;
    options.name = "starved";
    options.max_bytes = (size_t)1 << 45;
    options.max_retained_bytes = (size_t)1 << 40;
    if (!WORKS(millpond_pool_new(&options, &pool)))
        return report("own_no_memory");
    WORKS(millpond_get(pool, 1000, &first));
    memset(first.data, 5, first.len);

    /* 512 MiB more than now: the library has reserved addresses for its table. */
    unsigned long pages = 0;
    FILE *const statm = fopen("/proc/self/statm", "r");
    CHECK(statm && fscanf(statm, "%lu", &pages) == 1 && fclose(statm) == 0);
    CHECK(getrlimit(RLIMIT_AS, &limit) == 0);
    limit.rlim_cur = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + ((rlim_t)512 << 20);
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
    const millpond_stats before = stats_of(pool);
    SAYS(MILLPOND_ERR_NO_MEMORY, "starved", millpond_get(pool, (size_t)1 << 30, &lease));
    GIVES(MILLPOND_ERR_NO_MEMORY, millpond_try_get(pool, (size_t)1 << 40, &lease));
    GIVES(MILLPOND_ERR_NO_MEMORY, millpond_get_timeout(pool, (size_t)1 << 40, 1, &lease));
    const millpond_stats after = stats_of(pool);
    CHECK(after.gets == before.gets && after.in_use == before.in_use && after.live_bytes == before.live_bytes);
    CHECK(after.created == before.created && after.exhausted == before.exhausted);
    check_reconciled(pool);

    /* Until nothing is left, and then back. */
    enum { MOST = 2000 };
    static millpond_lease held[MOST];
    int count = 0;
    while (count < MOST && millpond_get(pool, 1 << 20, &held[count]) == MILLPOND_OK) {
        held[count].data[0] = 1;
        ++count;
    }
    CHECK(count > 100 && count < 600);
    check_reconciled(pool);
    while (count > 0)
        WORKS(millpond_put(pool, held[--count].id));
    CHECK(all_bytes(first.data, first.len, 5));
    WORKS(millpond_put(pool, first.id));
    CHECK(stats_of(pool).in_use == 0);
    check_reconciled(pool);
    WORKS(millpond_pool_free(pool));
    return report("own_no_memory");
}
