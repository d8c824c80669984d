'use strict'

// Sets the addon up for this environment (main thread or worker), once.

const { isMainThread, threadId } = require('node:worker_threads')
const { load } = require('./binding')
const { MillpondError } = require('./errors')

const native = load()

/** Numbers that a call of the addon returns beside its value. */
const scratch = new Float64Array(8)

/** Pools whose first lost lease was warned about. */
const warned = new Set()

function notifyLeak(pool, length, site) {
  if (warned.has(pool)) return
  warned.add(pool)
  const place = site === '' ? 'set MILLPOND_CHECK=sites to see where it was taken' : `it was taken at ${site}`
  try {
    process.emitWarning(
      `a lease of ${length} bytes of pool "${pool}" was garbage-collected without a put; ${place}. ` +
        'The memory was reclaimed and counted as leaked. Put each lease, in a finally block or with "using". ' +
        'Further ones of this pool are only counted',
      { type: 'MillpondLeakWarning', code: 'MILLPOND_LEAK' },
    )
  } catch {
    // Somebody replaced emitWarning by something that throws; the count is in stats().
  }
}

native.setUp(
  scratch,
  notifyLeak,
  MillpondError,
  isMainThread ? 'main' : `worker ${threadId}`,
  process.env.MILLPOND_NODE_EXTERNAL !== 'off',
)

module.exports = { native, scratch }
