'use strict'

// The idle buffers of one size class: a list through their records, last in first out.

/** A station's counter block: gate, requested bytes, then gets, puts and idle count of each class. */
const GATE = 0
const REQUESTED = 1
const FIRST = 2
const STRIDE = 3

class Magazine {
  constructor(counters, kind, size) {
    /** The block that core reads, and where the class's counters begin in it. */
    this.counters = counters
    this.at = FIRST + STRIDE * kind
    this.size = size
    /** That of the next larger class, if there is one. */
    this.larger = undefined
    this.top = null
    this.count = 0
    /** Fewest idle buffers since the last look of the decay. */
    this.low = 0
  }

  push(slab) {
    slab.below = this.top
    this.top = slab
    this.counters[this.at + 2] = ++this.count
  }

  /** Takes out the buffer that was put last; there must be one. */
  pop() {
    const slab = this.top
    this.top = slab.below
    // A leased buffer must not keep another one from the collector, which may have to find that.
    slab.below = null
    const left = --this.count
    if (left < this.low) this.low = left
    this.counters[this.at + 2] = left
    return slab
  }

  countGet() {
    this.counters[this.at] += 1
  }

  countPut() {
    this.counters[this.at + 1] += 1
  }
}

module.exports = { Magazine, GATE, REQUESTED, FIRST, STRIDE }
