/* What the fuzz targets share: reading the input, and an expectation that stops the process, which is what libFuzzer reports. */
#ifndef MILLPOND_FUZZ_INPUT_H
#define MILLPOND_FUZZ_INPUT_H

#include <millpond.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct input {
    const uint8_t *at, *end;
} input;

/* Zeroes behind the end. */
static inline uint8_t take_byte(input *in) { return in->at < in->end ? *in->at++ : 0; }

static inline uint64_t take_word(input *in, int bytes) {
    uint64_t word = 0;
    for (int i = 0; i < bytes; ++i)
        word = word << 8 | take_byte(in);
    return word;
}

static inline void expectation_failed(const char *what, const char *file, int line) {
    fprintf(stderr, "%s:%d: failed: %s (last error: %s)\n", file, line, what, millpond_last_error());
    abort();
}

#define EXPECT(condition) ((condition) ? (void)0 : expectation_failed(#condition, __FILE__, __LINE__))

static inline void expect_status(millpond_status got, millpond_status wanted, const char *what, const char *file, int line) {
    if (got != wanted) {
        fprintf(stderr, "got %s, wanted %s\n", millpond_status_name(got), millpond_status_name(wanted));
        expectation_failed(what, file, line);
    }
}

#define GIVES(wanted, call) expect_status((call), (wanted), #call, __FILE__, __LINE__)
#define WORKS(call) GIVES(MILLPOND_OK, call)

static inline void expect_equal(uint64_t got, uint64_t wanted, const char *what, const char *file, int line) {
    if (got != wanted) {
        fprintf(stderr, "got %llu, wanted %llu\n", (unsigned long long)got, (unsigned long long)wanted);
        expectation_failed(what, file, line);
    }
}

static inline void expect_at_most(uint64_t got, uint64_t most, const char *what, const char *file, int line) {
    if (got > most) {
        fprintf(stderr, "got %llu, wanted at most %llu\n", (unsigned long long)got, (unsigned long long)most);
        expectation_failed(what, file, line);
    }
}

#define AT_MOST(got, most) expect_at_most((got), (most), #got " <= " #most, __FILE__, __LINE__)
#define EQUAL(got, wanted) expect_equal((got), (wanted), #got " == " #wanted, __FILE__, __LINE__)

static inline int all_bytes(const uint8_t *data, size_t len, int byte) {
    for (size_t i = 0; i < len; ++i)
        if (data[i] != byte)
            return 0;
    return 1;
}

/* The equations of the statistics, for a pool that only this thread uses. */
static inline millpond_stats reconciled(millpond_pool pool) {
    millpond_stats s = MILLPOND_STATS_INIT;
    WORKS(millpond_pool_stats(pool, &s));
    EQUAL(s.gets, s.puts + s.in_use + s.detached + s.leaked);
    EQUAL(s.created - s.destroyed, s.in_use + s.retained_buffers);
    EQUAL(s.live_bytes, s.requested_bytes + s.waste_bytes);
    return s;
}

#endif
