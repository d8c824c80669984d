'use strict'

// MILLPOND_LEAKS: what is out when a pool is closed, when a worker ends, and when the process ends.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { runScript } = require('./helpers')

const begin = `
  const { Pool } = require('.')
  const { Worker, workerData } = require('node:worker_threads')
  function one(pool) { return pool.get(100) }
  function other(pool) { return pool.get(70000) }
`
const loses = `${begin}
  const pool = new Pool({ name: 'leaky' })
  globalThis.kept = [one(pool), one(pool), other(pool)]
  globalThis.kept[0].buffer.fill(1)
  pool.get(5000).put()
`

const run = (script, form = 'report', env = {}) => runScript(script, { env: { MILLPOND_LEAKS: form, ...env } })
const lines = ({ stderr }) => stderr.split('\n').filter((line) => line !== '')

const WANTED = [
  (when) => new RegExp(`^millpond: pool "leaky" at ${when}: 3 leases of 70200 bytes are out$`),
  () => /^millpond: {3}1 leases of 70000 bytes, the oldest for \d+\.\d\d s, got at \[(worker )?eval\]:5 in other/,
  () => /^millpond: {3}2 leases of 200 bytes, the oldest for \d+\.\d\d s, got at \[(worker )?eval\]:4 in one/,
]

function isReport(found, when) {
  assert.equal(found.length, WANTED.length, found.join('\n'))
  WANTED.forEach((wanted, place) => assert.match(found[place], wanted(when)))
}

test('the leases that are out are listed when the process ends, however it does', async () => {
  const ends = {
    'by itself': ['', 0],
    'by process.exit': ['setInterval(() => {}, 1000); process.exit(3)', 3],
    'in an exit handler': ["process.on('exit', () => { globalThis.kept.push(1) })", 0],
    'by an error': ["throw new Error('the program own')", 1],
  }
  for (const [how, [end, status]] of Object.entries(ends)) {
    const done = await run(loses + end)
    assert.equal(done.code, status, how)
    isReport(lines(done).filter((line) => line.startsWith('millpond: ')), 'exit')
  }
})

test('a lease that an exit handler puts is not listed, and nothing is where nothing is out or nobody asked', async () => {
  const puts = "process.on('exit', () => globalThis.kept.forEach((lease) => lease.put()))"
  assert.deepEqual(lines(await run(loses + puts)), [])
  assert.deepEqual(lines(await run(loses, 'off')), [])
  assert.deepEqual(lines(await runScript(loses)), [])
  assert.deepEqual(lines(await run(`${begin} one(new Pool()).put()`)), [])
  const wrong = await run(loses, 'loud')
  assert.match(wrong.stderr, /ERR_MILLPOND_INVALID_ARGUMENT/)
  assert.match(wrong.stderr, /report, json or off/)
})

test('they are listed when the pool is closed', async () => {
  const done = await run(`${loses} pool.close(); globalThis.kept.forEach((lease) => lease.put())`)
  isReport(lines(done), 'close')
})

test('as JSON it is one line for each pool', async () => {
  const found = lines(await run(loses, 'json'))
  assert.equal(found.length, 1)
  const { groups, ...pool } = JSON.parse(found[0])
  assert.deepEqual(pool, { millpond: 'leaks', pool: 'leaky', when: 'exit', leases: 3, bytes: 70200 })
  assert.deepEqual(groups.map(({ site, leases, bytes }) => [site.split(' ').at(-1), leases, bytes]), [['other', 1, 70000], ['one', 2, 200]])
})

test("a worker's own are listed when it ends, those on their way at the end of the process", async () => {
  const worker = `${begin}
    const pool = Pool.fromId(workerData)
    globalThis.kept = [one(pool), one(pool), other(pool)]
    one(pool).transfer()
  `
  const done = await run(`${begin}
    const pool = new Pool({ name: 'leaky' })
    const mine = pool.get(10)
    new Worker(${JSON.stringify(worker)}, { eval: true, workerData: pool.id }).on('exit', () => mine.put())
  `)
  const found = lines(done)
  isReport(found.slice(0, 3), 'the end of worker 1')
  assert.match(found[3], /^millpond: pool "leaky" at exit: 1 leases of 100 bytes are out$/)
  assert.match(found[4], /got at \[worker eval\]:4 in one/)
})

test('every mode reports alike', async () => {
  for (const mode of ['sites', 'full', 'sample:1', 'sample:2', 'off']) {
    isReport(lines(await run(loses, 'report', { MILLPOND_CHECK: mode })).map((line) => line.split(';')[0]), 'exit')
  }
  isReport(lines(await run(loses, 'report', { MILLPOND_POOL: 'off' })), 'exit')
  isReport(lines(await run(loses, 'report', { MILLPOND_NODE_EXTERNAL: 'off' })), 'exit')
})
