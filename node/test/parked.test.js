'use strict'

// Oversized leases: the ArrayBuffer of one that is over waits, without memory, for the next one of the capacity.

const assert = require('node:assert/strict')
const { readFileSync } = require('node:fs')
const { test } = require('node:test')
const { Pool } = require('..')
const { canSteal, collectUntil, external, reconciles, refuses, runScript, steal } = require('./helpers')
const { transfer } = require('../lib/view')

const MIB = 2 ** 20
const LENGTH = 20 * MIB
const HUGE = 2 ** 30

const parks = external && transfer !== undefined
const skip = !parks && 'ArrayBuffers are not moved here'

/** Returns how many bytes of addresses this process has. */
const addresses = () => Number(readFileSync('/proc/self/statm', 'latin1').split(' ')[0]) * 4096

/** Takes a lease, writes into its first and last byte and puts it; returns its Buffer. */
function pair(pool, length, options) {
  const lease = pool.get(length)
  const { buffer } = lease
  assert.equal(buffer.length, length)
  assert.ok(buffer[0] === 0 && buffer[length - 1] === 0)
  buffer[0] = buffer[length - 1] = 9
  lease.put(options)
  return buffer
}

test('the books are the same whether leases follow each other or stand side by side', () => {
  const [one, two] = [new Pool(), new Pool()]
  for (let i = 0; i < 4; i++) pair(one, LENGTH)
  const leases = Array.from({ length: 4 }, () => two.get(LENGTH))
  reconciles(two, 4)
  for (const lease of leases) lease.put()
  for (const name of ['gets', 'puts', 'allocations', 'destroyed', 'discarded', 'oversized', 'retainedBuffers']) {
    assert.equal(reconciles(one)[name], reconciles(two)[name], name)
  }
  assert.equal(one.stats().oversized, 4)
})

test('views of a lease that is over are dead, whatever stands there next', () => {
  const pool = new Pool()
  const old = []
  for (let i = 0; i < 3; i++) {
    const lease = pool.get(LENGTH)
    const { buffer } = lease
    old.push(buffer, buffer.subarray(5), new Uint8Array(buffer.buffer, 0, 7))
    buffer.fill(i + 1)
    lease.put()
    const next = pool.get(LENGTH - 1)
    for (const view of old) assert.equal(view.length, 0)
    assert.ok(next.buffer.equals(Buffer.alloc(LENGTH - 1)))
    refuses('DOUBLE_PUT', () => lease.put())
    refuses('USE_AFTER_PUT', () => lease.buffer)
    next.put()
  }
  reconciles(pool)
})

test('detach: false does not keep views of what is for one lease alone', () => {
  const pool = new Pool()
  const old = pair(pool, LENGTH, { detach: false })
  assert.equal(old.length, 0)
  const lease = pool.get(LENGTH)
  assert.ok(lease.buffer.equals(Buffer.alloc(LENGTH)))
  lease.put({ detach: false })
  pair(pool, LENGTH)
  reconciles(pool)
})

test('lengths may change, and leases may overlap', () => {
  const pool = new Pool()
  for (const length of [LENGTH, LENGTH + 64, LENGTH, 65 * MIB, 100, LENGTH]) pair(pool, length)
  const [first, second] = [pool.get(LENGTH), pool.get(LENGTH)]
  first.buffer.fill(1)
  second.buffer.fill(2)
  first.put()
  assert.ok(second.buffer.every((byte) => byte === 2))
  const third = pool.get(LENGTH)
  assert.equal(third.buffer[5], 0)
  second.put()
  third.put()
  // Nobody looked at this one.
  pool.get(LENGTH).put()
  pair(pool, LENGTH)
  reconciles(pool)
})

test('the limit, closed pools and requests that are told to fail are as ever', () => {
  const pool = new Pool({ maxBytes: 3 * LENGTH })
  pair(pool, LENGTH)
  const leases = [pool.get(LENGTH - 64), pool.get(LENGTH - 64), pool.get(LENGTH - 64)]
  refuses('EXHAUSTED', () => pool.get(LENGTH))
  for (const lease of leases) lease.put()
  pair(pool, LENGTH)
  pair(pool, LENGTH)
  pool.inject('alloc=1')
  refuses('NO_MEMORY', () => pool.get(LENGTH))
  pool.inject('')
  pair(pool, LENGTH)
  const late = pool.get(LENGTH)
  pair(pool, LENGTH)
  pool.close()
  late.put()
  refuses('CLOSED', () => pool.get(LENGTH))
  reconciles(pool)
})

test('what is behind the length is looked at before the lease ends', () => {
  const pool = new Pool()
  pair(pool, LENGTH)
  for (const [length, place] of [[LENGTH - 10, LENGTH - 10], [LENGTH - 40, LENGTH - 1]]) {
    const lease = pool.get(length)
    const all = new Uint8Array(lease.buffer.buffer)
    all[place] = 7
    // Memory of V8's own ends with the length.
    if (external) refuses('OVERRUN', () => lease.put(), `${length} bytes`)
    else lease.put()
  }
  pair(pool, LENGTH)
  reconciles(pool)
})

test('an ArrayBuffer that was taken away is counted as lost and does not come back', { skip: !canSteal && 'it is copied here' }, () => {
  const pool = new Pool()
  pair(pool, LENGTH)
  const lease = pool.get(LENGTH)
  const stolen = steal(lease.buffer.buffer)
  refuses('FOREIGN_LEASE', () => lease.put(), 'transferred away')
  pair(pool, LENGTH)
  assert.ok(stolen.byteLength >= LENGTH)
  new Uint8Array(stolen).fill(3)
  pair(pool, LENGTH)
  assert.equal(reconciles(pool).lost, 1)
})

test('one mapping waits, until a trim, a close, the second look of the decay, or the next one', { skip }, () => {
  const ends = {
    trim: (pool) => pool.trim(),
    close: (pool) => pool.close(),
    decay: (pool) => {
      pool.maintain()
      pool.maintain()
    },
    next: (pool) => pair(pool, LENGTH),
    sites: (pool) => pool.setCheck('full'),
  }
  for (const [name, end] of Object.entries(ends)) {
    const pool = new Pool({ name })
    const before = addresses()
    const leases = [pool.get(HUGE), pool.get(HUGE)]
    for (const lease of leases) {
      lease.buffer[0] = 1
      lease.put()
    }
    const waiting = addresses()
    assert.ok(waiting > before + HUGE / 2 && waiting < before + 1.5 * HUGE, `${name}: ${waiting - before}`)
    end(pool)
    assert.ok(addresses() < waiting - HUGE / 2, name)
    reconciles(pool)
  }
  const pool = new Pool({ name: 'in use' })
  pair(pool, HUGE)
  const waiting = addresses()
  for (let i = 0; i < 3; i++) {
    pool.maintain()
    pair(pool, HUGE)
  }
  assert.ok(Math.abs(addresses() - waiting) < HUGE / 2)
})

test('a pool that nobody has any more takes its mapping along', { skip }, async () => {
  const before = addresses()
  ;(() => pair(new Pool({ name: 'gone' }), HUGE))()
  assert.ok(addresses() > before + HUGE / 2)
  await collectUntil(() => addresses() < before + HUGE / 2)
})

test('a mapping that waits does not keep memory from anybody', { skip }, async () => {
  const { code, stdout, stderr } = await runScript(`
    const { execFileSync } = require('node:child_process')
    const { readFileSync } = require('node:fs')
    const { Pool } = require('.')
    const pool = new Pool({ classes: [512, ${HUGE / 2}] })
    pool.get(${HUGE}).put()
    const pages = () => Number(readFileSync('/proc/self/statm', 'latin1').split(' ')[0])
    execFileSync('prlimit', ['--pid', String(process.pid), '--as=' + (pages() * 4096 + ${HUGE / 4})])
    // Neither has room beside it.
    pool.get(${HUGE / 2}).put({ detach: false })
    pool.trim()
    pool.get(${HUGE}).put()
    pool.get(${HUGE} + 64).put()
    try {
      pool.get(${2 * HUGE})
    } catch (error) {
      console.log(error.code, pool.stats().inUse)
    }
  `)
  assert.deepEqual([code, stdout], [0, 'ERR_MILLPOND_NO_MEMORY 0\n'], stderr)
})
