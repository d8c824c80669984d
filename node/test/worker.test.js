'use strict'

// Worker threads: one pool for all, leases that change threads, threads that end.

const assert = require('node:assert/strict')
const { once } = require('node:events')
const { join } = require('node:path')
const { after, test } = require('node:test')
const { MessageChannel, Worker } = require('node:worker_threads')
const { Lease, Pool, defaultPool } = require('..')
const { canSteal, collectUntil, external, hasTransfer, reconciles, refuses, sleep } = require('./helpers')

const index = JSON.stringify(join(__dirname, '..'))

/** The end of each worker. */
const exits = new Map()
// A test that failed may have left one running.
after(() => Promise.all([...exits.keys()].map((worker) => worker.terminate())))

/** Starts a worker whose script has `millpond`, `parentPort` and `workerData`. */
function start(script, workerData) {
  const source = `const millpond = require(${index}); const { parentPort, workerData } = require('node:worker_threads'); ${script}`
  const worker = new Worker(source, { eval: true, workerData })
  // Asked for at once: a worker's last message and its exit come in one turn.
  exits.set(worker, once(worker, 'exit'))
  return worker
}

async function ended(worker) {
  const [code] = await exits.get(worker)
  assert.equal(code, 0)
}

test('workers share limits and statistics', async () => {
  const pool = new Pool({ name: 'shared', maxBytes: 64 * 2 ** 20 })
  const script = `
    const pool = millpond.Pool.fromId(workerData)
    const zeros = Buffer.alloc(300000)
    for (let i = 0; i < 2000; i++) {
      const lease = pool.get(1 + (i * 7919) % 300000)
      if (lease.length > 0 && !lease.buffer.equals(zeros.subarray(0, lease.length))) throw new Error('another tenant')
      lease.buffer.fill(i)
      lease.put()
    }
    const stats = pool.stats()
    if (pool.name !== 'shared' || stats.gets < 2000) throw new Error('not the same pool')
  `
  const workers = [1, 2, 3].map(() => start(script, pool.id))
  for (let i = 0; i < 500; i++) pool.get(i * 100).put()
  await Promise.all(workers.map(ended))
  const stats = reconciles(pool)
  assert.equal(stats.gets, 6500)
  assert.equal(stats.puts, 6500)
  assert.equal(stats.leaked, 0)
})

test('the default pool is one for all threads', async () => {
  const before = defaultPool().stats().gets
  await ended(start(`millpond.get(100).put(); millpond.defaultPool().get(5).put()`))
  assert.equal(defaultPool().stats().gets, before + 2)
})

test('a worker closes a pool for everybody', async () => {
  const pool = new Pool()
  const lease = pool.get(100)
  pool.get(100).put()
  await ended(start(`millpond.Pool.fromId(workerData).close()`, pool.id))
  refuses('CLOSED', () => pool.get(1))
  assert.equal(pool.closed, true)
  lease.put()
  assert.equal(reconciles(pool).retainedBuffers, 0)
})

test('trim in one thread reaches the others at their next get or put', async () => {
  const pool = new Pool()
  const script = `
    const pool = millpond.Pool.fromId(workerData)
    const leases = Array.from({ length: 8 }, () => pool.get(65536))
    for (const lease of leases) lease.put()
    parentPort.once('message', () => { pool.get(1).put(); parentPort.postMessage('done') })
    parentPort.postMessage('ready')
  `
  const worker = start(script, pool.id)
  await once(worker, 'message')
  assert.equal(pool.stats().retainedBytes, 8 * 65_536)
  pool.trim()
  worker.postMessage('go on')
  await once(worker, 'message')
  pool.trim()
  await ended(worker)
  assert.ok(pool.stats().retainedBytes <= 512, `${pool.stats().retainedBytes} bytes are still idle`)
  reconciles(pool)
})

test('a lease goes to another thread and is put there', async () => {
  const pool = new Pool({ name: 'sent' })
  const script = `
    const { createHash } = require('node:crypto')
    parentPort.on('message', (token) => {
      if (token === null) return parentPort.close()
      const lease = millpond.Lease.adopt(token)
      const sum = lease.buffer.reduce((sum, byte) => sum + byte, 0)
      const answer = [lease.length, lease.pool.name, sum]
      lease.put()
      parentPort.postMessage(answer)
    })
  `
  const worker = start(script)
  const lengths = [0, 10, 512, 70_000, 2 ** 20, 20 * 2 ** 20]
  for (const length of lengths) {
    const lease = pool.get(length)
    lease.buffer.fill(1)
    const view = lease.buffer
    const token = lease.transfer()
    assert.equal(typeof token, 'bigint')
    assert.equal(view.length, 0)
    refuses('USE_AFTER_PUT', () => lease.buffer)
    refuses('DOUBLE_PUT', () => lease.put())
    assert.equal(pool.leaks().length, 1)
    worker.postMessage(token)
    const [answer] = await once(worker, 'message')
    assert.deepEqual(answer, [length, 'sent', length])
    refuses('INVALID_HANDLE', () => Lease.adopt(token))
  }
  worker.postMessage(null)
  await ended(worker)
  const stats = reconciles(pool)
  assert.equal(stats.puts, lengths.length)
  const next = pool.get(2 ** 20)
  assert.equal(next.buffer.indexOf(1), -1)
  next.put()
})

test('a lease comes back to the thread that sent it, and its contents are cleared though nobody looked', () => {
  const pool = new Pool()
  const lease = pool.get(100)
  lease.buffer.fill(7)
  const back = Lease.adopt(lease.transfer())
  assert.equal(back.length, 100)
  back.put()
  const next = pool.get(512)
  assert.equal(next.buffer.indexOf(7), -1)
  const tokens = new Set()
  let current = next
  for (let i = 0; i < 100; i++) {
    const token = current.transfer()
    assert.ok(!tokens.has(token))
    tokens.add(token)
    current = Lease.adopt(token)
  }
  for (const stale of tokens) refuses('INVALID_HANDLE', () => Lease.adopt(stale))
  current.put()
  reconciles(pool)
})

test('a lease on its way outlives its sender, and the close of its pool', async () => {
  const pool = new Pool()
  const script = `
    const lease = millpond.Pool.fromId(workerData).get(1000)
    lease.buffer.fill(9)
    parentPort.postMessage(lease.transfer())
  `
  const worker = start(script, pool.id)
  const [token] = await once(worker, 'message')
  await ended(worker)
  reconciles(pool, 1)
  pool.close()
  const lease = Lease.adopt(token)
  assert.ok(lease.buffer.every((byte) => byte === 9))
  lease.put()
  assert.equal(reconciles(pool).retainedBuffers, 0)
})

test('a worker that ends leaves its idle buffers to the others', async () => {
  const pool = new Pool()
  const script = `
    const pool = millpond.Pool.fromId(workerData)
    for (let i = 0; i < 100; i++) { const lease = pool.get(60000); lease.buffer.fill(3); lease.put() }
    pool.get(200000).put({ detach: false })
  `
  await ended(start(script, pool.id))
  assert.equal(reconciles(pool).retainedBuffers, 2)
  const lease = pool.get(60_000)
  assert.equal(lease.buffer.indexOf(3), -1)
  lease.put()
  const stats = reconciles(pool)
  assert.equal(stats.allocations, 2)
})

for (const how of ['ends', 'is terminated']) {
  test(`leases of a worker that ${how} are reclaimed, those shown to it never used again`, async () => {
    const pool = new Pool()
    const script = `
      const pool = millpond.Pool.fromId(workerData)
      globalThis.kept = [pool.get(100), pool.get(70000), pool.get(20 * 2 ** 20)]
      for (const lease of globalThis.kept) lease.buffer.fill(1)
      globalThis.unseen = pool.get(1000)
      pool.get(3000).put()
      parentPort.postMessage('ready')
      ${how === 'ends' ? '' : 'setInterval(() => {}, 1000)'}
    `
    const worker = start(script, pool.id)
    await once(worker, 'message')
    if (how === 'is terminated') await worker.terminate()
    else await ended(worker)
    const stats = reconciles(pool)
    // Core's memory that JavaScript saw may live on in another thread, when it was transferred there.
    assert.deepEqual([stats.leaked, stats.lost], [4, external ? 3 : 0])
    for (const length of [100, 70_000, 1000, 3000]) {
      const lease = pool.get(length)
      assert.equal(lease.buffer.indexOf(1), -1)
      lease.put()
    }
    reconciles(pool)
  })
}

test('memory that a worker posted away before it ended stays whole', { skip: !canSteal && 'Node 20 transfers no such ArrayBuffer' }, async () => {
  const pool = new Pool()
  const script = `
    const pool = millpond.Pool.fromId(workerData)
    const first = pool.get(70000)
    first.buffer.fill(1)
    first.put()
    const lease = pool.get(70000)
    lease.buffer.fill(0x55)
    const { buffer } = lease.buffer
    const stolen = buffer.transfer === undefined ? buffer : buffer.transfer()
    parentPort.postMessage(stolen, [stolen])
  `
  const worker = start(script, pool.id)
  const [stolen] = await once(worker, 'message')
  await ended(worker)
  for (let i = 0; i < 50; i++) {
    const lease = pool.get(70_000)
    lease.buffer.fill(0xaa)
    lease.put()
  }
  pool.trim()
  assert.ok(new Uint8Array(stolen).subarray(0, 70_000).every((byte) => byte === 0x55))
  const stats = reconciles(pool)
  assert.equal(stats.leaked, 1)
})

test('a detached buffer may be posted to another thread and outlive its maker', { skip: !hasTransfer && 'Node 20 copies it' }, async () => {
  const pool = new Pool()
  const script = `
    const own = millpond.Pool.fromId(workerData).get(70000).detach()
    own.fill(0x66)
    const moved = own.buffer.transfer()
    parentPort.postMessage(moved, [moved])
  `
  const worker = start(script, pool.id)
  const [moved] = await once(worker, 'message')
  await ended(worker)
  globalThis.gc()
  await sleep(5)
  assert.ok(new Uint8Array(moved).subarray(0, 70_000).every((byte) => byte === 0x66))
  assert.equal(reconciles(pool).detached, 1)
})

test('a lost lease of a worker is reclaimed while the worker goes on', async () => {
  const pool = new Pool()
  const script = `
    process.removeAllListeners('warning')
    const pool = millpond.Pool.fromId(workerData)
    ;(() => { pool.get(1000).buffer.fill(1) })()
    const timer = setInterval(() => { gc(); if (pool.stats().leaked === 1) { clearInterval(timer); parentPort.postMessage(pool.leaks().length) } }, 2)
  `
  const worker = start(script, pool.id)
  const [leaks] = await once(worker, 'message')
  assert.equal(leaks, 0)
  await ended(worker)
  reconciles(pool)
})

test('leaks name the thread and are listed across threads', async () => {
  const pool = new Pool()
  const mine = pool.get(1)
  const script = `
    const lease = millpond.Pool.fromId(workerData).get(2)
    parentPort.once('message', () => lease.put())
    parentPort.postMessage('ready')
  `
  const worker = start(script, pool.id)
  await once(worker, 'message')
  const threads = pool.leaks().map((record) => [record.length, record.thread])
  assert.deepEqual(threads, [[1, 'main'], [2, `worker ${worker.threadId}`]])
  assert.ok(pool.leaks()[0].age >= pool.leaks()[1].age)
  worker.postMessage('put it')
  await ended(worker)
  mine.put()
  reconciles(pool)
})

test('many short workers leave nothing behind', async () => {
  const pool = new Pool()
  for (let round = 0; round < 10; round++) {
    const script = `const pool = millpond.Pool.fromId(workerData); const a = pool.get(5000); a.buffer.fill(1); a.put()`
    await Promise.all([1, 2].map(() => ended(start(script, pool.id))))
  }
  const stats = reconciles(pool)
  assert.equal(stats.gets, 20)
  // The first of a round may take all that is idle for itself: then the second one's buffer is new.
  assert.ok(stats.allocations <= 11, `${stats.allocations} buffers for two workers at a time`)
  pool.trim()
  assert.equal(reconciles(pool).retainedBuffers, 0)
})

test('postMessage refuses a lease and copies what a Buffer shows', async () => {
  const pool = new Pool()
  const lease = pool.get(10)
  lease.buffer.write('0123456789')
  const { port1, port2 } = new MessageChannel()
  assert.throws(() => port1.postMessage(lease), { name: 'DataCloneError' })
  port1.postMessage(lease.copyOut())
  const [copy] = await once(port2, 'message')
  assert.equal(Buffer.from(copy).toString(), '0123456789')
  port1.close()
  lease.put()
  await collectUntil(() => true)
  reconciles(pool)
})
