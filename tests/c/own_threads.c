/* Threads: ten of them get and put across each other, races of puts, pools of one's own, threads that come and go. */
#include "check.h"

#include <pthread.h>
#include <unistd.h>

enum { THREADS = 10, SLOTS = 64 };
static int exchanges, races;

static millpond_pool shared;
static uint64_t slots[SLOTS]; /* leases that whoever comes by may put */

static uint64_t next(uint64_t *seed) {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    return *seed ^= *seed << 17;
}

static void *exchange(void *argument) {
    uint64_t seed = (uint64_t)(uintptr_t)argument * UINT64_C(0x9E3779B97F4A7C15) + 1;
    for (int i = 0; i < exchanges; ++i) {
        millpond_lease lease;
        const size_t len = (size_t)(next(&seed) % 9000);
        if (!WORKS(millpond_get(shared, len, &lease)))
            break;
        if (len) {
            CHECK(lease.data[0] == 0 && lease.data[len - 1] == 0);
            lease.data[0] = 1;
            lease.data[len - 1] = 2;
        }
        const uint64_t old = __atomic_exchange_n(&slots[next(&seed) % SLOTS], lease.id, __ATOMIC_ACQ_REL);
        if (old)
            WORKS(millpond_put(shared, old));
    }
    return NULL;
}

static void across_threads(void) {
    pthread_t threads[THREADS];
    shared = new_pool("shared");
    for (uintptr_t i = 0; i < THREADS; ++i)
        CHECK(pthread_create(&threads[i], NULL, exchange, (void *)(i + 1)) == 0);
    for (int i = 0; i < THREADS; ++i)
        pthread_join(threads[i], NULL);
    uint64_t live = 0;
    for (int i = 0; i < SLOTS; ++i)
        live += slots[i] != 0;
    CHECK(stats_of(shared).in_use == live);
    for (int i = 0; i < SLOTS; ++i)
        if (slots[i])
            WORKS(millpond_put(shared, slots[i]));
    const millpond_stats stats = stats_of(shared);
    CHECK(stats.gets == (uint64_t)THREADS * (uint64_t)exchanges && stats.puts == stats.gets && stats.in_use == 0);
    check_reconciled(shared);
    WORKS(millpond_pool_free(shared));
}

struct race {
    pthread_barrier_t start, end;
    uint64_t lease;
    long won, refused;
};

static void *racer(void *argument) {
    struct race *race = (struct race *)argument;
    for (int i = 0; i < races; ++i) {
        pthread_barrier_wait(&race->start);
        const millpond_status status = millpond_put(shared, race->lease);
        if (status == MILLPOND_OK)
            __atomic_add_fetch(&race->won, 1, __ATOMIC_RELAXED);
        else if (GIVES(MILLPOND_ERR_DOUBLE_PUT, status))
            __atomic_add_fetch(&race->refused, 1, __ATOMIC_RELAXED);
        pthread_barrier_wait(&race->end);
    }
    return NULL;
}

static void racing_puts_have_one_winner(void) {
    struct race race;
    pthread_t threads[4];
    memset(&race, 0, sizeof race);
    shared = new_pool("raced");
    CHECK(pthread_barrier_init(&race.start, NULL, 5) == 0);
    CHECK(pthread_barrier_init(&race.end, NULL, 5) == 0);
    for (int i = 0; i < 4; ++i)
        CHECK(pthread_create(&threads[i], NULL, racer, &race) == 0);
    for (int i = 0; i < races; ++i) {
        millpond_lease lease;
        WORKS(millpond_get(shared, 100, &lease));
        race.lease = lease.id;
        pthread_barrier_wait(&race.start);
        pthread_barrier_wait(&race.end);
        CHECK(race.won == i + 1);
    }
    for (int i = 0; i < 4; ++i)
        pthread_join(threads[i], NULL);
    CHECK(race.won == races && race.refused == 3L * races);
    pthread_barrier_destroy(&race.start);
    pthread_barrier_destroy(&race.end);
    CHECK(stats_of(shared).double_puts == 3u * (unsigned)races);
    check_reconciled(shared);
    WORKS(millpond_pool_free(shared));
}

static void *short_life(void *argument) {
    millpond_lease lease;
    (void)argument;
    for (int i = 0; i < 20; ++i)
        if (WORKS(millpond_get(shared, 4000, &lease)))
            WORKS(millpond_put(shared, lease.id));
    return NULL;
}

static void threads_that_end_leave_their_buffers(void) {
    size_t bytes;
    shared = new_pool("short lives");
    for (int i = 0; i < rounds(200); ++i) {
        pthread_t thread;
        if (CHECK(pthread_create(&thread, NULL, short_life, NULL) == 0))
            pthread_join(thread, NULL);
    }
    CHECK(stats_of(shared).allocations < 20);
    WORKS(millpond_pool_trim(shared, &bytes));
    CHECK(stats_of(shared).retained_bytes == 0);
    check_reconciled(shared);
    WORKS(millpond_pool_free(shared));
}

static void *free_while_used(void *argument) {
    millpond_lease lease;
    (void)argument;
    for (;;) {
        const millpond_status status = millpond_get(shared, 100, &lease);
        if (status != MILLPOND_OK) {
            CHECK(status == MILLPOND_ERR_CLOSED || status == MILLPOND_ERR_INVALID_HANDLE);
            return NULL;
        }
        lease.data[0] = 1;
        WORKS(millpond_put(shared, lease.id));
    }
}

static void pool_freed_while_others_use_it(void) {
    for (int i = 0; i < rounds(50); ++i) {
        pthread_t threads[3];
        shared = new_pool("freed under load");
        for (int t = 0; t < 3; ++t)
            CHECK(pthread_create(&threads[t], NULL, free_while_used, NULL) == 0);
        usleep(1000);
        WORKS(millpond_pool_free(shared));
        for (int t = 0; t < 3; ++t)
            pthread_join(threads[t], NULL);
    }
}

static void *detacher(void *argument) {
    (void)argument;
    for (int i = 0; i < rounds(2000); ++i) {
        millpond_lease lease;
        millpond_detached detached;
        WORKS(millpond_get(shared, 100, &lease));
        if (WORKS(millpond_detach(shared, lease.id, &detached))) {
            detached.data[0] = 1;
            WORKS(millpond_detached_free(detached.id));
        }
    }
    return NULL;
}

static void detach_on_many_threads(void) {
    pthread_t threads[4];
    shared = new_pool("detached");
    for (int t = 0; t < 4; ++t)
        CHECK(pthread_create(&threads[t], NULL, detacher, NULL) == 0);
    for (int t = 0; t < 4; ++t)
        pthread_join(threads[t], NULL);
    CHECK(stats_of(shared).detached == 4u * (unsigned)rounds(2000));
    check_reconciled(shared);
    WORKS(millpond_pool_free(shared));
}

int main(void) {
    exchanges = rounds(20000);
    races = rounds(3000);
    across_threads();
    racing_puts_have_one_winner();
    threads_that_end_leave_their_buffers();
    pool_freed_while_others_use_it();
    detach_on_many_threads();
    return report("own_threads");
}
