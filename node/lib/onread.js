'use strict'

// Buffers for `net.connect({ onread })`: each read of a socket fills a lease of its own.

const { invalid, shown } = require('./errors')

/** What the socket reads into when there is no lease: it is being destroyed. */
const nothing = Buffer.alloc(1)

/**
 * Returns the `onread` option of a socket. The handler owns each lease that it gets and puts it.
 */
function onread(pool, size, handler) {
  if (!Number.isSafeInteger(size) || size < 1) {
    throw invalid(`onread: "size" must be an integer from 1 to ${Number.MAX_SAFE_INTEGER}, not ${shown(size)}`)
  }
  if (typeof handler !== 'function') throw invalid(`onread: "handler" must be a function, not ${shown(handler)}`)
  let lease
  let socket
  let ended = false
  const end = () => {
    ended = true
    if (lease === undefined) return
    const last = lease
    lease = undefined
    last.unpin()
    last.put()
  }
  return {
    buffer() {
      if (ended) return nothing
      try {
        lease = pool.get(size)
        return lease.pin()
      } catch (error) {
        if (socket === undefined) throw error
        socket.destroy(error)
        return nothing
      }
    },
    callback(bytes) {
      if (socket === undefined) {
        socket = this
        socket.once('close', end)
      }
      if (lease === undefined) return false
      const filled = lease
      lease = undefined
      filled.unpin()
      return handler(filled, bytes)
    },
    end,
  }
}

module.exports = { onread }
