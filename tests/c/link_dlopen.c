/* The library loaded late, unloaded while threads that used it live, and loaded again. Takes the library's path. */
#define MILLPOND_NO_SITES
#include <millpond.h>

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef millpond_pool (*default_pool_fn)(void);
typedef millpond_status (*get_fn)(millpond_pool, size_t, millpond_lease *);
typedef millpond_status (*put_fn)(millpond_pool, uint64_t);
typedef const char *(*last_error_fn)(void);

/* Not check.h: this program is linked without the library. */
static long checks_done, checks_failed;

static int check(int good, const char *what, int line) {
    __atomic_add_fetch(&checks_done, 1, __ATOMIC_RELAXED);
    if (!good) {
        __atomic_add_fetch(&checks_failed, 1, __ATOMIC_RELAXED);
        fprintf(stderr, "link_dlopen.c:%d: failed: %s\n", line, what);
    }
    return good;
}

#define CHECK(condition) check((condition) ? 1 : 0, #condition, __LINE__)

static const char *path;
static pthread_barrier_t used, unloaded;
static int stop;
static long beside;

/* ISO C has no conversion from an object pointer to a function pointer; POSIX promises that the bits are the same. */
static int symbol(void *library, const char *name, void *function, size_t size) {
    void *const found = dlsym(library, name);
    memcpy(function, &found, size);
    return CHECK(found != NULL);
}

static void *load(void) {
    void *const library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!CHECK(library != NULL)) {
        fprintf(stderr, "  %s\n", dlerror());
        exit(1);
    }
    return library;
}

/* Goes on with the functions after the library was closed, beside all the rounds: it promises to stay where it is. */
static void *use_throughout(void *argument) {
    void *const library = load();
    default_pool_fn default_pool;
    get_fn get;
    put_fn put;
    (void)argument;
    symbol(library, "millpond_default_pool", (void *)&default_pool, sizeof default_pool);
    symbol(library, "millpond_get", (void *)&get, sizeof get);
    symbol(library, "millpond_put", (void *)&put, sizeof put);
    CHECK(dlclose(library) == 0);
    long pairs = 0;
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        millpond_lease leases[3];
        for (size_t i = 0; i < 3; ++i)
            CHECK(get(default_pool(), 3000 + i * 60000, &leases[i]) == MILLPOND_OK);
        for (size_t i = 0; i < 3; ++i) {
            leases[i].data[leases[i].len - 1] = 1;
            CHECK(put(default_pool(), leases[i].id) == MILLPOND_OK);
        }
        pairs += 3;
        if (pairs % 300 == 0)
            sched_yield();
    }
    __atomic_add_fetch(&beside, pairs, __ATOMIC_RELAXED);
    return NULL;
}

static void *round_of_use(void *argument) {
    void *const library = load();
    default_pool_fn default_pool;
    get_fn get;
    put_fn put;
    last_error_fn last_error;
    (void)argument;
    symbol(library, "millpond_default_pool", (void *)&default_pool, sizeof default_pool);
    symbol(library, "millpond_get", (void *)&get, sizeof get);
    symbol(library, "millpond_put", (void *)&put, sizeof put);
    symbol(library, "millpond_last_error", (void *)&last_error, sizeof last_error);
    for (int i = 0; i < 100; ++i) {
        millpond_lease lease;
        if (!CHECK(get(default_pool(), 3000, &lease) == MILLPOND_OK))
            continue;
        CHECK(put(default_pool(), lease.id) == MILLPOND_OK);
        CHECK(put(default_pool(), lease.id) == MILLPOND_ERR_DOUBLE_PUT);
    }
    CHECK(*last_error() != 0);
    CHECK(dlclose(library) == 0);
    /* Now this thread ends, and its thread-local destructors run. */
    pthread_barrier_wait(&used);
    pthread_barrier_wait(&unloaded);
    return NULL;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fputs("usage: link_dlopen LIBRARY\n", stderr);
        return 2;
    }
    path = argv[1];
    /* A slow detector asks for fewer, a campaign for more. */
    const char *const times = getenv("MILLPOND_TEST_TIMES");
    const int rounds = getenv("MILLPOND_TEST_SCALE") ? 5 : times && atoi(times) > 1 ? 100 * atoi(times) : 100;
    pthread_t throughout[2];
    for (int t = 0; t < 2; ++t)
        CHECK(pthread_create(&throughout[t], NULL, use_throughout, NULL) == 0);
    for (int round = 0; round < rounds; ++round) {
        pthread_t threads[3];
        CHECK(pthread_barrier_init(&used, NULL, 4) == 0);
        CHECK(pthread_barrier_init(&unloaded, NULL, 4) == 0);
        for (int t = 0; t < 3; ++t)
            CHECK(pthread_create(&threads[t], NULL, round_of_use, NULL) == 0);
        pthread_barrier_wait(&used);
        pthread_barrier_wait(&unloaded);
        for (int t = 0; t < 3; ++t)
            pthread_join(threads[t], NULL);
        pthread_barrier_destroy(&used);
        pthread_barrier_destroy(&unloaded);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (int t = 0; t < 2; ++t)
        pthread_join(throughout[t], NULL);
    CHECK(beside > 0);
    printf("link_dlopen: %d rounds, %ld pairs beside them: %ld checks, %ld failed\n", rounds, beside, checks_done, checks_failed);
    return checks_failed != 0;
}
