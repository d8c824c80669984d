/* The statistics by the names that tests/spec calls them. */
#ifndef SPEC_FIGURES_H
#define SPEC_FIGURES_H

#include <millpond.h>

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define STATS(F)                                                                                                       \
    F(allocations) F(gets) F(puts) F(in_use) F(oversized) F(discarded) F(hits) F(live_bytes) F(requested_bytes)         \
    F(waste_bytes) F(peak_live_bytes) F(retained_buffers) F(retained_bytes) F(limit_bytes) F(detached) F(leaked)        \
    F(lost) F(trimmed_bytes) F(created) F(destroyed) F(double_puts) F(stale_uses) F(foreign_puts) F(overruns)          \
    F(exhausted)
#define CLASS_STATS(F)                                                                                                 \
    F(size) F(gets) F(puts) F(in_use) F(allocations) F(hits) F(retained_buffers) F(retained_bytes) F(discarded)         \
    F(detached) F(leaked)
#define PICK(NAME)                                                                                                     \
    if (strcmp(name, #NAME) == 0) {                                                                                    \
        *value = stats.NAME;                                                                                           \
        return true;                                                                                                   \
    }

static bool pool_figure(millpond_pool pool, const char *name, uint64_t *value) {
    millpond_stats stats = MILLPOND_STATS_INIT;
    if (millpond_pool_stats(pool, &stats))
        return false;
    STATS(PICK)
    return false;
}

static bool class_figure(millpond_pool pool, uint64_t size, const char *name, uint64_t *value) {
    size_t count = 0;
    millpond_class_stats stats = MILLPOND_CLASS_STATS_INIT;
    if (millpond_pool_class_count(pool, &count))
        return false;
    for (size_t i = 0; i < count; ++i) {
        if (millpond_pool_class_stats(pool, i, &stats))
            return false;
        if (stats.size == size) {
            CLASS_STATS(PICK)
        }
    }
    return false;
}

/* Whether the two sums hold; otherwise says why. */
static bool sums_hold(const millpond_stats *s, const char *pool, char *why, size_t room) {
    if (s->gets == s->puts + s->in_use + s->detached + s->leaked &&
        s->created - s->destroyed == s->in_use + s->retained_buffers)
        return true;
    snprintf(why, room,
             "pool %s: gets %llu, puts %llu, in_use %llu, detached %llu, leaked %llu, created %llu, destroyed %llu, "
             "retained %llu do not reconcile",
             pool, (unsigned long long)s->gets, (unsigned long long)s->puts, (unsigned long long)s->in_use,
             (unsigned long long)s->detached, (unsigned long long)s->leaked, (unsigned long long)s->created,
             (unsigned long long)s->destroyed, (unsigned long long)s->retained_buffers);
    return false;
}

#endif
