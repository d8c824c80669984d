'use strict'

// A pool as this environment sees it: magazines of idle buffers that get and put serve without leaving JavaScript, and
// the cold paths behind them.
//
// Statistics: gets, puts, idle counts and requested bytes are written into a counter block that core reads, so any
// thread and any language sees exact numbers at no cost per operation.

const { constants } = require('node:buffer')
const { FIRST, GATE, Magazine, STRIDE } = require('./magazine')
const { native, scratch } = require('./native')
const { byteLengthOf, LeaseView, fill, transfer } = require('./view')

/** The gate's value when core wants the idle buffers back once; 1 is for good. */
const GATE_TRIM = 2
/** The value in an array of our own, beside which core's has to be asked for. */
const GATE_UNSEEN = 3

/** Parts of what `native.watched` returns. */
const WATCH_ALL = 1
const WATCH_SITES = 2
const WATCH_KEEPS = 4

/** Each how manieth get has its place recorded where none needs to be: a prime, so that no loop always meets the same one. */
const SITE_EVERY = 4093

/** How many buffers, and bytes, are kept after a put that left their ArrayBuffers alive; the oldest goes first. */
const KEPT_MAX = 64
const KEPT_BYTES_MAX = 16 * 1024 * 1024

/** Columns of a buffer's row; `src/rows.rs` says what each means. */
const COLUMNS = 8
const CHUNK_ROWS = 64

/** Clear policies, as the addon numbers them. */
const ON_PUT = 0
const ON_GET = 1
const NEVER = 2

/** What gets are apart at least, so that the older one is older: half a microsecond, in ms. */
const STAMP_STEP = 0.0005

/** On Node 20 each new ArrayBuffer over memory above this makes V8 collect all its garbage. */
const REWRAP_MAX = 16 * 1024 * 1024

/** One buffer. */
class Slab {
  constructor(station, index, arrayBuffer, capacity, kind, adopted) {
    this.station = station
    this.index = index | 0
    this.arrayBuffer = arrayBuffer
    this.bytes = byteLengthOf(arrayBuffer)
    this.capacity = capacity
    /** The size class, or -1 for a lease of its own (oversized or beyond the limit). */
    this.kind = kind
    /** Where it lies when it is idle, and the one under it there. */
    this.magazine = kind < 0 ? null : station.magazines[kind]
    this.below = null
    /**
     * What a put adds to the magazine's bytes, to see whether it may keep the buffer. Endless for what never stays: a
     * lease of its own, one that another thread sent, which would otherwise run out of buffers, and what costs too
     * much to show anew.
     */
    const costly = transfer === undefined && station.external && this.bytes > REWRAP_MAX
    this.weight = kind < 0 || adopted || costly ? Infinity : this.bytes
    this.row = station.rowsOf(index)
    this.at = ((index % CHUNK_ROWS) * COLUMNS) | 0
    // Where the rows are in memory of V8's own, nobody else takes the last buffer's place away.
    this.row[this.at + 3] = 0
    /** Somebody asked a view for its ArrayBuffer. */
    this.whole = false
    /** It was put with `detach: false`: an earlier tenant may still have its ArrayBuffer. */
    this.loose = false
    /** The Buffer of that tenant, which the next one of the same length gets too; otherwise null. */
    this.view = null
    this.viewLength = 0
    /** How much may hold an earlier tenant's bytes; always 0 where put clears. */
    this.dirty = 0
    /** It has pages of its own, which are inaccessible from the put on. */
    this.guarded = false
  }
}

/** Leaked buffers, where memory is V8's own and the addon's finalizers see nothing. */
const collected = new FinalizationRegistry(({ number, index, serial, row, at }) => {
  if (native.collected(number, index, serial)) row[at] = 0
})

class Station {
  constructor(description) {
    /** Its collection releases the addon's side. */
    this.keep = description.keep
    this.number = description.number
    this.id = description.id
    this.name = description.name
    this.sizes = description.classes
    this.onLimit = description.onLimit
    this.clear = description.clear
    this.maxBytes = description.maxBytes
    this.largest = this.sizes[this.sizes.length - 1]
    this.idleBytes = 0
    this.threadCacheBytes = description.threadCacheBytes
    /** Up to here a put keeps the buffer without asking core; below 0 every put takes the cold path. */
    this.ownShare = 0
    this.keepBytes = 0
    /** False where a thread is to keep nothing for itself. */
    this.mayKeepMore = false
    this.chunks = []
    this.external = true
    const block = native.counters(this.number)
    if (block === undefined) {
      // Core cannot look into V8's memory nor we into core's: every get and put takes the cold path and tells.
      this.external = false
      this.counters = new Float64Array(FIRST + STRIDE * this.sizes.length)
      this.counters[GATE] = GATE_UNSEEN
    } else {
      this.counters = new Float64Array(block)
    }
    this.magazines = this.sizes.map((size, kind) => new Magazine(this.counters, kind, size))
    this.magazines.forEach((magazine, kind) => (magazine.larger = this.magazines[kind + 1]))
    /** The first magazine worth looking at, by the bit length of the size less 1. */
    this.first = []
    for (let bits = 0; bits <= 32; bits++) {
      const least = bits === 0 ? 0 : 2 ** (bits - 1) + 1
      this.first.push(this.magazines.find(({ size }) => size >= least) ?? this.magazines.at(-1))
    }
    /** Called after a put, while somebody waits for one. */
    this.waiters = undefined
    /** Nobody waits, and core sees for itself: get and put have nothing to do beside. */
    this.plain = false
    /** Where gets and puts happened is recorded. */
    this.recordSites = false
    /** Core looks at each get and put: none is served from here. */
    this.own = false
    /** What core keeps a buffer for when a put leaves its ArrayBuffer alive: to find uses of it. */
    this.keeps = false
    /** Each how manieth lease is to be guarded; 0 for none. */
    this.every = 0
    /** Gets until one that something is done for, whatever is idle here: below 0 it is this one. */
    this.untilOwn = 0
    /** The same where every get asks core. */
    this.untilTurn = 0
    /** Buffers of leases that are over whose ArrayBuffers are alive, the oldest first. */
    this.kept = []
    this.keptBytes = 0
    /** The last oversized buffer that was put: its ArrayBuffer waits here, without memory, for the next such lease. */
    this.parked = null
    /** It has been there since before the last decay. */
    this.parkedLong = false
    this.look()
    this.pool = undefined
    // A clock that costs little: read again after some gets, and when the event loop has turned. The time is in an
    // array because a number with a fraction in a field costs more to change.
    this.clock = new Float64Array(1)
    this.stampsLeft = 0
    this.stampStreak = 0
    this.stampArmed = false
  }

  /** Returns the chunk of rows that a buffer's row is in. */
  rowsOf(index) {
    const number = Math.trunc(index / CHUNK_ROWS)
    let rows = this.chunks[number]
    if (rows === undefined) {
      const block = native.rows(this.number, number)
      rows = block === undefined ? new Float64Array(CHUNK_ROWS * COLUMNS) : new Float64Array(block)
      this.chunks[number] = rows
    }
    return rows
  }

  /** Returns what core asks for, 0 for nothing; tells the numbers that it cannot see itself. */
  gate() {
    return this.external ? this.counters[GATE] : native.mirror(this.number, this.counters, this.chunks, -1)
  }

  /** Tells core the numbers and the row of a buffer that it cannot see itself. */
  tell(slab) {
    native.mirror(this.number, this.counters, this.chunks, Math.trunc(slab.index / CHUNK_ROWS))
  }

  /** Reads the clock: the time of this get in ms since 1970, a little later than the last one's. */
  readClock() {
    const { clock } = this
    const now = Date.now()
    const later = now > clock[0]
    clock[0] = later ? now : clock[0] + STAMP_STEP
    this.stampStreak = later ? 0 : this.stampStreak + 1
    if (this.stampStreak > 16 && !this.stampArmed) {
      this.stampArmed = true
      setImmediate(turned, this).unref()
    }
    this.stampsLeft = this.stampArmed ? 32 : 0
  }

  /** Makes the record of the buffer that the addon has just returned. */
  admit(arrayBuffer, kind, adopted = false) {
    const index = scratch[0]
    const bytes = scratch[1]
    const slab = new Slab(this, index, arrayBuffer ?? new ArrayBuffer(bytes), scratch[2], kind, adopted)
    if (arrayBuffer === undefined) {
      const { row, at } = slab
      collected.register(slab, { number: this.number, index, serial: scratch[5], row, at })
    }
    return slab
  }

  /**
   * Fetches a buffer of a class from core.
   * @returns {Slab | undefined} undefined when the limit is reached
   */
  take(kind) {
    if (this.gate() !== 0) this.settle()
    for (let tries = 0; ; tries++) {
      try {
        return this.admit(this.spared(() => native.take(this.number, kind)), kind)
      } catch (error) {
        if (error.code !== 'ERR_MILLPOND_EXHAUSTED') throw error
        if (tries > 0 || (this.idleBytes === 0 && this.keptBytes === 0)) return undefined
        // Idle buffers of other classes count against the limit too.
        this.flush()
      }
    }
  }

  /**
   * Takes a lease that core knows itself.
   * @returns {Slab | undefined} undefined when the limit is reached
   */
  takeOwn(length, withinLimit, guard, site) {
    const unbounded = !withinLimit && this.onLimit < 0
    if (length > constants.MAX_LENGTH) {
      if (length > this.maxBytes && !unbounded) return undefined
      this.misuse('NO_MEMORY', length, 0, 0, site)
    }
    for (let tries = 0; ; tries++) {
      const parked = this.parked
      const shown = this.spared(() => native.takeOwn(this.number, length, unbounded, guard, site, this.parked?.index))
      if (scratch[0] >= 0) {
        const guarded = scratch[3] !== 0
        const here = this.parked !== null && scratch[0] === parked.index
        if (here) this.parked = null
        const slab = this.admit(here ? parked.arrayBuffer : shown, -1)
        slab.guarded = guarded
        return slab
      }
      if (tries > 0 || (this.idleBytes === 0 && this.keptBytes === 0)) return undefined
      // What is idle here counts against the limit too.
      this.flush()
    }
  }

  /** Makes sure that nobody else has an idle buffer's ArrayBuffer; retires the buffer otherwise. */
  isWhole(slab) {
    if (byteLengthOf(slab.arrayBuffer) === slab.bytes) return true
    native.retire(this.number, slab.index)
    if (!this.external) this.gate()
    return false
  }

  /** Makes a new ArrayBuffer over the memory; the old one and all views of it are dead. */
  renew(slab) {
    if (transfer !== undefined) slab.arrayBuffer = transfer(slab.arrayBuffer)
    else if (this.external) slab.arrayBuffer = native.rewrap(this.number, slab.index, slab.arrayBuffer)
    else slab.arrayBuffer = structuredClone(slab.arrayBuffer, { transfer: [slab.arrayBuffer] })
    slab.row[slab.at + 1] = 0
    slab.loose = false
    slab.view = null
  }

  /** Tells whether a put may keep this buffer; the hot path has asked for its own share only. */
  mayKeep(slab) {
    if (this.gate() !== 0) {
      this.settle()
      if (this.gate() !== 0) return false
    }
    if (slab.weight === Infinity) return false
    if (this.idleBytes + slab.bytes <= this.ownShare) return true
    return this.mayKeepMore && native.mayKeep(this.number, slab.kind)
  }

  /** Takes an idle buffer out of its magazine to give it back. */
  pop(magazine) {
    const slab = magazine.pop()
    this.idleBytes -= slab.bytes
    if (!this.external) this.gate()
    return slab
  }

  /** Gives a buffer back to core: at a put that keeps nothing, or out of the magazine. Returns its bytes. */
  giveBack(slab, dirty, atPut) {
    if (!this.isWhole(slab)) return 0
    native.give(this.number, slab.index, slab.arrayBuffer, dirty, atPut)
    return slab.bytes
  }

  /** How much of an idle buffer core has to clear. */
  dirtyOf(slab) {
    if (!this.external || this.clear === NEVER) return 0
    // A stale view of an earlier tenant may have written anything at any time.
    return slab.loose ? slab.bytes : slab.dirty
  }

  /** Keeps the buffer of a lease that is over, and of the oldest ones no more than there is room for. */
  linger(slab) {
    this.kept.push(slab)
    this.keptBytes += slab.bytes
    while (this.kept.length > KEPT_MAX || this.keptBytes > KEPT_BYTES_MAX) this.endKept()
  }

  /** Ends the oldest ArrayBuffer that outlived its lease. Returns its bytes. */
  endKept() {
    const slab = this.kept.shift()
    this.keptBytes -= slab.bytes
    const whole = byteLengthOf(slab.arrayBuffer) === slab.bytes
    native.endKept(this.number, slab.index, whole ? slab.arrayBuffer : undefined)
    return slab.bytes
  }

  /** Says whether a put of a lease of its own leaves its ArrayBuffer here: nobody else may have it. */
  parks(slab) {
    return transfer !== undefined && this.external && !this.own && !slab.guarded && slab.bytes > this.largest
  }

  /** Keeps the ArrayBuffer of an oversized lease that is over, instead of the one before it. */
  park(slab) {
    this.endParked()
    this.parked = slab
    this.parkedLong = false
  }

  /** Ends the ArrayBuffer that waits for an oversized lease, if there is one. */
  endParked() {
    const slab = this.parked
    if (slab === null) return
    this.parked = null
    native.endParked(this.number, slab.index, slab.arrayBuffer)
  }

  /** Takes what is asked for; where there is no memory, once more without the mapping that waits. */
  spared(take) {
    try {
      return take()
    } catch (error) {
      if (error.code !== 'ERR_MILLPOND_NO_MEMORY' || this.parked === null) throw error
      this.endParked()
      return take()
    }
  }

  /** Gives back every idle buffer. Returns the bytes. */
  flush() {
    let bytes = 0
    this.endParked()
    while (this.kept.length > 0) bytes += this.endKept()
    for (const magazine of this.magazines) {
      while (magazine.count > 0) {
        const slab = this.pop(magazine)
        bytes += this.giveBack(slab, this.dirtyOf(slab), false)
      }
    }
    return bytes
  }

  /** Gives back by halves what was never needed since the last look. */
  decay() {
    if (this.parkedLong) this.endParked()
    this.parkedLong = true
    for (const magazine of this.magazines) {
      let unused = Math.ceil(magazine.low / 2)
      while (unused-- > 0) {
        const slab = this.pop(magazine)
        this.giveBack(slab, this.dirtyOf(slab), false)
      }
      magazine.low = magazine.count
    }
  }

  /** Does what the gate asks for: gives everything idle back. Whoever changes how closely the pool looks asks for it. */
  settle() {
    this.flush()
    native.settled(this.number)
    this.look()
  }

  /** Goes by how closely the pool looks now: keeps nothing where gets and puts are looked at one by one. */
  look() {
    const watched = native.watched(this.number)
    this.every = scratch[0]
    this.own = (watched & WATCH_ALL) !== 0
    this.recordSites = (watched & WATCH_SITES) !== 0
    // Core sees nothing of what happens in V8's own memory.
    this.keeps = (watched & WATCH_KEEPS) !== 0 && this.external
    this.ownShare = this.own ? 0 : scratch[1]
    this.mayKeepMore = !this.own && this.threadCacheBytes > 0
    this.restart()
    this.setWaiters(this.waiters)
  }

  /** Counts anew the gets until the next turn, and those that are served without asking. */
  restart() {
    this.untilTurn = (this.every > 0 ? this.every : SITE_EVERY) - 1
    this.untilOwn = this.own ? -1 : this.untilTurn
  }

  /** Says whether it is this get's turn to be guarded, or to have its place recorded. */
  takeTurn() {
    if (this.untilOwn >= 0) return false
    if (this.own) {
      this.untilOwn = -1
      if (--this.untilTurn >= 0) return false
    }
    this.restart()
    return true
  }

  /** Counts a misuse and throws core's error for it; `got`, `firstPut` and `here` are numbers of places, or 0. */
  misuse(kind, length, got = 0, firstPut = 0, here = 0) {
    native.misuse(this.number, kind, length, got, firstPut, here)
  }

  /** Clears the bytes that a tenant may have written before another one sees them. */
  clearAtGet(slab) {
    if (slab.dirty > 0) {
      fill(new LeaseView(slab.arrayBuffer, 0, slab.dirty, slab), 0)
      slab.dirty = 0
    }
  }

  /** Makes every put take the cold path while somebody waits, and wakes them there. */
  setWaiters(wake) {
    this.waiters = wake
    this.keepBytes = wake === undefined ? this.ownShare : -1
    this.plain = wake === undefined && this.external
  }
}

/** The event loop turned: the next get reads the clock. */
function turned(station) {
  station.stampArmed = false
  station.stampsLeft = 0
  station.stampStreak = 0
}

module.exports = { Station, STAMP_STEP, ON_PUT, ON_GET, NEVER }
