/* fork while other threads are at work: every child goes on using the pool and none hangs. */
#include "check.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SECONDS = 60 };

static millpond_pool pool;
static int stop;

static void *load(void *argument) {
    (void)argument;
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        millpond_lease leases[40];
        millpond_detached detached;
        int got = 0;
        while (got < 40 && WORKS(millpond_get(pool, (size_t)(got + 1) * 700, &leases[got])))
            ++got;
        if (got && WORKS(millpond_detach(pool, leases[got - 1].id, &detached))) {
            WORKS(millpond_detached_free(detached.id));
            --got;
        }
        while (got > 0)
            WORKS(millpond_put(pool, leases[--got].id));
    }
    return NULL;
}

/* In the child: the inherited lease, new ones, other pools, statistics. */
static int child(const millpond_lease *inherited, uint64_t gets_at_least) {
    millpond_lease lease;
    millpond_detached detached;
    size_t bytes;
    checks_failed = 0;
    alarm(SECONDS);
    CHECK(all_bytes(inherited->data, inherited->len, 77));
    inherited->data[0] = 78;
    for (int i = 0; i < 200; ++i)
        if (WORKS(millpond_get(pool, 5000, &lease)))
            WORKS(millpond_put(pool, lease.id));
    CHECK(stats_of(pool).gets >= gets_at_least + 200);
    WORKS(millpond_put(pool, inherited->id));
    GIVES(MILLPOND_ERR_DOUBLE_PUT, millpond_put(pool, inherited->id));
    WORKS(millpond_get(pool, 100, &lease));
    WORKS(millpond_detach(pool, lease.id, &detached));
    WORKS(millpond_detached_free(detached.id));
    WORKS(millpond_pool_trim(pool, &bytes));
    const millpond_pool own = new_pool("the child's own");
    WORKS(millpond_get(own, 100, &lease));
    WORKS(millpond_put(own, lease.id));
    check_reconciled(own);
    WORKS(millpond_pool_free(own));
    return checks_failed ? 1 : 0;
}

int main(void) {
    pthread_t threads[4];
    millpond_lease inherited;
    pool = new_pool("forked");
    WORKS(millpond_get(pool, 3000, &inherited));
    memset(inherited.data, 77, inherited.len);
    for (int t = 0; t < 4; ++t)
        CHECK(pthread_create(&threads[t], NULL, load, NULL) == 0);
    const int forks = rounds(100);
    int good = 0;
    for (int i = 0; i < forks; ++i) {
        const uint64_t gets = stats_of(pool).gets;
        fflush(NULL);
        const pid_t pid = fork();
        if (pid == 0)
            _exit(child(&inherited, gets));
        int status = 0;
        if (CHECK(pid > 0) && waitpid(pid, &status, 0) == pid)
            good += WIFEXITED(status) && WEXITSTATUS(status) == 0;
        if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
            fputs("a child hung\n", stderr);
    }
    CHECK(good == forks);
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (int t = 0; t < 4; ++t)
        pthread_join(threads[t], NULL);
    CHECK(all_bytes(inherited.data, inherited.len, 77)); /* the children wrote into copies */
    WORKS(millpond_put(pool, inherited.id));
    CHECK(stats_of(pool).in_use == 0);
    check_reconciled(pool);
    WORKS(millpond_pool_free(pool));
    char counts[64];
    snprintf(counts, sizeof counts, "own_fork: %d children, %d good", forks, good);
    return report(counts);
}
