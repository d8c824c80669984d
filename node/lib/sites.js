'use strict'

// Names the places in the user's code where gets and puts happened. A stack costs several microseconds: cold paths only.

const { dirname } = require('node:path')
const { pathToFileURL } = require('node:url')
const { native } = require('./native')

const own = dirname(__dirname)
const ownUrl = pathToFileURL(own).href
const FRAME = /^\s*at (?:(?:async )?(.*?) \()?(.*?):(\d+):\d+\)?$/
const numbers = new Map()

/** Frames of the files that a user calls; a user's test next to them is not one of them. */
function isOurs(file) {
  return (
    file.startsWith(`${own}/lib/`) || file === `${own}/index.js` || file === `${ownUrl}/index.mjs` || file.startsWith('node:')
  )
}

/** Returns the number of the place where the user's code called us, 0 when it is not known. */
function callSite() {
  const limit = Error.stackTraceLimit
  let stack
  try {
    Error.stackTraceLimit = 12
    // Runs the program's own Error.prepareStackTrace, if it has one.
    stack = String(new Error().stack)
  } catch {
    return 0
  } finally {
    Error.stackTraceLimit = limit
  }
  for (const line of stack.split('\n').slice(1)) {
    const frame = FRAME.exec(line)
    if (frame === null || isOurs(frame[2])) continue
    const text = frame[1] ? `${frame[2]}:${frame[3]} in ${frame[1]}` : `${frame[2]}:${frame[3]}`
    let number = numbers.get(text)
    if (number === undefined) {
      number = native.site(frame[2], Number(frame[3]), frame[1] ?? '')
      // There was no memory for it; there may be the next time.
      if (number === undefined) return 0
      numbers.set(text, number)
    }
    return number
  }
  return 0
}

module.exports = { callSite }
