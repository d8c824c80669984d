/*
 * millpond: a memory pool whose leases name their misuse. The C interface.
 *
 * Conventions, with the table of who owns what: ffi-c/README.md. In short:
 * - Handles (pools, leases, detached memory) are numbers. Any number may be passed in: a wrong one is an error, never undefined.
 * - Every function that can fail returns a millpond_status; outputs come last and are written only on success. No output may be
 *   NULL; a pointer with a length beside it may be NULL only when that is 0.
 * - millpond_last_error() tells this thread what went wrong.
 * - All functions are thread-safe. None may be called from a signal handler.
 *
 * Generated from ffi-c/src by cbindgen; do not edit.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef MILLPOND_H
#define MILLPOND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Says zero where 0 means the default: `options.max_retained_bytes = MILLPOND_ZERO` keeps no idle memory. */
#define MILLPOND_ZERO SIZE_MAX

/** The version of this header as text. */
#define MILLPOND_VERSION "0.1.0"
/** The version of this header as one number; compare it with millpond_version_number(). */
#define MILLPOND_VERSION_NUMBER \
    (MILLPOND_VERSION_MAJOR * 1000000 + MILLPOND_VERSION_MINOR * 1000 + MILLPOND_VERSION_PATCH)


/**
 * Major version of the header. It is also the number in the SONAME.
 */
#define MILLPOND_VERSION_MAJOR 0

/**
 * Minor version of the header.
 */
#define MILLPOND_VERSION_MINOR 1

/**
 * Patch version of the header.
 */
#define MILLPOND_VERSION_PATCH 0



/**
 * Longest name of a pool in bytes, without the NUL.
 */
#define MILLPOND_NAME_MAX 64

/**
 * Value of `on_limit`: a get beyond the limit fails with MILLPOND_ERR_EXHAUSTED.
 */
#define MILLPOND_LIMIT_FAIL 0

/**
 * Value of `on_limit`: a get waits up to `wait_ms` for a put, then fails with MILLPOND_ERR_EXHAUSTED.
 */
#define MILLPOND_LIMIT_WAIT 1

/**
 * Value of `on_limit`: a get beyond the limit is given memory for this lease alone.
 */
#define MILLPOND_LIMIT_UNPOOLED 2

/**
 * Value of `clear`: zeroed at put over all that may have been written.
 */
#define MILLPOND_CLEAR_ON_PUT 0

/**
 * Value of `clear`: zeroed over the length at get.
 */
#define MILLPOND_CLEAR_ON_GET 1

/**
 * Value of `clear`: contents at get are whatever the last tenant wrote; only for pools of one tenant.
 */
#define MILLPOND_CLEAR_NEVER 2

/**
 * Room for a call site and its NUL in a millpond_leak.
 */
#define MILLPOND_SITE_MAX 160

/**
 * What a function reports. Numbers are never reused; 0 is success, everything else is negative.
 */
enum millpond_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * It worked.
     */
    MILLPOND_OK = 0,
    /**
     * An argument or option has a value that cannot be.
     */
    MILLPOND_ERR_INVALID_ARGUMENT = -1,
    /**
     * A pointer that must not be NULL is NULL.
     */
    MILLPOND_ERR_NULL = -2,
    /**
     * The lease was put before; nothing changed.
     */
    MILLPOND_ERR_DOUBLE_PUT = -10,
    /**
     * The lease is over.
     */
    MILLPOND_ERR_USE_AFTER_PUT = -11,
    /**
     * The lease belongs to another pool; it stays live.
     */
    MILLPOND_ERR_FOREIGN_LEASE = -12,
    /**
     * The lease is pinned or looked at; it stays live.
     */
    MILLPOND_ERR_BUSY = -13,
    /**
     * Something was written behind the lease's length; the lease is over and its buffer is not used again.
     */
    MILLPOND_ERR_OVERRUN = -14,
    /**
     * The number is no handle of this process, or its pool was freed.
     */
    MILLPOND_ERR_INVALID_HANDLE = -15,
    /**
     * The pool's limit is reached.
     */
    MILLPOND_ERR_EXHAUSTED = -20,
    /**
     * The pool is closed.
     */
    MILLPOND_ERR_CLOSED = -21,
    /**
     * The system has no memory to give.
     */
    MILLPOND_ERR_NO_MEMORY = -22,
    /**
     * A record cannot be read.
     */
    MILLPOND_ERR_RECORD = -30,
    /**
     * JSON text cannot be read.
     */
    MILLPOND_ERR_JSON = -31,
    /**
     * A file is damaged.
     */
    MILLPOND_ERR_CORRUPT = -32,
    /**
     * An input or output failed.
     */
    MILLPOND_ERR_IO = -33,
    /**
     * A bug in millpond was caught; please report it.
     */
    MILLPOND_ERR_PANIC = -100,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum millpond_status millpond_status;
#else
typedef int32_t millpond_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * A pool's handle: a named set of reusable buffers with limits and statistics.
 *
 * A value: copies stand for the same pool. Never 0, never used again. Any other number, and the handle of a pool that was
 * freed, is MILLPOND_ERR_INVALID_HANDLE.
 *
 * Threads: Thread-safe.
 * Fork: the child may go on using every pool; its statistics start from the parent's.
 */
typedef uint64_t millpond_pool;

/**
 * What a pool is made with. Begin with MILLPOND_POOL_OPTIONS_INIT; every field left at 0 means the default.
 *
 * A struct that is longer than this version's and not zero behind its end is refused, because it asks for something that
 * this version does not know.
 *
 * Threads: Thread-compatible: a value, read during one call.
 * Fork: plain data.
 */
typedef struct millpond_pool_options {
    /**
     * sizeof(millpond_pool_options), set by MILLPOND_POOL_OPTIONS_INIT.
     */
    size_t struct_size;
    /**
     * Name in messages and metrics: 1 to MILLPOND_NAME_MAX printable bytes and a NUL; NULL: "pool-" and a number.
     */
    const char *name;
    /**
     * The capacities to hand out: `class_count` multiples of 64, ascending, 64 to 1 GiB, at most 128. NULL: the nine of the
     * default (512 B, 1, 4, 16, 64, 256 KiB, 1, 4, 16 MiB) or those between `class_min` and `class_max`.
     */
    const size_t *classes;
    /**
     * Number of `classes`.
     */
    size_t class_count;
    /**
     * With `class_max`: four classes per doubling between the two. Not together with `classes`.
     */
    size_t class_min;
    /**
     * See `class_min`.
     */
    size_t class_max;
    /**
     * Most bytes that the pool may hold, leased and idle. Default: a quarter of the machine's or the control group's memory.
     */
    size_t max_bytes;
    /**
     * Most idle bytes kept for reuse. Default: a sixteenth of `max_bytes`, at most 256 MiB, at least 1 MiB. MILLPOND_ZERO:
     * none.
     */
    size_t max_retained_bytes;
    /**
     * Alignment of every lease: a power of two from 64 to 2 MiB. Default: 64.
     */
    size_t alignment;
    /**
     * Most idle bytes in one thread's cache. Its share of that is at most an eighth of what threads may still keep together,
     * half of `max_retained_bytes`; a sixteenth when less than half of that is left. Classes have it from the smallest, as many
     * as leave a quarter of it with one buffer each; of larger ones that a thread uses it keeps one buffer each, at most a
     * quarter of `max_retained_bytes` in all threads. Default: 32 MiB.
     * MILLPOND_ZERO: no thread caches.
     */
    size_t thread_cache_bytes;
    /**
     * With MILLPOND_LIMIT_WAIT: milliseconds a get may wait. Otherwise 0.
     */
    uint64_t wait_ms;
    /**
     * Milliseconds between the looks of a background thread that gives idle memory back. Default: no such thread.
     */
    uint64_t maintain_every_ms;
    /**
     * One of MILLPOND_LIMIT_*.
     */
    uint32_t on_limit;
    /**
     * One of MILLPOND_CLEAR_*.
     */
    uint32_t clear;
    /**
     * How closely the pool looks at its leases: "off", "on", "sites", "sample:N" or "full", as for millpond_pool_set_check.
     * NULL: what the environment variable MILLPOND_CHECK says, or "on".
     */
    const char *check;
} millpond_pool_options;

/**
 * The right to use one buffer, from get to put.
 *
 * A value: copies stand for the same lease, and `id` alone says which. A put does not change the caller's copy, so that a
 * second put of it is reported. The struct never grows.
 *
 * Threads: Thread-compatible. A lease may move to another thread and be put there; two threads that write into its memory at
 * once need an order of their own. Puts may race: exactly one succeeds.
 * Fork: a lease that was live is live in both processes, each with its own copy of the memory.
 */
typedef struct millpond_lease {
    /**
     * The handle: what put and look-up take. Never 0, never used again after the put.
     */
    uint64_t id;
    /**
     * The memory, aligned to 64 bytes or more. Valid until the put.
     */
    uint8_t *data;
    /**
     * What was asked for.
     */
    size_t len;
    /**
     * What the buffer holds. Bytes behind `len` are the library's: a write there is found at put.
     */
    size_t capacity;
} millpond_lease;

/**
 * Memory that left its pool for good.
 *
 * Threads: Thread-compatible; it may move to another thread and be freed there.
 * Fork: each process has its own copy.
 */
typedef struct millpond_detached {
    /**
     * The handle: what millpond_detached_free takes. Never 0, never used again.
     */
    uint64_t id;
    /**
     * The memory, the caller's until millpond_detached_free. Not for free().
     */
    uint8_t *data;
    /**
     * Its length.
     */
    size_t len;
} millpond_detached;

/**
 * What a pool counted: exact, and reconciling at rest: gets = puts + in_use + detached + leaked, and
 * created - destroyed = in_use + retained_buffers. Begin with MILLPOND_STATS_INIT.
 *
 * Threads: Thread-compatible: a value, written during one call.
 * Fork: plain data.
 */
typedef struct millpond_stats {
    /**
     * sizeof(millpond_stats), set by MILLPOND_STATS_INIT.
     */
    size_t struct_size;
    /**
     * Buffers created because none was idle.
     */
    uint64_t allocations;
    /**
     * Leases taken.
     */
    uint64_t gets;
    /**
     * Leases given back.
     */
    uint64_t puts;
    /**
     * Leases that are out.
     */
    uint64_t in_use;
    /**
     * Gets above the largest class or beyond the limit: memory for one lease alone.
     */
    uint64_t oversized;
    /**
     * Buffers that came back and were not kept.
     */
    uint64_t discarded;
    /**
     * Gets served by an idle buffer.
     */
    uint64_t hits;
    /**
     * Bytes of capacity out on lease.
     */
    uint64_t live_bytes;
    /**
     * Bytes asked for of those.
     */
    uint64_t requested_bytes;
    /**
     * The difference of the two.
     */
    uint64_t waste_bytes;
    /**
     * Most bytes of capacity that were out at a time.
     */
    uint64_t peak_live_bytes;
    /**
     * Idle buffers kept for reuse.
     */
    uint64_t retained_buffers;
    /**
     * Their bytes.
     */
    uint64_t retained_bytes;
    /**
     * Most bytes that the pool may hold.
     */
    uint64_t limit_bytes;
    /**
     * Buffers that left the pool for good.
     */
    uint64_t detached;
    /**
     * Leases that their owner lost and the library took back.
     */
    uint64_t leaked;
    /**
     * Those of them whose memory cannot be used again.
     */
    uint64_t lost;
    /**
     * Bytes given back to the system by trim, maintain and decay.
     */
    uint64_t trimmed_bytes;
    /**
     * Buffers ever created.
     */
    uint64_t created;
    /**
     * Buffers gone: given back, detached or lost.
     */
    uint64_t destroyed;
    /**
     * Second puts refused.
     */
    uint64_t double_puts;
    /**
     * Other uses of a lease that was over, refused.
     */
    uint64_t stale_uses;
    /**
     * Puts into the wrong pool, refused.
     */
    uint64_t foreign_puts;
    /**
     * Puts that found something written behind the length.
     */
    uint64_t overruns;
    /**
     * Gets that failed at the limit.
     */
    uint64_t exhausted;
    /**
     * Leases that were to stand on guarded pages (`check` = "sample:N") and could not, for want of addresses or places.
     */
    uint64_t unguarded;
} millpond_stats;

/**
 * What one size class of a pool counted. Begin with MILLPOND_CLASS_STATS_INIT.
 *
 * Threads: Thread-compatible: a value, written during one call.
 * Fork: plain data.
 */
typedef struct millpond_class_stats {
    /**
     * sizeof(millpond_class_stats), set by MILLPOND_CLASS_STATS_INIT.
     */
    size_t struct_size;
    /**
     * Capacity of its buffers in bytes.
     */
    uint64_t size;
    /**
     * Leases taken.
     */
    uint64_t gets;
    /**
     * Leases given back.
     */
    uint64_t puts;
    /**
     * Leases that are out.
     */
    uint64_t in_use;
    /**
     * Buffers created because none was idle.
     */
    uint64_t allocations;
    /**
     * Gets served by an idle buffer.
     */
    uint64_t hits;
    /**
     * Idle buffers kept for reuse.
     */
    uint64_t retained_buffers;
    /**
     * Their bytes.
     */
    uint64_t retained_bytes;
    /**
     * Buffers that came back and were not kept.
     */
    uint64_t discarded;
    /**
     * Buffers that left the pool for good.
     */
    uint64_t detached;
    /**
     * Leases that their owner lost and the library took back.
     */
    uint64_t leaked;
} millpond_class_stats;

/**
 * One lease that is out. The struct never grows.
 *
 * Threads: Thread-compatible: a value, written during one call.
 * Fork: plain data.
 */
typedef struct millpond_leak {
    /**
     * The lease's handle: what millpond_put and millpond_lease_reclaim take.
     */
    uint64_t id;
    /**
     * What was asked for.
     */
    size_t len;
    /**
     * What the buffer holds.
     */
    size_t capacity;
    /**
     * Milliseconds since the get.
     */
    uint64_t age_ms;
    /**
     * Where the get was: "file:line" and a NUL, its beginning cut off where it is too long; "unknown" without call sites.
     */
    char site[MILLPOND_SITE_MAX];
} millpond_leak;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Names the version of the library that is running, such as "0.1.0".
 *
 * @return a string that lives as long as the process; never NULL
 *
 * Ownership: the library's; not to be freed.
 * Threads: Thread-safe.
 */
const char *millpond_version(void);

/**
 * Gives the version of the library that is running as one number: major * 1000000 + minor * 1000 + patch. Compare it with
 * MILLPOND_VERSION_NUMBER of the header the program was compiled with.
 *
 * @return the number
 *
 * Threads: Thread-safe.
 */
uint32_t millpond_version_number(void);

/**
 * Gives the message of this thread's last error: what happened, to which pool and size, and what to do.
 *
 * A call that succeeds leaves it as it is, so look at it only after a call that failed.
 *
 * @return NUL-terminated UTF-8 of at most 1023 bytes; "" when no call of this thread has failed yet; never NULL
 *
 * Ownership: the library's. It stays as it is until this thread's next failing call, and is gone when the thread ends.
 * Threads: Thread-safe; each thread has its own.
 */
const char *millpond_last_error(void);

/**
 * Names a status, such as "MILLPOND_ERR_DOUBLE_PUT".
 *
 * @param status any number
 * @return a string that lives as long as the process; "MILLPOND_ERR_UNKNOWN" for a number that is no status; never NULL
 *
 * Ownership: the library's; not to be freed.
 * Threads: Thread-safe.
 */
const char *millpond_status_name(int32_t status);

/**
 * Describes a status in one line. The message of `millpond_last_error` says more.
 *
 * @param status any number
 * @return a string that lives as long as the process; "not a status of millpond" for other numbers; never NULL
 *
 * Ownership: the library's; not to be freed.
 * Threads: Thread-safe.
 */
const char *millpond_status_description(int32_t status);

/**
 * Gives the process-wide pool, which needs no configuration, is named "default" and can be neither closed nor freed.
 *
 * @return its handle, always the same; 0 when it cannot be made (see millpond_last_error)
 *
 * Ownership: the library's.
 * Threads: Thread-safe.
 */
millpond_pool millpond_default_pool(void);

/**
 * Makes a pool.
 *
 * @param options what it is made with, begun with MILLPOND_POOL_OPTIONS_INIT
 * @param out_pool receives its handle
 * @return MILLPOND_OK
 * @return MILLPOND_ERR_NULL: `options` or `out_pool` is NULL
 * @return MILLPOND_ERR_INVALID_ARGUMENT: an option has a value that cannot be, or two contradict; the message names it
 * @return MILLPOND_ERR_NO_MEMORY: the system has no memory to give
 *
 * Ownership: the caller's until millpond_pool_free. The options stay the caller's and are not kept.
 * Threads: Thread-safe.
 */
millpond_status millpond_pool_new(const struct millpond_pool_options *options,
                                  millpond_pool *out_pool);

/**
 * Closes a pool: from now on a get is MILLPOND_ERR_CLOSED, and idle memory goes back to the system. Leases that are out stay
 * valid, and their memory goes back at their put. Statistics and the list of leaks can still be read. Closing a closed pool
 * is MILLPOND_OK.
 *
 * @param pool the pool
 * @return MILLPOND_OK
 * @return MILLPOND_ERR_INVALID_HANDLE: `pool` is no pool, or was freed
 * @return MILLPOND_ERR_INVALID_ARGUMENT: it is the default pool
 *
 * Ownership: the handle stays the caller's.
 * Threads: Thread-safe.
 */
millpond_status millpond_pool_close(millpond_pool pool);

/**
 * Closes a pool and ends its handle: every later use of it is MILLPOND_ERR_INVALID_HANDLE, except that leases which are out
 * can still be put.
 *
 * @param pool the pool
 * @return MILLPOND_OK
 * @return MILLPOND_ERR_INVALID_HANDLE: `pool` is no pool, or was freed before
 * @return MILLPOND_ERR_INVALID_ARGUMENT: it is the default pool
 *
 * Ownership: the handle is over.
 * Threads: Thread-safe.
 */
millpond_status millpond_pool_free(millpond_pool pool);

/**
 * Tells whether a pool is closed.
 *
 * @param pool the pool
 * @param out_closed receives the answer
 * @return MILLPOND_OK
 * @return MILLPOND_ERR_NULL: `out_closed` is NULL
 * @return MILLPOND_ERR_INVALID_HANDLE: `pool` is no pool, or was freed
 *
 * Threads: Thread-safe.
 */
millpond_status millpond_pool_is_closed(millpond_pool pool, bool *out_closed);

/**
 * Copies the pool's name and a NUL into the caller's memory, cut where the room does not suffice.
 *
 * @param pool the pool
 * @param buffer room for `capacity` bytes; MILLPOND_NAME_MAX + 1 always suffice; NULL only with 0
 * @param capacity the room
 * @param out_len receives the whole name's length without the NUL
 * @return MILLPOND_OK
 * @return MILLPOND_ERR_NULL: `out_len` is NULL, or `buffer` is with a capacity
 * @return MILLPOND_ERR_INVALID_ARGUMENT: no object can be as large as `capacity`
 * @return MILLPOND_ERR_INVALID_HANDLE: `pool` is no pool, or was freed
 *
 * Threads: Thread-safe.
 */
millpond_status millpond_pool_name(millpond_pool pool, char *buffer, size_t capacity, size_t *out_len);

/**
 * Gives all idle memory of a pool back to the system now, that of every thread's cache included.
 *
 * @param pool the pool
 * @param out_bytes receives the bytes given back
 * @return MILLPOND_OK
 * @return MILLPOND_ERR_NULL: `out_bytes` is NULL
 * @return MILLPOND_ERR_INVALID_HANDLE: `pool` is no pool, or was freed
 *
 * Threads: Thread-safe.
 */
millpond_status millpond_pool_trim(millpond_pool pool, size_t *out_bytes);

/**
 * Takes one look at a pool's idle memory: half of what was not needed since the last look goes back to the system. Call it
 * now and then, or set `maintain_every_ms`.
 *
 * @param pool the pool
 * @param out_bytes receives the bytes given back
 * @return MILLPOND_OK
 * @return MILLPOND_ERR_NULL: `out_bytes` is NULL
 * @return MILLPOND_ERR_INVALID_HANDLE: `pool` is no pool, or was freed
 *
 * Threads: Thread-safe.
 */
millpond_status millpond_pool_maintain(millpond_pool pool,
                                       size_t *out_bytes);

/**
 * Changes how closely a pool looks at its leases, from the next get and put on.
 *
 * "on", the default: handles and canaries are checked. "sites": places and threads of gets and puts are recorded too, and
 * errors name them. "sample:N": as "on", and each N-th lease of up to 1 MiB of a thread stands on pages of its own, so that a
 * write past its end and a use after its put fault at the instruction; see millpond_report_faults. "full": as "sites", and
 * buffers are used again as late as possible, filled with a pattern meanwhile, so that a write after the put is found.
 * "off", without canaries, is only for the making of a pool.
 *
 * @param pool the pool
 * @param check the mode, a NUL-terminated string
 * @return MILLPOND_OK
 * @return MILLPOND_ERR_NULL: `check` is NULL
 * @return MILLPOND_ERR_INVALID_ARGUMENT: `check` is none of these, or the change is to or from "off"
 * @return MILLPOND_ERR_INVALID_HANDLE: `pool` is no pool, or was freed
 *
 * Ownership: `check` stays the caller's.
 * Threads: Thread-safe.
 */
millpond_status millpond_pool_set_check(millpond_pool pool,
                                        const char *check);

/**
 * Copies the name of a pool's mode, as millpond_pool_set_check takes it.
 *
 * @param pool the pool
 * @param buffer receives as much of the name as fits, and a NUL; may be NULL if `capacity` is 0
 * @param capacity bytes at `buffer`; 32 are enough for any
 * @param out_len receives the whole length in bytes without the NUL
 * @return MILLPOND_OK
 * @return MILLPOND_ERR_NULL: `buffer` is NULL though `capacity` is not 0, or `out_len` is NULL
 * @return MILLPOND_ERR_INVALID_ARGUMENT: no object can be as large as `capacity`
 * @return MILLPOND_ERR_INVALID_HANDLE: `pool` is no pool, or was freed
 *
 * Threads: Thread-safe.
 */
millpond_status millpond_pool_check(millpond_pool pool, char *buffer, size_t capacity, size_t *out_len);

/**
 * Installs, once for the process, a handler of SIGSEGV and SIGBUS that writes on standard error whose lease it was when the
 * address belongs to one that stands on guarded pages (`check` = "sample:N"), and then lets the handler run that stood before.
 *
 * @return MILLPOND_OK, also when it is installed already
 * @return MILLPOND_ERR_IO: the system refuses
 *
 * Threads: Thread-safe.
 * Fork: a child has the handler too.
 */
millpond_status millpond_report_faults(void);

/**
 * Makes a pool fail or dawdle from now on, to test what a program does then.
 *
 * `what` is a list separated by commas: "get=N" fails the N-th get from now with MILLPOND_ERR_EXHAUSTED, "alloc=N" the N-th
 * creation of a buffer with MILLPOND_ERR_NO_MEMORY, "p=P" each get with the probability P, 0.0 to 1.0, by a sequence that
 * "seed=N" chooses, and "delay=N" makes each put take N milliseconds longer. The empty text ends it. The environment variable
 * MILLPOND_INJECT says the same for all pools.
 *
 * @param pool the pool
 * @param what the list, a NUL-terminated string of at most 256 bytes
 * @return MILLPOND_OK
 * @return MILLPOND_ERR_NULL: `what` is NULL
 * @return MILLPOND_ERR_INVALID_ARGUMENT: `what` has something else in it
 * @return MILLPOND_ERR_INVALID_HANDLE: `pool` is no pool, or was freed
 *
 * Ownership: `what` stays the caller's.
 * Threads: Thread-safe.
 */
millpond_status millpond_pool_inject(millpond_pool pool,
                                     const char *what);

/**
 * Takes a lease of `len` bytes. What happens at the pool's limit is the pool's policy (`on_limit`).
 *
 * In the header this name is also a macro that passes the call site to millpond_get_at, unless MILLPOND_NO_SITES is defined.
 *
 * @param pool the pool to take from
 * @param len bytes, 0 included
 * @param out_lease receives the lease
 * @return MILLPOND_OK
 * @return MILLPOND_ERR_NULL: `out_lease` is NULL
 * @return MILLPOND_ERR_INVALID_HANDLE: `pool` is no pool, or was freed
 * @return MILLPOND_ERR_CLOSED: the pool is closed
 * @return MILLPOND_ERR_EXHAUSTED: the pool's limit is reached
 * @return MILLPOND_ERR_INVALID_ARGUMENT: no object can be as large as `len`
 * @return MILLPOND_ERR_NO_MEMORY: the system has no memory to give
 *
 * Ownership: the caller's until millpond_put, millpond_put_used, millpond_detach or millpond_lease_reclaim.
 * Threads: Thread-safe.
 */
millpond_status millpond_get(millpond_pool pool,
                             size_t len,
                             struct millpond_lease *out_lease);

/**
 * Takes a lease as millpond_get does, and names the call site for messages and leak lists.
 *
 * @param pool the pool to take from
 * @param len bytes, 0 included
 * @param out_lease receives the lease
 * @param file name of the source file, a string that lives as long as the process; NULL: unknown
 * @param line line in it
 * @return as millpond_get
 *
 * Ownership: the lease as with millpond_get; `file` stays the caller's and is kept by address.
 * Threads: Thread-safe.
 */
millpond_status millpond_get_at(millpond_pool pool,
                                size_t len,
                                struct millpond_lease *out_lease,
                                const char *file,
                                uint32_t line);

/**
 * Takes a lease without waiting and without going beyond the limit, whatever the pool's policy.
 *
 * @param pool the pool to take from
 * @param len bytes, 0 included
 * @param out_lease receives the lease
 * @return as millpond_get; MILLPOND_ERR_EXHAUSTED at once when the limit is reached
 *
 * Ownership: as millpond_get.
 * Threads: Thread-safe.
 */
millpond_status millpond_try_get(millpond_pool pool, size_t len, struct millpond_lease *out_lease);

/**
 * Takes a lease as millpond_try_get does, and names the call site.
 *
 * @param pool the pool to take from
 * @param len bytes, 0 included
 * @param out_lease receives the lease
 * @param file as for millpond_get_at
 * @param line line in it
 * @return as millpond_try_get
 *
 * Ownership: as millpond_get_at.
 * Threads: Thread-safe.
 */
millpond_status millpond_try_get_at(millpond_pool pool,
                                    size_t len,
                                    struct millpond_lease *out_lease,
                                    const char *file,
                                    uint32_t line);

/**
 * Takes a lease and waits at the limit for a put, at most `timeout_ms`, whatever the pool's policy.
 *
 * @param pool the pool to take from
 * @param len bytes, 0 included
 * @param timeout_ms milliseconds; 0 does not wait
 * @param out_lease receives the lease
 * @return as millpond_get; MILLPOND_ERR_EXHAUSTED when the time is over
 *
 * Ownership: as millpond_get.
 * Threads: Thread-safe.
 */
millpond_status millpond_get_timeout(millpond_pool pool,
                                     size_t len,
                                     uint64_t timeout_ms,
                                     struct millpond_lease *out_lease);

/**
 * Takes a lease as millpond_get_timeout does, and names the call site.
 *
 * @param pool the pool to take from
 * @param len bytes, 0 included
 * @param timeout_ms milliseconds; 0 does not wait
 * @param out_lease receives the lease
 * @param file as for millpond_get_at
 * @param line line in it
 * @return as millpond_get_timeout
 *
 * Ownership: as millpond_get_at.
 * Threads: Thread-safe.
 */
millpond_status millpond_get_timeout_at(millpond_pool pool,
                                        size_t len,
                                        uint64_t timeout_ms,
                                        struct millpond_lease *out_lease,
                                        const char *file,
                                        uint32_t line);

/**
 * Gives a lease back. The whole length counts as written.
 *
 * Also works after the pool was closed or freed: a live lease can always be put through the pool it came from.
 *
 * @param pool the pool it came from
 * @param lease_id `id` of the lease
 * @return MILLPOND_OK: the lease is over, `data` must not be touched any more
 * @return MILLPOND_ERR_DOUBLE_PUT: it was put before; nothing changed
 * @return MILLPOND_ERR_FOREIGN_LEASE: it is another pool's; it stays live
 * @return MILLPOND_ERR_BUSY: it is pinned; it stays live
 * @return MILLPOND_ERR_OVERRUN: something was written behind its length; it is over, and the buffer is not used again
 * @return MILLPOND_ERR_INVALID_HANDLE: `pool` or `lease_id` is no handle of this process
 *
 * Ownership: back to the library, unless the lease stays live.
 * Threads: Thread-safe; of several puts of one lease exactly one succeeds.
 */
millpond_status millpond_put(millpond_pool pool,
                             uint64_t lease_id);

/**
 * Gives a lease back as millpond_put does, and names the call site.
 *
 * @param pool the pool it came from
 * @param lease_id `id` of the lease
 * @param file as for millpond_get_at
 * @param line line in it
 * @return as millpond_put
 *
 * Ownership: as millpond_put.
 * Threads: Thread-safe.
 */
millpond_status millpond_put_at(millpond_pool pool, uint64_t lease_id, const char *file, uint32_t line);

/**
 * Gives a lease back of which only the first `used` bytes were written: only those are cleared, which is the faster the
 * larger the lease is. It is the caller's word; bytes written behind `used` may be seen by the next tenant.
 *
 * @param pool the pool it came from
 * @param lease_id `id` of the lease
 * @param used bytes written, 0 to the lease's length
 * @return as millpond_put
 * @return MILLPOND_ERR_INVALID_ARGUMENT: `used` is larger than the length; it stays live
 *
 * Ownership: as millpond_put.
 * Threads: Thread-safe.
 */
millpond_status millpond_put_used(millpond_pool pool,
                                  uint64_t lease_id,
                                  size_t used);

/**
 * Gives a lease back as millpond_put_used does, and names the call site.
 *
 * @param pool the pool it came from
 * @param lease_id `id` of the lease
 * @param used bytes written, 0 to the lease's length
 * @param file as for millpond_get_at
 * @param line line in it
 * @return as millpond_put_used
 *
 * Ownership: as millpond_put.
 * Threads: Thread-safe.
 */
millpond_status millpond_put_used_at(millpond_pool pool,
                                     uint64_t lease_id,
                                     size_t used,
                                     const char *file,
                                     uint32_t line);

/**
 * Finds the memory of a live lease by its handle: the way to check a handle before its memory is touched.
 *
 * @param lease_id `id` of the lease
 * @param out_lease receives what get gave
 * @return MILLPOND_OK
 * @return MILLPOND_ERR_NULL: `out_lease` is NULL
 * @return MILLPOND_ERR_USE_AFTER_PUT: the lease is over
 * @return MILLPOND_ERR_INVALID_HANDLE: `lease_id` is no lease of this process
 *
 * Ownership: unchanged.
 * Threads: Thread-safe; another thread's put after the look-up ends the lease all the same. See millpond_lease_pin.
 */
millpond_status millpond_lease_lookup(uint64_t lease_id,
                                      struct millpond_lease *out_lease);

/**
 * Tells which pool a live lease came from.
 *
 * @param lease_id `id` of the lease
 * @param out_pool receives the pool's handle
 * @return as millpond_lease_lookup; MILLPOND_ERR_NULL: `out_pool` is NULL
 *
 * Ownership: unchanged; the handle is not to be freed once more for this call.
 * Threads: Thread-safe.
 */
millpond_status millpond_lease_pool(uint64_t lease_id, millpond_pool *out_pool);

/**
 * Holds a lease while somebody else, such as asynchronous input, works on its memory: until as many millpond_lease_unpin,
 * a put is MILLPOND_ERR_BUSY.
 *
 * @param lease_id `id` of the lease
 * @return MILLPOND_OK
 * @return MILLPOND_ERR_USE_AFTER_PUT: the lease is over
 * @return MILLPOND_ERR_INVALID_HANDLE: `lease_id` is no lease of this process
 *
 * Ownership: unchanged.
 * Threads: Thread-safe.
 */
millpond_status millpond_lease_pin(uint64_t lease_id);

/**
 * Undoes one millpond_lease_pin.
 *
 * @param lease_id `id` of the lease
 * @return MILLPOND_OK
 * @return MILLPOND_ERR_INVALID_ARGUMENT: it is not pinned
 * @return MILLPOND_ERR_USE_AFTER_PUT: the lease is over
 * @return MILLPOND_ERR_INVALID_HANDLE: `lease_id` is no lease of this process
 *
 * Ownership: unchanged.
 * Threads: Thread-safe.
 */
millpond_status millpond_lease_unpin(uint64_t lease_id);

/**
 * Takes back a lease that its owner lost, for garbage collectors of other languages: counted in `leaked` instead of `puts`.
 *
 * @param pool the pool it came from
 * @param lease_id `id` of the lease
 * @return MILLPOND_OK: the lease is over
 * @return MILLPOND_ERR_FOREIGN_LEASE: it is another pool's; it stays live
 * @return MILLPOND_ERR_BUSY: it is pinned; it stays live
 * @return MILLPOND_ERR_USE_AFTER_PUT: it was put before; nothing changed
 * @return MILLPOND_ERR_INVALID_HANDLE: `pool` or `lease_id` is no handle of this process
 *
 * Ownership: back to the library. Nobody may refer to the memory any more: that is the caller's word.
 * Threads: Thread-safe.
 */
millpond_status millpond_lease_reclaim(millpond_pool pool,
                                       uint64_t lease_id);

/**
 * Takes a lease's buffer out of its pool for good: plain memory of the caller, which outlives the pool.
 *
 * @param pool the pool it came from
 * @param lease_id `id` of the lease
 * @param out_detached receives the memory, with the lease's contents
 * @return MILLPOND_OK: the lease is over
 * @return MILLPOND_ERR_NULL: `out_detached` is NULL
 * @return MILLPOND_ERR_USE_AFTER_PUT: the lease is over already
 * @return MILLPOND_ERR_FOREIGN_LEASE: it is another pool's; it stays live
 * @return MILLPOND_ERR_BUSY: it is pinned; it stays live
 * @return MILLPOND_ERR_OVERRUN: something was written behind its length; it is over, and the buffer is not used again
 * @return MILLPOND_ERR_INVALID_HANDLE: `pool` or `lease_id` is no handle of this process
 * @return MILLPOND_ERR_NO_MEMORY: the system has no memory to give; the lease stays live
 *
 * Ownership: the caller's until millpond_detached_free.
 * Threads: Thread-safe.
 */
millpond_status millpond_detach(millpond_pool pool,
                                uint64_t lease_id,
                                struct millpond_detached *out_detached);

/**
 * Frees detached memory.
 *
 * @param detached_id `id` of the detached memory
 * @return MILLPOND_OK
 * @return MILLPOND_ERR_INVALID_HANDLE: it is no detached memory, or was freed before
 *
 * Ownership: the memory is over.
 * Threads: Thread-safe; of several frees exactly one succeeds.
 */
millpond_status millpond_detached_free(uint64_t detached_id);

/**
 * Reads what a pool counted, without stopping it.
 *
 * @param pool the pool
 * @param out_stats receives the figures; its `struct_size` says how much room there is
 * @return MILLPOND_OK
 * @return MILLPOND_ERR_NULL: `out_stats` is NULL
 * @return MILLPOND_ERR_INVALID_ARGUMENT: `struct_size` is not set
 * @return MILLPOND_ERR_INVALID_HANDLE: `pool` is no pool, or was freed
 *
 * Threads: Thread-safe; while other threads work, figures of one reading may be of slightly different moments.
 */
millpond_status millpond_pool_stats(millpond_pool pool,
                                    struct millpond_stats *out_stats);

/**
 * Counts a pool's size classes.
 *
 * @param pool the pool
 * @param out_count receives the number, 1 to 128
 * @return MILLPOND_OK
 * @return MILLPOND_ERR_NULL: `out_count` is NULL
 * @return MILLPOND_ERR_INVALID_HANDLE: `pool` is no pool, or was freed
 *
 * Threads: Thread-safe.
 */
millpond_status millpond_pool_class_count(millpond_pool pool, size_t *out_count);

/**
 * Reads what one size class of a pool counted.
 *
 * @param pool the pool
 * @param index 0 for the smallest class, up to the number of classes less 1
 * @param out_stats receives the figures; its `struct_size` says how much room there is
 * @return MILLPOND_OK
 * @return MILLPOND_ERR_NULL: `out_stats` is NULL
 * @return MILLPOND_ERR_INVALID_ARGUMENT: there is no such class, or `struct_size` is not set
 * @return MILLPOND_ERR_INVALID_HANDLE: `pool` is no pool, or was freed
 *
 * Threads: Thread-safe.
 */
millpond_status millpond_pool_class_stats(millpond_pool pool,
                                          size_t index,
                                          struct millpond_class_stats *out_stats);

/**
 * Writes a pool's statistics in Prometheus' text format and a NUL into the caller's memory, cut where the room does not
 * suffice.
 *
 * @param pool the pool
 * @param buffer room for `capacity` bytes; NULL only with 0
 * @param capacity the room
 * @param out_len receives the whole text's length without the NUL
 * @return MILLPOND_OK
 * @return MILLPOND_ERR_NULL: `out_len` is NULL, or `buffer` is with a capacity
 * @return MILLPOND_ERR_INVALID_ARGUMENT: no object can be as large as `capacity`
 * @return MILLPOND_ERR_INVALID_HANDLE: `pool` is no pool, or was freed
 * @return MILLPOND_ERR_NO_MEMORY: there is none for the text
 *
 * Threads: Thread-safe.
 */
millpond_status millpond_pool_prometheus(millpond_pool pool,
                                         char *buffer,
                                         size_t capacity,
                                         size_t *out_len);

/**
 * Lists the leases that are out, oldest first. What stands here when a program ends was never put.
 *
 * @param pool the pool
 * @param leaks room for `capacity` of them; NULL only with 0
 * @param capacity the room
 * @param out_count receives the number of leases that are out, which may be more than there is room for
 * @return MILLPOND_OK
 * @return MILLPOND_ERR_NULL: `out_count` is NULL, or `leaks` is with a capacity
 * @return MILLPOND_ERR_INVALID_ARGUMENT: no object can have as many elements as `capacity`
 * @return MILLPOND_ERR_INVALID_HANDLE: `pool` is no pool, or was freed
 * @return MILLPOND_ERR_NO_MEMORY: there is none to bring the list in order
 *
 * Ownership: the leases stay as they are.
 * Threads: Thread-safe; a lease may be put while the list is read.
 */
millpond_status millpond_pool_leaks(millpond_pool pool,
                                    struct millpond_leak *leaks,
                                    size_t capacity,
                                    size_t *out_count);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* MILLPOND_H */

/** Value to begin a millpond_pool_options with: everything default. */
#define MILLPOND_POOL_OPTIONS_INIT \
    {sizeof(millpond_pool_options), NULL, NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL}

/** Value to begin a millpond_stats with. */
#define MILLPOND_STATS_INIT \
    {sizeof(millpond_stats), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

/** Value to begin a millpond_class_stats with. */
#define MILLPOND_CLASS_STATS_INIT {sizeof(millpond_class_stats), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

/*
 * Call sites: unless MILLPOND_NO_SITES is defined before this header is included, gets and puts tell where they are called.
 * The library keeps the address of __FILE__, so code that may be unloaded (dlclose) while its leases live defines it.
 */
#ifndef MILLPOND_NO_SITES
#define millpond_get(pool, len, out_lease) millpond_get_at((pool), (len), (out_lease), __FILE__, __LINE__)
#define millpond_try_get(pool, len, out_lease) millpond_try_get_at((pool), (len), (out_lease), __FILE__, __LINE__)
#define millpond_get_timeout(pool, len, timeout_ms, out_lease) \
    millpond_get_timeout_at((pool), (len), (timeout_ms), (out_lease), __FILE__, __LINE__)
#define millpond_put(pool, lease_id) millpond_put_at((pool), (lease_id), __FILE__, __LINE__)
#define millpond_put_used(pool, lease_id, used) \
    millpond_put_used_at((pool), (lease_id), (used), __FILE__, __LINE__)
#endif
