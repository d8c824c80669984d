/// <reference types="node" />

import type { FileHandle } from 'node:fs/promises'
import type { Socket } from 'node:net'

/**
 * The addon's version, that of the package.
 */
export const version: string

/**
 * What went wrong, for `error.code`. The README's section about errors says what to do.
 */
export type MillpondErrorCode =
  | 'ERR_MILLPOND_INVALID_ARGUMENT'
  | 'ERR_MILLPOND_DOUBLE_PUT'
  | 'ERR_MILLPOND_USE_AFTER_PUT'
  | 'ERR_MILLPOND_FOREIGN_LEASE'
  | 'ERR_MILLPOND_BUSY'
  | 'ERR_MILLPOND_OVERRUN'
  | 'ERR_MILLPOND_INVALID_HANDLE'
  | 'ERR_MILLPOND_EXHAUSTED'
  | 'ERR_MILLPOND_CLOSED'
  | 'ERR_MILLPOND_NO_MEMORY'
  | 'ERR_MILLPOND_IO'
  | 'ERR_MILLPOND_PANIC'

/**
 * An error of a pool or a lease. The message names the pool and the size and says what to do.
 */
export class MillpondError extends Error {
  constructor(code: MillpondErrorCode, message: string)
  readonly name: 'MillpondError'
  readonly code: MillpondErrorCode
}

/**
 * How closely a pool looks at its leases.
 *
 * - `off`: no looking behind the length in other languages; decided when the pool is made.
 * - `on`: the default.
 * - `sites`: places of gets and puts are recorded; errors, warnings and `leaks()` name them. No thread keeps idle buffers
 *   for itself, so that each get and put asks the core.
 * - `sample:N`, N from 1: as `on`, and each N-th lease of up to 1 MiB of a thread stands on pages of its own, which are
 *   inaccessible from the put on: {@link reportFaults} says who touches them. Memory of V8's own cannot be guarded: where
 *   the host refuses any other, `unguarded` counts those leases.
 * - `full`: as `sites`, and a buffer that was put is filled with a pattern and used again as late as possible; what is
 *   written into it meanwhile is told on standard error, with the places of get and put.
 */
export type Check = 'off' | 'on' | 'sites' | 'full' | `sample:${number}`

/**
 * How a pool is made. Every option may be left out; the defaults are finite.
 */
export interface PoolOptions {
  /**
   * 1 to 64 bytes of printable text, used in messages and metrics. Default: `pool-` and a number.
   */
  name?: string
  /**
   * The capacities that the pool hands out, in bytes: nine from 512 bytes to 16 MiB (`'default'`), a list (ascending
   * multiples of 64, from 64 bytes to 1 GiB, 128 at most), or four per doubling from `min` (a power of two from 256)
   * to `max`.
   */
  classes?: 'default' | readonly number[] | { readonly min: number; readonly max: number }
  /**
   * Most bytes of leases and idle buffers together. Default: a quarter of the memory or of the control group's limit.
   */
  maxBytes?: number
  /**
   * Most bytes of idle buffers; 0 keeps nothing. Default: a sixteenth of `maxBytes`, from 1 to 256 MiB.
   */
  maxRetainedBytes?: number
  /**
   * What a get does at the limit: throw EXHAUSTED (`'fail'`, the default), take a buffer of its own beyond the limit
   * (`'unpooled'`), or, for `getAsync` only, wait so many milliseconds; `get` never blocks the event loop.
   */
  onLimit?: 'fail' | 'unpooled' | { readonly wait: number }
  /**
   * When a buffer is cleared between two tenants: at put (`'onPut'`, the default), when it is handed out (`'onGet'`),
   * or never. With `'never'` contents are unspecified and may be an earlier tenant's: for pools with one tenant.
   */
  clear?: 'onPut' | 'onGet' | 'never'
  /**
   * Alignment of the memory in bytes, a power of two from 64 to 2 MiB. Default 64.
   */
  alignment?: number
  /**
   * Bytes of idle buffers that each thread keeps for itself. Default 32 MiB; 0 for none: every get and put then asks
   * the core, which costs about a microsecond.
   */
  threadCacheBytes?: number
  /**
   * How closely the pool looks at its leases. Default: what the environment variable `MILLPOND_CHECK` says, or `'on'`.
   */
  check?: Check
  /**
   * Gives idle memory back by and by, with a look each so many milliseconds (at least 1). Default: only when
   * `maintain()` is called. The timer does not keep the process alive.
   */
  maintainEvery?: number
}

/**
 * Options of a put.
 */
export interface PutOptions {
  /**
   * Only so many bytes from the start were written: less to clear. The caller's word is taken for it; bytes written
   * behind them reach the next tenant.
   */
  used?: number
  /**
   * `false` leaves the Buffer usable after the put, and saves about two thirds of the time. **Dangerous:** whoever
   * kept it reads and writes the next tenant's bytes. Only for code that keeps no Buffer beyond the put. Where the pool
   * looks closely nobody else gets the memory while the Buffer lives: a guarded lease's is inaccessible, in mode `full`
   * a write is found. In mode `sites`, and while something is injected, it is detached all the same.
   */
  detach?: boolean
}

/**
 * Options of a read from a file.
 */
export interface ReadOptions {
  /**
   * Where in the file to begin; `null`, the default, reads on from the file's own position.
   */
  position?: number | null
  /**
   * Where in the lease to begin. Default 0.
   */
  offset?: number
  /**
   * How many bytes to read at most. Default: up to the end of the lease.
   */
  length?: number
}

/**
 * Options of a wait.
 */
export interface WaitOptions {
  /**
   * Milliseconds to wait at most. Default: those of the pool's `onLimit`, otherwise without end.
   */
  timeout?: number
  /**
   * Ends the wait; the promise is rejected with the signal's reason.
   */
  signal?: AbortSignal
}

/**
 * A lease on its way to another thread: a BigInt that `postMessage` takes. Good for one `Lease.adopt`.
 */
export type LeaseToken = bigint

/**
 * The right to use one buffer, from get to put. Made by a pool.
 *
 * A lease belongs to the thread that got it; `postMessage` and `structuredClone` refuse it. Send it with
 * {@link Lease.transfer}.
 *
 * *Thread-bound.*
 */
export class Lease implements Disposable {
  private constructor()

  /**
   * Makes a lease of one that another thread sent with {@link Lease.transfer}. Its contents come along, its pool is
   * the sender's.
   *
   * @throws {ERR_MILLPOND_INVALID_HANDLE} the token was adopted before, or nobody made it
   * @throws {ERR_MILLPOND_INVALID_ARGUMENT} the token is no BigInt
   */
  static adopt(token: LeaseToken): Lease

  /**
   * The memory: a Buffer of exactly `length` bytes, all zero unless the pool's `clear` is `'never'`. The same object
   * each time. After the put it is detached: its length is 0.
   *
   * Its own `buffer.buffer` is an ArrayBuffer of the whole size class; bytes written there behind the length make put
   * fail with OVERRUN. Transferring that ArrayBuffer away loses the memory for the pool. A lease's Buffer has a
   * prototype of its own: compare with `equals`, not with `assert.deepStrictEqual`.
   *
   * @throws {ERR_MILLPOND_USE_AFTER_PUT} the lease is over
   */
  readonly buffer: Buffer<ArrayBuffer>
  /**
   * The bytes asked for.
   *
   * @throws {ERR_MILLPOND_USE_AFTER_PUT} the lease is over
   */
  readonly length: number
  /**
   * The bytes that the buffer holds; only `length` of them are yours.
   *
   * @throws {ERR_MILLPOND_USE_AFTER_PUT} the lease is over
   */
  readonly capacity: number
  /**
   * The pool it is from, also after the put.
   */
  readonly pool: Pool

  /**
   * Gives the buffer back. The lease is over and its Buffers are detached.
   *
   * @throws {ERR_MILLPOND_DOUBLE_PUT} it was put before; nothing changes
   * @throws {ERR_MILLPOND_BUSY} it is pinned; it stays live
   * @throws {ERR_MILLPOND_OVERRUN} bytes behind the length were written; the lease is over, the buffer discarded
   * @throws {ERR_MILLPOND_FOREIGN_LEASE} its ArrayBuffer was transferred away; the lease is over, the memory lost
   * @throws {ERR_MILLPOND_INVALID_ARGUMENT} an option is wrong; it stays live
   */
  put(options?: PutOptions): void
  /**
   * The same as {@link Lease.put}.
   */
  release(options?: PutOptions): void
  /**
   * Puts the lease at the end of a `using` scope; silent when it was put before. While it is pinned it throws BUSY,
   * and the last `unpin` puts it.
   */
  [Symbol.dispose](): void

  /**
   * Holds the lease for an asynchronous operation that reads or writes its memory: until the matching `unpin` a put
   * is BUSY. Detaching a Buffer does not stop a read that the system has begun. Returns the Buffer.
   *
   * @throws {ERR_MILLPOND_USE_AFTER_PUT} the lease is over
   */
  pin(): Buffer<ArrayBuffer>
  /**
   * Undoes one `pin`.
   *
   * @throws {ERR_MILLPOND_USE_AFTER_PUT} the lease is over
   * @throws {ERR_MILLPOND_INVALID_ARGUMENT} it is not pinned
   */
  unpin(): void
  /**
   * Reads from a file into the lease until `length` bytes are there or the file ends; pinned meanwhile.
   *
   * @returns the bytes read
   * @throws {ERR_MILLPOND_USE_AFTER_PUT} the lease is over
   * @throws {ERR_MILLPOND_INVALID_ARGUMENT} an argument is wrong
   */
  readFrom(file: Pick<FileHandle, 'read'>, options?: ReadOptions): Promise<number>
  /**
   * Copies bytes `start` to `end` into a Buffer of their own, which outlives the lease. Default: all.
   *
   * @throws {ERR_MILLPOND_USE_AFTER_PUT} the lease is over
   * @throws {ERR_MILLPOND_INVALID_ARGUMENT} `start` or `end` is outside the lease
   */
  copyOut(start?: number, end?: number): Buffer<ArrayBuffer>
  /**
   * Takes the buffer out of the pool for good: the Buffer returned is plain memory, the caller's own, freed by the
   * collector. Copied below 64 KiB. The lease is over, its earlier Buffers are detached.
   *
   * @throws {ERR_MILLPOND_USE_AFTER_PUT} the lease is over
   * @throws {ERR_MILLPOND_BUSY} it is pinned; it stays live
   * @throws {ERR_MILLPOND_FOREIGN_LEASE} its ArrayBuffer was transferred away; the lease is over, the memory lost
   * @throws {ERR_MILLPOND_NO_MEMORY} there is none; the lease is over
   */
  detach(): Buffer<ArrayBuffer>
  /**
   * Ends the lease here, for another thread to {@link Lease.adopt}: send the token with `postMessage`. Costs no copy.
   * It counts as in use until somebody adopts and puts it.
   *
   * @throws {ERR_MILLPOND_USE_AFTER_PUT} the lease is over
   * @throws {ERR_MILLPOND_BUSY} it is pinned; it stays live
   * @throws {ERR_MILLPOND_OVERRUN} bytes behind the length were written; the lease is over, the buffer discarded
   * @throws {ERR_MILLPOND_FOREIGN_LEASE} its ArrayBuffer was transferred away; the lease is over, the memory lost
   */
  transfer(): LeaseToken
}

/**
 * What a size class did and holds; the fields mean the same as those of {@link PoolStats}.
 */
export interface ClassStats {
  /** Capacity of the class in bytes. */
  size: number
  gets: number
  puts: number
  inUse: number
  allocations: number
  hits: number
  retainedBuffers: number
  retainedBytes: number
  discarded: number
  detached: number
  leaked: number
}

/**
 * What a pool did and holds, exact, over all threads and languages of the process. While nobody uses the pool
 * `gets = puts + inUse + detached + leaked` and `created - destroyed = inUse + retainedBuffers`.
 */
export interface PoolStats {
  /** Buffers created because none was idle. */
  allocations: number
  /** Leases taken. */
  gets: number
  /** Leases given back. */
  puts: number
  /** Leases that are out. */
  inUse: number
  /** Leases above the largest size class. */
  oversized: number
  /** Buffers that were given back and not kept. */
  discarded: number
  /** Gets that found an idle buffer. */
  hits: number
  /** Capacity of the leases that are out, in bytes. */
  liveBytes: number
  /** Length of the leases that are out, in bytes. */
  requestedBytes: number
  /** Capacity beyond the length of the leases that are out, in bytes. */
  wasteBytes: number
  /** The most live bytes at the creation of a buffer and when statistics were read. */
  peakLiveBytes: number
  /** Idle buffers kept for reuse. */
  retainedBuffers: number
  /** Capacity of the idle buffers, in bytes. */
  retainedBytes: number
  /** The limit for live and idle bytes. */
  limitBytes: number
  /** Leases whose buffer left the pool for good. */
  detached: number
  /** Leases that were lost and found by the collector. */
  leaked: number
  /** Leaked leases whose memory somebody else took. */
  lost: number
  /** Capacity of idle buffers given back to the system by trim and decay, in bytes. */
  trimmedBytes: number
  /** Buffers that ever existed. */
  created: number
  /** Buffers that exist no more in the pool. */
  destroyed: number
  /** Puts of a lease that was put before. */
  doublePuts: number
  /** Uses of a lease after its put. */
  staleUses: number
  /** Puts of another pool's lease. */
  foreignPuts: number
  /** Puts that found bytes written behind the length. */
  overruns: number
  /** Gets that failed at the limit. */
  exhausted: number
  /** Leases that were to stand on guarded pages and could not, for want of addresses or places. */
  unguarded: number
  /** The same for each size class, ascending. */
  classes: ClassStats[]
}

/**
 * A lease that is out.
 */
export interface LeakRecord {
  /** The bytes asked for. */
  length: number
  /** The bytes that the buffer holds. */
  capacity: number
  /** Milliseconds since the get. */
  age: number
  /** Where it was got: of every lease when the pool's `check` is `sites` or `full`, of few otherwise; or `unknown`. */
  site: string
  /** `main`, `worker` and a number, `between threads`, or empty where only the core knows. */
  thread: string
}

/**
 * The `onread` option of a socket; see {@link Pool.onread}.
 */
export interface OnRead {
  buffer(): Uint8Array
  callback(this: Socket, bytesRead: number, buffer: Uint8Array): boolean
  /**
   * Gives back the lease that waits for the next read. A socket that closes after its first read does it by itself.
   */
  end(): void
}

/**
 * A named set of reusable buffers with limits and statistics.
 *
 * Pools are the process's: worker threads use the same one by its `id`. A `Pool` object belongs to its thread. The
 * pool closes when no thread holds it any more.
 *
 * *Thread-bound;* the pool behind it is thread-safe.
 */
export class Pool implements Disposable {
  /**
   * @throws {ERR_MILLPOND_INVALID_ARGUMENT} an option is unknown, has the wrong type or value, or contradicts another
   * @throws {ERR_MILLPOND_NO_MEMORY}
   */
  constructor(options?: PoolOptions)

  /**
   * Returns the pool with this `id`, for a worker thread. The thread that sends the id keeps its own `Pool` until then.
   *
   * @throws {ERR_MILLPOND_INVALID_HANDLE} there is no such pool, or no longer
   * @throws {ERR_MILLPOND_INVALID_ARGUMENT} the id is no BigInt
   */
  static fromId(id: bigint): Pool

  /** Stands for the pool in messages to worker threads; never used again for another one. */
  readonly id: bigint
  readonly name: string
  /** The capacities that the pool hands out, in bytes, ascending. */
  readonly classSizes: number[]
  readonly closed: boolean
  /** How closely the pool looks at its leases. */
  readonly check: Check

  /**
   * Takes a lease of `length` bytes, 0 or more. Never blocks.
   *
   * @throws {ERR_MILLPOND_INVALID_ARGUMENT} `length` is no integer from 0 to 2^53 - 1
   * @throws {ERR_MILLPOND_EXHAUSTED} the limit is reached
   * @throws {ERR_MILLPOND_CLOSED} the pool is closed
   * @throws {ERR_MILLPOND_NO_MEMORY} the system gives none, or V8 makes no ArrayBuffer so large
   */
  get(length: number): Lease
  /**
   * The same, and never goes beyond the limit, also with `onLimit: 'unpooled'`. Throws as {@link Pool.get}.
   */
  tryGet(length: number): Lease
  /**
   * Takes a lease, waiting for a put while the limit is reached; first come, first served in this thread. The event
   * loop goes on. Rejects as {@link Pool.get} throws.
   */
  getAsync(length: number, options?: WaitOptions): Promise<Lease>
  /**
   * Gives a lease of this pool back; see {@link Lease.put}.
   *
   * @throws {ERR_MILLPOND_FOREIGN_LEASE} it is another pool's lease, which stays live
   * @throws {ERR_MILLPOND_INVALID_ARGUMENT} it is no lease
   */
  put(lease: Lease, options?: PutOptions): void
  /**
   * Makes the `onread` option of `net.connect`: every read fills a lease of `size` bytes, which the handler owns and
   * puts. When the handler returns false the socket pauses. A get that fails destroys the socket.
   *
   * @throws {ERR_MILLPOND_INVALID_ARGUMENT} an argument is wrong
   */
  onread(size: number, handler: (lease: Lease, bytesRead: number) => boolean | void): OnRead

  /** Reads the statistics; exact, and stops nobody. */
  stats(): PoolStats
  /**
   * Changes how closely the pool looks at its leases, in every thread and language; threads of Node follow at their next
   * get or put, whoever changes it. Leases that are out stay valid; their places are recorded only from here on.
   *
   * @throws {ERR_MILLPOND_INVALID_ARGUMENT} it is no such text, or changes to or from `off`; nothing changes
   */
  setCheck(check: Check): void
  /**
   * Makes the pool fail or dawdle from now on, to test what a program does then. A list separated by commas: `get=N` fails
   * the N-th get with EXHAUSTED, `alloc=N` the N-th creation of a buffer with NO_MEMORY, `p=P` each get with this
   * probability (0 to 1) by a sequence that `seed=N` chooses, `delay=N` makes each put of a lease got since block N
   * milliseconds longer. The empty text ends it. Default: what the environment variable `MILLPOND_INJECT` says.
   *
   * Meanwhile every get and put asks the core. Threads follow as with {@link Pool.setCheck}.
   *
   * @throws {ERR_MILLPOND_INVALID_ARGUMENT} it is no such list; nothing changes
   */
  inject(what: string): void
  /** Lists the leases that are out, of all threads and languages, oldest first. */
  leaks(): LeakRecord[]
  /**
   * Gives idle memory back to the system now; other threads give theirs back at their next get or put. Returns bytes.
   */
  trim(): number
  /**
   * Gives back half of what was not needed since the last look. Returns bytes.
   */
  maintain(): number
  /**
   * Closes the pool for every thread: gets throw CLOSED, live leases stay valid and are freed at their put. Closing
   * again does nothing.
   *
   * @throws {ERR_MILLPOND_INVALID_ARGUMENT} it is the default pool
   */
  close(): void
  /** The same as {@link Pool.close}. */
  [Symbol.dispose](): void
}

/**
 * Installs, once for the process, a handler of SIGSEGV and SIGBUS that says on standard error whose lease was touched when
 * an access to guarded memory faults (`check: 'sample:N'`); the handler that stood before runs afterwards. Calling it again
 * does nothing.
 *
 * @throws {ERR_MILLPOND_IO} the system does not let the handler be installed
 */
export function reportFaults(): void

/**
 * The pool that the whole process shares. It is never closed.
 */
export function defaultPool(): Pool

/**
 * Takes a lease from the default pool; see {@link Pool.get}.
 *
 * @throws {ERR_MILLPOND_INVALID_ARGUMENT} `length` is no integer from 0 to 2^53 - 1
 * @throws {ERR_MILLPOND_EXHAUSTED} the limit is reached
 * @throws {ERR_MILLPOND_NO_MEMORY} the system gives none
 */
export function get(length: number): Lease
