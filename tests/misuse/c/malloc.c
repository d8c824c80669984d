/* Commits the same bugs with malloc and free, for comparison (say.h). */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>

#include "say.h"

enum { LEN = 1000, FAR = 4096, ROUNDS = 100 };

static volatile uint8_t sink;

/* The compiler must not know that it is malloc whose rules are broken here. */
static void *(*volatile get)(size_t) = malloc;
static void (*volatile put)(void *) = free;

static uint8_t *take(void) {
    uint8_t *const data = get(LEN);
    if (data == NULL)
        broken("no memory");
    return data;
}

static void go_on(void) {
    for (int round = 0; round < 3; ++round) {
        uint8_t *const data = take();
        memset(data, round + 1, LEN);
        put(data);
    }
}

static void none(void) {
    uint8_t *const data = take();
    bug();
    memset(data, 1, LEN);
    put(data);
}

static void double_put(void) {
    uint8_t *const data = take();
    put(data);
    bug();
    put(data); /* HERE */
}

static void read_after_put(void) {
    const volatile uint8_t *const kept = take();
    put((void *)(uintptr_t)kept);
    bug();
    sink = kept[100]; /* HERE */
}

static void write_after_put(void) {
    volatile uint8_t *const kept = take();
    put((void *)(uintptr_t)kept);
    bug();
    kept[100] = 'x'; /* HERE */
}

static void past_by_one(void) {
    volatile uint8_t *const data = take();
    bug();
    data[LEN] = 'x'; /* HERE */
    put((void *)(uintptr_t)data);
}

static void past_by_far(void) {
    volatile uint8_t *const data = take();
    bug();
    data[LEN + FAR] = 'x'; /* HERE */
    put((void *)(uintptr_t)data);
}

struct race {
    pthread_barrier_t barrier;
    uint8_t *blocks[ROUNDS];
};

static void *race(void *argument) {
    struct race *const shared = argument;
    for (int round = 0; round < ROUNDS; ++round) {
        pthread_barrier_wait(&shared->barrier);
        put(shared->blocks[round]); /* HERE */
    }
    return NULL;
}

static void racing_puts(void) {
    static struct race shared;
    pthread_t threads[2];
    for (int round = 0; round < ROUNDS; ++round)
        shared.blocks[round] = take();
    pthread_barrier_init(&shared.barrier, NULL, 2);
    bug();
    for (int t = 0; t < 2; ++t)
        if (pthread_create(&threads[t], NULL, race, &shared) != 0)
            broken("a thread");
    for (int t = 0; t < 2; ++t)
        pthread_join(threads[t], NULL);
}

static void leak(void) {
    bug();
    uint8_t *const data = take(); /* HERE */
    data[0] = 1;
}

static void forged_handle(void) {
    uint8_t *const data = take();
    bug();
    put(data + 16); /* HERE */
    put(data);
}

static void viewed_put(void) {
    uint8_t *const data = take();
    const volatile uint8_t *const view = data + 100;
    bug();
    put(data);
    sink = view[0]; /* HERE */
}

static atomic_int stop;

static void *load(void *argument) {
    while (!atomic_load(&stop)) {
        void *blocks[8];
        for (size_t each = 0; each < 8; ++each)
            blocks[each] = get((each + 1) * 700);
        for (size_t each = 0; each < 8; ++each)
            put(blocks[each]);
    }
    return argument;
}

static int in_child(uint8_t *inherited) {
    alarm(CHILD_SECONDS);
    memset(inherited, 8, LEN);
    for (int round = 0; round < 20; ++round)
        put(take());
    put(inherited);
    return 0;
}

static void forked_use(void) {
    uint8_t *const data = take();
    pthread_t threads[2];
    int good = 1;
    memset(data, 7, LEN);
    for (int t = 0; t < 2; ++t)
        if (pthread_create(&threads[t], NULL, load, NULL) != 0)
            broken("a thread");
    bug();
    for (int count = children(); count > 0 && good; --count) {
        const pid_t child = fork();
        if (child == 0)
            _exit(in_child(data));
        good = child_works(child);
    }
    atomic_store(&stop, 1);
    for (int t = 0; t < 2; ++t)
        pthread_join(threads[t], NULL);
    if (good && data[LEN - 1] == 7)
        say("saw", "works");
    put(data);
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
    struct late late = {-1, take(), 0};
    pthread_t thread;
    int ends[2];
    if (pipe(ends) != 0)
        broken("a pipe");
    late.from = ends[0];
    if (pthread_create(&thread, NULL, receive, &late) != 0)
        broken("a thread");
    usleep(20000);
    bug();
    put(late.to);
    if (write(ends[1], message, LEN) != LEN)
        broken("the pipe");
    pthread_join(thread, NULL);
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*commit)(void);
    } bugs[] = {
        {"none", none},
        {"double-put", double_put},
        {"read-after-put", read_after_put},
        {"write-after-put", write_after_put},
        {"past-by-one", past_by_one},
        {"past-by-far", past_by_far},
        {"racing-puts", racing_puts},
        {"leak", leak},
        {"forged-handle", forged_handle},
        {"viewed-put", viewed_put},
        {"forked-use", forked_use},
        {"late-write", late_write},
    };
    begin();
    for (size_t each = 0; each < sizeof bugs / sizeof *bugs; ++each) {
        if (argc == 2 && strcmp(argv[1], bugs[each].name) == 0) {
            bugs[each].commit();
            go_on();
            say("done", "");
            return 0;
        }
    }
    fputs("usage: malloc BUG\n", stderr);
    return 2;
}
