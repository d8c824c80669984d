'use strict'

// The addon's own way to move an ArrayBuffer's memory, on Node 20.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { Pool } = require('..')
const { native } = require('../lib/native')
const { collectUntil, external, reconciles, refuses } = require('./helpers')

const skip = native.move === undefined && 'ArrayBuffers move memory themselves here'

test('the addon moves memory where ArrayBuffers cannot', () => {
  const needed = ArrayBuffer.prototype.transfer === undefined && process.platform === 'linux' && process.arch === 'x64'
  assert.equal(typeof native.move, needed ? 'function' : 'undefined')
})

test('the memory is the same, the old ArrayBuffer and its views are dead', { skip }, () => {
  for (const length of [1, 100, 65_536, 2 ** 26]) {
    const old = new ArrayBuffer(length)
    const view = new Uint8Array(old)
    view[length - 1] = 7
    const moved = native.move(old)
    assert.equal(old.byteLength, 0)
    assert.equal(view.length, 0)
    assert.ok(moved instanceof ArrayBuffer)
    assert.equal(moved.byteLength, length)
    assert.equal(new Uint8Array(moved)[length - 1], 7)
    assert.equal(native.move(moved).byteLength, length)
  }
})

test('what is no ArrayBuffer, or has no memory, is refused', { skip }, () => {
  const gone = new ArrayBuffer(8)
  native.move(gone)
  const wasm = new WebAssembly.Memory({ initial: 1 }).buffer
  for (const value of [undefined, null, 5, {}, new Uint8Array(8), new SharedArrayBuffer(8), gone, wasm]) {
    refuses('PANIC', () => native.move(value))
  }
  refuses('PANIC', () => native.move())
  assert.equal(wasm.byteLength, 65_536)
})

test('memory of V8 that was moved is freed with its last ArrayBuffer', { skip }, async () => {
  const length = 2 ** 24
  const before = process.memoryUsage().arrayBuffers
  let moved = new ArrayBuffer(length)
  for (let i = 0; i < 1000; i++) moved = native.move(moved)
  assert.equal(moved.byteLength, length)
  assert.ok(process.memoryUsage().arrayBuffers - before < 2 * length)
  moved = undefined
  await collectUntil(() => process.memoryUsage().arrayBuffers - before < length / 2)
})

test("a lost lease of core's memory is reclaimed once, however often that was moved", { skip: skip || (!external && 'no such memory here') }, async () => {
  const pool = new Pool()
  process.removeAllListeners('warning')
  ;(() => {
    for (let i = 0; i < 1000; i++) {
      const lease = pool.get(100)
      lease.buffer[0] = i
      if (i < 999) lease.put()
    }
  })()
  await collectUntil(() => pool.stats().leaked > 0)
  const stats = reconciles(pool)
  assert.equal(stats.leaked, 1)
  assert.equal(stats.created, 1)
  assert.equal(stats.retainedBuffers, 1)
  assert.equal(pool.get(100).buffer[0], 0)
})
