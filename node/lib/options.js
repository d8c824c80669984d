'use strict'

// Turns a pool's options into the addon's arguments. Types are checked here, values by core.

const { invalid, shown } = require('./errors')

const NAMES = [
  'name',
  'classes',
  'maxBytes',
  'maxRetainedBytes',
  'onLimit',
  'clear',
  'alignment',
  'threadCacheBytes',
  'check',
  'maintainEvery',
]

/** Sizes above this cannot be told apart; below, a number is exact. */
const MAX = Number.MAX_SAFE_INTEGER

function bytes(options, name) {
  const value = options[name]
  if (value === undefined) return undefined
  if (!Number.isSafeInteger(value) || value < 0) {
    throw invalid(`Pool: "${name}" must be an integer from 0 to ${MAX}, not ${shown(value)}`)
  }
  return value
}

function milliseconds(value, name) {
  if (typeof value !== 'number' || !(value > 0 && value <= 2 ** 31 - 1)) {
    throw invalid(`Pool: "${name}" must be a number of milliseconds above 0 and at most ${2 ** 31 - 1}, not ${shown(value)}`)
  }
  return value
}

function sizes(value, name) {
  for (const size of value) {
    if (!Number.isSafeInteger(size) || size < 0) {
      throw invalid(`Pool: "${name}" must hold integers from 0 to ${MAX}, not ${shown(size)}`)
    }
  }
  return value
}

function classes(value) {
  if (value === undefined || value === 'default') return undefined
  if (Array.isArray(value)) return sizes([...value], 'classes')
  if (value !== null && typeof value === 'object' && Object.keys(value).sort().join() === 'max,min') {
    // The 0 tells the addon that it is no list.
    return [...sizes([value.min, value.max], 'classes'), 0]
  }
  throw invalid(`Pool: "classes" must be "default", an array of sizes, or { min, max }, not ${shown(value)}`)
}

function onLimit(value) {
  if (value === undefined || value === 'fail') return undefined
  if (value === 'unpooled') return -1
  if (value !== null && typeof value === 'object' && Object.keys(value).join() === 'wait') {
    return milliseconds(value.wait, 'onLimit.wait')
  }
  throw invalid(`Pool: "onLimit" must be "fail", "unpooled" or { wait: milliseconds }, not ${shown(value)}`)
}

function clear(value) {
  if (value === undefined) return undefined
  const policies = ['onPut', 'onGet', 'never']
  const number = policies.indexOf(value)
  if (number < 0) throw invalid(`Pool: "clear" must be "onPut", "onGet" or "never", not ${shown(value)}`)
  return number
}

/** Refuses what is no text; core looks at what it says. */
function text(what, name, value) {
  if (typeof value !== 'string') throw invalid(`${what}: "${name}" must be a string, not ${shown(value)}`)
}

/** Returns the addon's arguments for a new pool. */
function poolArguments(options = {}) {
  if (options === null || typeof options !== 'object' || Array.isArray(options)) {
    throw invalid(`Pool: "options" must be an object, not ${shown(options)}`)
  }
  for (const name of Object.keys(options)) {
    if (!NAMES.includes(name)) throw invalid(`Pool: there is no option "${name}"; there are ${NAMES.join(', ')}`)
  }
  const { name } = options
  if (name !== undefined && typeof name !== 'string') throw invalid(`Pool: "name" must be a string, not ${shown(name)}`)
  if (name !== undefined && !name.isWellFormed?.() && /\p{Surrogate}/u.test(name)) {
    throw invalid('Pool: "name" must be well-formed text; it has half a surrogate pair')
  }
  const { check } = options
  if (check !== undefined) text('Pool', 'check', check)
  const every = options.maintainEvery
  return [
    name,
    classes(options.classes),
    bytes(options, 'maxBytes'),
    bytes(options, 'maxRetainedBytes'),
    onLimit(options.onLimit),
    clear(options.clear),
    bytes(options, 'alignment'),
    bytes(options, 'threadCacheBytes'),
    check,
    every === undefined ? undefined : milliseconds(every, 'maintainEvery'),
  ]
}

/** Makes the error for a length that is not one. */
function badLength(what, length) {
  return invalid(`${what}: "length" must be an integer from 0 to ${MAX}, not ${shown(length)}`)
}

module.exports = { badLength, poolArguments, text }
