'use strict'

// Runs the package hard for a while and fails when resident memory keeps growing: `node --expose-gc test/leak.js [ROUNDS]`.

const { once } = require('node:events')
const { join } = require('node:path')
const { setTimeout: sleep } = require('node:timers/promises')
const { Worker } = require('node:worker_threads')
const { Lease, Pool } = require('..')

const ROUNDS = Number(process.argv[2] ?? 30)
/** Rounds until everything that is made once has been made. */
const WARM_UP = 10
/** What may be added to the resident memory by all later rounds together, in MiB; a lost 4 KiB buffer per round would add 100. */
const BOUND = 12
const mib = (bytes) => bytes / 2 ** 20

process.removeAllListeners('warning')
const lasting = new Pool({ name: 'lasting' })
const index = JSON.stringify(join(__dirname, '..'))

async function round() {
  for (let i = 0; i < 1000; i++) {
    const lease = lasting.get((i * 7919) % 100_000)
    lease.buffer.fill(1)
    lease.put(i % 5 === 0 ? { detach: false } : undefined)
  }
  for (let i = 0; i < 200; i++) {
    lasting.get(3000).detach()
    Lease.adopt(lasting.get(3000).transfer()).put()
    // Lost on purpose.
    lasting.get(3000).buffer.fill(1)
    try {
      lasting.get(-1)
    } catch {
      // Counted on.
    }
  }
  lasting.get(20 * 2 ** 20).put()
  for (let i = 0; i < 50; i++) {
    const short = new Pool({ name: `short ${i % 3}` })
    short.get(100).buffer.fill(1)
    short.get(70_000).put()
    if (i % 2 === 0) short.close()
  }
  const script = `
    const { Pool } = require(${index})
    const pool = Pool.fromId(require('node:worker_threads').workerData)
    for (let i = 0; i < 100; i++) pool.get(i * 100).put()
  `
  await once(new Worker(script, { eval: true, workerData: lasting.id }), 'exit')
  for (let i = 0; i < 3; i++) {
    globalThis.gc()
    await sleep(1)
  }
}

async function main() {
  let base
  for (let n = 1; n <= WARM_UP + ROUNDS; n++) {
    await round()
    if (n === WARM_UP) base = process.memoryUsage.rss()
  }
  const grown = mib(process.memoryUsage.rss() - base)
  const { inUse, leaked, gets, puts, detached } = lasting.stats()
  console.log(`leak ${process.version}: ${ROUNDS} rounds added ${grown.toFixed(1)} MiB of at most ${BOUND}; ${gets} gets, ${leaked} found by the collector`)
  if (grown > BOUND || inUse > 1 || gets !== puts + inUse + leaked + detached) {
    console.error('leak: FAILED', lasting.stats())
    process.exitCode = 1
  }
}

main()
