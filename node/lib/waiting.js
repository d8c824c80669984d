'use strict'

// Waits for a lease without blocking the event loop: a put of this thread wakes the first one who waits; puts of other
// threads are looked for by a timer.

const { invalid, shown } = require('./errors')
const { getCounted } = require('./lease')

const POLL_FIRST = 1
const POLL_MOST = 20

/** Those who wait, by station, in the order they came. */
const queues = new WeakMap()

function waitOptions(options) {
  if (options === null || typeof options !== 'object') {
    throw invalid(`getAsync: "options" must be an object, not ${shown(options)}`)
  }
  const { timeout, signal } = options
  if (timeout !== undefined && (typeof timeout !== 'number' || !(timeout >= 0))) {
    throw invalid(`getAsync: "timeout" must be a number of milliseconds from 0, not ${shown(timeout)}`)
  }
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw invalid(`getAsync: "signal" must be an AbortSignal, not ${shown(signal)}`)
  }
  return { timeout, signal }
}

/** Serves those who wait, first come first served, as far as buffers reach. */
function serve(station) {
  const queue = queues.get(station)
  while (queue.length > 0) {
    const [first] = queue
    let lease
    try {
      lease = getCounted(station, first.length, true)
    } catch (error) {
      // Another thread took the last room between the look and the get.
      if (error.code === 'ERR_MILLPOND_EXHAUSTED') break
      first.end(error)
      continue
    }
    if (lease === undefined) break
    first.end(undefined, lease)
  }
}

/** Returns the promise of a lease. */
function wait(station, length, options) {
  const { timeout = station.onLimit > 0 ? station.onLimit : Infinity, signal } = waitOptions(options)
  signal?.throwIfAborted()
  let queue = queues.get(station)
  if (queue === undefined) queues.set(station, (queue = []))
  if (queue.length === 0) {
    const lease = getCounted(station, length, false)
    if (lease !== undefined) return lease
  }
  return new Promise((resolve, reject) => {
    let pause = POLL_FIRST
    let timer
    const until = performance.now() + timeout
    const waiter = {
      length,
      end(error, lease) {
        clearTimeout(timer)
        signal?.removeEventListener('abort', aborted)
        queue.splice(queue.indexOf(waiter), 1)
        if (queue.length === 0) station.setWaiters(undefined)
        if (error === undefined) resolve(lease)
        else reject(error)
      },
    }
    const aborted = () => waiter.end(signal.reason)
    const look = () => {
      serve(station)
      if (!queue.includes(waiter)) return
      const left = until - performance.now()
      if (left <= 0) {
        try {
          station.misuse('EXHAUSTED', length)
        } catch (error) {
          waiter.end(error)
        }
        return
      }
      timer = setTimeout(look, Math.min(pause, left))
      pause = Math.min(pause * 2, POLL_MOST)
    }
    signal?.addEventListener('abort', aborted, { once: true })
    queue.push(waiter)
    // A lease that is put is not handed out inside that put: the one who puts goes on first.
    station.setWaiters(() => queueMicrotask(() => serve(station)))
    timer = setTimeout(look, Math.min(pause, timeout))
  })
}

module.exports = { wait }
