'use strict'

const { MillpondError } = require('./lib/errors')
const { native } = require('./lib/native')
const { Lease, Pool, defaultPool } = require('./lib/pool')

/** Takes a lease of the default pool. */
function get(length) {
  return defaultPool().get(length)
}

/** Tells on standard error whose memory was touched when an access to a guarded lease faults. */
function reportFaults() {
  native.reportFaults()
}

module.exports.Lease = Lease
module.exports.MillpondError = MillpondError
module.exports.Pool = Pool
module.exports.defaultPool = defaultPool
module.exports.get = get
module.exports.reportFaults = reportFaults
module.exports.version = native.version()
