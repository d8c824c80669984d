'use strict'

// The Buffer that a lease shows: exactly the leased length, over an ArrayBuffer of the whole size class.
//
// `buffer.buffer` reaches the bytes behind the length. Clearing the class at each put would cost up to four times the
// work, so the view notes when somebody asks for its ArrayBuffer, and put then looks at those bytes: a pool that
// clears had them zero at the get, so a byte that is not zero was written past the length.

const { native } = require('./native')

const typedArray = Object.getPrototypeOf(Uint8Array.prototype)
const uncurry = (method) => Function.prototype.call.bind(method)
const getter = (prototype, name) => uncurry(Object.getOwnPropertyDescriptor(prototype, name).get)

const arrayBufferOf = getter(typedArray, 'buffer')
const byteOffsetOf = getter(typedArray, 'byteOffset')
const lengthOf = getter(typedArray, 'length')
const fill = uncurry(typedArray.fill)
const byteLengthOf = getter(ArrayBuffer.prototype, 'byteLength')
/**
 * Moves an ArrayBuffer's memory into a new one. On Node 20, whose ArrayBuffers cannot do that, the addon does it; undefined
 * where it cannot either.
 */
const transfer =
  ArrayBuffer.prototype.transfer !== undefined
    ? uncurry(ArrayBuffer.prototype.transfer)
    : process.env.MILLPOND_NODE_MOVE === 'off'
      ? undefined
      : native.move

/** Turns a relative index into one from 0 to `length`. */
function clamp(index, length, otherwise) {
  if (index === undefined) return otherwise
  const whole = Math.trunc(Number(index))
  if (Number.isNaN(whole)) return 0
  return whole < 0 ? Math.max(length + whole, 0) : Math.min(whole, length)
}

class LeaseView extends Uint8Array {
  /** The record of the buffer that the view looks into. */
  #slab

  constructor(arrayBuffer, byteOffset, length, slab) {
    super(arrayBuffer, byteOffset, length)
    this.#slab = slab
  }

  get buffer() {
    if (#slab in this) this.#slab.whole = true
    return arrayBufferOf(this)
  }

  subarray(start, end) {
    const length = lengthOf(this)
    const from = clamp(start, length, 0)
    const to = Math.max(clamp(end, length, length), from)
    return new LeaseView(arrayBufferOf(this), byteOffsetOf(this) + from, to - from, this.#slab)
  }

  slice(start, end) {
    return this.subarray(start, end)
  }
}

// A Buffer in everything else: Buffer.isBuffer(view), view.constructor === Buffer, and what map() or filter() make
// is a plain Buffer.
delete LeaseView.prototype.constructor
Object.setPrototypeOf(LeaseView.prototype, Buffer.prototype)

module.exports = { LeaseView, byteLengthOf, fill, transfer }
