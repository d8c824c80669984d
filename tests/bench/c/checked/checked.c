#include "checked.h"

#include <stdatomic.h>
#include <stdlib.h>

/* A handle is a record's number and, above it, how often it was put. */
#define RECORDS 512u
#define NUMBER_BITS 24
#define NUMBER_MASK ((UINT64_C(1) << NUMBER_BITS) - 1)

/* A cache line each: threads that put neighbours would fight over one that they share. */
struct record {
    _Alignas(64) _Atomic uint64_t handle;
    uint8_t *data;
    struct record *below;
};

static struct record records[RECORDS];
/* A shared library's thread-local, found as the compiler finds it when nothing is said. */
static _Thread_local struct record *idle;

int checked_make(size_t size) {
    for (uint64_t number = 0; number < RECORDS; number++) {
        struct record *one = &records[number];
        one->data = malloc(size);
        if (one->data == NULL)
            return 1;
        atomic_store(&one->handle, number | (UINT64_C(1) << NUMBER_BITS));
        one->below = idle;
        idle = one;
    }
    return 0;
}

int checked_get(checked_lease *out) {
    struct record *one = idle;
    if (one == NULL)
        return 1;
    idle = one->below;
    out->id = atomic_load_explicit(&one->handle, memory_order_relaxed);
    out->data = one->data;
    return 0;
}

int checked_put(uint64_t id) {
    const uint64_t number = id & NUMBER_MASK;
    if (number >= RECORDS)
        return 1;
    struct record *one = &records[number];
    if (!atomic_compare_exchange_strong_explicit(&one->handle, &id, id + (UINT64_C(1) << NUMBER_BITS), memory_order_acq_rel, memory_order_relaxed))
        return 1;
    one->below = idle;
    idle = one;
    return 0;
}
