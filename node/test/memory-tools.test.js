'use strict'

// What AddressSanitizer and valgrind see of memory that was put: idle memory is marked for them. Both are started under Node as
// it is; where one is not installed its tests are skipped. Only the Node that runs `npm test` itself is looked at.

const assert = require('node:assert/strict')
const { execFileSync, spawnSync } = require('node:child_process')
const { isAbsolute, join } = require('node:path')
const { test } = require('node:test')
const { external } = require('./helpers')

function output(command, ...args) {
  try {
    return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  } catch {
    return ''
  }
}

const libasan = output('gcc', '-print-file-name=libasan.so')
const valgrind = output('valgrind', '--version') !== ''
const skip = process.env.MILLPOND_TEST_TOOLS !== 'on' ? 'MILLPOND_TEST_TOOLS is not on' : external ? false : "the memory is V8's"

/** What the scripts do with a view that outlived its put, and with memory that the system is to fill. */
const script = (acts) => `
  const fs = require('node:fs')
  const { Pool } = require('.')
  const pool = new Pool({ name: 'watched' })
  const zeros = fs.openSync('/dev/zero')
  const acts = {
    // Leases of many lengths that are used as they may be, to their last byte, and put in both ways.
    none() {
      for (let length = 0; length < 3000; length += 97) {
        const lease = pool.get(length)
        const { buffer } = lease
        if (Buffer.from(buffer).some((byte) => byte !== 0)) throw new Error('not clear')
        buffer.fill(1)
        fs.readSync(zeros, buffer)
        lease.put({ detach: length % 2 === 0 })
      }
      pool.setCheck('full')
      pool.get(5000).put()
      pool.setCheck('on')
      pool.get(5000).detach().fill(1)
      pool.trim()
    },
    from: (kept) => Buffer.from(kept),
    fill: (kept) => kept.fill(1),
    read: (kept) => fs.readSync(zeros, kept),
    index: (kept) => { kept[5] = 1 },
  }
  for (const name of ${JSON.stringify(acts)}) {
    const lease = pool.get(1000)
    const kept = lease.buffer
    lease.put({ detach: false })
    fs.writeSync(2, name + ':\\n')
    acts[name](kept)
  }
  pool.close()
  fs.writeSync(2, 'alive\\n')
`

function run(before, env, acts) {
  const [command, ...args] = [...before, '-e', script(acts)]
  return spawnSync(command, args, { cwd: join(__dirname, '..'), encoding: 'utf8', env: { ...process.env, ...env }, timeout: 240_000 })
}

/** Splits what was written on standard error by the names of the acts. */
function byAct(stderr, acts) {
  const found = {}
  let act = 'before'
  for (const line of stderr.split('\n')) {
    if (acts.includes(line.slice(0, -1))) act = line.slice(0, -1)
    else found[act] = `${found[act] ?? ''}${line}\n`
  }
  return found
}

test('under AddressSanitizer copies, fills and reads of the system that touch idle memory end the process', {
  skip: skip || (!isAbsolute(libasan) && 'gcc has no libasan'),
}, () => {
  const asan = (...acts) => run([process.execPath], { LD_PRELOAD: libasan, ASAN_OPTIONS: 'detect_leaks=0' }, acts)
  const clean = asan('none')
  assert.deepEqual([clean.status, clean.stderr], [0, 'none:\nalive\n'])
  for (const act of ['from', 'fill', 'read']) {
    const bad = asan(act)
    assert.notEqual(bad.status, 0, act)
    assert.match(bad.stderr, /AddressSanitizer: use-after-poison/, act)
    assert.doesNotMatch(bad.stderr, /alive/, act)
  }
  // What V8 compiles or interprets by itself is no code that AddressSanitizer was built into.
  assert.match(asan('index').stderr, /alive/)
})

test("under valgrind every access to idle memory is reported, JavaScript's own ones too", {
  skip: skip || (!valgrind && 'valgrind is not installed'),
}, () => {
  const flags = ['-q', '--error-exitcode=9', '--fair-sched=yes', '--undef-value-errors=no', '--smc-check=all-non-file']
  const acts = ['none', 'from', 'fill', 'read', 'index']
  const { status, stderr } = run(['valgrind', ...flags, process.execPath, '--jitless', '--no-warnings'], {}, acts)
  assert.equal(status, 9, stderr)
  const found = byAct(stderr, acts)
  assert.doesNotMatch(`${found.before}${found.none}`, /==\d+==/)
  assert.match(found.from, /Invalid read of size/)
  assert.match(found.fill, /Invalid write of size/)
  assert.match(found.read, /Syscall param read\(buf\) points to unaddressable byte/)
  assert.match(found.index, /Invalid write of size/)
  assert.match(found.index, /alive/)
})
