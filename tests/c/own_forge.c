/* Forged handles through every function that takes one: leases, detached memory, pools. Nothing is accepted, nothing changes.
 * 24 kinds of guesses are in tests/tests/forge; here are those that a C program makes by mistake. */
#include "check.h"

enum { SEEN = 64, FUNCTIONS = 11 };

static millpond_pool pool, other;
static uint64_t seen[SEEN], hidden[SEEN], old[SEEN], foreign[SEEN], detached[SEEN];
static uint64_t state = 20261121;

static uint64_t next(void) { /* SplitMix64 */
    uint64_t z = (state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static uint64_t pick(const uint64_t *from) { return from[next() % SEEN]; }
static uint64_t bit(void) { return UINT64_C(1) << next() % 64; }

static const uint64_t index_bits = 0xFFFFFF;

static uint64_t forged(void) {
    const uint64_t live = pick(seen);
    switch (next() % 16) {
    case 0: return next();
    case 1: return next() % 100000;
    case 2: return (live & index_bits) | next() << 24;
    case 3: return (live & index_bits) | next() % 1000 << 24;
    case 4: return live + 1 + next() % 1000;
    case 5: return live - 1 - next() % 1000;
    case 6: return live ^ bit();
    case 7: return live ^ bit() ^ bit();
    case 8: return (live & ~index_bits) | (next() & index_bits);
    case 9: return (live & ~index_bits) | (pick(seen) & index_bits);
    case 10: return live + pick(seen) - pick(seen);
    case 11: return (uint64_t)(uint32_t)live;
    case 12: return (uint64_t)(int64_t)(int32_t)(uint32_t)live;
    case 13: return pick(old) ^ bit();
    case 14: return pick(foreign) ^ bit();
    default: return pick(detached) ^ bit();
    }
}

static int is_known(uint64_t id) {
    for (int i = 0; i < SEEN; ++i)
        if (id == seen[i] || id == foreign[i] || id == detached[i])
            return 1;
    return 0;
}

static uint64_t get(millpond_pool from) {
    millpond_lease lease = {0, NULL, 0, 0};
    WORKS(millpond_get(from, 100, &lease));
    return lease.id;
}

/* Asks one of the functions; the status. */
static millpond_status ask(uint64_t function, uint64_t id) {
    millpond_lease lease;
    millpond_detached memory;
    millpond_pool owner;
    millpond_stats stats = MILLPOND_STATS_INIT;
    switch (function) {
    case 0: return millpond_put(pool, id);
    case 1: return millpond_put_used(pool, id, 1);
    case 2: return millpond_lease_pin(id);
    case 3: return millpond_lease_unpin(id);
    case 4: return millpond_lease_reclaim(pool, id);
    case 5: return millpond_detach(pool, id, &memory);
    case 6: return millpond_detached_free(id);
    case 7: return millpond_lease_pool(id, &owner);
    case 8: return millpond_get(id ^ pool ^ seen[0], 1, &lease); /* a pool's handle, guessed the same way */
    case 9: return millpond_pool_stats(id, &stats);
    default: return millpond_lease_lookup(id, &lease);
    }
}

static void prepare(void) {
    /* In no order that sums and differences of indexes could keep. */
    int in_seen = 0, in_hidden = 0;
    while (in_seen < SEEN || in_hidden < SEEN)
        if (in_hidden == SEEN || (in_seen < SEEN && next() & 1))
            seen[in_seen++] = get(pool);
        else
            hidden[in_hidden++] = get(pool);
    for (int i = 0; i < SEEN; ++i) {
        millpond_detached memory = {0, NULL, 0};
        foreign[i] = get(other);
        old[i] = get(pool);
        WORKS(millpond_detach(other, get(other), &memory));
        detached[i] = memory.id;
    }
    for (int i = 0; i < SEEN; ++i)
        WORKS(millpond_put(pool, old[i]));
}

int main(void) {
    static const char *const names[FUNCTIONS] = {"put",  "put_used",      "pin",        "unpin", "reclaim",    "detach",
                                                 "detached_free", "lease_pool", "get",   "pool_stats", "lookup"};
    long asked[FUNCTIONS] = {0}, accepted[FUNCTIONS] = {0}, all = 0, wrong = 0;
    pool = new_pool("forged");
    other = new_pool("other");
    prepare();
    for (int i = 0; i < SEEN; ++i) { /* an acceptance would be seen: these are accepted */
        millpond_lease lease;
        CHECK(ask(10, hidden[i]) == MILLPOND_OK);
        WORKS(millpond_lease_lookup(seen[i], &lease));
    }
    const int guesses = rounds(400000);
    for (int i = 0; i < guesses; ++i) {
        const uint64_t id = forged();
        if (is_known(id))
            continue;
        /* Half of the guesses are looked up, the others shared out. */
        const uint64_t function = next() & 1 ? 10 : next() % FUNCTIONS;
        const millpond_status status = ask(function, id);
        ++asked[function];
        ++all;
        accepted[function] += status == MILLPOND_OK;
        wrong += status != MILLPOND_ERR_INVALID_HANDLE && status != MILLPOND_ERR_DOUBLE_PUT && status != MILLPOND_ERR_USE_AFTER_PUT;
    }
    long sum = 0;
    for (int f = 0; f < FUNCTIONS; ++f) {
        printf("%s: %ld guesses, %ld accepted\n", names[f], asked[f], accepted[f]);
        CHECK(asked[f] > 0);
        sum += accepted[f];
    }
    CHECK(sum == 0 && wrong == 0);
    CHECK(stats_of(pool).in_use == 2 * SEEN);
    CHECK(stats_of(other).in_use == SEEN);
    for (int i = 0; i < SEEN; ++i) {
        WORKS(millpond_put(pool, seen[i]));
        WORKS(millpond_put(pool, hidden[i]));
        WORKS(millpond_put(other, foreign[i]));
        WORKS(millpond_detached_free(detached[i]));
    }
    check_reconciled(pool);
    check_reconciled(other);
    WORKS(millpond_pool_free(pool));
    WORKS(millpond_pool_free(other));
    char counts[64];
    snprintf(counts, sizeof counts, "own_forge: %ld guesses, %ld accepted", all, sum);
    return report(counts);
}
