/* Leases that nobody put: listed oldest first with their size, age and call site, and taken back. */
#include "check.h"

#include <unistd.h>

static void listed_and_reclaimed(void) {
    const millpond_pool pool = new_pool("leaky");
    millpond_lease first, second, third;
    millpond_leak leaks[4];
    size_t count = 42;
    WORKS(millpond_pool_leaks(pool, leaks, 4, &count));
    CHECK(count == 0);
    WORKS(millpond_get(pool, 100, &first));
    usleep(20000);
    WORKS(millpond_get(pool, 5000, &second));
    WORKS(millpond_get(pool, 0, &third));
    WORKS(millpond_pool_leaks(pool, NULL, 0, &count));
    CHECK(count == 3);
    memset(leaks, 0x55, sizeof leaks);
    WORKS(millpond_pool_leaks(pool, leaks, 2, &count));
    CHECK(count == 3);
    CHECK(leaks[2].len == (size_t)0x5555555555555555);
    WORKS(millpond_pool_leaks(pool, leaks, 4, &count));
    CHECK(leaks[0].id == first.id && leaks[0].len == 100 && leaks[0].capacity == first.capacity);
    CHECK(leaks[0].age_ms >= 15 && leaks[0].age_ms < 60000);
    CHECK(leaks[1].id == second.id && leaks[1].len == 5000);
    CHECK(leaks[2].id == third.id && leaks[2].len == 0);
    CHECK(strlen(leaks[0].site) > 0 && strlen(leaks[0].site) < MILLPOND_SITE_MAX);
    CHECK(strstr(leaks[0].site, "leak_list.c:") != NULL);
    for (size_t i = 0; i < 3; ++i)
        WORKS(millpond_lease_reclaim(pool, leaks[i].id));
    WORKS(millpond_pool_leaks(pool, leaks, 4, &count));
    CHECK(count == 0 && stats_of(pool).leaked == 3);
    check_reconciled(pool);
    WORKS(millpond_pool_free(pool));
}

static void listed_after_close(void) {
    const millpond_pool pool = new_pool("closed with a leak");
    millpond_lease lease;
    millpond_leak leak;
    size_t count;
    WORKS(millpond_get(pool, 100, &lease));
    WORKS(millpond_pool_close(pool));
    WORKS(millpond_pool_leaks(pool, &leak, 1, &count));
    CHECK(count == 1 && leak.id == lease.id);
    WORKS(millpond_put(pool, leak.id));
    check_reconciled(pool);
    WORKS(millpond_pool_free(pool));
}

static void long_call_sites_keep_their_end(void) {
    static char file[400];
    const millpond_pool pool = new_pool("far away");
    millpond_lease lease;
    millpond_leak leak;
    size_t count;
    memset(file, 'd', sizeof file - 1);
    memcpy(file + sizeof file - 8, "/last.c", 7);
    WORKS(millpond_get_at(pool, 100, &lease, file, 12));
    WORKS(millpond_pool_leaks(pool, &leak, 1, &count));
    CHECK(strlen(leak.site) == MILLPOND_SITE_MAX - 1 && strstr(leak.site, "/last.c:12") != NULL);
    WORKS(millpond_put(pool, lease.id));
    WORKS(millpond_pool_free(pool));
}

/* What a program that makes and frees pools keeps must not grow. */
static void pools_come_and_go(void) {
    for (int i = 0; i < 300; ++i) {
        const millpond_pool pool = new_pool("passing");
        millpond_lease lease;
        WORKS(millpond_get(pool, 100000, &lease));
        lease.data[0] = 1;
        WORKS(millpond_put(pool, lease.id));
        WORKS(millpond_pool_free(pool));
    }
}

int main(void) {
    listed_and_reclaimed();
    listed_after_close();
    long_call_sites_keep_their_end();
    pools_come_and_go();
    return report("leak_list");
}
