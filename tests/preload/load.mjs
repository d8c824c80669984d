// A worker that no_memory.mjs starts: loads the package while its addon is refused memory, says what came of it, goes on, and ends
// while its addon is refused memory again.

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { parentPort, workerData } from 'node:worker_threads'

const require = createRequire(import.meta.url)
const memory = require(process.env.LD_PRELOAD)

let code
let refused
memory.begin(workerData.after, workerData.forGood)
try {
  require(process.env.NO_MEMORY_PACKAGE)
} catch (error) {
  code = error.code ?? String(error)
} finally {
  refused = memory.end()
}
// As if nothing had been.
const { get } = require(process.env.NO_MEMORY_PACKAGE)
get(100).put()
parentPort.postMessage({ asked: memory.asked(), refused, code })
const held = get(100)
process.on('exit', () => {
  assert.equal(held.length, 100)
  memory.begin(0, 1)
})
