/* Runs the ownership scenarios of tests/spec through the shared library.
 *   python3 tests/spec/flatten.py --lang c | spec_runner
 * Exit status 0 if every scenario that is not skipped did as the contract says. */
#define _POSIX_C_SOURCE 200809L
#include <millpond.h>

#include <pthread.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "spec_verbs.h"

static bool run(struct context *context, size_t from, size_t to);

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
    struct step *step = &context->scenario->steps->list[at];
    if (strcmp(step->verb, "begin") == 0)
        return do_nested(context, at);
    if (strcmp(step->verb, "sleep") == 0) {
        nap(number(step, "ms", 0));
        return true;
    }
    return do_verb(context, at);
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
