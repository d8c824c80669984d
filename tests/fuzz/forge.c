/* Fuzz target: numbers made from live and ended handles, given to every function that takes a handle. Whatever is not a live
 * handle of the right kind is refused by the right error, and nothing changes. */
#include "input.h"

enum { LEASES = 12, FUNCTIONS = 14 };

static millpond_pool pools[2];
static uint64_t live[LEASES], over[LEASES], kept[2];

static uint64_t base(input *in) {
    const uint8_t which = take_byte(in);
    switch (which % 5) {
    case 0: return live[which / 5 % LEASES];
    case 1: return over[which / 5 % LEASES];
    case 2: return kept[which / 5 % 2];
    case 3: return pools[which / 5 % 2];
    default: return 0;
    }
}

static uint64_t forged(input *in) {
    uint64_t id = base(in);
    for (int steps = take_byte(in) % 4; steps > 0; --steps) {
        const uint8_t how = take_byte(in);
        switch (how % 10) {
        case 0: id ^= UINT64_C(1) << take_byte(in) % 64; break;
        case 1: id += take_byte(in); break;
        case 2: id -= take_byte(in); break;
        case 3: id = (id & ~UINT64_C(0xFFFFFF)) | (base(in) & 0xFFFFFF); break;
        case 4: id += base(in) - base(in); break;
        case 5: id ^= base(in); break;
        case 6: id = (id & 0xFFFFFF) | take_word(in, 5) << 24; break;
        case 7: id = (uint64_t)(double)id; break;
        case 8: id = id << (how / 10 % 8) | id >> (64 - 8); break;
        default: id = take_word(in, 8);
        }
    }
    return id;
}

static int among(const uint64_t *list, int count, uint64_t id) {
    for (int i = 0; i < count; ++i)
        if (list[i] == id)
            return 1;
    return 0;
}

/* What a call with a number that is no live lease says. */
static void expect_refusal(millpond_status status, uint64_t id, int is_put) {
    if (among(over, LEASES, id) || among(kept, 2, id))
        GIVES(is_put ? MILLPOND_ERR_DOUBLE_PUT : MILLPOND_ERR_USE_AFTER_PUT, status);
    else
        /* An earlier input's handle may be met: they are never valid again. */
        EXPECT(status == MILLPOND_ERR_INVALID_HANDLE || status == MILLPOND_ERR_DOUBLE_PUT || status == MILLPOND_ERR_USE_AFTER_PUT);
}

static void ask_lease(uint8_t function, uint64_t id) {
    millpond_lease lease = {7, NULL, 7, 7};
    millpond_detached memory = {7, NULL, 7};
    millpond_pool owner = 7;
    if (among(live, LEASES, id))
        return;
    switch (function) {
    case 0: expect_refusal(millpond_put(pools[0], id), id, 1); break;
    case 1: expect_refusal(millpond_put_used(pools[1], id, SIZE_MAX), id, 1); break;
    case 2: expect_refusal(millpond_lease_pin(id), id, 0); break;
    case 3: expect_refusal(millpond_lease_unpin(id), id, 0); break;
    case 4: expect_refusal(millpond_lease_reclaim(pools[0], id), id, 0); break;
    case 5: expect_refusal(millpond_detach(pools[1], id, &memory), id, 0); break;
    case 6: expect_refusal(millpond_lease_pool(id, &owner), id, 0); break;
    default: expect_refusal(millpond_lease_lookup(id, &lease), id, 0);
    }
    EXPECT(lease.id == 7 && lease.len == 7 && memory.id == 7 && memory.len == 7 && owner == 7);
}

static void ask_pool(uint8_t function, uint64_t id) {
    millpond_stats stats = MILLPOND_STATS_INIT;
    millpond_lease lease;
    size_t size = 7;
    if (among(pools, 2, id) || id == millpond_default_pool())
        return;
    switch (function % 6) {
    case 0: GIVES(MILLPOND_ERR_INVALID_HANDLE, millpond_get(id, 1, &lease)); break;
    case 1: GIVES(MILLPOND_ERR_INVALID_HANDLE, millpond_pool_stats(id, &stats)); break;
    case 2: GIVES(MILLPOND_ERR_INVALID_HANDLE, millpond_pool_trim(id, &size)); break;
    case 3: GIVES(MILLPOND_ERR_INVALID_HANDLE, millpond_pool_close(id)); break;
    case 4: GIVES(MILLPOND_ERR_INVALID_HANDLE, millpond_pool_free(id)); break;
    default: GIVES(MILLPOND_ERR_INVALID_HANDLE, millpond_put(id, live[0]));
    }
    EXPECT(size == 7);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    input in = {data, data + size};
    millpond_pool_options options = MILLPOND_POOL_OPTIONS_INIT;
    millpond_detached memory[2];
    millpond_lease lease;
    for (int i = 0; i < 2; ++i) {
        WORKS(millpond_pool_new(&options, &pools[i]));
        WORKS(millpond_get(pools[i], 10, &lease));
        kept[i] = lease.id;
        WORKS(millpond_detach(pools[i], lease.id, &memory[i]));
    }
    for (int i = 0; i < LEASES; ++i) {
        WORKS(millpond_get(pools[i & 1], 10, &lease));
        over[i] = lease.id;
        if (i % 3 == 0)
            WORKS(millpond_put(pools[i & 1], lease.id));
    }
    for (int i = 0; i < LEASES; ++i) {
        if (i % 3 != 0)
            WORKS(millpond_put(pools[i & 1], over[i]));
        WORKS(millpond_get(pools[i & 1], 100, &lease));
        live[i] = lease.id;
    }
    for (int calls = 0; in.at < in.end && calls < 200; ++calls) {
        const uint8_t function = take_byte(&in) % (FUNCTIONS + 1);
        const uint64_t id = forged(&in);
        if (function < 8)
            ask_lease(function, id);
        else if (function < FUNCTIONS)
            ask_pool(function - 8, id);
        else if (!among(kept, 2, id))
            GIVES(MILLPOND_ERR_INVALID_HANDLE, millpond_detached_free(id));
    }
    for (int i = 0; i < 2; ++i)
        EQUAL(reconciled(pools[i]).in_use, LEASES / 2);
    for (int i = 0; i < LEASES; ++i) {
        WORKS(millpond_lease_lookup(live[i], &lease));
        WORKS(millpond_put(pools[i & 1], live[i]));
    }
    for (int i = 0; i < 2; ++i) {
        WORKS(millpond_detached_free(kept[i]));
        WORKS(millpond_pool_free(pools[i]));
    }
    return 0;
}
