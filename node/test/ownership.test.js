'use strict'

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { Lease, Pool, defaultPool, get } = require('..')
const { reconciles, refuses } = require('./helpers')

test('a lease is a Buffer of exactly the length, all zero, and goes back', () => {
  const pool = new Pool({ name: 'plain' })
  for (const length of [0, 1, 511, 512, 513, 65_536, 16 * 2 ** 20, 16 * 2 ** 20 + 1]) {
    for (let turn = 0; turn < 3; turn++) {
      const lease = pool.get(length)
      const { buffer } = lease
      assert.ok(Buffer.isBuffer(buffer) && buffer instanceof Uint8Array)
      assert.equal(buffer.constructor, Buffer)
      assert.equal(buffer.length, length)
      assert.equal(lease.length, length)
      assert.ok(lease.capacity >= length)
      assert.equal(lease.buffer, buffer)
      assert.equal(buffer.indexOf(Buffer.from([7])), -1)
      assert.ok(buffer.equals(Buffer.alloc(length)))
      buffer.fill(7)
      lease.put()
      assert.equal(buffer.length, 0)
      assert.equal(buffer.byteLength, 0)
    }
  }
  const stats = reconciles(pool)
  assert.equal(stats.gets, 24)
  assert.equal(stats.oversized, 3)
})

test('the views of a lease behave as Buffers and die with it', () => {
  const pool = new Pool()
  const lease = pool.get(20)
  const { buffer } = lease
  buffer.write('hello, pool')
  assert.equal(buffer.toString('latin1', 0, 5), 'hello')
  const parts = [
    buffer.subarray(7, 11),
    buffer.slice(7, 11),
    buffer.subarray(-13, -9),
    buffer.subarray(0, 20).subarray(7, 11),
    new Uint8Array(buffer.buffer, 7, 4),
    new DataView(buffer.buffer, 7, 4),
  ]
  for (const part of parts.slice(0, 4)) {
    assert.ok(Buffer.isBuffer(part))
    assert.equal(part.toString(), 'pool')
  }
  assert.equal(buffer.subarray(30).length, 0)
  assert.equal(buffer.subarray(5, 2).length, 0)
  assert.equal(buffer.subarray(NaN, Infinity).length, 20)
  const copies = [buffer.map((byte) => byte), buffer.filter(() => true), Buffer.concat([buffer]), Buffer.from(buffer)]
  lease.put()
  for (const part of parts.slice(0, 5)) assert.equal(part.length, 0)
  assert.throws(() => parts[5].getUint8(0), TypeError)
  for (const copy of copies) assert.equal(copy.toString('latin1', 0, 5), 'hello')
  // Nothing of it was written behind the length.
  assert.equal(reconciles(pool).overruns, 0)
})

test('every second put and every use after a put is an error that changes nothing', () => {
  const pool = new Pool({ name: 'strict' })
  const lease = pool.get(100)
  lease.put()
  const before = pool.stats()
  refuses('DOUBLE_PUT', () => lease.put(), 'strict')
  refuses('DOUBLE_PUT', () => lease.release(), '100')
  refuses('DOUBLE_PUT', () => pool.put(lease))
  for (const use of [
    () => lease.buffer,
    () => lease.length,
    () => lease.capacity,
    () => lease.pin(),
    () => lease.unpin(),
    () => lease.copyOut(),
    () => lease.detach(),
    () => lease.transfer(),
  ]) {
    refuses('USE_AFTER_PUT', use, 'strict')
  }
  lease[Symbol.dispose]()
  assert.equal(lease.pool, pool)
  assert.match(require('node:util').inspect(lease), /dead/)
  const stats = reconciles(pool)
  assert.equal(stats.doublePuts, 3)
  assert.equal(stats.staleUses, 8)
  assert.deepEqual([stats.gets, stats.puts], [before.gets, before.puts])
})

test("another pool's lease stays live", () => {
  const [upper, lower] = [new Pool({ name: 'upper' }), new Pool({ name: 'lower' })]
  const lease = upper.get(100)
  lease.buffer.fill(1)
  refuses('FOREIGN_LEASE', () => lower.put(lease), 'lower')
  assert.ok(lease.buffer.every((byte) => byte === 1))
  upper.put(lease)
  assert.equal(reconciles(lower).foreignPuts, 1)
  reconciles(upper)
})

test('a pinned lease is busy', () => {
  const pool = new Pool()
  const lease = pool.get(100)
  assert.equal(lease.pin(), lease.buffer)
  lease.pin()
  for (const act of [() => lease.put(), () => pool.put(lease), () => lease.detach(), () => lease.transfer()]) {
    refuses('BUSY', act)
  }
  lease.unpin()
  refuses('BUSY', () => lease.put())
  lease.unpin()
  refuses('INVALID_ARGUMENT', () => lease.unpin(), 'unpin')
  lease.put()
  reconciles(pool)
})

test('the end of a scope while the lease is pinned throws, and the last unpin puts it', () => {
  const pool = new Pool()
  const lease = pool.get(100)
  lease.pin()
  lease.pin()
  refuses('BUSY', () => lease[Symbol.dispose]())
  reconciles(pool, 1)
  lease.unpin()
  reconciles(pool, 1)
  lease.unpin()
  reconciles(pool)
  refuses('USE_AFTER_PUT', () => lease.buffer)
})

test('bytes behind the length are an overrun, also those of a subarray or a shorter tenant', () => {
  for (const clear of ['onPut', 'onGet']) {
    const pool = new Pool({ clear })
    const first = pool.get(512)
    first.buffer.fill(9)
    first.put()
    const second = pool.get(10)
    assert.equal(new Uint8Array(second.buffer.buffer).indexOf(9), -1)
    second.put()
    for (const reach of [(b) => b.buffer, (b) => b.subarray(1).buffer, (b) => b.slice(2, 3).buffer, (b) => b.parent]) {
      const lease = pool.get(10)
      new Uint8Array(reach(lease.buffer))[10] = 1
      refuses('OVERRUN', () => lease.put(), '10')
      refuses('DOUBLE_PUT', () => lease.put())
    }
    const stats = reconciles(pool)
    assert.equal(stats.overruns, 4)
    assert.equal(stats.discarded, 4)
    const last = pool.get(512)
    assert.equal(last.buffer.find((byte) => byte !== 0), undefined)
    last.put()
  }
})

test('a pool that never clears hands out what was there and looks for no overrun', () => {
  const pool = new Pool({ clear: 'never' })
  const lease = pool.get(10)
  new Uint8Array(lease.buffer.buffer).fill(5)
  lease.put()
  const next = pool.get(512)
  assert.ok(next.buffer.every((byte) => byte === 5))
  next.put()
  assert.equal(reconciles(pool).overruns, 0)
})

test('used clears no more than that', () => {
  const pool = new Pool()
  const lease = pool.get(512)
  lease.buffer.fill(3, 0, 100)
  lease.put({ used: 100 })
  const next = pool.get(512)
  assert.equal(next.buffer.indexOf(3), -1)
  refuses('INVALID_ARGUMENT', () => next.put({ used: 513 }), 'used')
  refuses('INVALID_ARGUMENT', () => next.put({ used: -1 }), 'used')
  next.put({ used: 512 })
  reconciles(pool)
})

test('detach: false leaves the view alive, and the handle still counts', () => {
  const pool = new Pool({ clear: 'onPut' })
  const lease = pool.get(100)
  const view = lease.buffer
  view.fill(1)
  lease.put({ detach: false })
  assert.equal(view.length, 100)
  refuses('DOUBLE_PUT', () => lease.put())
  refuses('USE_AFTER_PUT', () => lease.buffer)
  const next = pool.get(100)
  assert.equal(next.buffer.indexOf(1), -1)
  // The documented danger: both look at the same memory.
  view[0] = 42
  assert.equal(next.buffer[0], 42)
  next.put()
  assert.equal(view.length, 0)
  reconciles(pool)
})

test('a detached buffer is plain memory of its own', () => {
  const pool = new Pool()
  for (const length of [0, 10, 65_536, 100_000, 20 * 2 ** 20]) {
    const lease = pool.get(length)
    const view = lease.buffer
    view.fill(8)
    const own = lease.detach()
    assert.equal(own.length, length)
    assert.ok(own.every((byte) => byte === 8))
    refuses('DOUBLE_PUT', () => lease.put())
    const next = pool.get(length)
    next.buffer.fill(9)
    assert.ok(own.every((byte) => byte === 8))
    next.put()
  }
  assert.equal(reconciles(pool).detached, 5)
})

test('copyOut outlives the lease', () => {
  const pool = new Pool()
  const lease = pool.get(10)
  assert.deepEqual([...lease.copyOut()], Array(10).fill(0))
  lease.buffer.write('0123456789')
  const copies = [lease.copyOut(), lease.copyOut(3), lease.copyOut(3, 5), lease.copyOut(10)]
  lease.put()
  assert.deepEqual(copies.map(String), ['0123456789', '3456789', '34', ''])
})

test('leases are refused by structuredClone and made by pools only', () => {
  const pool = new Pool()
  const lease = pool.get(10)
  assert.throws(() => structuredClone(lease), { name: 'DataCloneError', message: /lease\.transfer\(\)/ })
  assert.throws(() => structuredClone({ nested: [lease] }), { name: 'DataCloneError' })
  lease.put()
  refuses('INVALID_ARGUMENT', () => new Lease())
  refuses('INVALID_ARGUMENT', () => new Lease(Symbol('millpond.lease'), {}, {}, 1))
})

test('a lease can be put from a finally, a finalizer and a promise', async () => {
  const pool = new Pool()
  const leases = [1, 2, 3].map((n) => pool.get(n))
  assert.throws(() => {
    try {
      throw new Error('mine')
    } finally {
      leases[0].put()
    }
  }, /mine/)
  await Promise.resolve().then(() => leases[1].put())
  setImmediate(() => leases[2].put())
  await new Promise(setImmediate)
  reconciles(pool)
})

test('the default pool is there without configuration and never closes', () => {
  const lease = get(100)
  assert.equal(lease.pool, defaultPool())
  assert.equal(defaultPool().name, 'default')
  lease.buffer.fill(1)
  lease.put()
  refuses('INVALID_ARGUMENT', () => defaultPool().close())
  get(1).put()
  reconciles(defaultPool())
})

test('after close live leases stay valid and gets fail', async () => {
  const pool = new Pool({ name: 'ended' })
  const [small, large] = [pool.get(100), pool.get(20 * 2 ** 20)]
  small.buffer.fill(1)
  pool.get(5).put()
  pool.close()
  pool.close()
  pool[Symbol.dispose]()
  assert.equal(pool.closed, true)
  for (const act of [() => pool.get(1), () => pool.tryGet(1), () => pool.get(20 * 2 ** 20)]) refuses('CLOSED', act, 'ended')
  await assert.rejects(pool.getAsync(1), { code: 'ERR_MILLPOND_CLOSED' })
  assert.ok(small.buffer.every((byte) => byte === 1))
  small.put()
  pool.put(large)
  refuses('DOUBLE_PUT', () => small.put())
  const stats = reconciles(pool)
  assert.equal(stats.retainedBuffers, 0)
  pool.trim()
  pool.maintain()
})

test('options that put the lease themselves make no second put', () => {
  const pool = new Pool()
  const lease = pool.get(100)
  const view = lease.buffer
  const options = {
    get used() {
      lease.put()
      return 0
    },
  }
  refuses('DOUBLE_PUT', () => lease.put(options))
  assert.equal(view.length, 0)
  const [one, two] = [pool.get(100), pool.get(100)]
  one.buffer.fill(1)
  assert.equal(two.buffer.indexOf(1), -1)
  one.put()
  two.put()
  reconciles(pool)
})

test('bytes behind the length are seen when a lease is sent', () => {
  const pool = new Pool()
  const lease = pool.get(10)
  new Uint8Array(lease.buffer.buffer)[11] = 1
  refuses('OVERRUN', () => lease.transfer())
  assert.equal(reconciles(pool).overruns, 1)
})
