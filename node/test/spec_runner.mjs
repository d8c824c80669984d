// Runs every scenario of tests/spec through the package's public API; tests/spec/README.md has the format.
// Needs --expose-gc: the verb "lose" runs the collector. MILLPOND_CHECK and MILLPOND_POOL choose a mode, in which that is not
// compared that the README lists.
import assert from 'node:assert/strict'
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Worker, isMainThread, workerData } from 'node:worker_threads'
import { MillpondError, Pool, defaultPool } from '../index.mjs'

const SIZES = {
  SIZE_MAX: 2 ** 64, 'SIZE_MAX-63': 2 ** 64 - 2 ** 11, ISIZE_MAX: 2 ** 63, 'ISIZE_MAX+1': 2 ** 63 + 2 ** 11, 'ISIZE_MAX-4095': 2 ** 63 - 2 ** 12,
  'bad:negative': -1, 'bad:nan': NaN, 'bad:infinite': Infinity, 'bad:fraction': 1.5, 'bad:string': '4096', 'bad:null': null, 'bad:object': {},
}
const size = (value) => (typeof value === 'string' ? SIZES[value] : value)
/** The largest size that JavaScript can tell from the next one stands for "no limit" in options. */
const option = (value) => (value === 'ISIZE_MAX' ? Number.MAX_SAFE_INTEGER : value in SIZES ? size(value) : value)
const camel = (name) => name.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase())

const unpooled = process.env.MILLPOND_POOL === 'off'
const mode = unpooled ? 'without pooling' : `in mode ${process.env.MILLPOND_CHECK ?? 'on'}`
const sampled = mode.startsWith('in mode sample:')
/** Buffers are not used again at once, or stand on pages of their own: numbers that depend on it are not compared. */
const otherwise = unpooled || sampled || mode === 'in mode full'
const DEPENDS = ['allocations', 'hits', 'created', 'destroyed', 'discarded', 'retained_buffers', 'retained_bytes', 'trimmed_bytes']
/** What is written behind the length is not found, or not possible. */
const looksAway = unpooled || sampled || mode === 'in mode off'

function poolOptions({ classes, on_limit: onLimit, clear, maintain_every_ms: every, ...rest } = {}) {
  const options = Object.fromEntries(Object.entries(rest).map(([name, value]) => [camel(name), option(value)]))
  if (classes !== undefined) options.classes = classes
  if (onLimit !== undefined) options.onLimit = onLimit.wait_ms === undefined ? onLimit : { wait: onLimit.wait_ms }
  if (clear !== undefined) options.clear = camel(clear)
  if (every !== undefined) options.maintainEvery = every
  return options
}

function reconciles(stats) {
  assert.equal(stats.gets, stats.puts + stats.inUse + stats.detached + stats.leaked, 'gets = puts + in_use + detached + leaked')
  assert.equal(stats.created - stats.destroyed, stats.inUse + stats.retainedBuffers, 'created - destroyed = in_use + retained')
}

function field(stats, name) {
  const value = stats[camel(name)]
  assert.notEqual(value, undefined, `there is no statistics field ${name}`)
  return value
}

/** Each verb with its fields; `t` holds the scenario's tables, `s` the step. */
const VERBS = {
  pool: ['pool options', (t, s) => t.pools.set(s.pool, new Pool(poolOptions(s.options)))],
  get: ['pool lease len', async (t, s) => got(t, s, t.waits.has(s.pool) ? await t.pool(s).getAsync(size(s.len)) : t.pool(s).get(size(s.len)))],
  try_get: ['pool lease len', (t, s) => got(t, s, t.pool(s).tryGet(size(s.len)))],
  get_timeout: ['pool lease len ms', async (t, s) => got(t, s, await t.pool(s).getAsync(size(s.len), { timeout: s.ms }))],
  put: ['lease pool used', (t, s) => {
    const options = s.used === undefined ? undefined : { used: s.used }
    if (s.pool === undefined) t.lease(s).put(options)
    else t.pool(s).put(t.lease(s), options)
  }],
  scope_end: ['lease', (t, s) => t.lease(s)[Symbol.dispose]()],
  scope_raise: ['lease', (t, s) => {
    const own = new Error('the user\'s own')
    assert.throws(() => { try { throw own } finally { t.lease(s)[Symbol.dispose]() } }, (error) => error === own)
  }],
  len: ['lease is', (t, s) => assert.equal(t.lease(s).length, s.is)],
  capacity: ['lease is', (t, s) => {
    if (otherwise) assert.ok(t.lease(s).capacity >= t.lease(s).length)
    else assert.equal(t.lease(s).capacity, s.is)
  }],
  write: ['lease byte at count', (t, s) => part(t, s).fill(s.byte)],
  read: ['lease byte at count', (t, s) => assert.ok(part(t, s).every((byte) => byte === s.byte), `not every byte is ${s.byte}`)],
  overrun: ['lease by', (t, s) => {
    if (looksAway) throw new Skip(`an overrun is not found ${mode}, or V8 knows nothing behind the length`)
    const { buffer } = t.lease(s)
    new Uint8Array(buffer.buffer, buffer.byteOffset + buffer.length, s.by).fill(0xa5)
  }],
  loose_view: ['lease view', (t, s) => t.views.set(s.view, new Uint8Array(t.lease(s).buffer.buffer, 0, t.lease(s).length))],
  drop_view: ['view', (t, s) => t.views.delete(s.view)],
  view_dead: ['view', (t, s) => assert.equal(t.views.get(s.view).length, 0)],
  view_never: ['view byte', (t, s) => assert.ok(t.views.get(s.view).length === 0 || !t.views.get(s.view).includes(s.byte))],
  pin: ['lease', (t, s) => void t.lease(s).pin()],
  unpin: ['lease', (t, s) => t.lease(s).unpin()],
  transfer: ['lease', (t, s) => {
    const { buffer } = t.lease(s).buffer
    // Node 20 copies what it cannot transfer; an ArrayBuffer made by an addon cannot be taken away there.
    if (buffer.transfer === undefined) throw new Skip('Node 20 copies an addon\'s ArrayBuffer instead of transferring it')
    buffer.transfer()
  }],
  lose: ['lease', async (t, s) => {
    const pool = t.lease(s).pool
    const before = pool.stats().leaked
    t.leases.delete(s.lease)
    for (const end = Date.now() + 10_000; pool.stats().leaked === before && Date.now() < end;) {
      globalThis.gc()
      await sleep(1)
    }
    assert.equal(pool.stats().leaked, before + 1, 'the collector did not find the lease')
  }],
  detach: ['lease owned', (t, s) => t.owned.set(s.owned, t.lease(s).detach())],
  owned_read: ['owned byte', (t, s) => assert.ok(t.owned.get(s.owned).every((byte) => byte === s.byte))],
  drop_owned: ['owned', (t, s) => t.owned.delete(s.owned)],
  leaks: ['pool count len', (t, s) => {
    const leaks = t.pool(s).leaks()
    assert.equal(leaks.length, s.count)
    if (s.len !== undefined) assert.equal(leaks[0].length, s.len)
  }],
  stats: ['pool is at_least at_most classes', (t, s) => {
    const stats = t.pool(s).stats()
    const check = (from, wanted = {}, compare) => {
      for (const [name, value] of Object.entries(wanted)) {
        const found = field(from, name)
        if (!otherwise || !DEPENDS.includes(name)) compare(found, value, name)
      }
    }
    check(stats, s.is, (found, value, name) => assert.equal(found, size(value), name))
    check(stats, s.at_least, (found, value, name) => assert.ok(found >= value, `${name} is ${found}`))
    check(stats, s.at_most, (found, value, name) => assert.ok(found <= value, `${name} is ${found}`))
    for (const [bytes, wanted] of Object.entries(s.classes ?? {})) {
      const found = stats.classes.find((each) => each.size === Number(bytes))
      check(found, wanted, (value, is, name) => assert.equal(value, is, `${name} of class ${bytes}`))
    }
  }],
  class_sizes: ['pool is', (t, s) => assert.deepEqual(t.pool(s).classSizes, s.is)],
  trim: ['pool at_least', (t, s) => assert.ok(t.pool(s).trim() >= (otherwise ? 0 : (s.at_least ?? 0)), 'too little was given back')],
  maintain: ['pool', (t, s) => t.pool(s).maintain()],
  close: ['pool', (t, s) => t.pool(s).close()],
  threads: ['count times steps', async (t, s) => {
    const pools = [...t.pools].map(([name, pool]) => [name, pool.id])
    const data = { workerData: { pools, times: s.times, steps: s.steps } }
    await Promise.all(Array.from({ length: s.count }, () => new Promise((resolve, reject) => {
      new Worker(fileURLToPath(import.meta.url), data).once('error', reject).once('exit', resolve)
    })))
  }],
  later: ['ms steps', (t, s) => void t.running.push(sleep(s.ms).then(() => run(t, s.steps)))],
  repeat: ['times steps', async (t, s) => { for (let i = 0; i < s.times; i++) await run(t, s.steps) }],
  sleep: ['ms', (t, s) => sleep(s.ms)],
}

class Skip extends Error {}

function tables() {
  const t = { pools: new Map([['default', defaultPool()]]), leases: new Map(), views: new Map(), owned: new Map(), waits: new Set(), running: [] }
  t.pool = (s) => t.pools.get(s.pool)
  t.lease = (s) => t.leases.get(s.lease)
  return t
}

function got(t, s, lease) {
  assert.equal(lease.length, s.len)
  assert.ok(lease.capacity >= s.len)
  t.leases.set(s.lease, lease)
}

function part(t, { lease, at = 0, count }) {
  const { buffer } = t.leases.get(lease)
  return buffer.subarray(at, count === undefined ? undefined : at + count)
}

async function run(t, steps) {
  for (const [index, step] of steps.entries()) {
    const [fields, act] = VERBS[step.do] ?? assert.fail(`step ${index + 1}: there is no verb ${step.do}`)
    const known = ['do', 'expect', 'says', ...fields.split(' ')]
    for (const name of Object.keys(step)) assert.ok(known.includes(name), `step ${index + 1} (${step.do}): unknown field ${name}`)
    if (step.options?.on_limit?.wait_ms !== undefined) t.waits.add(step.pool)
    let failure
    try {
      await act(t, step)
    } catch (error) {
      if (error instanceof Skip) throw error
      failure = error
    }
    const where = `step ${index + 1} (${step.do})`
    if (step.expect === undefined && failure !== undefined) throw new Error(`${where}: ${failure.code ?? ''} ${failure.message}`)
    if (step.expect === undefined) continue
    assert.ok(failure instanceof MillpondError, `${where}: expected ${step.expect}, came ${failure ?? 'success'}`)
    const kinds = step.expect.split('|').map((kind) => `ERR_MILLPOND_${kind}`)
    assert.ok(step.expect === 'ANY' || kinds.includes(failure.code), `${where}: expected ${step.expect}, came ${failure.code}`)
    assert.ok(failure.message.includes(step.says ?? ''), `${where}: the message does not say ${step.says}: ${failure.message}`)
  }
}

async function scenario({ steps }) {
  const t = tables()
  try {
    await run(t, steps)
    await Promise.all(t.running)
    for (const pool of t.pools.values()) reconciles(pool.stats())
  } finally {
    for (const lease of t.leases.values()) {
      try {
        lease[Symbol.dispose]()
      } catch {
        // A lease that a scenario left pinned or stolen on purpose.
      }
    }
    for (const [name, pool] of t.pools) if (name !== 'default') pool.close()
  }
}

if (isMainThread) {
  // Lost leases are warned about; the scenarios lose some on purpose.
  process.removeAllListeners('warning')
  const folder = fileURLToPath(new URL('../../tests/spec/', import.meta.url))
  const all = readdirSync(folder).filter((name) => name.endsWith('.json')).sort()
    .flatMap((name) => JSON.parse(readFileSync(join(folder, name), 'utf8')))
  const counts = { run: 0, skipped: 0, failed: 0 }
  for (const each of all) {
    let reason = each.skip?.node
    if (reason === undefined) {
      try {
        await scenario(each)
        console.log(`ok ${each.name}`)
      } catch (error) {
        if (error instanceof Skip) reason = error.message
        else console.log(`FAILED ${each.name}: ${error.message}`)
        counts.failed += error instanceof Skip ? 0 : 1
      }
    }
    if (reason !== undefined) console.log(`SKIP ${each.name}: ${reason}`)
    counts[reason === undefined ? 'run' : 'skipped']++
  }
  console.log(`spec node ${mode}: ${all.length} scenarios, ${counts.run} run, ${counts.skipped} skipped, ${counts.failed} failed`)
  if (all.length === 0 || counts.failed > 0 || counts.run + counts.skipped !== all.length) process.exitCode = 1
} else {
  const { pools, times, steps } = workerData
  const t = tables()
  for (const [name, id] of pools) t.pools.set(name, Pool.fromId(id))
  for (let i = 0; i < times; i++) await run(t, steps)
}
