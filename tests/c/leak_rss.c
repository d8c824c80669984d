/* Everything that a long-running program does again and again leaves the process as large as it was. */
#include "check.h"

#include <pthread.h>

static long resident_kib(void) {
    char line[256];
    long kib = -1;
    FILE *const status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status))
        if (strncmp(line, "VmRSS:", 6) == 0)
            kib = strtol(line + 6, NULL, 10);
    if (status)
        fclose(status);
    return kib;
}

static void *one_thread(void *argument) {
    millpond_lease lease;
    WORKS(millpond_get(*(const millpond_pool *)argument, 3000, &lease));
    lease.data[2999] = 1;
    WORKS(millpond_put(*(const millpond_pool *)argument, lease.id));
    return NULL;
}

static void work(int times) {
    /* The runner first proves that growth is seen. */
    const int seeded = getenv("MILLPOND_TEST_SEEDED") != NULL;
    const millpond_pool pool = new_pool("long running");
    for (int i = 0; i < times; ++i) {
        millpond_lease lease;
        millpond_detached detached;
        const size_t len = (size_t)i * 7919 % 200000;
        if (!WORKS(millpond_get(pool, len, &lease)))
            return;
        if (len)
            lease.data[len - 1] = 1;
        if (seeded) {
            char *volatile lost = (char *)malloc(100);
            if (lost)
                *lost = 1;
        }
        if (i % 10 == 0) {
            WORKS(millpond_detach(pool, lease.id, &detached));
            WORKS(millpond_detached_free(detached.id));
        } else if (i % 10 == 1) {
            WORKS(millpond_lease_reclaim(pool, lease.id));
        } else {
            WORKS(millpond_put(pool, lease.id));
            GIVES(MILLPOND_ERR_DOUBLE_PUT, millpond_put(pool, lease.id));
        }
        GIVES(MILLPOND_ERR_INVALID_HANDLE, millpond_put(pool, (uint64_t)i));
        if (i % 100 == 0) {
            const millpond_pool passing = new_pool("passing");
            pthread_t thread;
            WORKS(millpond_get(passing, 100000, &lease));
            memset(lease.data, 1, lease.len);
            WORKS(millpond_put(passing, lease.id));
            if (CHECK(pthread_create(&thread, NULL, one_thread, (void *)&passing) == 0))
                pthread_join(thread, NULL);
            WORKS(millpond_pool_free(passing));
        }
    }
    check_reconciled(pool);
    CHECK(stats_of(pool).in_use == 0);
    WORKS(millpond_pool_free(pool));
}

int main(void) {
    enum { BOUND_KIB = 4096 };
    work(20000);
    const long before = resident_kib();
    for (int i = 0; i < 5; ++i)
        work(20000);
    const long after = resident_kib();
    CHECK(before > 0 && after - before < BOUND_KIB);
    printf("leak_rss: %ld KiB before, %ld KiB after\n", before, after);
    return report("leak_rss");
}
