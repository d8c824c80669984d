'use strict'

const assert = require('node:assert/strict')
const { execFile } = require('node:child_process')
const { join } = require('node:path')
const { setTimeout: sleep } = require('node:timers/promises')
const { MillpondError } = require('..')
const { transfer } = require('../lib/view')

/** Memory is V8's own in this run: what concerns ArrayBuffers over core's memory does not apply. */
const external = process.env.MILLPOND_NODE_EXTERNAL !== 'off'
const hasTransfer = ArrayBuffer.prototype.transfer !== undefined
/** Node 20 copies an ArrayBuffer that Node-API made, instead of transferring it, unless its memory was moved since. */
const canSteal = transfer !== undefined || !external

/** Takes an ArrayBuffer's memory away; returns the ArrayBuffer that has it. */
const steal = hasTransfer
  ? (arrayBuffer) => arrayBuffer.transfer()
  : (arrayBuffer) => structuredClone(arrayBuffer, { transfer: [arrayBuffer] })

/** Takes a lease of a buffer that had a tenant before: its memory was moved. */
function getUsed(pool, length) {
  const lease = pool.get(length)
  lease.buffer.fill(1)
  lease.put()
  return pool.get(length)
}

/** Checks that a call throws a MillpondError of this kind whose message says `says`. */
function refuses(kind, act, says = '') {
  assert.throws(act, (error) => {
    assert.ok(error instanceof MillpondError, `a MillpondError was expected, not ${error}`)
    assert.equal(error.code, `ERR_MILLPOND_${kind}`, error.message)
    assert.ok(error.message.includes(says), `the message does not say "${says}": ${error.message}`)
    return true
  })
}

/** Checks that the statistics add up, and that nothing but these is out. */
function reconciles(pool, inUse = 0) {
  const stats = pool.stats()
  assert.equal(stats.gets, stats.puts + stats.inUse + stats.detached + stats.leaked)
  assert.equal(stats.created - stats.destroyed, stats.inUse + stats.retainedBuffers)
  assert.equal(stats.requestedBytes + stats.wasteBytes, stats.liveBytes)
  assert.equal(stats.inUse, inUse)
  if (inUse === 0) assert.equal(stats.requestedBytes, 0)
  assert.equal(pool.leaks().length, inUse)
  return stats
}

/** Runs the collector until `done()`, at most 10 s. */
async function collectUntil(done) {
  for (const end = Date.now() + 10_000; !done() && Date.now() < end; ) {
    globalThis.gc()
    await sleep(2)
  }
  assert.ok(done(), 'the collector did not do it in 10 s')
}

/** Runs a script in a process of its own; returns how it ended and what it wrote. */
function runScript(script, { args = [], env = {} } = {}) {
  return new Promise((resolve) => {
    const argv = ['--expose-gc', ...args, '-e', script]
    const options = { cwd: join(__dirname, '..'), env: { ...process.env, ...env }, timeout: 60_000 }
    execFile(process.execPath, argv, options, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : (error.code ?? error.signal), stdout, stderr })
    })
  })
}

module.exports = { canSteal, collectUntil, external, getUsed, hasTransfer, reconciles, refuses, runScript, sleep, steal }
