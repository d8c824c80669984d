// Measures one get and put against Buffer.alloc and Buffer.allocUnsafe, all in one process, each case in turn:
//   node bench/pair.mjs [SIZE…]
// Nanoseconds per pair, over many short rounds: the least, which other programs disturb least, and the median, which
// has the collector's work in it. Run it on a quiet machine; ratios within one run are what counts.
//
// "moving alone" has no pool: a new ArrayBuffer over the memory of the last one, which is what a detaching put cannot
// do without. On Node 20 with MILLPOND_NODE_MOVE=off that is Node-API's way: detach, and make an external ArrayBuffer.
import { createRequire } from 'node:module'
import { Pool } from '../index.mjs'

const require = createRequire(import.meta.url)
const { native, scratch } = require('../lib/native')
const { transfer } = require('../lib/view')

const ROUNDS = 60
const sizes = process.argv.slice(2).map(Number)
if (sizes.length === 0) sizes.push(1024, 4096, 65536, 1 << 20, 16 << 20)

/** So that the loops are not empty to the compiler; a small integer, or each change would allocate. */
let sink = 0
function use(number) {
  sink = (sink + number) | 0
}

/** Own classes up to the largest size asked for: every lease is a pooled one. */
const classes = [512, ...new Set(sizes.filter((size) => size > 512).map((size) => 2 ** Math.ceil(Math.log2(size))))].sort((a, b) => a - b)
const limits = { classes, maxBytes: 8 * 2 ** 30, maxRetainedBytes: 4 * 2 ** 30, threadCacheBytes: 4 * 2 ** 30 }
const plain = new Pool({ name: 'no clearing', clear: 'never', ...limits })
const clearing = new Pool({ name: 'clearing', ...limits })
const loose = { detach: false }

/** One ArrayBuffer of each size, and how its memory is moved. */
const moving = new Map()
const station = native.attach(plain.id).number
for (const size of new Set([1024, ...sizes])) {
  let array = native.take(station, classes.findIndex((bytes) => bytes >= size))
  const [index] = scratch
  const move = transfer ?? ((old) => native.rewrap(station, index, old))
  moving.set(size, () => (array = move(array)))
}

const CASES = {
  'pool, not clearing': (size, times) => {
    for (let i = 0; i < times; i++) {
      const lease = plain.get(size)
      use(lease.buffer.length)
      lease.put()
    }
  },
  'pool, detach: false': (size, times) => {
    for (let i = 0; i < times; i++) {
      const lease = plain.get(size)
      use(lease.buffer.length)
      lease.put(loose)
    }
  },
  'moving alone': (size, times) => {
    const move = moving.get(size)
    for (let i = 0; i < times; i++) use(move().byteLength)
  },
  'pool, clearing': (size, times) => {
    for (let i = 0; i < times; i++) {
      const lease = clearing.get(size)
      use(lease.buffer.length)
      lease.put()
    }
  },
  'Buffer.allocUnsafe': (size, times) => {
    for (let i = 0; i < times; i++) use(Buffer.allocUnsafe(size).length)
  },
  'Buffer.alloc': (size, times) => {
    for (let i = 0; i < times; i++) use(Buffer.alloc(size).length)
  },
}
/** What touches or maps each byte gets fewer turns: about a millisecond a round. */
const dear = new Set(['pool, clearing', 'Buffer.allocUnsafe', 'Buffer.alloc'])

function measure(act, size, times) {
  const from = process.hrtime.bigint()
  act(size, times)
  return Number(process.hrtime.bigint() - from) / times
}

function summary(values) {
  values.sort((a, b) => a - b)
  return `${values[0].toFixed(1)} ${values[values.length >> 1].toFixed(1).padStart(9)}`
}

const line = (size, cells) => console.log([size.padStart(10), ...cells.map((cell) => cell.padStart(22))].join(''))
console.log(`node ${process.version}; ns per pair, least and median of ${ROUNDS} rounds`)
line('size', Object.keys(CASES))
// The same call sites see every case and size first, so that none profits from being compiled alone.
for (const size of new Set([1024, ...sizes])) {
  for (const [name, act] of Object.entries(CASES)) {
    for (let i = 0; i < 5; i++) {
      await new Promise(setImmediate)
      act(size, size > 65536 && dear.has(name) ? 10 : 10_000)
    }
  }
}
for (const size of sizes) {
  const results = Object.fromEntries(Object.keys(CASES).map((name) => [name, []]))
  for (let round = 0; round < ROUNDS; round++) {
    for (const [name, act] of Object.entries(CASES)) {
      const times = Math.max(1, Math.round(1e6 / (500 + (dear.has(name) ? size / 20 : 0))))
      // The event loop frees what was finalized.
      await new Promise(setImmediate)
      results[name].push(measure(act, size, times))
    }
  }
  line(String(size), Object.values(results).map(summary))
}
if (sink === 0) throw new Error('nothing was measured')
