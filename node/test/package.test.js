'use strict'

// What the package is to those who install it: one version, one list of exports, the errors of the core.

const assert = require('node:assert/strict')
const { existsSync, readFileSync } = require('node:fs')
const { join } = require('node:path')
const { test } = require('node:test')
const millpond = require('..')
const { native } = require('../lib/native')

const root = join(__dirname, '..')
const read = (...path) => readFileSync(join(root, ...path), 'utf8')
const checkout = existsSync(join(root, '..', 'core', 'Cargo.toml'))

test('the version is that of Cargo.toml', { skip: !checkout && 'not in the repository' }, () => {
  const [, version] = /\[workspace\.package\][^[]*?\nversion = "([^"]+)"/.exec(read('..', 'Cargo.toml'))
  assert.equal(millpond.version, version)
  assert.equal(native.version(), version)
  assert.equal(JSON.parse(read('package.json')).version, version)
})

test('both entries and the types name the same exports', async () => {
  const names = Object.keys(millpond).sort()
  assert.deepEqual(names, ['Lease', 'MillpondError', 'Pool', 'defaultPool', 'get', 'reportFaults', 'version'])
  const module = await import('../index.mjs')
  assert.deepEqual(Object.keys(module).sort(), [...names, 'default'].sort())
  for (const name of names) assert.equal(module[name], millpond[name])
  assert.equal(module.default, millpond)
  const values = [...read('index.d.ts').matchAll(/^export (?:class|function|const) (\w+)/gm)].map(([, name]) => name)
  assert.deepEqual(values.sort(), names)
})

test('the types name every method, and no other', () => {
  const types = read('index.d.ts')
  for (const type of [millpond.Lease, millpond.Pool]) {
    const [, body] = new RegExp(`^export class ${type.name} [^{]*\\{\\n([\\s\\S]*?)^\\}`, 'm').exec(types)
    const declared = [...body.matchAll(/^ {2}(?:static |readonly |private )*(\w+)[(:]/gm)].map(([, name]) => name)
    const real = [type, type.prototype].flatMap((object) => Object.getOwnPropertyNames(object))
    const builtIn = ['length', 'name', 'prototype', 'constructor']
    const own = new Set(declared.filter((name) => name !== 'constructor'))
    for (const name of real) assert.ok(own.has(name) || builtIn.includes(name), `${type.name}.${name} has no type`)
    for (const name of own) assert.ok(real.includes(name) || name in type.prototype, `${type.name}.${name} does not exist`)
  }
})

test('statistics have the fields that the types promise', () => {
  const types = read('index.d.ts')
  const stats = new millpond.Pool().stats()
  for (const [name, object] of [['PoolStats', stats], ['ClassStats', stats.classes[0]]]) {
    const [, body] = new RegExp(`^export interface ${name} \\{\\n([\\s\\S]*?)^\\}`, 'm').exec(types)
    const declared = [...body.matchAll(/^ {2}(\w+): /gm)].map(([, field]) => field)
    assert.deepEqual(declared.sort(), Object.keys(object).sort())
  }
})

test("errors are core's, with a code each, and their anchors are in the README", { skip: !checkout && 'not in the repository' }, () => {
  const errors = native.errors()
  assert.ok(errors.length >= 16)
  assert.equal(new Set(errors.map(([, code]) => code)).size, errors.length)
  const types = read('index.d.ts')
  const readme = read('..', 'README.md')
  for (const [, name] of types.matchAll(/'ERR_MILLPOND_(\w+)'$/gm)) {
    assert.ok(errors.some(([kind]) => kind === name), `${name} is no kind of error`)
  }
  for (const [name, , description, anchor] of errors) {
    assert.ok(description.length > 5)
    if (types.includes(`'ERR_MILLPOND_${name}'`)) assert.ok(readme.includes(`#${anchor}`) || readme.toLowerCase().includes(anchor), anchor)
  }
  const error = new millpond.MillpondError('ERR_MILLPOND_CLOSED', 'text')
  assert.ok(error instanceof Error)
  assert.equal(error.name, 'MillpondError')
  assert.match(String(error.stack), /^MillpondError: text/)
})

test('MILLPOND_CHECK=sites names where a lease was got and put', async () => {
  const { runScript } = require('./helpers')
  const script = `
    const { Pool } = require('.')
    const pool = new Pool()
    function take() { return pool.get(10) }
    const lease = take()
    console.log(pool.leaks()[0].site)
    lease.put()
    try { lease.put() } catch (error) { console.log(error.message) }
  `
  const { stdout, stderr } = await runScript(script, { env: { MILLPOND_CHECK: 'sites' } })
  const [leak, message] = stdout.split('\n')
  assert.equal(leak, '[eval]:4 in take', stderr)
  assert.match(message, /got at \[eval\]:4 in take, first put at \[eval\]:7, now at \[eval\]:8/)
})
