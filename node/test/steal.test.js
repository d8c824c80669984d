'use strict'

// ArrayBuffers that somebody else takes away, and ArrayBuffers that are not ours.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { MessageChannel } = require('node:worker_threads')
const { Pool } = require('..')
const { canSteal, external, getUsed, hasTransfer, reconciles, refuses, runScript, steal } = require('./helpers')

const skip = !canSteal && 'Node 20 transfers no such ArrayBuffer'

/** Ways to take an ArrayBuffer away; each returns whether this Node did. */
const thieves = {
  'transfer()': (buffer) => hasTransfer && buffer.buffer.transfer(),
  structuredClone: (buffer) => structuredClone(buffer.buffer, { transfer: [buffer.buffer] }),
  postMessage: (buffer) => {
    const { port1, port2 } = new MessageChannel()
    try {
      port1.postMessage(buffer, [buffer.buffer])
    } finally {
      port1.close()
      port2.close()
    }
  },
  'a BYOB reader': async (buffer) => {
    const stream = new ReadableStream({
      type: 'bytes',
      pull(controller) {
        controller.byobRequest.respond(1)
      },
    })
    await stream.getReader({ mode: 'byob' }).read(buffer)
  },
}

for (const [name, thief] of Object.entries(thieves)) {
  for (const length of [100, 70_000, 20 * 2 ** 20]) {
    test(`${name} of ${length} bytes is seen before the memory is touched`, async (t) => {
      const pool = new Pool({ name: 'robbed' })
      // The first ArrayBuffer over a buffer is marked as not transferable; a renewed one is not.
      for (let turn = 0; turn < 2; turn++) {
        const lease = pool.get(length)
        lease.buffer.fill(1)
        lease.put()
      }
      const lease = pool.get(length)
      const { buffer } = lease
      const array = buffer.buffer
      const before = pool.stats()
      try {
        await thief(buffer)
      } catch (error) {
        // Refused by Node: nothing was taken.
        if (array.byteLength > 0) {
          lease.put()
          reconciles(pool)
          t.diagnostic(`${process.version} refuses it: ${error.message}`)
          return
        }
      }
      if (array.byteLength > 0) {
        lease.put()
        reconciles(pool)
        t.diagnostic(`${process.version} copies instead`)
        return
      }
      refuses('FOREIGN_LEASE', () => lease.put(), 'robbed')
      refuses('DOUBLE_PUT', () => lease.put())
      const stats = reconciles(pool)
      assert.equal(stats.leaked, before.leaked + 1)
      assert.equal(stats.lost, 1)
      // Never handed out again: the next one is another buffer.
      const next = pool.get(length)
      next.buffer.fill(2)
      next.put()
      assert.equal(reconciles(pool).allocations, stats.allocations + 1)
    })
  }
}

test('a theft is seen by detach and transfer too', { skip }, () => {
  for (const leave of ['detach', 'transfer']) {
    const pool = new Pool()
    const lease = getUsed(pool, 100)
    steal(lease.buffer.buffer)
    refuses('FOREIGN_LEASE', () => lease[leave]())
    assert.equal(reconciles(pool).lost, 1)
  }
})

test('an idle buffer that is stolen through a kept view is retired', { skip }, () => {
  const pool = new Pool()
  const lease = getUsed(pool, 100)
  const view = lease.buffer
  lease.put({ detach: false })
  const stolen = steal(view.buffer)
  const next = pool.get(100)
  next.buffer.fill(7)
  assert.equal(new Uint8Array(stolen).indexOf(7), -1)
  next.put()
  const stats = reconciles(pool)
  assert.equal(stats.allocations, 2)
  assert.equal(stats.destroyed, 1)
  // The same when core asks for it back instead of a get.
  const again = pool.get(100)
  const seen = again.buffer
  again.put({ detach: false })
  steal(seen.buffer)
  pool.trim()
  assert.equal(reconciles(pool).retainedBuffers, 0)
})

test('tampering with an ArrayBuffer does not hide a theft', { skip }, () => {
  const pool = new Pool()
  const lease = getUsed(pool, 100)
  const array = lease.buffer.buffer
  Object.defineProperty(array, 'byteLength', { value: 512 })
  Object.defineProperty(array, 'transfer', { value: () => new ArrayBuffer(512) })
  array.constructor = Object
  if (hasTransfer) ArrayBuffer.prototype.transfer.call(array)
  else steal(array)
  refuses('FOREIGN_LEASE', () => lease.put())
  reconciles(pool)
})

test("Node's shared slab and foreign ArrayBuffers are never detached", async () => {
  // In a process of its own: detaching that slab kills or aborts the process.
  const script = `
    const { Pool } = require('.')
    const pool = new Pool()
    const small = Buffer.allocUnsafe(10).fill(1)
    const foreign = new Uint8Array(100).fill(2)
    for (const thing of [small, small.buffer, foreign, foreign.buffer, new DataView(foreign.buffer), { buffer: small }]) {
      try { pool.put(thing); console.log('accepted') } catch (error) { if (error.code !== 'ERR_MILLPOND_INVALID_ARGUMENT') throw error }
    }
    const lease = pool.get(10)
    try { lease.buffer = small } catch {}
    try { Object.defineProperty(lease, 'buffer', { value: small }) } catch {}
    pool.put(lease)
    const other = Buffer.allocUnsafe(10).fill(3)
    console.log(small.length, small[0], foreign.length, foreign[0], other[9], pool.stats().puts)
  `
  const { code, stdout, stderr } = await runScript(script)
  assert.equal(stdout.trim(), '10 1 100 2 3 1', stderr)
  assert.equal(code, 0)
})

test('the addon itself refuses numbers and ArrayBuffers that are not its own', { skip: !external && 'no ArrayBuffer over core memory here' }, async () => {
  const script = `
    const { native, scratch } = require('./lib/native')
    const pool = native.open('raw')
    const mine = native.take(pool.number, 0)
    const index = scratch[0]
    const foreign = new ArrayBuffer(512)
    const calls = [
      () => native.give(pool.number, index, foreign, 0, true), () => native.give(pool.number, index, Buffer.allocUnsafe(8).buffer, 0, true),
      () => native.give(pool.number, index, undefined, 0, true), () => native.give(pool.number, index), () => native.give(pool.number, 99, mine, 0, true),
      () => native.give(99, 0, mine, 0, true), () => native.give(-1, NaN, {}, 'x', 5), () => native.give(), () => native.putOwn(pool.number, index, mine, 0, 0),
      () => native.take(pool.number, 999), () => native.take(pool.number, -1), () => native.take(pool.number, '0'), () => native.take(pool.number, 2 ** 60),
      () => native.detach(pool.number, index, foreign, 5), () => native.detach(pool.number, index, mine, 5000), () => native.rewrap(pool.number, index, foreign),
      () => native.send(pool.number, index, foreign, 5), () => native.lose(pool.number, 77, 5), () => native.retire(pool.number, 77), () => native.adopt(pool.number, 5n),
      () => native.adopt(pool.number, 5), () => native.setUp(), () => native.misuse(pool.number, 'NO_SUCH', 1, 0, 0, 0), () => native.mirror(pool.number, new Float64Array(1), []),
      () => native.tailWritten({}, 0), () => native.open({}), () => native.open(5), () => native.attach(5), () => native.stats({}), () => native.site(), () => native.load(pool.number, index, foreign),
    ]
    let refused = 0
    for (const call of calls) { try { call(); console.log('accepted', String(call)) } catch { refused++ } }
    native.give(pool.number, index, mine, 0, false)
    try { native.give(pool.number, index, mine, 0, false); console.log('accepted twice') } catch { refused++ }
    console.log(refused === calls.length + 1, mine.byteLength, foreign.byteLength)
  `
  const { code, stdout, stderr } = await runScript(script)
  assert.equal(stdout.trim(), 'true 0 512', stderr)
  assert.equal(code, 0)
})
