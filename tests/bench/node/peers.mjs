// What a Node program would take for its buffers: each peer as the lines of code that take one and give it back. The works
// paste these lines into their loops, so that each process compiles the one loop it measures.
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = dirname(fileURLToPath(import.meta.url))
/** Where tests/bench/setup.sh has put what it installed. */
export const benchDir = process.env.BENCH_DIR ?? join(here, '../../../target/bench')

/** glibc gives nothing back with these: it maps nothing apart and never trims its heap. */
const keep = { MALLOC_MMAP_MAX_: '0', MALLOC_MMAP_THRESHOLD_: '33554432', MALLOC_TRIM_THRESHOLD_: '17179869184' }

export function millpond() {
  return createRequire(join(benchDir, 'node/'))('millpond')
}

function pool(options) {
  return { pool: new (millpond().Pool)({ name: 'bench', ...options }), loose: { detach: false } }
}

/** A pool whose options fit the work: a class for its largest size, and as much kept idle as is live at once. */
function sized(largest, live, options) {
  const classes = [...millpond().defaultPool().classSizes]
  while (classes.at(-1) < largest) classes.push(classes.at(-1) * 4)
  const keepBytes = Math.max(4 * live, 4 * largest, 2 ** 24)
  return pool({ classes, maxBytes: 4 * keepBytes, maxRetainedBytes: keepBytes, threadCacheBytes: keepBytes, ...options })
}

/** As Node's own Buffers are made: a Uint8Array with Buffer's methods. */
class View extends Uint8Array {}
Object.setPrototypeOf(View.prototype, Buffer.prototype)

/** Memory that is kept, and what takes it away from all views of it: the very function that the pool uses here. */
function detaching(size) {
  const { transfer } = createRequire(join(benchDir, 'node/'))('./node_modules/millpond/lib/view.js')
  return { View, kept: { memory: new ArrayBuffer(size) }, transfer }
}

/**
 * Memory that is kept, shown to V8 anew for each Buffer: what Node-API takes for that, and V8 for counting the bytes that it is
 * told of. When they are 64 MiB more than they ever were since the last collection, with what Node-API adds, it starts one.
 */
function showing(size) {
  const { native, scratch } = createRequire(join(benchDir, 'node/'))('./node_modules/millpond/lib/native.js')
  const { pool: owner } = pool({ classes: [64 * Math.ceil(size / 64)], maxBytes: 2 ** 31 })
  const station = native.attach(owner.id).number
  const kept = { memory: native.take(station, 0), owner }
  const [index] = scratch
  return { View, kept, show: (memory) => native.rewrap(station, index, memory) }
}

// `take` is an expression with `size`; its value is `h`, what is held. `bytes` is the Buffer of `h`, `give` a statement.
// `clear` is the give of works whose next tenant must find zeros; without it what is taken is not zero. `mixed` is the take
// where each size is another, when that differs. `names(largest, live)` are what these lines use.
const lease = { take: 'pool.get(size)', bytes: 'h.buffer', give: 'h.put()' }
const zeroed = { take: 'Buffer.alloc(size)', bytes: 'h', give: 'h = undefined', clear: 'h = undefined' }
const unsafe = { take: 'Buffer.allocUnsafe(size)', bytes: 'h', give: 'h = undefined' }
const none = () => ({})

export const PEERS = {
  millpond: { ...lease, clear: 'h.put()', names: () => pool(), millpond: true, text: 'a pool with nothing but defaults' },
  'millpond-sized': {
    ...lease,
    clear: 'h.put()',
    names: (largest, live) => sized(largest, live),
    millpond: true,
    text: 'a class for the largest size, limits and thread cache as large as the work needs',
  },
  'millpond-noclear': {
    ...lease,
    names: (largest, live) => sized(largest, live, { clear: 'never' }),
    millpond: true,
    text: "as millpond-sized, and clear: 'never'",
  },
  'millpond-nodetach': {
    ...lease,
    give: 'h.put(loose)',
    clear: 'h.put(loose)',
    names: (largest, live) => sized(largest, live),
    millpond: true,
    text: 'as millpond-sized, and put({ detach: false })',
  },
  'millpond-used': {
    ...lease,
    give: undefined,
    clear: 'h.put(said)',
    names: (largest, live) => sized(largest, live),
    millpond: true,
    text: 'as millpond-sized, and put({ used }) with the bytes that were dirtied; in the works clear* only',
  },
  'Buffer.alloc': { ...zeroed, names: none },
  'Buffer.alloc, glibc-tuned': { ...zeroed, names: none, env: keep },
  'Buffer.allocUnsafe': { ...unsafe, names: none },
  'Buffer.allocUnsafe, glibc-tuned': { ...unsafe, names: none, env: keep },
  'Buffer.allocUnsafeSlow': { ...unsafe, take: 'Buffer.allocUnsafeSlow(size)', names: none },
  'detach alone': {
    take: 'new View(kept.memory, 0, size)',
    bytes: 'h',
    give: 'kept.memory = transfer(kept.memory)',
    names: detaching,
    works: ['pair'],
    text: 'floor: a view of memory that is kept, detached by ArrayBuffer.prototype.transfer (Node 20: by V8 through the addon); no pool',
  },
  'detach alone, cleared': {
    take: 'new View(kept.memory, 0, size)',
    bytes: 'h',
    give: 'h.fill(0); kept.memory = transfer(kept.memory)',
    names: detaching,
    works: ['pair'],
    text: 'floor: the same, filled with zeros before',
  },
  'show and detach alone': {
    take: 'new View(kept.memory, 0, size)',
    bytes: 'h',
    give: 'kept.memory = show(kept.memory)',
    names: showing,
    works: ['pair'],
    text: 'floor: an ArrayBuffer over memory that is kept, made for each Buffer and detached by Node-API; no pool',
  },
  'array pool': {
    take: 'free.pop() ?? Buffer.allocUnsafeSlow(size)',
    bytes: 'h',
    give: 'free.push(h)',
    clear: 'h.fill(0); free.push(h)',
    mixed: 'buckets[32 - Math.clz32(size - 1)].pop() ?? Buffer.allocUnsafeSlow(2 ** (32 - Math.clz32(size - 1)))',
    mixedGive: 'buckets[31 - Math.clz32(h.length)].push(h)',
    names: () => ({ free: [], buckets: Array.from({ length: 32 }, () => []) }),
    text: 'five lines: free.pop() ?? Buffer.allocUnsafeSlow(size); free.push(buffer). Cleared by hand in the works clear*',
  },
}

/** Works of the peers that are there for some only. */
export const only = Object.fromEntries(
  Object.entries(PEERS)
    .filter(([, peer]) => peer.works)
    .map(([name, peer]) => [name, peer.works]),
)

export const settings = Object.fromEntries(
  Object.entries(PEERS)
    .map(([name, peer]) => [name, peer.text ?? (peer.env && Object.entries(peer.env).map((pair) => pair.join('=')).join(' '))])
    .filter(([, text]) => text),
)

export function versions() {
  const { node, v8 } = process.versions
  return { node, v8, millpond: millpond().version }
}
