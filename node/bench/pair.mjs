// Measures one get and put against Buffer.alloc and Buffer.allocUnsafe, all in one process, each case in turn:
//   node bench/pair.mjs [SIZE…]
// Nanoseconds per pair, median over the rounds. Run it on a quiet machine; ratios within one run are what counts.
import { Pool } from '../index.mjs'

const ROUNDS = 15
const sizes = process.argv.slice(2).map(Number)
if (sizes.length === 0) sizes.push(1024, 4096, 65536, 1 << 20, 16 << 20)

/** So that the loops are not empty to the compiler. */
let sink = 0

/** Own classes up to the largest size asked for: every lease is a pooled one. */
const classes = [512, ...new Set(sizes.filter((size) => size > 512).map((size) => 2 ** Math.ceil(Math.log2(size))))].sort((a, b) => a - b)
const limits = { classes, maxBytes: 4 * 2 ** 30, maxRetainedBytes: 2 ** 30, threadCacheBytes: 2 ** 30 }
const plain = new Pool({ name: 'no clearing', clear: 'never', ...limits })
const clearing = new Pool({ name: 'clearing', ...limits })
const loose = { detach: false }

const CASES = {
  'pool, not clearing': (size, times) => {
    for (let i = 0; i < times; i++) {
      const lease = plain.get(size)
      sink += lease.buffer.length
      lease.put()
    }
  },
  'pool, clearing': (size, times) => {
    for (let i = 0; i < times; i++) {
      const lease = clearing.get(size)
      sink += lease.buffer.length
      lease.put()
    }
  },
  'pool, detach: false': (size, times) => {
    for (let i = 0; i < times; i++) {
      const lease = plain.get(size)
      sink += lease.buffer.length
      lease.put(loose)
    }
  },
  'Buffer.alloc': (size, times) => {
    for (let i = 0; i < times; i++) sink += Buffer.alloc(size).length
  },
  'Buffer.allocUnsafe': (size, times) => {
    for (let i = 0; i < times; i++) sink += Buffer.allocUnsafe(size).length
  },
}

function measure(act, size, times) {
  const from = process.hrtime.bigint()
  act(size, times)
  return Number(process.hrtime.bigint() - from) / times
}

const median = (values) => values.sort((a, b) => a - b)[values.length >> 1]

console.log(`node ${process.version}; ns per pair, median of ${ROUNDS} rounds`)
console.log(['size'.padStart(10), ...Object.keys(CASES).map((name) => name.padStart(20))].join(''))
// The same call sites see every case first, so that no case profits from being compiled alone.
for (const act of Object.values(CASES)) for (let i = 0; i < 3; i++) act(1024, 20_000)
for (const size of sizes) {
  const results = Object.fromEntries(Object.keys(CASES).map((name) => [name, []]))
  for (let round = 0; round < ROUNDS; round++) {
    for (const [name, act] of Object.entries(CASES)) {
      // About 2 ms a round: what touches each byte gets fewer turns.
      const touches = name === 'Buffer.alloc' || name === 'pool, clearing'
      const times = Math.max(1, Math.min(10_000, Math.round(2e6 / (150 + (touches ? size / 20 : 0)))))
      // Node 20 makes new ArrayBuffers at each put: their finalizers need the event loop.
      await new Promise(setImmediate)
      results[name].push(measure(act, size, times))
    }
  }
  console.log([String(size).padStart(10), ...Object.values(results).map((values) => median(values).toFixed(1).padStart(20))].join(''))
}
if (sink === 0) throw new Error('nothing was measured')
