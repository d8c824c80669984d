'use strict'

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { Pool } = require('..')
const { reconciles, refuses, sleep } = require('./helpers')

const full = { maxBytes: 4096, maxRetainedBytes: 4096 }

test('getAsync is served at once when there is room', async () => {
  const pool = new Pool()
  const lease = await pool.getAsync(100)
  assert.equal(lease.buffer.length, 100)
  lease.put()
  reconciles(pool)
})

test('those who wait are served in their order, by puts of this thread', async () => {
  const pool = new Pool(full)
  let lease = pool.get(4096)
  const order = []
  const waits = [1, 2, 3].map((n) =>
    pool.getAsync(4096).then((next) => {
      order.push(n)
      next.put()
    }),
  )
  await sleep(5)
  assert.deepEqual(order, [])
  lease.put()
  lease = undefined
  await Promise.all(waits)
  assert.deepEqual(order, [1, 2, 3])
  assert.equal(reconciles(pool).exhausted, 0)
})

test('a wait ends with EXHAUSTED, an abort or the close', async () => {
  const pool = new Pool({ name: 'tight', ...full })
  const lease = pool.get(4096)
  const from = performance.now()
  await assert.rejects(pool.getAsync(4000, { timeout: 30 }), { code: 'ERR_MILLPOND_EXHAUSTED', message: /4000 bytes.*tight/ })
  assert.ok(performance.now() - from >= 29)
  await assert.rejects(pool.getAsync(1, { timeout: 0 }), { code: 'ERR_MILLPOND_EXHAUSTED' })
  const reason = new Error('enough')
  const controller = new AbortController()
  const aborted = pool.getAsync(1, { signal: controller.signal })
  controller.abort(reason)
  await assert.rejects(aborted, (error) => error === reason)
  await assert.rejects(pool.getAsync(1, { signal: controller.signal }), (error) => error === reason)
  assert.equal(reconciles(pool, 1).exhausted, 2)
  const closed = pool.getAsync(1)
  pool.close()
  await assert.rejects(closed, { code: 'ERR_MILLPOND_CLOSED' })
  lease.put()
  reconciles(pool)
})

test("a pool's own waiting time is getAsync's default, and get never waits", async () => {
  const pool = new Pool({ onLimit: { wait: 20 }, ...full })
  const lease = pool.get(4096)
  refuses('EXHAUSTED', () => pool.get(1))
  refuses('EXHAUSTED', () => pool.tryGet(1))
  await assert.rejects(pool.getAsync(1), { code: 'ERR_MILLPOND_EXHAUSTED' })
  const wait = pool.getAsync(4096, { timeout: 10_000 })
  lease.put()
  ;(await wait).put()
  assert.equal(reconciles(pool).exhausted, 3)
})

test('an oversized lease is waited for, too', async () => {
  const pool = new Pool({ classes: [512], maxBytes: 20_480, maxRetainedBytes: 0 })
  const lease = pool.get(15_000)
  refuses('EXHAUSTED', () => pool.get(15_000))
  const wait = pool.getAsync(15_000)
  lease.put()
  ;(await wait).put()
  assert.equal(reconciles(pool).exhausted, 1)
})

test('beyond the limit an unpooled buffer serves get, not tryGet', async () => {
  const pool = new Pool({ onLimit: 'unpooled', ...full })
  const lease = pool.get(4096)
  const beyond = pool.get(0)
  const more = await pool.getAsync(4096)
  refuses('EXHAUSTED', () => pool.tryGet(1))
  more.buffer.fill(1)
  assert.equal(pool.stats().inUse, 3)
  for (const each of [lease, beyond, more]) each.put()
  const stats = reconciles(pool)
  assert.equal(stats.discarded, 2)
  assert.equal(stats.retainedBytes, 4096)
})

test('idle buffers of other classes make room', () => {
  const pool = new Pool({ maxBytes: 65_536, maxRetainedBytes: 65_536 })
  const leases = Array.from({ length: 16 }, () => pool.get(4096))
  for (const lease of leases) lease.put()
  pool.get(65_536).put()
  const small = pool.get(60_000)
  small.put()
  assert.equal(reconciles(pool).exhausted, 0)
})

test('idle memory is given back by trim, by maintain and by the timer', async () => {
  const pool = new Pool()
  const fill = () => {
    const leases = Array.from({ length: 8 }, () => pool.get(65_536))
    for (const lease of leases) lease.put()
  }
  fill()
  assert.equal(pool.stats().retainedBytes, 8 * 65_536)
  assert.equal(pool.trim(), 8 * 65_536)
  assert.equal(reconciles(pool).retainedBytes, 0)
  fill()
  for (let look = 0; look < 64; look++) pool.maintain()
  assert.equal(reconciles(pool).retainedBytes, 0)
  const ticking = new Pool({ maintainEvery: 2 })
  ticking.get(65_536).put()
  for (let i = 0; i < 500 && ticking.stats().retainedBytes > 0; i++) await sleep(5)
  assert.equal(reconciles(ticking).retainedBytes, 0)
  ticking.close()
})

test('what is idle stays within its limit', () => {
  for (const limits of [{ maxRetainedBytes: 0 }, { maxRetainedBytes: 8192 }, { threadCacheBytes: 0 }, { maxRetainedBytes: 300_000 }]) {
    const pool = new Pool(limits)
    for (let round = 0; round < 3; round++) {
      const leases = [100, 4096, 4096, 4096, 60_000, 60_000, 200_000, 2 ** 20].map((length) => pool.get(length))
      for (const lease of leases) lease.put()
      const { retainedBytes } = reconciles(pool)
      const most = limits.maxRetainedBytes ?? Infinity
      assert.ok(retainedBytes <= most, `${retainedBytes} bytes are idle, ${most} allowed`)
    }
    pool.trim()
    assert.equal(reconciles(pool).retainedBytes, 0)
  }
})
