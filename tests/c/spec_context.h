/* What the verbs of tests/spec work with: the names a scenario has given, the mode of the run, what has failed. */
#ifndef SPEC_CONTEXT_H
#define SPEC_CONTEXT_H

#include <millpond.h>

#include <pthread.h>
#include <stdarg.h>

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

#endif
