/* Runs the ownership scenarios of tests/spec through the shared library.
 *   python3 tests/spec/flatten.py --lang c | spec_runner
 * Exit status 0 if every scenario that is not skipped did as the contract says. */
#define _POSIX_C_SOURCE 200809L
#include <millpond.h>

#include <pthread.h>
#include <stdarg.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "spec_figures.h"
#include "spec_steps.h"

struct entry {
    const char *name;
    millpond_pool pool;
    millpond_lease lease;
    millpond_detached owned;
    bool unchecked; /* freed or forged: not asked for statistics at the end */
};

struct table {
    struct entry *list;
    size_t count, room;
};

struct scenario {
    struct steps *steps;
    pthread_mutex_t lock; /* over the tables and the message; not held during a call of the library */
    char message[700];
    bool failed;
    pthread_t later[8];
    size_t later_count;
};

/* What a thread works with: pools are shared by all, the rest may be its own. */
struct context {
    struct scenario *scenario;
    struct table *pools, *leases, *owned;
};

static bool run(struct context *context, size_t from, size_t to);

/* How closely the pools look, which the environment says: see "Modes" in the README of the scenarios. */
static struct {
    bool keeps;          /* idle buffers; otherwise every get allocates */
    bool finds_overruns; /* at the put */
    bool reuses;         /* a buffer for the next get of its class, with the class's capacity */
} mode;

static bool is_one_of(const char *text, const char *const *list) {
    while (*list && strcmp(*list, text) != 0)
        ++list;
    return *list != NULL;
}

static void read_mode(void) {
    static const char *const finding[] = {"on", "sites", "full", NULL}, *const reusing[] = {"off", "on", "sites", NULL};
    const char *const check = getenv("MILLPOND_CHECK"), *const pool = getenv("MILLPOND_POOL");
    mode.keeps = !pool || strcmp(pool, "on") == 0;
    mode.finds_overruns = mode.keeps && is_one_of(check ? check : "on", finding);
    mode.reuses = mode.keeps && is_one_of(check ? check : "on", reusing);
}

/* Whether a figure says how buffers are used again. */
static bool is_by_reuse(const char *name) {
    static const char *const names[] = {"allocations",    "hits",          "created",       "destroyed", "discarded",
                                        "retained_buffers", "retained_bytes", "trimmed_bytes", NULL};
    return name && is_one_of(name, names);
}

static bool failed(struct context *context, size_t at, const char *format, ...) {
    struct scenario *scenario = context->scenario;
    pthread_mutex_lock(&scenario->lock);
    if (!scenario->failed) {
        scenario->failed = true;
        int used = snprintf(scenario->message, sizeof scenario->message, "line %zu (%s): ", at + 1,
                            scenario->steps->list[at].verb);
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(scenario->message + used, sizeof scenario->message - (size_t)used, format, arguments);
        va_end(arguments);
    }
    pthread_mutex_unlock(&scenario->lock);
    return false;
}

static bool has_failed(struct context *context) {
    pthread_mutex_lock(&context->scenario->lock);
    const bool failed = context->scenario->failed;
    pthread_mutex_unlock(&context->scenario->lock);
    return failed;
}

static bool look_up(struct context *context, struct table *table, const char *name, struct entry *out) {
    bool found = false;
    pthread_mutex_lock(&context->scenario->lock);
    for (size_t i = 0; name && i < table->count && !found; ++i) {
        if (strcmp(table->list[i].name, name) == 0) {
            *out = table->list[i];
            found = true;
        }
    }
    pthread_mutex_unlock(&context->scenario->lock);
    return found;
}

static void store(struct context *context, struct table *table, struct entry entry) {
    pthread_mutex_lock(&context->scenario->lock);
    size_t i = 0;
    while (i < table->count && strcmp(table->list[i].name, entry.name) != 0)
        ++i;
    if (i == table->room)
        table->list = grown(table->list, (table->room = table->room * 2 + 16) * sizeof *table->list);
    table->list[i] = entry;
    if (i == table->count)
        ++table->count;
    pthread_mutex_unlock(&context->scenario->lock);
}

static millpond_pool pool_named(struct context *context, const char *name, bool *found) {
    struct entry entry;
    *found = true;
    if (name && strcmp(name, "default") == 0)
        return millpond_default_pool();
    *found = look_up(context, context->pools, name, &entry);
    return *found ? entry.pool : 0;
}

/* Whether the status is what the step says; *worked tells whether the call itself did. */
static bool expected(struct context *context, size_t at, millpond_status status, bool *worked) {
    struct step *step = &context->scenario->steps->list[at];
    const char *wanted = field(step, "expect"), *says = field(step, "says");
    const char *name = millpond_status_name(status);
    *worked = status == MILLPOND_OK;
    if (!wanted)
        return *worked || failed(context, at, "success was expected, %s came: %s", name, millpond_last_error());
    if (*worked)
        return failed(context, at, "%s was expected, it worked", wanted);
    const char *kind = name + strlen("MILLPOND_ERR_");
    bool match = strcmp(wanted, "ANY") == 0;
    for (const char *from = wanted; from && !match;) {
        const char *bar = strchr(from, '|');
        const size_t length = bar ? (size_t)(bar - from) : strlen(from);
        match = strlen(kind) == length && strncmp(from, kind, length) == 0;
        from = bar ? bar + 1 : NULL;
    }
    if (!match)
        return failed(context, at, "%s was expected, %s came: %s", wanted, name, millpond_last_error());
    if (says && !strstr(millpond_last_error(), says))
        return failed(context, at, "the message does not say \"%s\": %s", says, millpond_last_error());
    return true;
}

static bool do_pool(struct context *context, size_t at) {
    struct step *step = &context->scenario->steps->list[at];
    millpond_pool_options options = MILLPOND_POOL_OPTIONS_INIT;
    size_t classes[256];
    const char *list = field(step, "classes");
    options.name = field(step, "option_name");
    if (list) {
        options.classes = classes;
        for (char *end; *list && options.class_count < 256; list = *end == ',' ? end + 1 : end)
            classes[options.class_count++] = strtoull(list, &end, 10);
    }
    options.class_min = number(step, "classes_min", 0);
    options.class_max = number(step, "classes_max", 0);
    struct {
        const char *key;
        size_t *option;
    } sizes[] = {{"max_bytes", &options.max_bytes},
                 {"max_retained_bytes", &options.max_retained_bytes},
                 {"alignment", &options.alignment},
                 {"thread_cache_bytes", &options.thread_cache_bytes}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i)
        if (field(step, sizes[i].key)) {
            const size_t value = number(step, sizes[i].key, 0);
            *sizes[i].option = value ? value : MILLPOND_ZERO;
        }
    options.maintain_every_ms = number(step, "maintain_every_ms", 0);
    options.wait_ms = number(step, "wait_ms", 0);
    const char *limit = field(step, "on_limit"), *clear = field(step, "clear");
    if (limit)
        options.on_limit = strcmp(limit, "wait") == 0       ? MILLPOND_LIMIT_WAIT
                           : strcmp(limit, "unpooled") == 0 ? MILLPOND_LIMIT_UNPOOLED
                                                            : MILLPOND_LIMIT_FAIL;
    if (clear)
        options.clear = strcmp(clear, "on_get") == 0  ? MILLPOND_CLEAR_ON_GET
                        : strcmp(clear, "never") == 0 ? MILLPOND_CLEAR_NEVER
                                                      : MILLPOND_CLEAR_ON_PUT;
    struct entry entry = {.name = field(step, "pool")};
    bool worked, good = expected(context, at, millpond_pool_new(&options, &entry.pool), &worked);
    if (worked)
        store(context, context->pools, entry);
    return good;
}

static bool do_get(struct context *context, size_t at) {
    struct step *step = &context->scenario->steps->list[at];
    struct entry entry = {.name = field(step, "lease")};
    const size_t len = number(step, "len", 0);
    bool found, worked;
    entry.pool = pool_named(context, field(step, "pool"), &found);
    if (!found)
        return failed(context, at, "no such pool");
    const millpond_status status =
        strcmp(step->verb, "get") == 0       ? millpond_get(entry.pool, len, &entry.lease)
        : strcmp(step->verb, "try_get") == 0 ? millpond_try_get(entry.pool, len, &entry.lease)
                                             : millpond_get_timeout(entry.pool, len, number(step, "ms", 0), &entry.lease);
    if (!expected(context, at, status, &worked))
        return false;
    if (!worked)
        return true;
    if (entry.lease.len != len || entry.lease.capacity < len || !entry.lease.data || (uintptr_t)entry.lease.data % 64)
        return failed(context, at, "length %zu, capacity %zu, data %p", entry.lease.len, entry.lease.capacity,
                      (void *)entry.lease.data);
    store(context, context->leases, entry);
    return true;
}

/* write and read: the lease is looked up, as the README tells C programs that doubt a handle. */
static bool do_access(struct context *context, size_t at, struct entry *entry) {
    struct step *step = &context->scenario->steps->list[at];
    const bool write = strcmp(step->verb, "write") == 0;
    const int byte = (int)number(step, "byte", 0);
    millpond_lease lease;
    bool worked;
    const size_t from = number(step, "at", 0);
    size_t count = number(step, "count", SIZE_MAX);
    if (!expected(context, at, millpond_lease_lookup(entry->lease.id, &lease), &worked) || !worked)
        return !worked && !has_failed(context);
    if (from > lease.len || (count != SIZE_MAX && count > lease.len - from))
        return failed(context, at, "the range is not inside the lease");
    if (count == SIZE_MAX)
        count = lease.len - from;
    if (write) {
        memset(lease.data + from, byte, count);
        return true;
    }
    for (size_t i = from; i < from + count; ++i)
        if (lease.data[i] != byte)
            return failed(context, at, "byte %zu is %d, not %d", i, lease.data[i], byte);
    return true;
}

struct racer {
    pthread_barrier_t *start;
    struct entry lease;
    millpond_status status;
};

static void *race(void *argument) {
    struct racer *racer = argument;
    pthread_barrier_wait(racer->start);
    racer->status = millpond_put(racer->lease.pool, racer->lease.lease.id);
    return NULL;
}

static bool do_race(struct context *context, size_t at, struct entry *entry) {
    struct racer racers[32];
    pthread_t threads[32];
    pthread_barrier_t start;
    const unsigned count = (unsigned)number(&context->scenario->steps->list[at], "threads", 2);
    unsigned won = 0, refused = 0;
    if (count > 32 || pthread_barrier_init(&start, NULL, count))
        return failed(context, at, "too many threads");
    for (unsigned i = 0; i < count; ++i) {
        racers[i] = (struct racer){&start, *entry, MILLPOND_OK};
        pthread_create(&threads[i], NULL, race, &racers[i]);
    }
    for (unsigned i = 0; i < count; ++i) {
        pthread_join(threads[i], NULL);
        won += racers[i].status == MILLPOND_OK;
        refused += racers[i].status == MILLPOND_ERR_DOUBLE_PUT;
    }
    pthread_barrier_destroy(&start);
    return (won == 1 && refused == count - 1) || failed(context, at, "%u puts worked, %u were refused", won, refused);
}

/* The verbs whose first object is a lease. */
static bool do_lease(struct context *context, size_t at) {
    struct step *step = &context->scenario->steps->list[at];
    const char *verb = step->verb;
    struct entry entry;
    bool worked, found = true;
    if (!look_up(context, context->leases, field(step, "lease"), &entry))
        return failed(context, at, "no such lease");
    if (strcmp(verb, "put") == 0) {
        const char *used = field(step, "used"), *into = field(step, "pool");
        const millpond_pool pool = into ? pool_named(context, into, &found) : entry.pool;
        if (!found)
            return failed(context, at, "no such pool");
        return expected(context, at,
                        used ? millpond_put_used(pool, entry.lease.id, number(step, "used", 0))
                             : millpond_put(pool, entry.lease.id),
                        &worked);
    }
    if (strcmp(verb, "write") == 0 || strcmp(verb, "read") == 0)
        return do_access(context, at, &entry);
    if (strcmp(verb, "len") == 0 || strcmp(verb, "capacity") == 0) {
        const size_t value = *verb == 'l' ? entry.lease.len : entry.lease.capacity;
        const size_t wanted = number(step, "is", 0);
        return value == wanted || (*verb == 'c' && !mode.reuses) || failed(context, at, "it is %zu", value);
    }
    if (strcmp(verb, "aligned") == 0) {
        const size_t wanted = number(step, "to", 1), to = mode.keeps || wanted < 64 ? wanted : 64;
        return (uintptr_t)entry.lease.data % to == 0 ||
               failed(context, at, "the address is %p", (void *)entry.lease.data);
    }
    if (strcmp(verb, "overrun") == 0) {
        memset(entry.lease.data + entry.lease.len, 0xA5, number(step, "by", 1));
        return true;
    }
    if (strcmp(verb, "pin") == 0)
        return expected(context, at, millpond_lease_pin(entry.lease.id), &worked);
    if (strcmp(verb, "unpin") == 0)
        return expected(context, at, millpond_lease_unpin(entry.lease.id), &worked);
    if (strcmp(verb, "lose") == 0)
        return true; /* a forgotten number is no event in C: the lease stays out */
    if (strcmp(verb, "detach") == 0) {
        struct entry owned = {.name = field(step, "owned")};
        const bool good = expected(context, at, millpond_detach(entry.pool, entry.lease.id, &owned.owned), &worked);
        if (worked)
            store(context, context->owned, owned);
        return good;
    }
    if (strcmp(verb, "forge") == 0) {
        entry.name = field(step, "as");
        entry.lease.id = (entry.lease.id ^ number(step, "xor", 0)) + number(step, "add", 0);
        store(context, context->leases, entry);
        return true;
    }
    if (strcmp(verb, "race_put") == 0)
        return do_race(context, at, &entry);
    return failed(context, at, "unknown verb");
}

static bool do_owned(struct context *context, size_t at) {
    struct step *step = &context->scenario->steps->list[at];
    struct entry entry;
    bool worked;
    if (!look_up(context, context->owned, field(step, "owned"), &entry))
        return failed(context, at, "no such owned buffer");
    if (strcmp(step->verb, "drop_owned") == 0)
        return expected(context, at, millpond_detached_free(entry.owned.id), &worked);
    for (size_t i = 0; i < entry.owned.len; ++i)
        if (entry.owned.data[i] != number(step, "byte", 0))
            return failed(context, at, "byte %zu is %d", i, entry.owned.data[i]);
    return true;
}

static bool do_figure(struct context *context, size_t at, millpond_pool pool) {
    struct step *step = &context->scenario->steps->list[at];
    const char *name = field(step, "field");
    uint64_t value = 0;
    const bool known = strcmp(step->verb, "stat") == 0 ? pool_figure(pool, name, &value)
                                                       : class_figure(pool, number(step, "size", 0), name, &value);
    if (!known)
        return failed(context, at, "%s cannot be read", name);
    const bool holds = value >= number(step, "at_least", 0) && value <= number(step, "at_most", UINT64_MAX) &&
                       value == number(step, "is", value);
    if (!holds && (mode.reuses || !is_by_reuse(name)))
        return failed(context, at, "%s is %llu", name, (unsigned long long)value);
    return true;
}

/* The verbs whose first object is a pool that exists. */
static bool do_with_pool(struct context *context, size_t at) {
    struct step *step = &context->scenario->steps->list[at];
    const char *verb = step->verb, *name = field(step, "pool");
    struct entry entry = {.name = name};
    bool found, worked;
    entry.pool = pool_named(context, name, &found);
    size_t value = 0;
    if (!found)
        return failed(context, at, "no such pool");
    if (strcmp(verb, "stat") == 0 || strcmp(verb, "class_stat") == 0)
        return do_figure(context, at, entry.pool);
    if (strcmp(verb, "close") == 0)
        return expected(context, at, millpond_pool_close(entry.pool), &worked);
    if (strcmp(verb, "trim") == 0) {
        const size_t least = number(step, "at_least", 0);
        return expected(context, at, millpond_pool_trim(entry.pool, &value), &worked) &&
               (!worked || value >= least || !mode.reuses || failed(context, at, "%zu bytes were given back", value));
    }
    if (strcmp(verb, "maintain") == 0)
        return expected(context, at, millpond_pool_maintain(entry.pool, &value), &worked);
    if (strcmp(verb, "free_pool") == 0) {
        entry.unchecked = true;
        const bool good = expected(context, at, millpond_pool_free(entry.pool), &worked);
        store(context, context->pools, entry);
        return good;
    }
    if (strcmp(verb, "forge_pool") == 0) {
        entry.name = field(step, "as");
        entry.pool = (entry.pool ^ number(step, "xor", 0)) + number(step, "add", 0);
        entry.unchecked = true;
        store(context, context->pools, entry);
        return true;
    }
    if (strcmp(verb, "leaks") == 0) {
        millpond_leak leaks[16];
        if (!expected(context, at, millpond_pool_leaks(entry.pool, leaks, 16, &value), &worked) || !worked)
            return false;
        if (value != number(step, "count", 0))
            return failed(context, at, "%zu leases are out", value);
        const size_t len = number(step, "len", SIZE_MAX);
        return len == SIZE_MAX || leaks[0].len == len || failed(context, at, "the oldest has %zu bytes", leaks[0].len);
    }
    if (strcmp(verb, "class_sizes") == 0) {
        char text[4096];
        size_t count = 0, used = 0;
        millpond_class_stats stats = MILLPOND_CLASS_STATS_INIT;
        if (millpond_pool_class_count(entry.pool, &count))
            return failed(context, at, "%s", millpond_last_error());
        for (size_t i = 0; i < count && used < sizeof text; ++i) {
            if (millpond_pool_class_stats(entry.pool, i, &stats))
                return failed(context, at, "%s", millpond_last_error());
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%llu", i ? "," : "",
                                     (unsigned long long)stats.size);
        }
        return strcmp(text, field(step, "is")) == 0 || failed(context, at, "they are %s", text);
    }
    return failed(context, at, "unknown verb");
}

static void nap(uint64_t ms) {
    struct timespec time = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
    while (nanosleep(&time, &time)) {
    }
}

static bool reconciled(struct context *context, char *why, size_t room) {
    for (size_t i = 0; i < context->pools->count; ++i) {
        struct entry *entry = &context->pools->list[i];
        millpond_stats s = MILLPOND_STATS_INIT;
        if (entry->unchecked)
            continue;
        if (millpond_pool_stats(entry->pool, &s)) {
            snprintf(why, room, "pool %s: %s", entry->name, millpond_last_error());
            return false;
        }
        if (!sums_hold(&s, entry->name, why, room))
            return false;
    }
    return true;
}

struct job {
    struct context context;
    struct table leases; /* of a thread that has its own */
    size_t from, to;
    uint64_t times, delay;
};

static void *work(void *argument) {
    struct job *job = argument;
    nap(job->delay);
    for (uint64_t i = 0; i < job->times; ++i)
        if (!run(&job->context, job->from, job->to))
            break;
    free(job->leases.list);
    free(job);
    return NULL;
}

static bool start(struct context *context, size_t at, struct job wanted, bool own_leases, pthread_t *thread) {
    struct job *job = grown(NULL, sizeof *job);
    *job = wanted;
    job->context = *context;
    if (own_leases)
        job->context.leases = &job->leases;
    return pthread_create(thread, NULL, work, job) == 0 || failed(context, at, "no thread");
}

static bool do_fork(struct context *context, size_t from, size_t to) {
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        char why[500] = "";
        const bool good = run(context, from, to) && reconciled(context, why, sizeof why);
        if (!good)
            fprintf(stderr, "in the child: %s%s\n", context->scenario->message, why);
        _exit(good ? 0 : 1);
    }
    int status = 0;
    for (int waited = 0; waited < 3000; ++waited) {
        if (waitpid(child, &status, WNOHANG) == child)
            return (WIFEXITED(status) && WEXITSTATUS(status) == 0) ||
                   failed(context, from, "the child failed (wait status %d)", status);
        nap(10);
    }
    return failed(context, from, "the child hangs");
}

static bool do_nested(struct context *context, size_t at) {
    struct step *step = &context->scenario->steps->list[at];
    const char *verb = field(step, "do");
    const size_t from = at + 1, to = step->end;
    const uint64_t times = number(step, "times", 1);
    pthread_t threads[32];
    if (strcmp(verb, "repeat") == 0) {
        for (uint64_t i = 0; i < times; ++i)
            if (!run(context, from, to))
                return false;
        return true;
    }
    if (strcmp(verb, "fork") == 0)
        return do_fork(context, from, to);
    if (strcmp(verb, "later") == 0) {
        struct scenario *scenario = context->scenario;
        if (scenario->later_count == 8)
            return failed(context, at, "too many later steps");
        struct job job = {.from = from, .to = to, .times = 1, .delay = number(step, "ms", 0)};
        return start(context, at, job, false, &scenario->later[scenario->later_count]) && ++scenario->later_count;
    }
    const bool many = strcmp(verb, "threads") == 0;
    if (!many && strcmp(verb, "thread") != 0)
        return failed(context, at, "unknown verb %s", verb);
    const size_t count = many ? number(step, "count", 1) : 1;
    size_t started = 0;
    struct job job = {.from = from, .to = to, .times = times};
    while (started < count && started < 32 && start(context, at, job, many, &threads[started]))
        ++started;
    for (size_t i = 0; i < started; ++i)
        pthread_join(threads[i], NULL);
    return started == count && !has_failed(context);
}

static bool one(struct context *context, size_t at) {
    static const char *const pool_verbs[] = {"stat",      "class_stat", "close", "trim",       "maintain",
                                             "free_pool", "forge_pool", "leaks", "class_sizes"};
    struct step *step = &context->scenario->steps->list[at];
    const char *verb = step->verb;
    if (strcmp(verb, "begin") == 0)
        return do_nested(context, at);
    if (strcmp(verb, "pool") == 0)
        return do_pool(context, at);
    if (strcmp(verb, "get") == 0 || strcmp(verb, "try_get") == 0 || strcmp(verb, "get_timeout") == 0)
        return do_get(context, at);
    if (strcmp(verb, "owned_read") == 0 || strcmp(verb, "drop_owned") == 0)
        return do_owned(context, at);
    if (strcmp(verb, "sleep") == 0) {
        nap(number(step, "ms", 0));
        return true;
    }
    for (size_t i = 0; i < sizeof pool_verbs / sizeof *pool_verbs; ++i)
        if (strcmp(verb, pool_verbs[i]) == 0)
            return do_with_pool(context, at);
    return do_lease(context, at);
}

static bool run(struct context *context, size_t from, size_t to) {
    for (size_t at = from; at < to; ++at) {
        struct step *step = &context->scenario->steps->list[at];
        if (has_failed(context) || !one(context, at))
            return false;
        const char *left = unused_field(step);
        if (left)
            return failed(context, at, "the field %s is not known", left);
        if (step->end)
            at = step->end;
    }
    return true;
}

/* Runs one scenario and cleans up after it. */
static bool scenario(struct steps *steps, size_t at, const char *name) {
    struct scenario scenario = {.steps = steps, .lock = PTHREAD_MUTEX_INITIALIZER};
    struct table pools = {0}, leases = {0}, owned = {0};
    struct context context = {&scenario, &pools, &leases, &owned};
    bool good = run(&context, at + 1, steps->list[at].end);
    for (size_t i = 0; i < scenario.later_count; ++i)
        pthread_join(scenario.later[i], NULL);
    good = good && !scenario.failed && reconciled(&context, scenario.message, sizeof scenario.message);
    for (size_t i = 0; i < leases.count; ++i)
        (void)millpond_put(leases.list[i].pool, leases.list[i].lease.id);
    for (size_t i = 0; i < owned.count; ++i)
        (void)millpond_detached_free(owned.list[i].owned.id);
    for (size_t i = 0; i < pools.count; ++i)
        if (!pools.list[i].unchecked)
            (void)millpond_pool_free(pools.list[i].pool);
    free(pools.list);
    free(leases.list);
    free(owned.list);
    if (good)
        printf("ok %s\n", name);
    else
        printf("FAILED %s: %s\n", name, scenario.message);
    return good;
}

static bool has_verb(const struct steps *steps, size_t begin, const char *verb) {
    for (size_t at = begin; at < steps->list[begin].end; ++at)
        if (strcmp(steps->list[at].verb, verb) == 0)
            return true;
    return false;
}

int main(void) {
    read_mode();
    struct steps steps = read_steps(stdin);
    size_t seen = 0, ran = 0, skipped = 0, bad = 0, promised = 0;
    for (size_t at = 0; at < steps.count; at = steps.list[at].end ? steps.list[at].end + 1 : at + 1) {
        struct step *step = &steps.list[at];
        if (strcmp(step->verb, "total") == 0) {
            promised = number(step, "scenarios", 0);
            continue;
        }
        const char *name = field(step, "name"), *reason = field(step, "skip");
        if (strcmp(step->verb, "begin") != 0 || !name) {
            fprintf(stderr, "spec c: line %zu is no scenario\n", at + 1);
            return 1;
        }
        ++seen;
        if (!reason && !mode.finds_overruns && has_verb(&steps, at, "overrun"))
            reason = "an overrun is not found in this mode, or at once fatal";
        if (reason) {
            ++skipped;
            printf("SKIP %s: %s\n", name, reason);
            continue;
        }
        ++ran;
        bad += !scenario(&steps, at, name);
    }
    free(steps.list);
    free(steps.text);
    printf("spec c: %zu scenarios, %zu run, %zu skipped, %zu failed\n", seen, ran, skipped, bad);
    return bad == 0 && ran > 0 && seen == promised ? 0 : 1;
}
