/* What the C and C++ test programs share: checks that go on after a failure, and a last line with the counts.
 * Compiles as C99, C11 and C++. */
#ifndef MILLPOND_TEST_CHECK_H
#define MILLPOND_TEST_CHECK_H

#include <millpond.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long checks_done, checks_failed;

static inline int check_that(int good, const char *what, const char *file, int line) {
    __atomic_add_fetch(&checks_done, 1, __ATOMIC_RELAXED);
    if (!good) {
        __atomic_add_fetch(&checks_failed, 1, __ATOMIC_RELAXED);
        fprintf(stderr, "%s:%d: failed: %s\n", file, line, what);
    }
    return good;
}

static inline int check_status(millpond_status got, millpond_status wanted, const char *what, const char *file, int line) {
    const int good = check_that(got == wanted, what, file, line);
    if (!good)
        fprintf(stderr, "  got %s (\"%s\"), wanted %s\n", millpond_status_name(got), millpond_last_error(),
                millpond_status_name(wanted));
    return good;
}

static inline int check_says(millpond_status got, millpond_status wanted, const char *text, const char *what, const char *file,
                      int line) {
    if (!check_status(got, wanted, what, file, line))
        return 0;
    const int good = check_that(strstr(millpond_last_error(), text) != NULL, what, file, line);
    if (!good)
        fprintf(stderr, "  the message \"%s\" does not say \"%s\"\n", millpond_last_error(), text);
    return good;
}

#define CHECK(condition) check_that((condition) ? 1 : 0, #condition, __FILE__, __LINE__)
/* The call returns this status. */
#define GIVES(wanted, call) check_status((call), (wanted), #call, __FILE__, __LINE__)
#define WORKS(call) GIVES(MILLPOND_OK, call)
/* The call fails, and the message says this. */
#define SAYS(wanted, text, call) check_says((call), (wanted), (text), #call, __FILE__, __LINE__)

/* A number of rounds, divided where the program runs under a slow detector, multiplied in a campaign. */
static inline int rounds(int count) {
    const char *const scale = getenv("MILLPOND_TEST_SCALE"), *const times = getenv("MILLPOND_TEST_TIMES");
    const int by = scale ? atoi(scale) : 1, more = times ? atoi(times) : 1;
    return by > 1 && count / by > 0 ? count / by : more > 1 ? count * more : count;
}

/* A pool with every option default. */
static inline millpond_pool new_pool(const char *name) {
    millpond_pool_options options = MILLPOND_POOL_OPTIONS_INIT;
    millpond_pool pool = 0;
    options.name = name;
    WORKS(millpond_pool_new(&options, &pool));
    return pool;
}

static inline millpond_stats stats_of(millpond_pool pool) {
    millpond_stats stats = MILLPOND_STATS_INIT;
    WORKS(millpond_pool_stats(pool, &stats));
    return stats;
}

/* The two sums hold: for a pool at rest. */
static inline void check_reconciled(millpond_pool pool) {
    const millpond_stats s = stats_of(pool);
    CHECK(s.gets == s.puts + s.in_use + s.detached + s.leaked);
    CHECK(s.created - s.destroyed == s.in_use + s.retained_buffers);
}

static inline int all_bytes(const uint8_t *data, size_t len, int byte) {
    for (size_t i = 0; i < len; ++i)
        if (data[i] != byte)
            return 0;
    return 1;
}

/* Ends main. */
static inline int report(const char *name) {
    const long done = __atomic_load_n(&checks_done, __ATOMIC_RELAXED);
    const long failed = __atomic_load_n(&checks_failed, __ATOMIC_RELAXED);
    printf("%s: %ld checks, %ld failed\n", name, done, failed);
    return failed || !done ? 1 : 0;
}

#endif
