'use strict'

const assert = require('node:assert/strict')
const { test } = require('node:test')
const millpond = require('..')
const { Lease, Pool } = millpond
const { reconciles, refuses } = require('./helpers')

const notLengths = [
  -1, -0.5, 1.5, NaN, Infinity, -Infinity, 2 ** 53, 1e300, '1', '', 1n, true, null, undefined, {}, [], [5], Symbol('s'),
  () => 5, new Date(), Buffer.alloc(1), { valueOf: () => 5 },
]

test('what is no length is refused by name', async () => {
  const pool = new Pool()
  for (const bad of notLengths) {
    refuses('INVALID_ARGUMENT', () => pool.get(bad), '"length"')
    refuses('INVALID_ARGUMENT', () => pool.tryGet(bad), '"length"')
    refuses('INVALID_ARGUMENT', () => millpond.get(bad), '"length"')
    await assert.rejects(pool.getAsync(bad), { code: 'ERR_MILLPOND_INVALID_ARGUMENT', message: /"length"/ })
  }
  // -0 is 0.
  pool.get(-0).put()
  assert.equal(reconciles(pool).gets, 1)
})

test('lengths that cannot be are errors, not crashes', () => {
  const pool = new Pool({ name: 'absurd', maxBytes: Number.MAX_SAFE_INTEGER })
  for (const length of [2 ** 40, 2 ** 47, 2 ** 52, Number.MAX_SAFE_INTEGER]) {
    let lease
    try {
      lease = pool.get(length)
    } catch (error) {
      assert.match(error.code, /^ERR_MILLPOND_(NO_MEMORY|EXHAUSTED|INVALID_ARGUMENT)$/)
      assert.match(error.message, /absurd|length/)
      continue
    }
    // A system that promises a terabyte keeps that promise only when somebody writes it.
    lease.put()
  }
  reconciles(pool)
})

test('what is no lease is refused by name', () => {
  const pool = new Pool()
  const lease = pool.get(10)
  const proxy = new Proxy(lease, {})
  const heir = Object.create(lease)
  const forged = Object.create(Lease.prototype, { length: { value: 10 } })
  for (const bad of [...notLengths.slice(10), lease.buffer, pool, proxy, heir, forged, Lease, 7]) {
    refuses('INVALID_ARGUMENT', () => pool.put(bad), '"lease"')
  }
  assert.throws(() => forged.put(), TypeError)
  assert.throws(() => proxy.put(), TypeError)
  assert.throws(() => Lease.prototype.put.call({}), TypeError)
  assert.throws(() => Pool.prototype.get.call({}, 1), TypeError)
  assert.throws(() => Pool.prototype.get(1), TypeError)
  assert.equal(lease.buffer.length, 10)
  lease.put()
  reconciles(pool)
})

test('wrong put options leave the lease live', () => {
  const pool = new Pool()
  const lease = pool.get(10)
  for (const bad of [null, 1, 'x', true]) refuses('INVALID_ARGUMENT', () => lease.put(bad), '"options"')
  for (const used of [-1, 11, 1.5, NaN, '1', null, 1n]) refuses('INVALID_ARGUMENT', () => lease.put({ used }), '"used"')
  for (const detach of [0, 'false', null]) refuses('INVALID_ARGUMENT', () => lease.put({ detach }), '"detach"')
  refuses('INVALID_ARGUMENT', () => lease.put({ detatch: false }), '"detatch"')
  lease.put({})
  reconciles(pool)
})

test('wrong pool options are refused by name', () => {
  for (const options of [null, 1, 'x', true, []]) refuses('INVALID_ARGUMENT', () => new Pool(options), '"options"')
  refuses('INVALID_ARGUMENT', () => new Pool({ maxBites: 1 }), '"maxBites"')
  for (const name of ['maxBytes', 'maxRetainedBytes', 'alignment', 'threadCacheBytes']) {
    for (const bad of [-1, 1.5, NaN, Infinity, '1', null, 1n, {}]) {
      refuses('INVALID_ARGUMENT', () => new Pool({ [name]: bad }), `"${name}"`)
    }
  }
  for (const name of [1, null, {}, Symbol('x')]) refuses('INVALID_ARGUMENT', () => new Pool({ name }), '"name"')
  refuses('INVALID_ARGUMENT', () => new Pool({ name: 'half \ud800' }), '"name"')
  for (const name of ['', 'x'.repeat(65), 'a\nb', 'a\0b']) refuses('INVALID_ARGUMENT', () => new Pool({ name }), 'name')
  for (const onLimit of ['wait', 1, null, {}, { wait: 0 }, { wait: -1 }, { wait: '5' }, { wait: 5, more: 1 }]) {
    refuses('INVALID_ARGUMENT', () => new Pool({ onLimit }), '"onLimit')
  }
  for (const clear of ['on_put', 'OnPut', 1, null, true]) refuses('INVALID_ARGUMENT', () => new Pool({ clear }), '"clear"')
  for (const classes of ['four', 5, null, {}, { min: 1 }, { min: 512, max: 1024, step: 1 }, [1.5], ['512'], [NaN], [-64]]) {
    refuses('INVALID_ARGUMENT', () => new Pool({ classes }), '"classes"')
  }
  for (const classes of [[], [100], [1024, 512], [2 ** 31], { min: 100, max: 1024 }, { min: 4096, max: 512 }]) {
    refuses('INVALID_ARGUMENT', () => new Pool({ classes }), 'classes')
  }
  for (const maintainEvery of [0, -1, NaN, Infinity, '5', null, 2 ** 31]) {
    refuses('INVALID_ARGUMENT', () => new Pool({ maintainEvery }), '"maintainEvery"')
  }
  refuses('INVALID_ARGUMENT', () => new Pool({ maintainEvery: 0.5 }), 'maintain_every')
  refuses('INVALID_ARGUMENT', () => new Pool({ maxBytes: 0 }), 'max_bytes')
  refuses('INVALID_ARGUMENT', () => new Pool({ maxBytes: 1024, maxRetainedBytes: 2048 }), 'max_retained_bytes')
  refuses('INVALID_ARGUMENT', () => new Pool({ alignment: 96 }), 'alignment')
})

test('wrong ids and tokens are refused', () => {
  for (const bad of [1, '1', null, undefined, {}, -1n]) {
    refuses('INVALID_ARGUMENT', () => Pool.fromId(bad), '"id"')
    refuses('INVALID_ARGUMENT', () => Lease.adopt(bad), '"token"')
  }
  const pool = new Pool()
  for (const bad of [0n, 1n, pool.id + 1n, pool.id ^ 1n, 2n ** 64n - 1n, 2n ** 64n, 2n ** 200n]) {
    refuses('INVALID_HANDLE', () => Pool.fromId(bad))
    refuses('INVALID_HANDLE', () => Lease.adopt(bad))
  }
  assert.equal(Pool.fromId(pool.id), pool)
})

test('wrong arguments of the other functions are refused by name', async () => {
  const pool = new Pool()
  const lease = pool.get(10)
  for (const [start, end] of [[-1], [11], [1.5], ['0'], [null], [0n]]) refuses('INVALID_ARGUMENT', () => lease.copyOut(start, end), '"start"')
  for (const end of [-1, 11, 4, NaN, '9', null]) refuses('INVALID_ARGUMENT', () => lease.copyOut(5, end), '"end"')
  const file = { read: () => assert.fail('nothing may be read') }
  for (const bad of [null, undefined, 1, {}, 'file']) {
    await assert.rejects(lease.readFrom(bad), { code: 'ERR_MILLPOND_INVALID_ARGUMENT', message: /"file"/ })
  }
  for (const [name, values] of [['position', [-1, 1.5, '0', 1n]], ['offset', [-1, 11, '0', NaN]], ['length', [-1, 11, 0.5, null]]]) {
    for (const value of values) {
      await assert.rejects(lease.readFrom(file, { [name]: value }), { code: 'ERR_MILLPOND_INVALID_ARGUMENT', message: new RegExp(`"${name}"`) })
    }
  }
  await assert.rejects(lease.readFrom(file, null), { code: 'ERR_MILLPOND_INVALID_ARGUMENT' })
  for (const timeout of [-1, NaN, '5', null]) {
    await assert.rejects(pool.getAsync(1, { timeout }), { code: 'ERR_MILLPOND_INVALID_ARGUMENT', message: /"timeout"/ })
  }
  await assert.rejects(pool.getAsync(1, { signal: {} }), { code: 'ERR_MILLPOND_INVALID_ARGUMENT', message: /"signal"/ })
  await assert.rejects(pool.getAsync(1, null), { code: 'ERR_MILLPOND_INVALID_ARGUMENT', message: /"options"/ })
  for (const size of [0, -1, 1.5, '5', null]) refuses('INVALID_ARGUMENT', () => pool.onread(size, () => {}), '"size"')
  refuses('INVALID_ARGUMENT', () => pool.onread(5), '"handler"')
  lease.put()
  reconciles(pool)
})
