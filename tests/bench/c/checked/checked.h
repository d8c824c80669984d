/* A floor: the least that a pool in C with a race-proof put can be, in a shared library of its own. */
#ifndef BENCH_CHECKED_H
#define BENCH_CHECKED_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct checked_lease {
    uint64_t id;
    uint8_t *data;
} checked_lease;

/* Makes records, of whose buffers each holds `size` bytes. 0: done. */
int checked_make(size_t size);
/* 0: `out` is filled. */
int checked_get(checked_lease *out);
/* 0: the lease with this handle is over. Of several calls with one handle one succeeds. */
int checked_put(uint64_t id);

#ifdef __cplusplus
}
#endif
#endif
