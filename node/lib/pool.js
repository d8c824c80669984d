'use strict'

const { invalid, shown } = require('./errors')
const { Lease, get, getCold, getCounted, put, setStationOf } = require('./lease')
const { native } = require('./native')
const { onread } = require('./onread')
const { badLength, poolArguments, text } = require('./options')
const { callSite } = require('./sites')
const { Station } = require('./station')
const { readLeaks, readStats } = require('./stats')
const { wait } = require('./waiting')

/** Only this module makes pools of stations. */
const key = Symbol('millpond.pool')

/** This environment's stations by their pool's id, as long as somebody uses them. */
const stations = new Map()

/** Looks after a pool's magazines in this environment; a pool that nobody holds any more ends it. */
function maintainEvery(station, every) {
  const weak = new WeakRef(station)
  const timer = setInterval(() => {
    const alive = weak.deref()
    if (alive === undefined || native.isClosed(alive.number)) clearInterval(timer)
    else alive.decay()
  }, Math.max(1, every))
  timer.unref()
}

/** Throws the error of a get at the limit. */
function exhausted(station, length) {
  station.misuse('EXHAUSTED', length, 0, 0, station.recordSites ? callSite() : 0)
}

class Pool {
  #station

  constructor(options, secret, description) {
    if (secret === key) {
      this.#station = new Station(description)
    } else {
      const values = poolArguments(options)
      this.#station = new Station(native.open(...values))
      const every = values[values.length - 1]
      if (every !== undefined) maintainEvery(this.#station, every)
    }
    this.#station.pool = this
    stations.set(this.#station.id, new WeakRef(this.#station))
  }

  static fromId(id) {
    if (typeof id !== 'bigint' || id < 0n) throw invalid(`Pool.fromId: "id" must be a BigInt, the id of a pool, not ${shown(id)}`)
    return stationOf(id).pool
  }

  get id() {
    return this.#station.id
  }

  get name() {
    return this.#station.name
  }

  get classSizes() {
    return [...this.#station.sizes]
  }

  get check() {
    return native.check(this.#station.number)
  }

  get closed() {
    return native.isClosed(this.#station.number)
  }

  get(length) {
    const station = this.#station
    let lease
    if (typeof length === 'number' && length >= 0 && length <= station.largest && Math.trunc(length) === length) {
      lease = get(station, length)
      if (lease !== undefined) return lease
      lease = getCold(station, length, false)
    } else if (!Number.isSafeInteger(length) || length < 0) {
      throw badLength('get', length)
    } else {
      lease = getCounted(station, length, false)
    }
    if (lease === undefined) exhausted(station, length)
    return lease
  }

  tryGet(length) {
    if (!Number.isSafeInteger(length) || length < 0) throw badLength('tryGet', length)
    const station = this.#station
    const lease = getCounted(station, length, true)
    if (lease === undefined) exhausted(station, length)
    return lease
  }

  async getAsync(length, options = {}) {
    if (!Number.isSafeInteger(length) || length < 0) throw badLength('getAsync', length)
    return wait(this.#station, length, options)
  }

  put(lease, options) {
    put(this.#station, lease, options)
  }

  onread(size, handler) {
    return onread(this, size, handler)
  }

  stats() {
    return readStats(this.#station)
  }

  leaks() {
    return readLeaks(this.#station)
  }

  setCheck(check) {
    const station = this.#station
    text('setCheck', 'check', check)
    native.setCheck(station.number, check)
    station.settle()
  }

  inject(what) {
    const station = this.#station
    text('inject', 'what', what)
    native.inject(station.number, what)
    station.settle()
  }

  trim() {
    const station = this.#station
    // What the magazines give back waits in core's own stock: trim that.
    station.flush()
    const bytes = native.trim(station.number)
    native.settled(station.number)
    station.look()
    return bytes
  }

  maintain() {
    const station = this.#station
    station.decay()
    return native.maintain(station.number)
  }

  close() {
    const station = this.#station
    native.close(station.number)
    station.flush()
    station.waiters?.()
  }

  [Symbol.dispose]() {
    this.close()
  }

  [Symbol.for('nodejs.util.inspect.custom')]() {
    return `Pool { name: ${JSON.stringify(this.name)}, id: ${this.id}n, closed: ${this.closed} }`
  }
}

/** Returns this environment's station for a pool of the process. */
function stationOf(id) {
  const known = stations.get(id)?.deref()
  if (known !== undefined) return known
  for (const [other, weak] of stations) if (weak.deref() === undefined) stations.delete(other)
  new Pool(undefined, key, native.attach(id))
  return stations.get(id).deref()
}
setStationOf(stationOf)

let shared

/** Returns the pool that the whole process shares. */
function defaultPool() {
  shared ??= new Pool(undefined, key, native.attachDefault())
  return shared
}

module.exports = { Lease, Pool, defaultPool }
