// The works that are more than a loop: event-loop turns, threads, the first get, statistics, resident memory.
import { spawnSync } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads'
import { Collections, median, resetPeak, residentKib, round, run, usage } from './measure.mjs'
import { PEERS, millpond } from './peers.mjs'
import { Skip, build, burstOfAGib } from './works.mjs'

const self = fileURLToPath(import.meta.url)

/** Four buffers are filled and given back in each turn of the event loop; how long turns take, collector and all. */
export async function turns(peer, size, ms) {
  const { body } = build(peer, 'turn', size)
  const count = ms < 15 ? 500 : 2000
  const spent = new Float64Array(count)
  const next = () => new Promise((resolve) => setImmediate(resolve))
  for (let i = 0; i < count / 4; i++) {
    body(1)
    await next()
  }
  resetPeak()
  const collections = new Collections()
  const before = usage()
  let last = performance.now()
  for (let i = 0; i < count; i++) {
    body(1)
    await next()
    const now = performance.now()
    spent[i] = (now - last) * 1e6
    last = now
  }
  const after = usage()
  const peak = residentKib('VmHWM')
  spent.sort()
  const at = (share) => round(spent[Math.min(count - 1, Math.floor(count * share))] / 1000)
  return {
    ns: round(median(spent)),
    cpu_ns: round((after.cpu - before.cpu) / count),
    faults: round((after.faults - before.faults) / count, 4),
    ops: count,
    p50_us: at(0.5),
    p99_us: at(0.99),
    max_us: at(1),
    ...(await collections.stop()),
    peak_rss_kib: peak,
  }
}

/** The same pairs on the main thread and on a worker; `ns` is a pair's of one thread. */
export async function twoThreads(name, size, ms) {
  const alone = await run(build(PEERS[name], 'twothreads', size).body, size, ms)
  const worker = new Worker(self, { workerData: { kind: 'pairs', name, size } })
  await new Promise((resolve) => worker.once('message', resolve))
  const ended = new Promise((resolve) => worker.once('message', resolve))
  worker.postMessage(ms)
  const here = await run(build(PEERS[name], 'twothreads', size).body, size, ms)
  const there = await ended
  await worker.terminate()
  return { ...here, ns: round((here.ns + there.ns) / 2), alone_ns: alone.ns, ops: here.ops + there.ops, cpu_ns: round((here.cpu_ns * here.ops) / (here.ops + there.ops)) }
}

/** Statistics of a pool whose classes 64 threads have used, read and printed. */
export async function metrics(peer, ms) {
  if (!peer.millpond) throw new Skip('has no statistics')
  const { Pool } = millpond()
  const pool = new Pool({ name: 'bench' })
  const workers = Array.from({ length: 63 }, () => new Worker(self, { workerData: { kind: 'classes', id: pool.id } }))
  await Promise.all(workers.map((worker) => new Promise((resolve) => worker.once('message', resolve))))
  for (const size of pool.classSizes) pool.get(size).put()
  const read = (n) => {
    let seen = 0
    for (let i = 0; i < n; i++) seen += pool.stats().gets
    return seen
  }
  const print = (n) => {
    let seen = 0
    for (let i = 0; i < n; i++) seen += JSON.stringify(pool.stats()).length
    return seen
  }
  const figures = await run(print, 2 ** 14, ms)
  figures.read_ns = (await run(read, 2 ** 14, ms / 2)).ns
  await Promise.all(workers.map((worker) => worker.terminate()))
  return figures
}

/** The first get of a process, in seven processes; the median. */
export function first(name, size) {
  const told = Array.from({ length: 7 }, () => {
    const child = spawnSync(process.execPath, [self, '--first', name, String(size)], { encoding: 'utf8' })
    if (child.status !== 0) throw new Error(child.stderr)
    return JSON.parse(child.stdout)
  })
  return { ns: median(told.map(([, get]) => get)), setup_ns: median(told.map(([setup]) => setup)), ops: told.length }
}

function firstHere(name, size) {
  const from = process.hrtime.bigint()
  const names = { ...PEERS[name].names(size, size), size }
  const { take, bytes } = PEERS[name]
  const get = new Function(...Object.keys(names), `return function () { const h = ${take}; return ${bytes} }`)(...Object.values(names))
  const ready = process.hrtime.bigint()
  const buffer = get()
  const done = process.hrtime.bigint()
  if (buffer.length !== size) throw new Error(`got ${buffer.length} bytes`)
  console.log(JSON.stringify([Number(ready - from), Number(done - ready)]))
}

/** Resident memory before a burst of 1 GiB, and while the process rests for up to `ms` afterwards. */
export async function resting(peer, size, ms) {
  const rows = [[-1, residentKib()]]
  burstOfAGib(peer, size)
  const from = performance.now()
  for (const second of [0, 1, 5, 10, 30]) {
    if (second * 1000 > ms) break
    await sleep(from + second * 1000 - performance.now())
    rows.push([second, residentKib()])
  }
  return { rss_kib: rows, peak_rss_kib: residentKib('VmHWM'), settled_rss_kib: rows.at(-1)[1] }
}

async function inWorker({ kind, name, size, id }) {
  if (kind === 'classes') {
    const pool = millpond().Pool.fromId(id)
    for (const capacity of pool.classSizes) pool.get(capacity).put()
    parentPort.on('message', () => {})
    parentPort.postMessage('used')
    return
  }
  parentPort.once('message', async (ms) => parentPort.postMessage(await run(build(PEERS[name], 'twothreads', size).body, size, ms)))
  parentPort.postMessage('ready')
}

if (!isMainThread) await inWorker(workerData)
else if (process.argv[1] === self && process.argv[2] === '--first') firstHere(process.argv[3], Number(process.argv[4]))
