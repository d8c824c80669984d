/* Everything at once: leases cross threads while others trim, look, wait at the limit, pin, detach, make and free pools. */
#include "check.h"

#include <pthread.h>
#include <sched.h>

enum { WORKERS = 4, PLACES = 32 };

static millpond_pool shared, narrow;
static uint64_t places[PLACES]; /* leases that whoever comes by may put */
static int working;
static uint64_t got;

static uint64_t next(uint64_t *seed) {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    return *seed ^= *seed << 17;
}

/* What is written here is read by the next tenant, on another thread: only the library stands between the two. */
static void write_all(const millpond_lease *lease, uint8_t byte) {
    CHECK(all_bytes(lease->data, lease->len, 0));
    memset(lease->data, byte, lease->len);
}

static void *work(void *argument) {
    uint64_t seed = (uint64_t)(uintptr_t)argument * UINT64_C(0x9E3779B97F4A7C15) + 1;
    const int turns = rounds(20000);
    for (int i = 0; i < turns; ++i) {
        millpond_lease lease, waited;
        millpond_detached detached;
        const uint64_t dice = next(&seed);
        if (!WORKS(millpond_get(shared, (size_t)(dice % 3000), &lease)))
            break;
        write_all(&lease, (uint8_t)dice);
        __atomic_add_fetch(&got, 1, __ATOMIC_RELAXED);
        switch (dice >> 32 & 15) {
        case 0:
            if (WORKS(millpond_detach(shared, lease.id, &detached))) {
                CHECK(all_bytes(detached.data, detached.len, (uint8_t)dice));
                WORKS(millpond_detached_free(detached.id));
            }
            break;
        case 1:
            WORKS(millpond_lease_pin(lease.id));
            GIVES(MILLPOND_ERR_BUSY, millpond_put(shared, lease.id));
            WORKS(millpond_lease_unpin(lease.id));
            WORKS(millpond_put(shared, lease.id));
            break;
        case 2: /* two of the four threads find room, the others wait for them */
            if (WORKS(millpond_get(narrow, 1000, &waited))) {
                write_all(&waited, 1);
                WORKS(millpond_put(narrow, waited.id));
            }
            WORKS(millpond_put_used(shared, lease.id, lease.len));
            break;
        case 3:
            WORKS(millpond_lease_reclaim(shared, lease.id));
            break;
        default: {
            const uint64_t old = __atomic_exchange_n(&places[dice >> 40 & (PLACES - 1)], lease.id, __ATOMIC_ACQ_REL);
            millpond_lease found;
            if (old && WORKS(millpond_lease_lookup(old, &found))) {
                if (found.len)
                    CHECK(all_bytes(found.data, found.len, found.data[0]));
                WORKS(millpond_put(shared, old));
            }
        }
        }
    }
    __atomic_sub_fetch(&working, 1, __ATOMIC_RELEASE);
    return NULL;
}

static void *trim(void *argument) {
    (void)argument;
    while (__atomic_load_n(&working, __ATOMIC_ACQUIRE)) {
        size_t bytes;
        WORKS(millpond_pool_trim(shared, &bytes));
        WORKS(millpond_pool_maintain(shared, &bytes));
        sched_yield();
    }
    return NULL;
}

static void *look(void *argument) {
    static char page[1 << 16];
    static millpond_leak leaks[64];
    (void)argument;
    while (__atomic_load_n(&working, __ATOMIC_ACQUIRE)) {
        millpond_class_stats of_class = MILLPOND_CLASS_STATS_INIT;
        size_t count, len;
        const millpond_stats stats = stats_of(shared);
        CHECK(stats.gets >= stats.puts);
        WORKS(millpond_pool_class_count(shared, &count));
        WORKS(millpond_pool_class_stats(shared, count - 1, &of_class));
        WORKS(millpond_pool_leaks(shared, leaks, 64, &count));
        WORKS(millpond_pool_prometheus(shared, page, sizeof page, &len));
        sched_yield();
    }
    return NULL;
}

static void *come_and_go(void *argument) {
    (void)argument;
    while (__atomic_load_n(&working, __ATOMIC_ACQUIRE)) {
        const millpond_pool own = new_pool("own");
        millpond_lease lease, left;
        WORKS(millpond_get(own, 100, &lease));
        WORKS(millpond_get(own, 100000, &left));
        memset(lease.data, 1, lease.len);
        WORKS(millpond_put(own, lease.id));
        WORKS(millpond_pool_free(own));
        WORKS(millpond_put(own, left.id));
        sched_yield();
    }
    return NULL;
}

int main(void) {
    millpond_pool_options options = MILLPOND_POOL_OPTIONS_INIT;
    void *(*const others[])(void *) = {trim, look, come_and_go};
    pthread_t threads[WORKERS + 3];
    shared = new_pool("shared");
    options.name = "narrow";
    options.max_bytes = 2048;
    options.on_limit = MILLPOND_LIMIT_WAIT;
    options.wait_ms = 600000;
    WORKS(millpond_pool_new(&options, &narrow));
    working = WORKERS;
    for (uintptr_t i = 0; i < WORKERS; ++i)
        CHECK(pthread_create(&threads[i], NULL, work, (void *)(i + 1)) == 0);
    for (int i = 0; i < 3; ++i)
        CHECK(pthread_create(&threads[WORKERS + i], NULL, others[i], NULL) == 0);
    for (int i = 0; i < WORKERS + 3; ++i)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < PLACES; ++i)
        if (places[i])
            WORKS(millpond_put(shared, places[i]));
    const millpond_stats stats = stats_of(shared);
    CHECK(stats.gets == got && stats.in_use == 0);
    check_reconciled(shared);
    check_reconciled(narrow);
    WORKS(millpond_pool_free(shared));
    WORKS(millpond_pool_free(narrow));
    return report("own_housekeeping");
}
