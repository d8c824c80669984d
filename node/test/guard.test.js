'use strict'

// Leases that core looks at one by one: guarded pages, memory that is kept for a view, and what is done through it.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { once } = require('node:events')
const { Worker } = require('node:worker_threads')
const { Pool } = require('..')
const { external, reconciles, refuses, runScript, steal } = require('./helpers')

const elsewhere = { skip: !external && "the memory is V8's" }
const loose = { detach: false }

/** What a script begins with that faults on purpose: no core file, a report, a function that gets. */
const prelude = `
  const fs = require('node:fs')
  const { Pool, reportFaults } = require('.')
  reportFaults()
  function take(pool, length) { return pool.get(length) }
`

test('each N-th lease up to 1 MiB has pages of its own, and the others are served as ever', elsewhere, () => {
  const pool = new Pool({ check: 'sample:10' })
  // What a guarded lease has room for is its own length, in steps of 64.
  const guarded = []
  for (let round = 0; round < 100; round++) {
    const lease = round % 3 === 0 ? pool.tryGet(100) : pool.get(100)
    if (lease.capacity === 128) guarded.push(round)
    lease.buffer.fill(1)
    lease.put(round % 2 === 0 ? undefined : loose)
  }
  assert.deepEqual(guarded, [9, 19, 29, 39, 49, 59, 69, 79, 89, 99])
  const all = new Pool({ check: 'sample:1' })
  const lengths = [0, 1, 63, 64, 65, 4096, 2 ** 20, 2 ** 20 + 1, 17 * 2 ** 20]
  const capacities = lengths.map((length) => {
    const lease = all.get(length)
    assert.ok(lease.buffer.every((byte) => byte === 0))
    const { capacity } = lease
    lease.put()
    return capacity
  })
  assert.deepEqual(capacities, [64, 64, 64, 64, 128, 4096, 2 ** 20, 4 * 2 ** 20, 17 * 2 ** 20])
  for (const each of [pool, all]) assert.equal(reconciles(each).unguarded, 0)
})

test("guarded leases are cleared, limited and counted as others, whatever the pool's policy", elsewhere, () => {
  for (const clear of ['onPut', 'onGet', 'never']) {
    const pool = new Pool({ check: 'sample:1', clear, maxBytes: 8192, classes: [1024, 4096] })
    const leases = [pool.get(4000), pool.get(4000)]
    refuses('EXHAUSTED', () => pool.get(4000), 'put some')
    for (const lease of leases) {
      lease.buffer.fill(9)
      lease.put()
    }
    const next = pool.get(4000)
    assert.ok(next.buffer.every((byte) => byte === 0))
    const { buffer } = next
    assert.equal(next.detach().length, 4000)
    assert.equal(buffer.length, 0)
    reconciles(pool)
  }
})

test('a view that outlives the put of a guarded lease faults, and the report names the lease', elsewhere, async () => {
  for (const access of ['kept[100] = 1', 'kept.fill(1)', 'Buffer.from(kept)', 'kept.readInt8(100)', 'kept.subarray(100)[0]']) {
    const { code, stdout, stderr } = await runScript(`${prelude}
      const pool = new Pool({ name: 'guarded', check: 'sample:1' })
      const lease = take(pool, 1000)
      const kept = lease.buffer
      lease.put({ detach: false })
      // Others come and go; the page stays as it is.
      for (let round = 0; round < 50; round++) { const other = pool.get(1000); other.buffer.fill(2); other.put() }
      console.log(kept.length)
      ${access}
      console.log('not reached')
    `)
    assert.equal(code, 'SIGSEGV', stderr)
    assert.equal(stdout, '1000\n')
    assert.match(stderr, /USE_AFTER_PUT: the access to 0x[0-9a-f]+ is at byte (0|100) of a lease of 1000 bytes of pool "guarded"/)
    assert.match(stderr, /got at \[eval\]:5 in take by thread \d+, put at \[eval\]:10/)
  }
})

test('the system refuses to write into a guarded lease that was put, and a program that puts in time sees nothing', elsewhere, async () => {
  const script = (late) => `${prelude}
    const { execFileSync } = require('node:child_process')
    const folder = fs.mkdtempSync(require('node:path').join(require('node:os').tmpdir(), 'late-'))
    execFileSync('mkfifo', [folder + '/pipe'])
    const pipe = fs.openSync(folder + '/pipe', 'r+')
    const lease = take(new Pool({ check: 'sample:1' }), 1000)
    fs.read(pipe, lease.buffer, 0, 10, null, (error, bytes) => {
      console.log(error?.code ?? bytes)
      if (${!late}) lease.put()
      fs.rmSync(folder, { recursive: true })
    })
    setTimeout(() => {
      if (${late}) lease.put()
      fs.writeSync(pipe, 'abcdefghij')
    }, 50)
  `
  const bad = await runScript(script(true))
  assert.deepEqual([bad.code, bad.stdout], [0, 'EFAULT\n'], bad.stderr)
  const good = await runScript(script(false))
  assert.deepEqual([good.code, good.stdout], [0, '10\n'], good.stderr)
})

test('what JavaScript writes behind the length of a guarded lease is found at the put', elsewhere, () => {
  const pool = new Pool({ name: 'run over', check: 'sample:1' })
  for (const options of [undefined, loose]) {
    const lease = pool.get(100)
    const { buffer } = lease.buffer
    assert.equal(buffer.byteLength, 128)
    new Uint8Array(buffer)[127] = 1
    refuses('OVERRUN', () => lease.put(options), 'byte 28 behind the length')
    assert.equal(buffer.byteLength, 0)
    refuses('DOUBLE_PUT', () => lease.put())
  }
  assert.equal(reconciles(pool).overruns, 2)
})

test('of the memory that is kept for views only so much is, and what goes is detached first', elsewhere, () => {
  for (const check of ['sample:1', 'full']) {
    const pool = new Pool({ check })
    const views = []
    for (let round = 0; round < 200; round++) {
      const lease = pool.get(100)
      views.push(lease.buffer)
      lease.put(loose)
    }
    const alive = views.filter((view) => view.length > 0)
    assert.equal(alive.length, 64)
    assert.ok(alive.every((view) => views.indexOf(view) >= 136))
    pool.get(2 ** 20).put(loose)
    reconciles(pool)
    pool.trim()
    assert.ok(views.every((view) => view.length === 0))
    assert.equal(reconciles(pool).retainedBuffers, 0)
  }
})

test('memory that is kept makes room at the limit, and goes with the mode, the close, the pool', elsewhere, () => {
  for (const check of ['sample:1', 'full']) {
    const pool = new Pool({ check, maxBytes: 8192, classes: [4096] })
    const views = []
    for (let round = 0; round < 20; round++) {
      const lease = pool.get(4000)
      views.push(lease.buffer)
      lease.put(loose)
    }
    reconciles(pool)
    pool.setCheck('on')
    assert.ok(views.every((view) => view.length === 0))
    pool.setCheck(check)
    const last = pool.get(4000)
    const view = last.buffer
    last.put(loose)
    assert.equal(view.length, 4000)
    pool.close()
    assert.equal(view.length, 0)
    assert.equal(reconciles(pool).retainedBuffers, 0)
  }
})

test('an ArrayBuffer that is taken away after such a put costs its memory and nothing else', elsewhere, () => {
  for (const check of ['full', 'sample:1']) {
    const pool = new Pool({ check })
    pool.get(1000).put()
    const lease = pool.get(1000)
    const { buffer } = lease.buffer
    lease.put(loose)
    // Node 20 copies what an addon made instead of transferring it.
    const taken = buffer.transfer === undefined ? undefined : steal(buffer)
    pool.trim()
    if (taken !== undefined) assert.equal(taken.byteLength, 1024)
    const stats = reconciles(pool)
    assert.equal(stats.retainedBuffers, 0)
  }
})

test('a worker that ends with kept memory leaves the numbers right', elsewhere, async () => {
  for (const check of ['sample:1', 'full']) {
    const pool = new Pool({ check })
    const worker = new Worker(
      `const { workerData } = require('node:worker_threads')
       const pool = require(workerData.path).Pool.fromId(workerData.id)
       globalThis.views = [1, 2, 3].map(() => { const lease = pool.get(5000); const { buffer } = lease; lease.put({ detach: false }); return buffer })`,
      { eval: true, workerData: { id: pool.id, path: require.resolve('..') } },
    )
    await once(worker, 'exit')
    pool.trim()
    const stats = reconciles(pool)
    assert.deepEqual([stats.gets, stats.puts, stats.retainedBuffers], [3, 3, 0])
  }
})

test('mode full finds a write through a view that was kept, and names both places', elsewhere, async () => {
  const { code, stdout, stderr } = await runScript(`${prelude}
    const pool = new Pool({ name: 'stained', check: 'full' })
    const lease = take(pool, 1000)
    const kept = lease.buffer
    lease.put({ detach: false })
    console.log(kept.every((byte) => byte === 0xdb))
    kept.fill(1, 5, 8)
    pool.close()
    console.log(kept.length, pool.stats().staleUses)
  `)
  assert.deepEqual([code, stdout], [0, 'true\n0 1\n'], stderr)
  assert.match(stderr, /USE_AFTER_PUT: pool "stained": bytes 5 to 7 of a buffer were written after its put .*its lease of 1000 bytes was got at \[eval\]:5 in take .*, put at \[eval\]:10/)
})

test("where the memory is V8's own nothing is guarded, and that is counted", { skip: external && "the memory is core's" }, () => {
  const pool = new Pool({ check: 'sample:2' })
  for (let round = 0; round < 10; round++) {
    const lease = pool.get(100)
    const view = lease.buffer
    view.fill(1)
    lease.put(loose)
  }
  assert.equal(reconciles(pool).unguarded, 5)
})
