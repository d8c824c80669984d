/* Measures get and put through the shared library beside malloc and free, as ratios in one run. */
#include <millpond.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ROUNDS = 41, CALLS = 100000 };

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void die(const char *what) {
    fprintf(stderr, "%s: %s\n", what, millpond_last_error());
    exit(1);
}

static void pool_pairs(millpond_pool pool, size_t len, int whole) {
    for (int i = 0; i < CALLS; i++) {
        millpond_lease lease;
        if (millpond_get(pool, len, &lease) != MILLPOND_OK) die("get");
        if ((whole ? millpond_put(pool, lease.id) : millpond_put_used(pool, lease.id, 0)) != MILLPOND_OK) die("put");
    }
}

static void malloc_pairs(size_t len) {
    for (int i = 0; i < CALLS; i++) {
        void *volatile memory = malloc(len);
        free(memory);
    }
}

int main(void) {
    static const size_t sizes[] = {1024, 4096, 65536, 262144};
    millpond_pool_options options = MILLPOND_POOL_OPTIONS_INIT;
    millpond_pool pool;
    options.name = "bench";
    if (millpond_pool_new(&options, &pool) != MILLPOND_OK) die("pool");
    printf("C through the shared library, ns per pair\n%9s %10s %10s %10s   pool / malloc\n", "bytes", "unwritten", "cleared",
           "malloc");
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        double unwritten = 1e9, cleared = 1e9, plain = 1e9;
        for (int round = 0; round < ROUNDS; round++) {
            double start = now(), end;
            pool_pairs(pool, sizes[i], 0);
            end = now();
            if (end - start < unwritten * CALLS) unwritten = (end - start) / CALLS;
            start = now();
            malloc_pairs(sizes[i]);
            end = now();
            if (end - start < plain * CALLS) plain = (end - start) / CALLS;
            if (sizes[i] > 4096 && round % 8 != 0) continue;
            start = now();
            pool_pairs(pool, sizes[i], 1);
            end = now();
            if (end - start < cleared * CALLS) cleared = (end - start) / CALLS;
        }
        printf("%9zu %10.2f %10.2f %10.2f   %.2f, cleared %.2f\n", sizes[i], unwritten, cleared, plain, unwritten / plain,
               cleared / plain);
    }
    return millpond_pool_free(pool) == MILLPOND_OK ? 0 : 1;
}
