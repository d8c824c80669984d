'use strict'

/**
 * An error of a pool or a lease. `code` is `ERR_MILLPOND_` and the kind's name; the README's section about errors
 * lists them.
 */
class MillpondError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   */
  constructor(code, message) {
    super(message)
    this.code = code
  }

  get name() {
    return 'MillpondError'
  }
}

/** Shows a value in a message without running the value's own code for long. */
function shown(value) {
  switch (typeof value) {
    case 'string':
      return value.length > 40 ? `a string of ${value.length} characters` : `the string ${JSON.stringify(value)}`
    case 'bigint':
      return `the BigInt ${value}n`
    case 'symbol':
      return 'a symbol'
    case 'function':
      return 'a function'
    case 'object':
      if (value === null) return 'null'
      if (Array.isArray(value)) return 'an array'
      if (ArrayBuffer.isView(value)) return 'a Buffer or typed array'
      return 'an object'
    default:
      return String(value)
  }
}

/** Makes the error of an argument that the JavaScript side refuses by its type. */
function invalid(message) {
  return new MillpondError('ERR_MILLPOND_INVALID_ARGUMENT', `${message} [INVALID_ARGUMENT]`)
}

module.exports = { MillpondError, invalid, shown }
