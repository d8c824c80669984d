'use strict'

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { Worker } = require('node:worker_threads')
const { once } = require('node:events')
const millpond = require('..')
const { Pool } = millpond
const { external, reconciles, refuses, runScript } = require('./helpers')

const MODES = ['off', 'on', 'sites', 'sample:1', 'full']

/** Gets, writes, puts, puts again, in several classes and above them. */
function exercise(pool, rounds = 3) {
  for (let round = 0; round < rounds; round++) {
    for (const length of [0, 1, 100, 5000, 70_000, 2 ** 20, 17 * 2 ** 20]) {
      const lease = pool.get(length)
      assert.ok(lease.buffer.every((byte) => byte === 0), `${length} bytes are clear`)
      lease.buffer.fill(0xee)
      assert.equal(pool.stats().inUse, 1)
      lease.put()
      refuses('DOUBLE_PUT', () => lease.put(), `${length} bytes`)
    }
  }
}

test('what is no mode is refused by name', () => {
  for (const check of [1, null, true, {}, ['on'], Symbol('on')]) {
    refuses('INVALID_ARGUMENT', () => new Pool({ check }), '"check"')
  }
  const pool = new Pool()
  for (const check of [1, null, undefined, {}, true]) refuses('INVALID_ARGUMENT', () => pool.setCheck(check), '"check"')
  for (const check of ['', 'ON', ' on', 'sample', 'sample:0', 'sample:-1', 'sample:+1', 'all', 'on\0', '\ud800']) {
    refuses('INVALID_ARGUMENT', () => new Pool({ check }), 'sample:N')
    refuses('INVALID_ARGUMENT', () => pool.setCheck(check), 'sample:N')
  }
  for (const what of [1, null, undefined, {}, true]) refuses('INVALID_ARGUMENT', () => pool.inject(what), '"what"')
  for (const what of ['get', 'get=', 'get=-1', 'p=2', 'puts=1', ',', ' get=1']) {
    refuses('INVALID_ARGUMENT', () => pool.inject(what), 'get=N')
  }
  refuses('INVALID_ARGUMENT', () => pool.setCheck('off'), '"off"')
  refuses('INVALID_ARGUMENT', () => new Pool({ check: 'off' }).setCheck('on'), '"off"')
  assert.equal(pool.check, 'on')
  pool.get(10).put()
  assert.equal(reconciles(pool).retainedBuffers, 1)
})

test('in every mode leases work and the numbers add up', () => {
  for (const check of MODES) {
    for (const clear of ['onPut', 'onGet']) {
      const pool = new Pool({ check, clear })
      assert.equal(pool.check, check)
      exercise(pool)
      const stats = reconciles(pool)
      assert.deepEqual([stats.gets, stats.puts, stats.doublePuts], [21, 21, 21])
      pool.close()
      assert.equal(pool.stats().retainedBuffers, 0)
    }
  }
})

test('a double put names the places where the mode records them', () => {
  function places(pool) {
    function take() {
      return pool.get(10)
    }
    const lease = take()
    const [{ site }] = pool.leaks()
    lease.put()
    try {
      lease.put()
    } catch (error) {
      return { site, message: error.message }
    }
  }
  const named = /got at .*check\.test\.js:\d+ in take, first put at .*check\.test\.js:\d+ in places, now at .*check\.test\.js:\d+/
  for (const check of ['sites', 'full']) {
    const { site, message } = places(new Pool({ check }))
    assert.match(site, /check\.test\.js:\d+ in take$/)
    assert.match(message, named)
  }
  const pool = new Pool()
  const plain = new Pool()
  pool.setCheck('sites')
  assert.match(places(pool).message, named)
  // Pool by pool. Who breaks a rule is named anyway.
  const bare = /second time, now at .*check\.test\.js:\d+ in places;/
  assert.match(places(plain).message, bare)
  pool.setCheck('on')
  assert.match(places(pool).message, bare)
  reconciles(pool)
})

test('in mode on the place of one get in some thousand is known, and no other lease seems to have it', () => {
  const pool = new Pool()
  const known = new Map()
  for (let round = 0; round < 20_000; round++) {
    const lease = pool.get(100)
    const [{ site }] = round % 4093 > 4080 || round % 4093 < 10 ? pool.leaks() : [{ site: '' }]
    if (site !== '' && site !== 'unknown') known.set(round, site)
    lease.put()
  }
  assert.ok(known.size >= 3 && known.size <= 5, String(known.size))
  for (const site of known.values()) assert.match(site, /check\.test\.js:\d+/)
  reconciles(pool)
})

test('a put into another pool names length and places', () => {
  const other = new Pool({ name: 'the other' })
  function take(pool) {
    return pool.get(1000)
  }
  const place = (what) => `${what} at \\S*check\\.test\\.js:\\d+ in`
  for (const check of ['on', 'sites', 'full', 'sample:1']) {
    const pool = new Pool({ name: 'its own', check })
    const lease = take(pool)
    const got = check === 'on' ? 'got at unknown' : `${place('got')} take.*`
    const wanted = new RegExp(`a lease of 1000 bytes of pool "its own", ${got}, was put into pool "the other" at \\S*check\\.test\\.js:\\d+`)
    if (external || check === 'sites') assert.throws(() => other.put(lease), wanted)
    lease.put()
    reconciles(pool)
  }
  assert.equal(other.stats().foreignPuts, external ? 4 : 1)
})

test('the mode changes while leases are out, and what this thread kept goes back', () => {
  const pool = new Pool()
  exercise(pool, 1)
  for (const check of ['sites', 'full', 'sample:2', 'on', 'full', 'on']) {
    const lease = pool.get(5000)
    lease.buffer.fill(1)
    pool.setCheck(check)
    assert.equal(pool.check, check)
    assert.ok(lease.buffer.every((byte) => byte === 1))
    lease.put()
    refuses('DOUBLE_PUT', () => lease.put())
    exercise(pool, 1)
    reconciles(pool)
  }
})

test('a write far behind the length is found in every mode that has the whole buffer to look at', () => {
  for (const check of ['on', 'sites', 'full', 'off']) {
    for (const options of [undefined, { detach: false }]) {
      const pool = new Pool({ check })
      const lease = pool.get(600)
      const all = new Uint8Array(lease.buffer.buffer)
      const room = all.length > 600
      // In V8's own memory a lease that core knows itself has nothing behind its length.
      if (room) {
        all[1020] = 1
        refuses('OVERRUN', () => lease.put(options), '600 bytes')
      } else {
        lease.put(options)
      }
      const clean = pool.get(600)
      assert.ok(clean.buffer.buffer.byteLength >= 600)
      clean.put(options)
      assert.equal(reconciles(pool).overruns, room ? 1 : 0)
    }
  }
})

test('in mode full a buffer is not the next one of its size', () => {
  const reused = (check) => {
    const pool = new Pool({ check, classes: [512] })
    for (let round = 0; round < 4; round++) pool.get(10).put()
    return reconciles(pool).allocations
  }
  assert.equal(reused('on'), 1)
  assert.equal(reused('sites'), 1)
  assert.equal(reused('full'), 4)
})

test('a Buffer kept past the put is empty where places are recorded and nothing is kept for it', () => {
  const pool = new Pool({ check: 'sites' })
  for (const inject of ['', 'get=1000']) {
    pool.inject(inject)
    const lease = pool.get(100)
    const { buffer } = lease
    lease.put({ detach: false })
    assert.equal(buffer.length, 0)
  }
  reconciles(pool)
})

test('mode full finds what the system writes after the put', { skip: !external && "the memory is V8's" }, async () => {
  const script = `
    const fs = require('node:fs')
    const { execFileSync } = require('node:child_process')
    const { Pool } = require('.')
    const folder = fs.mkdtempSync(require('node:path').join(require('node:os').tmpdir(), 'late-'))
    execFileSync('mkfifo', [folder + '/pipe'])
    const pipe = fs.openSync(folder + '/pipe', 'r+')
    const late = process.argv[1] === 'late'
    const pool = new Pool({ name: 'stained', check: 'full' })
    const lease = pool.get(1000)
    if (!late) fs.writeSync(pipe, 'abcdefghij')
    fs.read(pipe, lease.buffer, 0, 10, null, () => {
      if (!late) lease.put()
      pool.trim()
      console.log(pool.stats().staleUses)
      fs.rmSync(folder, { recursive: true })
    })
    if (late) {
      lease.put()
      fs.writeSync(pipe, 'abcdefghij')
    }
  `
  const good = await runScript(script)
  assert.deepEqual([good.stdout, good.stderr], ['0\n', ''])
  const bad = await runScript(`process.argv[1] = 'late'\n${script}`)
  assert.equal(bad.stdout, '1\n', bad.stderr)
  assert.match(bad.stderr, /USE_AFTER_PUT: pool "stained": bytes 0 to 9 of a buffer.*got at \[eval\]:11 .*put at \[eval\]:20 /)
})

test('injected failures are errors, once each', async () => {
  const pool = new Pool({ name: 'unlucky' })
  // Idle buffers here would serve a get that is to fail.
  for (let round = 0; round < 3; round++) pool.get(100).put()
  pool.inject('get=1')
  refuses('EXHAUSTED', () => pool.get(100), 'unlucky')
  pool.get(100).put()
  pool.inject('get=3')
  pool.get(100).put()
  pool.tryGet(100).put()
  refuses('EXHAUSTED', () => pool.tryGet(100), 'unlucky')
  pool.inject('get=1')
  await assert.rejects(pool.getAsync(100), { code: 'ERR_MILLPOND_EXHAUSTED' })
  // Only where nothing is idle is a buffer created.
  pool.inject('alloc=1')
  pool.get(100).put()
  pool.trim()
  refuses('NO_MEMORY', () => pool.get(100), 'unlucky')
  pool.get(100).put()
  pool.inject('alloc=2')
  pool.trim()
  const first = pool.get(100)
  refuses('NO_MEMORY', () => pool.get(100), 'unlucky')
  first.put()
  pool.inject('p=1')
  for (let round = 0; round < 5; round++) refuses('EXHAUSTED', () => pool.get(100), 'inject')
  pool.inject('')
  exercise(pool)
  assert.equal(reconciles(pool).exhausted, 8)
})

test('injection leaves leases, limits and numbers as they are', () => {
  const pool = new Pool({ maxBytes: 8 * 2 ** 20, clear: 'onGet' })
  const before = pool.get(5000)
  before.buffer.fill(7)
  pool.inject('get=1000000')
  for (let round = 0; round < 3; round++) {
    for (const length of [0, 1, 100, 5000, 2 ** 20, 3 * 2 ** 20]) {
      const lease = pool.get(length)
      assert.equal(lease.buffer.length, length)
      assert.ok(lease.capacity >= length)
      assert.ok(lease.buffer.every((byte) => byte === 0))
      lease.buffer.fill(1)
      lease.put()
      refuses('DOUBLE_PUT', () => lease.put())
    }
  }
  refuses('EXHAUSTED', () => pool.get(5 * 2 ** 20))
  const after = pool.get(100)
  pool.inject('')
  assert.ok(before.buffer.every((byte) => byte === 7))
  before.put()
  assert.equal(after.detach().length, 100)
  pool.get(100).put()
  reconciles(pool)
})

test('what a worker thread says holds for the others at their next get or put', async () => {
  const pool = new Pool()
  const leases = Array.from({ length: 8 }, () => pool.get(100))
  for (const each of leases.slice(4)) each.put()
  const tell = async (what) => {
    const worker = new Worker(
      `const { workerData } = require('node:worker_threads')
       const pool = require(workerData.path).Pool.fromId(workerData.id)
       ${what}`,
      { eval: true, workerData: { id: pool.id, path: require.resolve('..') } },
    )
    await once(worker, 'exit')
  }
  await tell("pool.setCheck('sites')")
  assert.equal(pool.check, 'sites')
  // This put is the first to look: what was idle here goes back with it.
  leases[0].put()
  const named = pool.get(101)
  assert.match(pool.leaks().find(({ length }) => length === 101).site, /check\.test\.js:\d+/)
  named.put()
  await tell("pool.inject('get=2')")
  pool.get(100).put()
  refuses('EXHAUSTED', () => pool.get(100), 'inject')
  await tell("pool.inject(''); pool.setCheck('on')")
  const plain = pool.get(100)
  assert.ok(pool.leaks().every(({ site }) => !site.includes('check.test.js')))
  plain.put()
  for (const each of leases.slice(1, 4)) each.put()
  reconciles(pool)
})

test("another thread's station follows at its next get", async () => {
  const pool = new Pool({ check: 'on' })
  const worker = new Worker(
    `
    const { parentPort, workerData } = require('node:worker_threads')
    const { Pool } = require(workerData.path)
    const pool = Pool.fromId(workerData.id)
    pool.get(100).put()
    parentPort.on('message', (act) => {
      if (act === 'end') return parentPort.close()
      try {
        const lease = pool.get(100)
        lease.put()
        lease.put()
      } catch (error) {
        parentPort.postMessage(error.code + ' ' + error.message)
      }
    })
    parentPort.postMessage('ready')
    `,
    { eval: true, workerData: { id: pool.id, path: require.resolve('..') } },
  )
  const ask = async () => {
    worker.postMessage('act')
    return (await once(worker, 'message'))[0]
  }
  await once(worker, 'message')
  assert.doesNotMatch(await ask(), /first put/)
  pool.setCheck('sites')
  assert.match(await ask(), /^ERR_MILLPOND_DOUBLE_PUT .*got at .*first put at /)
  pool.setCheck('on')
  assert.doesNotMatch(await ask(), /first put/)
  pool.inject('get=1')
  assert.match(await ask(), /^ERR_MILLPOND_EXHAUSTED/)
  pool.inject('')
  assert.match(await ask(), /^ERR_MILLPOND_DOUBLE_PUT/)
  worker.postMessage('end')
  await once(worker, 'exit')
  reconciles(pool)
})

test('the environment decides for pools that are not told', async () => {
  const script = `
    const { Pool } = require('.')
    const out = []
    for (const options of [{}, { check: 'on' }]) {
      const pool = new Pool(options)
      for (let round = 0; round < 3; round++) {
        try { pool.get(100).put() } catch (error) { out.push(error.code) }
      }
      const { gets, puts, retainedBuffers } = pool.stats()
      out.push(pool.check, gets, puts, retainedBuffers)
    }
    console.log(out.join())
  `
  const run = async (env) => (await runScript(script, { env })).stdout.trim()
  assert.equal(await run({ MILLPOND_CHECK: 'full' }), 'full,3,3,3,on,3,3,1')
  assert.equal(await run({ MILLPOND_INJECT: 'get=2' }), 'ERR_MILLPOND_EXHAUSTED,on,2,2,1,ERR_MILLPOND_EXHAUSTED,on,2,2,1')
  assert.equal(await run({ MILLPOND_POOL: 'off' }), 'on,3,3,0,on,3,3,0')
  const wrong = await runScript(script, { env: { MILLPOND_CHECK: 'loud' } })
  assert.match(wrong.stderr, /ERR_MILLPOND_INVALID_ARGUMENT/)
})

test('reportFaults can be called again', async () => {
  const { code, stdout, stderr } = await runScript(`
    const { Pool, reportFaults } = require('.')
    reportFaults()
    reportFaults()
    new Pool({ check: 'sample:1' }).get(10).put()
    console.log('alive')
  `)
  assert.deepEqual([code, stdout.trim()], [0, 'alive'], stderr)
})
