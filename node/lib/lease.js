'use strict'

// Leases, and the hot pair get and put. `Lease` and the functions that only the package itself may call share the
// class body, because both need its private fields.

const { MillpondError, invalid, shown } = require('./errors')
const { GATE, REQUESTED } = require('./magazine')
const { native, scratch } = require('./native')
const { callSite } = require('./sites')
const { STAMP_STEP, ON_PUT, ON_GET, NEVER } = require('./station')
const { LeaseView, byteLengthOf, fill } = require('./view')

/** Only this module makes leases. */
const key = Symbol('millpond.lease')

/** postMessage and structuredClone would copy a lease as an empty object; a function among its fields refuses that. */
const cannotBeCloned = () => 'a Lease: send lease.transfer() instead and call Lease.adopt() over there'

/** Where a lease was got and put, of those whose places are recorded. */
const places = new WeakMap()

/** Leases longer than this are never guarded; core has the same number. */
const GUARDED_MAX = 2 ** 20

/** Says how a lease was lost that somebody else has. There is no kind of error of its own for it. */
function takenAway(station, length, got, here) {
  const at = (what, site) => (site === 0 ? '' : `, ${what} at ${native.siteName(site)}`)
  return new MillpondError(
    'ERR_MILLPOND_FOREIGN_LEASE',
    `pool "${station.name}": the ArrayBuffer of this lease of ${length} bytes${at('got', got)} was transferred away ` +
      '(postMessage, structuredClone, a BYOB reader, ArrayBuffer.transfer()): the memory is somebody else\'s now' +
      `${at('found', here)}. It is counted as lost and never used again; send a lease with lease.transfer(), or copy ` +
      'with lease.copyOut() [FOREIGN_LEASE]',
  )
}

/** Refuses options of a put that are wrong. */
function badPutOptions(options, used, detach, length) {
  if (options === null || typeof options !== 'object') {
    throw invalid(`put: "options" must be an object, not ${shown(options)}`)
  }
  for (const name of Object.keys(options)) {
    if (name !== 'used' && name !== 'detach') throw invalid(`put: there is no option "${name}"; there are used, detach`)
  }
  if (used !== undefined && (!Number.isInteger(used) || used < 0 || used > length)) {
    throw invalid(`put: "used" must be an integer from 0 to the lease's length, ${length}, not ${shown(used)}`)
  }
  if (detach !== undefined && typeof detach !== 'boolean') {
    throw invalid(`put: "detach" must be true or false, not ${shown(detach)}`)
  }
}

/** What the rest of the package may do with leases; the class hands it out below. */
let get, getCold, getCounted, put, receive

class Lease {
  // Enumerable on purpose: see `cannotBeCloned`.
  uncloneable = cannotBeCloned
  #station
  /** The buffer's record; null when the lease is dead. */
  #slab
  /** The Buffer handed out, once somebody asked for it. */
  #view = null
  #length
  #pins = 0
  /** The lease's scope ended while it was pinned: the last unpin puts it. */
  #late = false

  constructor(secret, station, slab, length) {
    if (secret !== key) throw invalid('new Lease: leases come from pool.get(length)')
    this.#station = station
    this.#slab = slab
    this.#length = length
  }

  static adopt(token) {
    return adopt(token)
  }

  get buffer() {
    const view = this.#view
    return view !== null ? view : this.#show()
  }

  get length() {
    this.#alive()
    return this.#length
  }

  get capacity() {
    return this.#alive().capacity
  }

  get pool() {
    return this.#station.pool
  }

  put(options) {
    Lease.#putLease(this.#station, this, options)
  }

  release(options) {
    Lease.#putLease(this.#station, this, options)
  }

  [Symbol.dispose]() {
    if (this.#slab === null) return
    if (this.#pins > 0) this.#late = true
    Lease.#putLease(this.#station, this, undefined)
  }

  pin() {
    this.#alive()
    this.#pins++
    return this.buffer
  }

  unpin() {
    this.#alive()
    if (this.#pins === 0) throw invalid('unpin: the lease is not pinned; each unpin() undoes one pin()')
    this.#pins--
    if (this.#pins === 0 && this.#late) Lease.#putLease(this.#station, this, undefined)
  }

  async readFrom(file, options) {
    this.#alive()
    if (file === null || typeof file !== 'object' || typeof file.read !== 'function') {
      throw invalid(`readFrom: "file" must be a FileHandle of node:fs/promises, not ${shown(file)}`)
    }
    const { position, offset, length } = readOptions(options, this.#length)
    const view = this.pin()
    let total = 0
    try {
      while (total < length) {
        const from = position === null ? null : position + total
        const { bytesRead } = await file.read(view, offset + total, length - total, from)
        if (bytesRead === 0) break
        total += bytesRead
      }
    } finally {
      this.unpin()
    }
    return total
  }

  copyOut(start = 0, end = this.#length) {
    this.#alive()
    const length = this.#length
    if (!Number.isInteger(start) || start < 0 || start > length) {
      throw invalid(`copyOut: "start" must be an integer from 0 to the lease's length, ${length}, not ${shown(start)}`)
    }
    if (!Number.isInteger(end) || end < start || end > length) {
      throw invalid(`copyOut: "end" must be an integer from start, ${start}, to the length, ${length}, not ${shown(end)}`)
    }
    const copy = Buffer.allocUnsafeSlow(end - start)
    // A view that was transferred away has nothing to copy; the rest of the copy must not be what was there before.
    const copied = this.#view === null ? 0 : this.#view.copy(copy, 0, start, end)
    return copied === copy.length ? copy : copy.fill(0, copied)
  }

  detach() {
    const slab = this.#leaving()
    const { number, external } = this.#station
    const owned = native.detach(number, slab.index, slab.arrayBuffer, this.#length)
    slab.row[slab.at] = 0
    this.#end()
    if (owned !== undefined) return Buffer.from(owned)
    return external ? Buffer.alloc(0) : Buffer.from(slab.arrayBuffer, 0, this.#length)
  }

  transfer() {
    const slab = this.#leaving()
    const { number, external, clear } = this.#station
    // Nobody would look at the bytes behind the length after this.
    if (slab.whole && slab.kind >= 0 && clear !== NEVER && native.tailWritten(slab.arrayBuffer, this.#length)) {
      this.#overrun(slab)
    }
    if (!external) native.store(number, slab.index, slab.arrayBuffer)
    const token = native.send(number, slab.index, slab.arrayBuffer, this.#length)
    slab.row[slab.at] = 0
    this.#end()
    return token
  }

  [Symbol.for('nodejs.util.inspect.custom')]() {
    if (this.#slab === null) return `Lease { dead, pool: ${JSON.stringify(this.#station.name)} }`
    const pinned = this.#pins === 0 ? '' : `, pinned: ${this.#pins}`
    return `Lease { length: ${this.#length}, capacity: ${this.#slab.capacity}, pool: ${JSON.stringify(this.#station.name)}${pinned} }`
  }

  /** Makes the Buffer that the lease shows. */
  #show() {
    const slab = this.#alive()
    if (slab.dirty > 0) this.#station.clearAtGet(slab)
    slab.row[slab.at + 1] = 1
    const kept = slab.view
    if (kept !== null && slab.viewLength === this.#length) return (this.#view = kept)
    return (this.#view = new LeaseView(slab.arrayBuffer, 0, this.#length, slab))
  }

  /** Returns the record of a live lease's buffer. */
  #alive() {
    const slab = this.#slab
    if (slab === null) this.#refuse('USE_AFTER_PUT')
    return slab
  }

  /** Checks that a lease may leave this pool or thread; returns its record. */
  #leaving() {
    const slab = this.#alive()
    if (this.#pins > 0) this.#refuse('BUSY')
    if (byteLengthOf(slab.arrayBuffer) !== slab.bytes) throw this.#lost(slab)
    if (slab.dirty > 0) this.#station.clearAtGet(slab)
    return slab
  }

  /** Counts a buffer that somebody else has as lost, and returns the error to throw. */
  #lost(slab) {
    const station = this.#station
    slab.row[slab.at] = 0
    this.#end()
    native.lose(station.number, slab.index, this.#length)
    const [got, here] = this.#placesNow()
    return takenAway(station, this.#length, got, here)
  }

  /** Returns the places of the get, 0 if it was not recorded, and of this call. */
  #placesNow() {
    return [places.get(this)?.got ?? 0, callSite()]
  }

  /** The lease is dead from here on. */
  #end() {
    this.#slab = null
    this.#view = null
  }

  /** Counts a misuse and throws core's error, with the places where they are recorded. */
  #refuse(kind) {
    const [got, here] = this.#placesNow()
    this.#station.misuse(kind, this.#length, got, places.get(this)?.put, here)
  }

  /** Lets core refuse a put into another pool, in a message that names both. */
  #putForeign(station, options) {
    const slab = this.#slab
    // Two stations of one pool are there for a moment when its first Pool object was collected.
    if (station.id === this.#station.id) return Lease.#putLease(this.#station, this, options)
    const [got, here] = this.#placesNow()
    native.putForeign(station.number, slab.station.number, slab.index, this.#length, got, here)
  }

  /** Makes a lease of a buffer. */
  static #make(station, slab, length) {
    const { clock } = station
    if (--station.stampsLeft < 0) station.readClock()
    else clock[0] += STAMP_STEP
    const { row, at } = slab
    row[at] = length + 1
    row[at + 2] = clock[0]
    const lease = new Lease(key, station, slab, length)
    if (!station.external) station.tell(slab)
    return lease
  }

  /** Records the place of the get. A later lease of the buffer must not seem to have it: the put gives the buffer to core. */
  #record(slab, site) {
    slab.row[slab.at + 3] = site
    slab.weight = Infinity
    places.set(this, { got: site, put: 0 })
    if (!this.#station.external) this.#station.tell(slab)
  }

  /** What a put does beside, where core does not see it or somebody waits. */
  #afterPut(slab) {
    const station = this.#station
    if (!station.external) station.tell(slab)
    if (station.waiters !== undefined) station.waiters()
  }

  /** Takes a lease from a magazine; undefined when that is empty or core may want something. */
  static #get(station, length) {
    if (--station.untilOwn < 0) return undefined
    // `length` is an integer from 0 to the largest class.
    let magazine = station.first[length === 0 ? 0 : 32 - Math.clz32(length - 1)]
    while (magazine.size < length) magazine = magazine.larger
    return station.counters[GATE] === 0 ? Lease.#pop(station, magazine, length) : undefined
  }

  static #pop(station, magazine, length) {
    if (magazine.count === 0) return undefined
    const slab = magazine.pop()
    station.idleBytes -= slab.bytes
    if (slab.loose && !station.isWhole(slab)) return undefined
    magazine.countGet()
    station.counters[REQUESTED] += length
    return Lease.#make(station, slab, length)
  }

  /** As `getCold`, for a get that no magazine was asked for before. */
  static #getCounted(station, length, withinLimit) {
    station.untilOwn--
    return Lease.#getCold(station, length, withinLimit)
  }

  /** Fetches a lease from core. Returns undefined when the limit is reached. */
  static #getCold(station, length, withinLimit) {
    if (station.gate() !== 0) {
      station.settle()
      // This get is the first one that goes by what core says now.
      station.untilOwn--
    }
    const turn = station.takeTurn()
    const guard = turn && station.every > 0 && length <= GUARDED_MAX
    const site = turn || station.recordSites ? callSite() : 0
    if (length <= station.largest && !station.own && !guard) {
      const kind = station.sizes.findIndex((size) => size >= length)
      const magazine = station.magazines[kind]
      // More than once: a stolen buffer may lie on top.
      while (magazine.count > 0) {
        const lease = Lease.#pop(station, magazine, length)
        if (lease === undefined) continue
        if (site !== 0) lease.#record(lease.#slab, site)
        return lease
      }
      const slab = station.take(kind)
      if (slab !== undefined) {
        // Core's idle memory is cleared by whoever gets it.
        if (station.clear === ON_GET) slab.dirty = slab.bytes
        magazine.countGet()
        station.counters[REQUESTED] += length
        const lease = Lease.#make(station, slab, length)
        if (site !== 0) lease.#record(slab, site)
        return lease
      }
      // Only the policy "unpooled" goes on from here, with a buffer of the lease's own.
      if (withinLimit || station.onLimit >= 0) return undefined
    }
    const slab = station.takeOwn(length, withinLimit, guard, site)
    if (slab === undefined) return undefined
    const lease = Lease.#make(station, slab, length)
    if (site !== 0) lease.#record(slab, site)
    return lease
  }

  static #putLease(station, lease, options) {
    if (typeof lease !== 'object' || lease === null || !(#slab in lease)) {
      const hint = ArrayBuffer.isView(lease) ? '; put the lease itself, not its buffer' : ''
      throw invalid(`put: "lease" must be a Lease, not ${shown(lease)}${hint}`)
    }
    const length = lease.#length
    let used = length
    let detach = true
    if (options !== undefined) {
      // Before anything else, and once: reading the options may run the user's code, another put even.
      const given = options?.used
      const choice = options?.detach
      // Names are looked at only when no known one is there: that is what a misspelt one looks like.
      if (given !== undefined || typeof choice !== 'boolean') badPutOptions(options, given, choice, length)
      if (given !== undefined) used = given
      detach = choice !== false
    }
    const slab = lease.#slab
    if (slab === null) lease.#refuse('DOUBLE_PUT')
    if (slab.station !== station) return lease.#putForeign(station, options)
    if (lease.#pins !== 0) lease.#refuse('BUSY')
    const view = lease.#view
    if (view !== null || slab.loose) {
      if (byteLengthOf(slab.arrayBuffer) !== slab.bytes) throw lease.#lost(slab)
      if (slab.whole && slab.kind >= 0) {
        slab.whole = false
        if (station.clear !== NEVER && native.tailWritten(slab.arrayBuffer, length)) lease.#overrun(slab)
      }
    }
    if (station.idleBytes + slab.weight > station.keepBytes) {
      if (!lease.#putCold(slab, used, detach)) return
    } else if (station.counters[GATE] !== 0 && !lease.#putCold(slab, used, detach)) {
      return
    }
    if (view !== null) {
      if (station.clear === ON_PUT) fill(view, 0, 0, used)
      else if (station.clear === ON_GET && used > slab.dirty) slab.dirty = used
    }
    if (detach) {
      if (view !== null || slab.loose) station.renew(slab)
    } else if (view !== null) {
      slab.loose = true
      slab.view = view
      slab.viewLength = length
    }
    lease.#slab = null
    lease.#view = null
    slab.row[slab.at] = 0
    const magazine = slab.magazine
    magazine.countPut()
    station.counters[REQUESTED] -= length
    magazine.push(slab)
    station.idleBytes += slab.bytes
    if (!station.plain) lease.#afterPut(slab)
  }

  /** Puts a lease whose buffer does not go into the magazine; returns true when it does after all. */
  #putCold(slab, used, detach) {
    const station = this.#station
    if (station.mayKeep(slab)) return true
    const touched = this.#view !== null || slab.loose
    this.#end()
    slab.row[slab.at] = 0
    try {
      if (slab.kind < 0) {
        this.#putOwn(slab, touched, touched ? used : 0, detach || !touched)
      } else {
        slab.magazine.countPut()
        station.counters[REQUESTED] -= this.#length
        if (touched && used > slab.dirty) slab.dirty = used
        station.giveBack(slab, station.dirtyOf(slab), true)
      }
    } finally {
      if (!station.plain) this.#afterPut(slab)
    }
    return false
  }

  /** Puts a lease that core knows itself. */
  #putOwn(slab, touched, used, detach) {
    const station = this.#station
    const known = places.get(this)
    const here = known !== undefined || station.recordSites ? callSite() : 0
    if (known !== undefined) known.put = here
    const whole = slab.whole && station.external
    const { number } = station
    if (!detach && (slab.guarded || station.keeps)) {
      if (native.putKept(number, slab.index, slab.arrayBuffer, used, here, whole)) station.linger(slab)
    } else if (station.parks(slab)) {
      // From here on nobody else has the ArrayBuffer.
      if (touched) station.renew(slab)
      if (native.putParked(number, slab.index, slab.arrayBuffer, used, here, whole)) station.park(slab)
    } else {
      native.putOwn(number, slab.index, slab.arrayBuffer, used, here, whole)
    }
  }

  /** The bytes behind the length were written: the buffer is discarded, the lease is dead, the put an error. */
  #overrun(slab) {
    const station = this.#station
    this.#end()
    slab.row[slab.at] = 0
    slab.magazine.countPut()
    station.counters[REQUESTED] -= this.#length
    if (!station.external) station.tell(slab)
    const [got, here] = this.#placesNow()
    native.overrun(station.number, slab.index, slab.arrayBuffer, this.#length, got, here)
  }

  /** Makes a lease of one that another thread sent. */
  static #receive(station, token) {
    const arrayBuffer = native.adopt(station.number, token)
    const length = scratch[4]
    const slab = station.admit(arrayBuffer, scratch[3], true)
    if (arrayBuffer === undefined) native.load(station.number, slab.index, slab.arrayBuffer)
    const lease = Lease.#make(station, slab, length)
    // What the sender wrote is in it: put has to clear it even if nobody looks at it here.
    lease.#show()
    return lease
  }

  static {
    get = Lease.#get
    getCold = Lease.#getCold
    getCounted = Lease.#getCounted
    put = Lease.#putLease
    receive = Lease.#receive
  }
}

/** Checks the options of readFrom. */
function readOptions(options = {}, leased) {
  if (options === null || typeof options !== 'object') {
    throw invalid(`readFrom: "options" must be an object, not ${shown(options)}`)
  }
  const { position = null, offset = 0, length = leased - offset } = options
  if (position !== null && (!Number.isSafeInteger(position) || position < 0)) {
    throw invalid(`readFrom: "position" must be null or an integer from 0, not ${shown(position)}`)
  }
  if (!Number.isInteger(offset) || offset < 0 || offset > leased) {
    throw invalid(`readFrom: "offset" must be an integer from 0 to the lease's length, ${leased}, not ${shown(offset)}`)
  }
  if (!Number.isInteger(length) || length < 0 || length > leased - offset) {
    throw invalid(`readFrom: "length" must be an integer from 0 to ${leased - offset}, not ${shown(length)}`)
  }
  return { position, offset, length }
}

/** Set by pool.js, which knows this environment's pools. */
let stationOf
function setStationOf(find) {
  stationOf = find
}

/** Makes a lease of one that another thread sent with `lease.transfer()`. */
function adopt(token) {
  if (typeof token !== 'bigint' || token < 0n) {
    throw invalid(`Lease.adopt: "token" must be a BigInt from lease.transfer(), not ${shown(token)}`)
  }
  return receive(stationOf(native.sentPool(token)), token)
}

module.exports = { Lease, get, getCold, getCounted, put, setStationOf }
