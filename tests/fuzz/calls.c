/* Fuzz target: sequences of calls on two pools, beside a model that knows what each must answer and what the statistics must
 * say. The first bytes of the input choose the pools' options, the others the calls. */
#include "input.h"

#include <sys/syscall.h>
#include <unistd.h>

enum { POOLS = 2, LEASES = 48, DETACHED = 8 };

enum state { NEVER, LIVE, OVER };

typedef struct lease {
    millpond_lease lease;
    enum state state;
    int pool;
    uint32_t pins;
    uint8_t filled; /* what all bytes are */
    int known;      /* whether they are known at all */
    int damaged;
} lease;

typedef struct pool {
    millpond_pool id;
    millpond_pool_options options;
    int closed, freed, injecting;
    int canaries; /* whether a write behind the length is found */
    int guards;   /* whether leases may stand on guarded pages, where they have less capacity than the class they count as */
    uint64_t live, gets, puts, detached, leaked, double_puts, foreign_puts, overruns, exhausted;
} pool;

static pool pools[POOLS];
static lease leases[LEASES];
static millpond_detached detached[DETACHED];

static size_t take_len(input *in) {
    static const size_t edges[] = {0, 1, 63, 64, 65, 127, 128, 512, 1024, 4096, 16384, 65536, 262144, 1048576};
    const uint8_t shape = take_byte(in);
    if (shape < 100)
        return shape;
    if (shape < 200)
        return take_word(in, 2);
    if (shape == 255)
        return SIZE_MAX >> take_byte(in) % 20; /* more than there is */
    return edges[shape % (sizeof edges / sizeof *edges)] + take_byte(in) % 3;
}

static void make_pool(input *in, pool *made) {
    static const size_t list[] = {128, 512, 4096, 65536};
    static const size_t limits[] = {0, 4096, 100000, 1 << 20}, kept[] = {0, MILLPOND_ZERO, 8192, 65536};
    static const size_t caches[] = {0, MILLPOND_ZERO, 4096, 100000}, aligned[] = {0, 64, 128, 4096};
    static const char *const checks[] = {NULL, "on", "sites", "full", "sample:1", "sample:3", "off", "on"};
    const uint64_t bits = take_word(in, 3);
    memset(made, 0, sizeof *made);
    made->options = (millpond_pool_options)MILLPOND_POOL_OPTIONS_INIT;
    made->options.clear = bits % 3;
    made->options.on_limit = bits >> 2 & 3 ? MILLPOND_LIMIT_FAIL : bits >> 4 & 1 ? MILLPOND_LIMIT_WAIT : MILLPOND_LIMIT_UNPOOLED;
    made->options.wait_ms = made->options.on_limit == MILLPOND_LIMIT_WAIT;
    made->options.max_bytes = limits[bits >> 5 & 3];
    made->options.max_retained_bytes = made->options.max_bytes == 4096 ? 0 : kept[bits >> 7 & 3];
    made->options.thread_cache_bytes = caches[bits >> 9 & 3];
    made->options.alignment = aligned[bits >> 11 & 3];
    made->options.check = checks[bits >> 13 & 7];
    if (bits >> 16 & 1) {
        made->options.classes = list;
        made->options.class_count = sizeof list / sizeof *list;
    }
    made->guards = made->options.check && strncmp(made->options.check, "sample", 6) == 0;
    made->canaries = !made->options.check || strcmp(made->options.check, "off") != 0;
    const millpond_status status = millpond_pool_new(&made->options, &made->id);
    /* Some combinations contradict each other. */
    if (status != MILLPOND_OK) {
        GIVES(MILLPOND_ERR_INVALID_ARGUMENT, status);
        const char *const check = made->options.check;
        made->options = (millpond_pool_options)MILLPOND_POOL_OPTIONS_INIT;
        made->options.check = check;
        WORKS(millpond_pool_new(&made->options, &made->id));
    }
}

static int is_zeroed(const pool *from) { return from->options.clear != MILLPOND_CLEAR_NEVER; }

static void look(const lease *l) {
    if (l->known)
        EXPECT(all_bytes(l->lease.data, l->lease.len, l->filled));
}

static void call_get(input *in, int way) {
    lease *const l = &leases[take_byte(in) % LEASES];
    pool *const p = &pools[take_byte(in) % POOLS];
    const size_t len = take_len(in);
    millpond_lease got = {0, NULL, 0, 0};
    millpond_status status;
    if (l->state == LIVE)
        return;
    switch (way) {
    case 0: status = millpond_get(p->id, len, &got); break;
    case 1: status = millpond_try_get(p->id, len, &got); break;
    default: status = millpond_get_timeout(p->id, len, 1, &got);
    }
    if (p->freed) {
        GIVES(MILLPOND_ERR_INVALID_HANDLE, status);
        return;
    }
    if (p->closed) {
        EXPECT(status == MILLPOND_ERR_CLOSED || (len > SIZE_MAX / 4 && status == MILLPOND_ERR_INVALID_ARGUMENT));
        return;
    }
    if (status != MILLPOND_OK) {
        EXPECT(got.id == 0 && got.data == NULL);
        const int limited = p->options.max_bytes != 0 || len > 1 << 24 || p->injecting;
        EXPECT((status == MILLPOND_ERR_EXHAUSTED && limited) || (status == MILLPOND_ERR_NO_MEMORY && (p->injecting || len > 1 << 24)) ||
               (status == MILLPOND_ERR_INVALID_ARGUMENT && len > SIZE_MAX / 4));
        p->exhausted += status == MILLPOND_ERR_EXHAUSTED;
        return;
    }
    EXPECT(got.id != 0 && got.len == len && got.capacity >= len);
    EXPECT((uintptr_t)got.data % (p->options.alignment ? p->options.alignment : 64) == 0);
    for (int i = 0; i < LEASES; ++i)
        EXPECT(leases[i].state == NEVER || leases[i].lease.id != got.id);
    *l = (lease){got, LIVE, (int)(p - pools), 0, 0, is_zeroed(p) && len < 1 << 22, 0};
    ++p->live;
    ++p->gets;
    look(l);
}

static void call_write(input *in) {
    lease *const l = &leases[take_byte(in) % LEASES];
    const uint8_t filled = take_byte(in);
    if (l->state != LIVE || l->lease.len > 1 << 22)
        return;
    memset(l->lease.data, filled, l->lease.len);
    l->filled = filled;
    l->known = 1;
}

/* Writes behind the length by the kernel, which no sanitizer sees. */
static void call_overrun(input *in) {
    static int ends[2];
    lease *const l = &leases[take_byte(in) % LEASES];
    const size_t behind = take_byte(in) % 8;
    if (l->state != LIVE || !pools[l->pool].canaries)
        return;
    if (ends[1] == 0)
        EXPECT(pipe(ends) == 0);
    const uint8_t byte = 0xA5;
    EXPECT(write(ends[1], &byte, 1) == 1);
    if (syscall(SYS_read, ends[0], l->lease.data + l->lease.len + behind, (size_t)1) == 1) {
        /* 1 of 256 keyed bytes is the same. */
        l->damaged = behind == 0 ? 1 : -1;
    } else { /* an inaccessible page stands there */
        uint8_t rest;
        EXPECT(read(ends[0], &rest, 1) == 1);
    }
}

/* Ends a lease in the model. */
static void ended(lease *l) {
    l->state = OVER;
    --pools[l->pool].live;
}

/* Whether a call by this pool reaches its leases: its handle may be freed while leases are out. */
static int reaches(const pool *p) { return !p->freed || p->live > 0; }

/* The status of a call that ends a lease, if nothing of the lease speaks against it. */
static int refused(const lease *l, pool *into, millpond_status status) {
    if (!reaches(into)) {
        EXPECT(status == MILLPOND_ERR_INVALID_HANDLE || (l->state == OVER && status == MILLPOND_ERR_USE_AFTER_PUT));
        return 1;
    }
    if (&pools[l->pool] != into) {
        GIVES(MILLPOND_ERR_FOREIGN_LEASE, status);
        ++into->foreign_puts;
        return 1;
    }
    return 0;
}

/* Counts an end whose canary decides; says whether it was an overrun. */
static int overran(lease *l, millpond_status status) {
    pool *const p = &pools[l->pool];
    if (l->damaged == 1)
        GIVES(MILLPOND_ERR_OVERRUN, status);
    if (status != MILLPOND_ERR_OVERRUN)
        return 0;
    EXPECT(l->damaged);
    ++p->overruns;
    ++p->puts;
    ended(l);
    return 1;
}

static void call_put(input *in, int with_used) {
    lease *const l = &leases[take_byte(in) % LEASES];
    pool *const into = with_used == 2 ? &pools[take_byte(in) % POOLS] : &pools[l->pool];
    if (l->state == NEVER)
        return;
    if (l->state == LIVE)
        look(l);
    /* As written as it is: all of it or nothing. */
    const size_t wrong = l->lease.len + 1 + take_byte(in);
    const int too_much = with_used == 1 && wrong % 5 == 0;
    const size_t used = too_much ? wrong : l->known && l->filled == 0 && is_zeroed(&pools[l->pool]) ? 0 : l->lease.len;
    const millpond_status status = with_used == 1 ? millpond_put_used(into->id, l->lease.id, used) : millpond_put(into->id, l->lease.id);
    if (l->state == OVER) {
        EXPECT(status == MILLPOND_ERR_DOUBLE_PUT || (into->freed && status == MILLPOND_ERR_INVALID_HANDLE));
        into->double_puts += status == MILLPOND_ERR_DOUBLE_PUT;
        return;
    }
    if (refused(l, into, status))
        return;
    if (too_much) {
        GIVES(MILLPOND_ERR_INVALID_ARGUMENT, status);
    } else if (l->pins) {
        GIVES(MILLPOND_ERR_BUSY, status);
    } else if (!overran(l, status)) {
        WORKS(status);
        ++into->puts;
        ended(l);
    }
}

static void call_detach(input *in) {
    lease *const l = &leases[take_byte(in) % LEASES];
    pool *const from = &pools[take_byte(in) % POOLS];
    millpond_detached *const place = &detached[take_byte(in) % DETACHED];
    if (l->state == NEVER || place->id || (l->state == LIVE && l->lease.len > 1 << 22))
        return;
    const millpond_status status = millpond_detach(from->id, l->lease.id, place);
    if (l->state == OVER) {
        GIVES(MILLPOND_ERR_USE_AFTER_PUT, status);
    } else if (refused(l, from, status)) {
    } else if (l->pins) {
        GIVES(MILLPOND_ERR_BUSY, status);
    } else if (!overran(l, status)) {
        WORKS(status);
        EXPECT(place->id && place->len == l->lease.len);
        if (l->known)
            EXPECT(all_bytes(place->data, place->len, l->filled));
        memset(place->data, 0xDE, place->len);
        ++from->detached;
        ended(l);
    }
}

static void call_detached_free(input *in) {
    millpond_detached *const place = &detached[take_byte(in) % DETACHED];
    if (!place->id)
        return;
    EXPECT(all_bytes(place->data, place->len, 0xDE));
    WORKS(millpond_detached_free(place->id));
    GIVES(MILLPOND_ERR_INVALID_HANDLE, millpond_detached_free(place->id));
    place->id = 0;
}

static void call_reclaim(input *in) {
    lease *const l = &leases[take_byte(in) % LEASES];
    pool *const from = &pools[take_byte(in) % POOLS];
    if (l->state == NEVER)
        return;
    const uint64_t overruns = from->freed ? 0 : reconciled(from->id).overruns;
    const millpond_status status = millpond_lease_reclaim(from->id, l->lease.id);
    if (l->state == OVER) {
        GIVES(MILLPOND_ERR_USE_AFTER_PUT, status);
    } else if (refused(l, from, status)) {
    } else if (l->pins) {
        GIVES(MILLPOND_ERR_BUSY, status);
    } else {
        WORKS(status);
        /* Nobody is there to be told of the overrun: it is only counted, and the lease as put. */
        const int found = from->freed ? l->damaged : reconciled(from->id).overruns > overruns;
        EXPECT(found ? l->damaged != 0 : l->damaged != 1);
        from->overruns += found != 0;
        from->puts += found != 0;
        from->leaked += found == 0;
        ended(l);
    }
}

static void call_pin(input *in, int pin) {
    lease *const l = &leases[take_byte(in) % LEASES];
    if (l->state == NEVER)
        return;
    const millpond_status status = pin ? millpond_lease_pin(l->lease.id) : millpond_lease_unpin(l->lease.id);
    if (l->state == OVER)
        GIVES(MILLPOND_ERR_USE_AFTER_PUT, status);
    else if (!pin && l->pins == 0)
        GIVES(MILLPOND_ERR_INVALID_ARGUMENT, status);
    else {
        WORKS(status);
        l->pins = pin ? l->pins + 1 : l->pins - 1;
    }
}

static void call_lookup(input *in) {
    const lease *const l = &leases[take_byte(in) % LEASES];
    millpond_lease found = {0, NULL, 0, 0};
    millpond_pool owner = 0;
    if (l->state == NEVER)
        return;
    const millpond_status status = millpond_lease_lookup(l->lease.id, &found), second = millpond_lease_pool(l->lease.id, &owner);
    if (l->state == OVER) {
        GIVES(MILLPOND_ERR_USE_AFTER_PUT, status);
        GIVES(MILLPOND_ERR_USE_AFTER_PUT, second);
        EXPECT(found.id == 0 && owner == 0);
    } else {
        WORKS(status);
        WORKS(second);
        EXPECT(found.id == l->lease.id && found.data == l->lease.data && found.len == l->lease.len);
        EXPECT(found.capacity == l->lease.capacity && owner == pools[l->pool].id);
        look(l);
    }
}

static void check_pool(const pool *p) {
    static millpond_leak list[LEASES + 1];
    size_t count = 0;
    if (p->freed)
        return;
    const millpond_stats s = reconciled(p->id);
    EQUAL(s.gets, p->gets);
    EQUAL(s.puts, p->puts);
    EQUAL(s.in_use, p->live);
    EQUAL(s.detached, p->detached);
    EQUAL(s.leaked, p->leaked);
    EQUAL(s.overruns, p->overruns);
    EQUAL(s.double_puts, p->double_puts);
    EQUAL(s.foreign_puts, p->foreign_puts);
    EQUAL(s.exhausted, p->exhausted);
    uint64_t requested = 0, capacity = 0;
    for (int i = 0; i < LEASES; ++i)
        if (leases[i].state == LIVE && &pools[leases[i].pool] == p) {
            requested += leases[i].lease.len;
            capacity += leases[i].lease.capacity;
        }
    EQUAL(s.requested_bytes, requested);
    EXPECT(p->guards ? s.live_bytes >= capacity : s.live_bytes == capacity);
    if (p->options.on_limit != MILLPOND_LIMIT_UNPOOLED) {
        AT_MOST(s.live_bytes + s.retained_bytes, s.limit_bytes);
        AT_MOST(s.peak_live_bytes, s.limit_bytes);
    }
    WORKS(millpond_pool_leaks(p->id, list, LEASES + 1, &count));
    EQUAL(count, p->live);
    for (size_t i = 0; i < count; ++i) {
        int found = 0;
        for (int k = 0; k < LEASES; ++k)
            found += leases[k].state == LIVE && leases[k].lease.id == list[i].id && leases[k].lease.len == list[i].len;
        EXPECT(found == 1);
    }
}

static void call_pool(input *in) {
    static const char *const checks[] = {"on", "sites", "full", "sample:1", "sample:2", "off"};
    static const char *const injected[] = {"", "get=1", "get=3", "alloc=1", "alloc=2", "p=0.5,seed=7", "get=2,alloc=1"};
    pool *const p = &pools[take_byte(in) % POOLS];
    const uint8_t what = take_byte(in);
    millpond_status status, wanted = p->freed ? MILLPOND_ERR_INVALID_HANDLE : MILLPOND_OK;
    size_t bytes = 0;
    switch (what % 16) {
    case 0: case 1: case 2: status = millpond_pool_trim(p->id, &bytes); break;
    case 3: case 4: status = millpond_pool_maintain(p->id, &bytes); break;
    case 5: {
        const char *const check = checks[what / 16 % 6];
        status = millpond_pool_set_check(p->id, check);
        /* Canaries are there from the beginning or never. */
        if (!p->freed && p->canaries != (strcmp(check, "off") != 0))
            wanted = MILLPOND_ERR_INVALID_ARGUMENT;
        p->guards = p->guards || (wanted == MILLPOND_OK && strncmp(check, "sample", 6) == 0);
        break;
    }
    case 6:
        status = millpond_pool_inject(p->id, injected[what / 16 % 7]);
        p->injecting = p->injecting || status == MILLPOND_OK;
        break;
    case 7:
        status = millpond_pool_close(p->id);
        p->closed = 1;
        break;
    case 8:
        status = millpond_pool_free(p->id);
        p->closed = p->freed = 1;
        break;
    case 9:
        /* A pool whose leases are out goes on without a handle; the model follows one pool a place. */
        if (p->freed && p->live == 0) {
            for (int i = 0; i < LEASES; ++i)
                if (leases[i].state == OVER && &pools[leases[i].pool] == p)
                    leases[i].state = NEVER;
            make_pool(in, p);
        }
        return;
    default: check_pool(p); return;
    }
    GIVES(wanted, status);
}

static void end_all(void) {
    for (int i = 0; i < LEASES; ++i) {
        lease *const l = &leases[i];
        if (l->state == LIVE) {
            while (l->pins) {
                WORKS(millpond_lease_unpin(l->lease.id));
                --l->pins;
            }
            look(l);
            const millpond_status status = millpond_put(pools[l->pool].id, l->lease.id);
            if (!overran(l, status)) {
                WORKS(status);
                ++pools[l->pool].puts;
                ended(l);
            }
        }
    }
    for (int i = 0; i < DETACHED; ++i)
        if (detached[i].id)
            WORKS(millpond_detached_free(detached[i].id));
    for (int i = 0; i < POOLS; ++i)
        if (!pools[i].freed) {
            check_pool(&pools[i]);
            WORKS(millpond_pool_close(pools[i].id));
            const millpond_stats s = reconciled(pools[i].id);
            EXPECT(s.retained_bytes == 0 && s.live_bytes == 0 && s.created == s.destroyed);
            WORKS(millpond_pool_free(pools[i].id));
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    input in = {data, data + size};
    memset(leases, 0, sizeof leases);
    memset(detached, 0, sizeof detached);
    for (int i = 0; i < POOLS; ++i)
        make_pool(&in, &pools[i]);
    for (int calls = 0; in.at < in.end && calls < 500; ++calls)
        switch (take_byte(&in) % 20) {
        case 0: case 1: case 2: call_get(&in, 0); break;
        case 3: call_get(&in, 1); break;
        case 4: call_get(&in, 2); break;
        case 5: case 6: call_write(&in); break;
        case 7: case 8: case 9: call_put(&in, 0); break;
        case 10: call_put(&in, 1); break;
        case 11: call_put(&in, 2); break;
        case 12: call_overrun(&in); break;
        case 13: call_detach(&in); break;
        case 14: call_detached_free(&in); break;
        case 15: call_reclaim(&in); break;
        case 16: call_pin(&in, take_byte(&in) & 1); break;
        case 17: call_lookup(&in); break;
        default: call_pool(&in);
        }
    end_all();
    return 0;
}
