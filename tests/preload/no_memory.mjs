// Refuses Node's addon every request for memory in turn, once and for good, through everything that pools do.
//
//     LD_PRELOAD=failing_memory.node NO_MEMORY_PACKAGE=.../millpond node --expose-gc no_memory.mjs [STEP]
//
// Every STEP-th request, after those of the addon's loading; with --first AFTER GOOD only what that plan makes of a process that
// has just begun; with --seeded ADDON a request of an addon that is known to abort then.
// Whatever fails is an error that leaves the pool as it was; at the end all buffers are back and the sums agree. An abort ends
// this process, and so the test.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { basename } from 'node:path'
import { Worker } from 'node:worker_threads'

const require = createRequire(import.meta.url)
const memory = require(process.env.LD_PRELOAD)

if (process.argv[2] === '--seeded') {
  const addon = process.argv[3]
  process.dlopen({ exports: {} }, addon)
  assert.equal(memory.aim(basename(addon)), 1)
  memory.begin(0, 1)
  process.dlopen({ exports: {} }, addon)
  process.exit(0)
}

const { Lease, Pool, defaultPool } = require(process.env.NO_MEMORY_PACKAGE)

const MODES = ['on', 'sites', 'sample:1', 'full', 'off']
const SIZES = [0, 100, 5000, 60_000, 70_000, 2 ** 20, 5 * 2 ** 20]
const refusals = {}

class Refused extends Error {}

/** Does one step; NO_MEMORY, or what JavaScript has for it, is what may come of it. */
function step(act) {
  try {
    return act()
  } catch (error) {
    const name = error.code ?? error.constructor.name
    if (name !== 'ERR_MILLPOND_NO_MEMORY' && name !== 'ERR_MEMORY_ALLOCATION_FAILED' && !(error instanceof RangeError)) throw error
    refusals[name] = (refusals[name] ?? 0) + 1
    throw new Refused()
  }
}

/** Does one step that may be refused without the others being in vain. */
function attempt(act) {
  try {
    step(act)
  } catch (error) {
    if (!(error instanceof Refused)) throw error
  }
}

/** Does one step that may break a rule; returns whether it did. */
function broken(kind, act) {
  try {
    act()
  } catch (error) {
    if (error.code === `ERR_MILLPOND_${kind}`) return true
    throw error
  }
  return false
}

/** Does one step that breaks a rule. */
function refused(kind, act) {
  attempt(() => assert.ok(broken(kind, act), `${kind} wanted`))
}

/** What pools do; ends early where nothing can go on without what was refused. `left` is what it leaves: leases. */
function life(mode, pools, left) {
  const make = (options) => {
    const pool = new Pool({ check: mode, ...options })
    pools.push(pool)
    return pool
  }
  const pool = step(() => make({ name: 'first', classes: [512, 4096, 65536, 2 ** 20], maxBytes: 2 ** 28 }))
  const other = step(() => make({ clear: 'onGet' }))
  const one = (from, length, options) => {
    const lease = from.get(length)
    try {
      lease.buffer.fill(1)
    } finally {
      lease.put(options)
    }
  }
  for (const length of SIZES) {
    attempt(() => one(pool, length))
    attempt(() => one(pool, length, { detach: false }))
    attempt(() => one(other, length))
    attempt(() => pool.tryGet(length).put())
    attempt(() => {
      const lease = pool.get(length)
      try {
        lease.detach()
      } catch (error) {
        lease.put()
        throw error
      }
    })
    attempt(() => {
      const lease = pool.get(length)
      lease.buffer.fill(7)
      let token
      try {
        token = lease.transfer()
      } catch (error) {
        lease.put()
        throw error
      }
      left.tokens.push(token)
      Lease.adopt(token).put()
      left.tokens.pop()
    })
    attempt(() => {
      pool.get(length)
      left.dropped += 1
    })
  }
  attempt(() => held(pool))
  refused('INVALID_ARGUMENT', () => pool.get(-1))
  refused('INVALID_ARGUMENT', () => make({ check: 'loud' }))
  // The message is longer than the room that there is for one without asking.
  refused('INVALID_ARGUMENT', () => make({ check: 'louder'.repeat(300) }))
  refused('INVALID_ARGUMENT', () => make({ classes: [100] }))
  let lease
  attempt(() => (lease = pool.get(1000)))
  if (lease !== undefined) {
    refused('FOREIGN_LEASE', () => other.put(lease))
    attempt(() => {
      lease.pin()
      try {
        refused('BUSY', () => lease.put())
      } finally {
        lease.unpin()
      }
    })
    attempt(() => pool.leaks())
    lease.put()
    refused('DOUBLE_PUT', () => lease.put())
    refused('USE_AFTER_PUT', () => lease.buffer)
  }
  for (const act of [() => pool.stats(), () => pool.leaks(), () => pool.trim(), () => pool.maintain(), () => pool.check]) attempt(act)
  if (mode !== 'off') {
    attempt(() => pool.setCheck('sites'))
    attempt(() => one(pool, 100))
  }
  attempt(() => pool.inject('get=1'))
  attempt(() => broken('EXHAUSTED', () => one(pool, 100)))
  attempt(() => pool.inject(''))
  attempt(() => broken('EXHAUSTED', () => one(pool, 100)))
  attempt(() => pool.close())
}

/** Holds more buffers at once than a table begins with. */
function held(pool) {
  const leases = []
  try {
    for (let count = 0; count < 70; count++) leases.push(pool.get(600))
    assert.equal(pool.leaks().length >= leases.length, true)
  } finally {
    for (const lease of leases) lease.put()
  }
}

/** Has the collector find what was dropped, and the addon told of it. */
async function collect() {
  globalThis.gc()
  await new Promise((resolve) => setImmediate(resolve))
}

/** Lives with one plan and returns how many requests there were and how many were refused. */
async function run(mode, after, forGood) {
  const pools = []
  /** Leases that were dropped, for the collector to find, and those on their way to another thread. */
  const left = { dropped: 0, tokens: [] }
  memory.begin(after, forGood ? 1 : 0)
  let count
  try {
    life(mode, pools, left)
    await collect()
  } catch (error) {
    if (!(error instanceof Refused)) throw error
  } finally {
    count = memory.end()
  }
  const asked = memory.asked()
  for (const token of left.tokens) Lease.adopt(token).put()
  await collect()
  const plan = `${mode} ${after} ${forGood}`
  let leaked = 0
  for (const pool of pools) {
    pool.close()
    const stats = pool.stats()
    leaked += stats.leaked
    assert.equal(stats.gets, stats.puts + stats.inUse + stats.detached + stats.leaked, plan)
    assert.deepEqual([stats.inUse, stats.lost, stats.created], [0, 0, stats.destroyed], plan)
    assert.deepEqual(pool.leaks(), [], plan)
  }
  assert.equal(leaked, left.dropped, plan)
  return [asked, count]
}

/** Loads the addon into a worker with one plan and returns what the worker says. */
async function load(after, forGood) {
  const worker = new Worker(new URL('load.mjs', import.meta.url), { workerData: { after, forGood } })
  const [[said]] = await Promise.all([once(worker, 'message'), once(worker, 'exit')])
  return said
}

/** Lives with one plan where what is made once for a process is not there yet, and returns what `run` does. */
function first(after, forGood) {
  const given = [...process.execArgv, process.argv[1], '--first', after, forGood ? 1 : 0]
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, given, { encoding: 'utf8' })
  assert.equal(status, 0, `${after} ${forGood} ${signal}: ${stderr}`)
  return JSON.parse(stdout)
}

// The warnings of leases that the collector found.
process.removeAllListeners('warning')
assert.equal(memory.aim('millpond.linux'), 1, 'the addon is not loaded')
if (process.argv[2] === '--first') {
  console.log(JSON.stringify(await run('sites', Number(process.argv[3]), process.argv[4] === '1')))
  process.exit(0)
}
const stepSize = Number(process.argv[2] ?? 1)
// What is made once for the process is there afterwards.
for (const mode of MODES) assert.equal((await run(mode, 2 ** 40, false))[1], 0)
let runs = 0
let requests = 0
let count = 0
const { asked: total, code } = await load(2 ** 40, 1)
assert.ok(total > 0 && code === undefined, `${total} ${code}`)
for (const forGood of [0, 1]) {
  for (let after = 0; after < total; after++) {
    const said = await load(after, forGood)
    assert.ok(said.refused > 0, `${after} ${forGood}`)
    assert.equal(said.code, 'ERR_MILLPOND_NO_MEMORY', `${after} ${forGood}`)
    runs += 1
    requests += said.asked
    count += said.refused
  }
}
// What the workers held when they ended came back.
const { gets, puts, leaked, inUse, lost } = defaultPool().stats()
assert.deepEqual([gets, leaked, inUse, lost], [puts + leaked, runs + 1, 0, 0])
for (const forGood of [false, true]) {
  const [total] = first(2 ** 40, false)
  for (let after = 0; after < total; after += stepSize) {
    const [asked, refusedNow] = first(after, forGood)
    assert.ok(refusedNow > 0, `${after} ${forGood}`)
    runs += 1
    requests += asked
    count += refusedNow
  }
}
for (const mode of MODES) {
  for (const forGood of [false, true]) {
    const [total] = await run(mode, 2 ** 40, false)
    for (let after = 0; after < total; after += stepSize) {
      const [asked, refusedNow] = await run(mode, after, forGood)
      runs += 1
      requests += asked
      count += refusedNow
    }
  }
}
// That requests are refused, and seen as such, is what the rest stands on.
assert.ok(count >= runs && runs > 0 && refusals.ERR_MILLPOND_NO_MEMORY > 0, JSON.stringify(refusals))
console.log(`no memory in node: ${runs} runs, ${requests} requests, ${count} refused, 0 aborts, errors ${JSON.stringify(refusals)}`)
