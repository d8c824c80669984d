'use strict'

const { MillpondError } = require('./lib/errors')
const { native } = require('./lib/native')
const { Lease, Pool, defaultPool } = require('./lib/pool')

/** Takes a lease of the default pool. */
function get(length) {
  return defaultPool().get(length)
}

module.exports.Lease = Lease
module.exports.MillpondError = MillpondError
module.exports.Pool = Pool
module.exports.defaultPool = defaultPool
module.exports.get = get
module.exports.version = native.version()
