// Reads a directory tree through pooled buffers and hashes it; a worker thread puts them back.
//
//   node tree.mjs pool|plain DIR LIST
//   node tree.mjs misuse
//
// LIST names a file with one path relative to DIR per line. `plain` does the same with a Buffer.alloc per file, `misuse`
// provokes each violation of the ownership rules. The last line printed is one JSON object; `make demo` runs this program
// and its siblings in the other languages and compares them.
import { createHash } from 'node:crypto'
import { closeSync, fstatSync, openSync, readFileSync, readSync, statSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads'
import { Lease, MillpondError, Pool } from '../index.mjs'

/** How many buffers may wait for the thread that gives them back. */
const QUEUE = 64

/** Reads until the buffer is full. */
function fill(file, buffer, path) {
  let filled = 0
  while (filled < buffer.length) {
    const count = readSync(file, buffer, filled, buffer.length - filled, null)
    if (count === 0) throw new Error(`${path} became shorter while it was read`)
    filled += count
  }
}

/** Tells the driver on stderr how far the work is, at most 20 times a second, if it asked for that. */
function makeProgress(absolute) {
  if (process.env.MILLPOND_PROGRESS !== '1') return () => {}
  const all = absolute.reduce((sum, path) => sum + statSync(path).size, 0)
  let next = 0
  return (done) => {
    if (performance.now() < next && done !== all) return
    process.stderr.write(`P ${done} ${all}\n`)
    next = performance.now() + 50
  }
}

/** The other end of the queue: a worker that gives back what it gets, and counts. */
class Returner {
  #taken = new Int32Array(new SharedArrayBuffer(4))
  #sent = 0
  #worker = new Worker(fileURLToPath(import.meta.url), { workerData: this.#taken })
  #ended = new Promise((resolve, reject) => this.#worker.once('exit', resolve).once('error', reject))

  send(value, transferred) {
    // Main threads of Node may block, and this one has nothing else to do.
    for (let taken; this.#sent - (taken = Atomics.load(this.#taken, 0)) >= QUEUE; ) {
      if (Atomics.wait(this.#taken, 0, taken, 60_000) === 'timed-out') throw new Error('the worker takes nothing any more')
    }
    this.#worker.postMessage(value, transferred)
    this.#sent++
  }

  async end() {
    this.#worker.postMessage(null)
    await this.#ended
    if (this.#taken[0] !== this.#sent) throw new Error(`${this.#sent} buffers were sent, ${this.#taken[0]} came back`)
  }
}

function giveBack(taken) {
  parentPort.on('message', (value) => {
    if (value === null) return parentPort.close()
    // A pool's lease comes as its token; a plain Buffer's memory is freed by the collector.
    if (typeof value === 'bigint') Lease.adopt(value).put()
    Atomics.add(taken, 0, 1)
    Atomics.notify(taken, 0)
  })
}

function splitLines(bytes) {
  const lines = []
  for (let from = 0; from < bytes.length; ) {
    const end = bytes.indexOf(10, from)
    const to = end < 0 ? bytes.length : end
    if (to > from) lines.push(bytes.subarray(from, to))
    from = to + 1
  }
  return lines
}

/** Hashes every file of the list; `take` makes what holds a file, `leave` hands it to the worker. */
async function tree(folder, list, take, leave) {
  // Names are bytes: not every one is text.
  const paths = splitLines(readFileSync(list))
  const absolute = paths.map((path) => Buffer.concat([Buffer.from(`${folder}/`), path]))
  const progress = makeProgress(absolute)
  const returner = new Returner()
  const total = createHash('sha256')
  const length = Buffer.alloc(8)
  const faults = process.resourceUsage().minorPageFault
  const from = performance.now()
  let bytes = 0
  for (const [index, path] of absolute.entries()) {
    const file = openSync(path)
    const { size } = fstatSync(file)
    const holder = take(size)
    const buffer = holder.buffer instanceof ArrayBuffer ? holder : holder.buffer
    fill(file, buffer, path)
    closeSync(file)
    length.writeBigUInt64LE(BigInt(size))
    total.update(paths[index]).update('\0').update(length).update(createHash('sha256').update(buffer).digest())
    leave(returner, holder)
    bytes += size
    progress(bytes)
  }
  await returner.end()
  return {
    files: paths.length,
    bytes,
    digest: total.digest('hex'),
    seconds: Number(((performance.now() - from) / 1000).toFixed(3)),
    minor_faults: process.resourceUsage().minorPageFault - faults,
    peak_rss_kib: Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? 0),
  }
}

const snake = (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)

function reconciles(stats) {
  return (
    stats.gets === stats.puts + stats.inUse + stats.detached + stats.leaked &&
    stats.created - stats.destroyed === stats.inUse + stats.retainedBuffers &&
    stats.inUse === 0
  )
}

async function withPool(folder, list) {
  const pool = new Pool({ name: 'tree-node' })
  const result = await tree(folder, list, (size) => pool.get(size), (returner, lease) => returner.send(lease.transfer()))
  const { classes, ...stats } = pool.stats()
  return {
    ...result,
    stats: Object.fromEntries(Object.entries(stats).map(([name, value]) => [snake(name), value])),
    reconciled: reconciles({ ...stats, classes }),
  }
}

function withoutPool(folder, list) {
  return tree(folder, list, (size) => Buffer.alloc(size), (returner, buffer) => returner.send(buffer.buffer, [buffer.buffer]))
}

/** Provokes each violation of the ownership rules in pools of its own. */
async function misuse() {
  const pool = new Pool({ name: 'misuse-node', classes: [4096], maxBytes: 2 ** 20 })
  const other = new Pool({ name: 'other-node' })
  const violations = []
  const add = (name, expected, caught, code, message) => violations.push({ name, expected, caught, code, message })
  const tried = (name, expected, act) => {
    try {
      act()
      add(name, expected, false, 'none', 'no error came')
    } catch (error) {
      const kind = error instanceof MillpondError ? error.code.replace('ERR_MILLPOND_', '') : ''
      add(name, expected, kind === expected, error.code ?? error.name, error.message)
    }
  }

  const lease = pool.get(1000)
  lease.put()
  tried('second put', 'DOUBLE_PUT', () => lease.put())
  tried('use after put', 'USE_AFTER_PUT', () => lease.buffer)

  const live = pool.get(1000)
  tried('put into another pool', 'FOREIGN_LEASE', () => other.put(live))
  live.pin()
  tried('put while a view lives', 'BUSY', () => live.put())
  live.unpin()
  live.put()

  const overrun = pool.get(1000)
  new Uint8Array(overrun.buffer.buffer)[1000] = 0xa5
  tried('write past the end', 'OVERRUN', () => overrun.put())

  process.removeAllListeners('warning')
  const warned = new Promise((resolve) => process.once('warning', resolve))
  ;(() => pool.get(1000).buffer.fill(1))()
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc')
  for (let i = 0; i < 1000 && pool.stats().leaked === 0; i++) {
    collect()
    await sleep(2)
  }
  const warning = await Promise.race([warned, sleep(1000)])
  add('lost lease', 'leaked', pool.stats().leaked === 1 && warning !== undefined, warning?.code ?? 'none', warning?.message ?? '')

  const forged = 'JavaScript has no handles: a lease is an object that only a pool makes'
  try {
    pool.put(12345)
    add('forged handle', 'INVALID_HANDLE', false, 'none', 'no error came')
  } catch (error) {
    add('forged handle', 'INVALID_HANDLE', error instanceof MillpondError, 'impossible', `${forged}: ${error.message}`)
  }

  other.close()
  tried('get after close', 'CLOSED', () => other.get(1))
  const leases = Array.from({ length: 256 }, () => pool.get(4096))
  tried('limit reached', 'EXHAUSTED', () => pool.get(4096))
  for (const each of leases) each.put()
  tried('impossible size', 'INVALID_ARGUMENT', () => pool.get(2 ** 63))
  return { violations, reconciled: reconciles(pool.stats()) && reconciles(other.stats()) }
}

async function main([mode, folder, list]) {
  const modes = { pool: withPool, plain: withoutPool, misuse }
  if (!Object.hasOwn(modes, mode) || (mode !== 'misuse' && list === undefined)) {
    console.error('usage: tree.mjs pool|plain DIR LIST, tree.mjs misuse')
    process.exitCode = 2
    return
  }
  console.log(JSON.stringify({ language: 'node', mode, ...(await modes[mode](folder, list)) }))
}

if (isMainThread) await main(process.argv.slice(2))
else giveBack(workerData)
