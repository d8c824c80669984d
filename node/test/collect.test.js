'use strict'

// What the garbage collector finds. Needs --expose-gc.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { Pool } = require('..')
const { collectUntil, external, reconciles, runScript, sleep } = require('./helpers')

// Leases are lost on purpose here; what is warned about is tested in processes of their own.
process.removeAllListeners('warning')

/** Makes leases that nobody can reach any more. */
function lose(pool, length, count) {
  for (let i = 0; i < count; i++) {
    const lease = pool.get(length)
    lease.buffer.fill(0xee)
  }
}

for (const length of [1, 512, 70_000, 3 * 2 ** 20, 20 * 2 ** 20]) {
  test(`lost leases of ${length} bytes are reclaimed, cleared and counted`, async () => {
    const pool = new Pool()
    lose(pool, length, 5)
    await collectUntil(() => pool.stats().leaked === 5)
    const stats = reconciles(pool)
    assert.equal(stats.puts, 0)
    assert.equal(stats.lost, 0)
    const next = pool.get(length)
    assert.equal(next.buffer.indexOf(0xee), -1)
    next.put()
    if (length <= 16 * 2 ** 20) assert.equal(pool.stats().allocations, 5)
  })
}

test('a lease that is only held through its Buffer is not lost', { skip: !external && "V8's own memory needs no reclaiming" }, async () => {
  const pool = new Pool()
  let view = (() => {
    const lease = pool.get(100)
    lease.buffer.fill(5)
    return lease.buffer.subarray(10)
  })()
  for (let i = 0; i < 5; i++) {
    globalThis.gc()
    await sleep(2)
  }
  reconciles(pool, 1)
  assert.ok(view.every((byte) => byte === 5))
  view = undefined
  await collectUntil(() => pool.stats().leaked === 1)
  reconciles(pool)
})

test('a lease that was put, detached, sent or lost to a thief is not found again', async () => {
  const pool = new Pool()
  for (let i = 0; i < 20; i++) {
    pool.get(100).put()
    pool.get(70_000).put({ detach: false })
    pool.get(70_000).detach()
    pool.get(17 * 2 ** 20).put()
  }
  for (let i = 0; i < 10; i++) {
    globalThis.gc()
    await sleep(2)
  }
  const stats = reconciles(pool)
  assert.equal(stats.leaked, 0)
  assert.equal(stats.detached, 20)
})

test('a pool that nobody holds gives its memory back, also with leases out', async () => {
  const id = (() => {
    const pool = new Pool({ name: 'forgotten' })
    const leases = Array.from({ length: 10 }, () => pool.get(70_000))
    for (const lease of leases) lease.put()
    pool.get(100).buffer.fill(1)
    return pool.id
  })()
  await collectUntil(() => {
    try {
      // Opening it would hold it again: ask the addon.
      require('../lib/native').native.attach(id)
      return false
    } catch (error) {
      return error.code === 'ERR_MILLPOND_INVALID_HANDLE'
    }
  })
})

test('the first lost lease of a pool is warned about, the others counted', async () => {
  const script = `
    const { Pool } = require('.')
    const pool = new Pool({ name: 'careless' })
    let warnings = 0
    process.on('warning', (warning) => { if (warning.code === 'MILLPOND_LEAK') { warnings++; console.log(warning.name, warning.message) } })
    function lose() { pool.get(1234).buffer.fill(1) }
    ;(async () => {
      for (let i = 0; i < 3; i++) {
        lose()
        for (const end = Date.now() + 10000; pool.stats().leaked <= i && Date.now() < end;) { gc(); await new Promise((done) => setTimeout(done, 2)) }
      }
      console.log(pool.stats().leaked, warnings)
    })()
  `
  const plain = await runScript(script)
  assert.match(plain.stdout, /^MillpondLeakWarning a lease of 1234 bytes of pool "careless" .*MILLPOND_CHECK=sites/)
  assert.match(plain.stdout, /\n3 1\n$/)
  const sites = await runScript(script, { env: { MILLPOND_CHECK: 'sites' } })
  assert.match(sites.stdout, /it was taken at \[eval\]:6 in lose\./)
  assert.equal(sites.code, 0)
})

test('a warning function that throws does no harm', async () => {
  const script = `
    const { Pool } = require('.')
    const pool = new Pool()
    process.emitWarning = () => { throw new Error('broken') }
    ;(() => { pool.get(10).buffer.fill(1) })()
    ;(async () => {
      for (const end = Date.now() + 10000; pool.stats().leaked === 0 && Date.now() < end;) { gc(); await new Promise((done) => setTimeout(done, 2)) }
      console.log(pool.stats().leaked)
    })()
  `
  assert.equal((await runScript(script)).stdout, '1\n')
})

test('a put from a FinalizationRegistry callback is a put like any other', async () => {
  const pool = new Pool()
  const registry = new FinalizationRegistry((lease) => lease.put())
  ;(() => registry.register({}, pool.get(100)))()
  await collectUntil(() => pool.stats().puts === 1)
  assert.equal(reconciles(pool).leaked, 0)
})

test('V8 is told of the memory once', { skip: !external && "it is V8's own" }, async () => {
  const pool = new Pool()
  const mib = 2 ** 20
  globalThis.gc()
  await sleep(5)
  const before = process.memoryUsage()
  const leases = Array.from({ length: 16 }, () => pool.get(4 * mib))
  const during = process.memoryUsage()
  // `arrayBuffers` counts what V8 allocated itself.
  const grown = during.external - before.external
  assert.ok(grown > 63 * mib && grown < 66 * mib, `external memory grew by ${grown}, not by 64 MiB`)
  assert.ok(during.arrayBuffers - before.arrayBuffers < mib)
  for (const lease of leases) lease.put()
  leases.length = 0
  pool.trim()
  await collectUntil(() => process.memoryUsage().external - before.external < mib)
  assert.equal(pool.stats().trimmedBytes, 64 * mib)
})
