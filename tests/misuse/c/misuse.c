/* Commits the seeded bug that its argument names and prints what the library says (say.h). */
#include <millpond.h>

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "say.h"

enum { LEN = 1000, FAR = 4096, ROUNDS = 100 };

static millpond_pool pool, other;
static volatile uint8_t sink;

static void told(millpond_status status) {
    if (status != MILLPOND_OK)
        printf("error %s %s\n", millpond_status_name(status), millpond_last_error());
}

static void need(millpond_status status) {
    if (status != MILLPOND_OK)
        broken(millpond_last_error());
}

static millpond_pool new_pool(const char *name) {
    millpond_pool_options options = MILLPOND_POOL_OPTIONS_INIT;
    millpond_pool made = 0;
    options.name = name;
    need(millpond_pool_new(&options, &made));
    return made;
}

static int all_bytes(const uint8_t *data, size_t len, int value) {
    for (size_t at = 0; at < len; ++at)
        if (data[at] != value)
            return 0;
    return 1;
}

/* What every program does next: a few more leases. */
static void go_on(void) {
    for (int round = 0; round < 3; ++round) {
        millpond_lease lease;
        need(millpond_get(pool, LEN, &lease));
        memset(lease.data, round + 1, lease.len);
        told(millpond_put(pool, lease.id));
    }
}

static void none(void) {
    millpond_lease lease, found;
    bug();
    for (size_t len = 0; len < 3 * LEN; len += 7) {
        need(millpond_get(pool, len, &lease));
        if (!all_bytes(lease.data, len, 0))
            broken("not all zero");
        memset(lease.data, 1, len);
        need(millpond_lease_pin(lease.id));
        need(millpond_lease_lookup(lease.id, &found));
        if (!all_bytes(found.data, found.len, 1))
            broken("another lease");
        need(millpond_lease_unpin(lease.id));
        need(millpond_put(pool, lease.id));
    }
}

static void double_put(void) {
    millpond_lease lease;
    need(millpond_get(pool, LEN, &lease)); /* GET */
    need(millpond_put(pool, lease.id));    /* PUT */
    bug();
    told(millpond_put(pool, lease.id)); /* HERE */
}

static void lease_after_put(void) {
    millpond_lease lease, found;
    need(millpond_get(pool, LEN, &lease)); /* GET */
    need(millpond_put(pool, lease.id));    /* PUT */
    bug();
    told(millpond_lease_lookup(lease.id, &found)); /* HERE */
}

static void read_after_put(void) {
    millpond_lease lease;
    need(millpond_get(pool, LEN, &lease)); /* GET */
    const volatile uint8_t *const kept = lease.data;
    need(millpond_put(pool, lease.id)); /* PUT */
    bug();
    sink = kept[100]; /* HERE */
}

static void write_after_put(void) {
    millpond_lease lease;
    need(millpond_get(pool, LEN, &lease)); /* GET */
    volatile uint8_t *const kept = lease.data;
    need(millpond_put(pool, lease.id)); /* PUT */
    bug();
    kept[100] = 'x'; /* HERE */
}

static void past_by_one(void) {
    millpond_lease lease;
    need(millpond_get(pool, LEN, &lease)); /* GET */
    volatile uint8_t *const data = lease.data;
    bug();
    data[LEN] = 'x';                    /* HERE */
    told(millpond_put(pool, lease.id)); /* PUT */
}

static void past_by_far(void) {
    millpond_lease lease;
    need(millpond_get(pool, LEN, &lease)); /* GET */
    volatile uint8_t *const data = lease.data;
    bug();
    data[LEN + FAR] = 'x';              /* HERE */
    told(millpond_put(pool, lease.id)); /* PUT */
}

static void foreign_put(void) {
    millpond_lease lease;
    need(millpond_get(pool, LEN, &lease)); /* GET */
    bug();
    told(millpond_put(other, lease.id)); /* HERE */
    need(millpond_put(pool, lease.id));  /* PUT */
}

/* Two threads that put the same leases at the same moments. */
struct race {
    pthread_barrier_t barrier;
    millpond_lease leases[ROUNDS];
    millpond_status results[2][ROUNDS];
    int number;
};

static void *race(void *argument) {
    struct race *const shared = argument;
    pthread_barrier_wait(&shared->barrier);
    const int mine = __atomic_fetch_add(&shared->number, 1, __ATOMIC_RELAXED);
    for (int round = 0; round < ROUNDS; ++round) {
        pthread_barrier_wait(&shared->barrier);
        shared->results[mine][round] = millpond_put(pool, shared->leases[round].id); /* PUT HERE */
        if (round == 0 && shared->results[mine][round] != MILLPOND_OK)
            told(shared->results[mine][round]);
    }
    return NULL;
}

static void racing_puts(void) {
    static struct race shared;
    pthread_t threads[2];
    for (int round = 0; round < ROUNDS; ++round)
        need(millpond_get(pool, LEN, &shared.leases[round])); /* GET */
    pthread_barrier_init(&shared.barrier, NULL, 2);
    bug();
    for (int t = 0; t < 2; ++t)
        if (pthread_create(&threads[t], NULL, race, &shared) != 0)
            broken("a thread");
    for (int t = 0; t < 2; ++t)
        pthread_join(threads[t], NULL);
    for (int round = 0; round < ROUNDS; ++round) {
        const millpond_status one = shared.results[0][round], two = shared.results[1][round];
        if ((one == MILLPOND_OK) == (two == MILLPOND_OK))
            say("saw", "not one of two puts");
        else if (one + two != MILLPOND_ERR_DOUBLE_PUT)
            say("saw", "another error");
    }
}

static void leak(void) {
    millpond_lease lease;
    bug();
    need(millpond_get(pool, LEN, &lease)); /* GET HERE */
    lease.data[0] = 1;
}

static void use_after_close(void) {
    millpond_lease lease;
    need(millpond_pool_close(other));
    bug();
    told(millpond_get(other, LEN, &lease)); /* HERE */
}

static void forged_handle(void) {
    millpond_lease lease;
    need(millpond_get(pool, LEN, &lease)); /* GET */
    bug();
    told(millpond_put(pool, lease.id + 1)); /* HERE */
    need(millpond_put(pool, lease.id));
}

static void viewed_put(void) {
    millpond_lease lease;
    need(millpond_get(pool, LEN, &lease)); /* GET */
    const uint8_t *const view = lease.data + 100;
    need(millpond_lease_pin(lease.id));
    bug();
    told(millpond_put(pool, lease.id)); /* HERE */
    sink = view[0];
    need(millpond_lease_unpin(lease.id));
    need(millpond_put(pool, lease.id));
}

static atomic_int stop;

static void *load(void *argument) {
    while (!atomic_load(&stop)) {
        millpond_lease leases[8];
        for (size_t each = 0; each < 8; ++each)
            need(millpond_get(pool, (each + 1) * 700, &leases[each]));
        for (size_t each = 0; each < 8; ++each)
            need(millpond_put(pool, leases[each].id));
    }
    return argument;
}

static int in_child(const millpond_lease *inherited) {
    millpond_lease lease;
    alarm(CHILD_SECONDS);
    if (!all_bytes(inherited->data, LEN, 7))
        return 1;
    memset(inherited->data, 8, LEN);
    for (int round = 0; round < 20; ++round)
        if (millpond_get(pool, 5000, &lease) != MILLPOND_OK || millpond_put(pool, lease.id) != MILLPOND_OK)
            return 1;
    return millpond_put(pool, inherited->id) != MILLPOND_OK ||
           millpond_put(pool, inherited->id) != MILLPOND_ERR_DOUBLE_PUT;
}

static void forked_use(void) {
    millpond_lease lease;
    pthread_t threads[2];
    int good = 1;
    need(millpond_get(pool, LEN, &lease)); /* GET */
    memset(lease.data, 7, LEN);
    for (int t = 0; t < 2; ++t)
        if (pthread_create(&threads[t], NULL, load, NULL) != 0)
            broken("a thread");
    bug();
    for (int count = children(); count > 0 && good; --count) {
        const pid_t child = fork();
        if (child == 0)
            _exit(in_child(&lease));
        good = child_works(child);
    }
    atomic_store(&stop, 1);
    for (int t = 0; t < 2; ++t)
        pthread_join(threads[t], NULL);
    if (good && all_bytes(lease.data, LEN, 7))
        say("saw", "works");
    need(millpond_put(pool, lease.id));
}

struct late {
    int from;
    uint8_t *to;
    ssize_t done;
};

static void *receive(void *argument) {
    struct late *const late = argument;
    late->done = read(late->from, late->to, LEN); /* HERE */
    return NULL;
}

static void late_write(void) {
    static const uint8_t message[LEN] = {1};
    millpond_lease lease;
    pthread_t thread;
    int ends[2];
    need(millpond_get(pool, LEN, &lease)); /* GET */
    struct late late = {-1, lease.data, 0};
    if (pipe(ends) != 0)
        broken("a pipe");
    late.from = ends[0];
    if (pthread_create(&thread, NULL, receive, &late) != 0)
        broken("a thread");
    /* Most likely it waits in read() now; if not, it comes there later still. */
    usleep(20000);
    bug();
    told(millpond_put(pool, lease.id)); /* PUT */
    if (write(ends[1], message, LEN) != LEN)
        broken("the pipe");
    pthread_join(thread, NULL);
    if (late.done != LEN)
        say("saw", "EFAULT from read");
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*commit)(void);
    } bugs[] = {
        {"none", none},
        {"double-put", double_put},
        {"lease-after-put", lease_after_put},
        {"read-after-put", read_after_put},
        {"write-after-put", write_after_put},
        {"past-by-one", past_by_one},
        {"past-by-far", past_by_far},
        {"foreign-put", foreign_put},
        {"racing-puts", racing_puts},
        {"leak", leak},
        {"use-after-close", use_after_close},
        {"forged-handle", forged_handle},
        {"viewed-put", viewed_put},
        {"forked-use", forked_use},
        {"late-write", late_write},
    };
    begin();
    need(millpond_report_faults());
    pool = new_pool("misuse");
    other = new_pool("other");
    for (size_t each = 0; each < sizeof bugs / sizeof *bugs; ++each) {
        if (argc == 2 && strcmp(argv[1], bugs[each].name) == 0) {
            bugs[each].commit();
            go_on();
            need(millpond_pool_free(pool));
            need(millpond_pool_free(other));
            say("done", "");
            return 0;
        }
    }
    fputs("usage: misuse BUG\n", stderr);
    return 2;
}
