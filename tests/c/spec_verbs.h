/* The verbs of tests/spec that call the library once: each does its step and says whether it went as the step says. */
#ifndef SPEC_VERBS_H
#define SPEC_VERBS_H

#include "spec_context.h"
#include "spec_figures.h"

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

/* Every verb but those that hold other steps or wait. */
static bool do_verb(struct context *context, size_t at) {
    static const char *const pool_verbs[] = {"stat",      "class_stat", "close", "trim",        "maintain",
                                             "free_pool", "forge_pool", "leaks", "class_sizes", NULL};
    const char *const verb = context->scenario->steps->list[at].verb;
    if (strcmp(verb, "pool") == 0)
        return do_pool(context, at);
    if (strcmp(verb, "get") == 0 || strcmp(verb, "try_get") == 0 || strcmp(verb, "get_timeout") == 0)
        return do_get(context, at);
    if (strcmp(verb, "owned_read") == 0 || strcmp(verb, "drop_owned") == 0)
        return do_owned(context, at);
    return is_one_of(verb, pool_verbs) ? do_with_pool(context, at) : do_lease(context, at);
}

#endif
