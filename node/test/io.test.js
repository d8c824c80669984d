'use strict'

const assert = require('node:assert/strict')
const { once } = require('node:events')
const fs = require('node:fs')
const { mkdtemp, open, rm, writeFile } = require('node:fs/promises')
const net = require('node:net')
const { tmpdir } = require('node:os')
const { join } = require('node:path')
const { after, before, test } = require('node:test')
const { Pool } = require('..')
const { reconciles, refuses } = require('./helpers')

let folder
let path
const contents = Buffer.from(Array.from({ length: 100_000 }, (_, i) => i % 251))

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millpond-'))
  path = join(folder, 'file')
  await writeFile(path, contents)
})
after(() => rm(folder, { recursive: true }))

test('readFrom fills a lease from a file', async () => {
  const pool = new Pool()
  const file = await open(path)
  const lease = pool.get(100_000)
  assert.equal(await lease.readFrom(file), 100_000)
  assert.ok(lease.buffer.equals(contents))
  assert.equal(await lease.readFrom(file), 0)
  lease.buffer.fill(0)
  assert.equal(await lease.readFrom(file, { position: 99_990, offset: 5 }), 10)
  assert.ok(lease.buffer.subarray(5, 15).equals(contents.subarray(99_990)))
  assert.equal(await lease.readFrom(file, { position: 7, offset: 99_999, length: 1 }), 1)
  assert.equal(lease.buffer[99_999], 7)
  lease.put()
  const empty = pool.get(0)
  assert.equal(await empty.readFrom(file, { position: 0 }), 0)
  empty.put()
  await file.close()
  reconciles(pool)
})

test('a lease that is being read into is busy, and free again when the read ends or fails', async () => {
  const pool = new Pool()
  const file = await open(path)
  const lease = pool.get(50_000)
  const reading = lease.readFrom(file)
  refuses('BUSY', () => lease.put())
  await reading
  lease.put()
  const other = pool.get(10)
  await file.close()
  await assert.rejects(other.readFrom(file))
  other.put()
  await assert.rejects(other.readFrom(file), { code: 'ERR_MILLPOND_USE_AFTER_PUT' })
  reconciles(pool)
})

test('pin holds a lease for fs.read', async () => {
  const pool = new Pool()
  const fd = fs.openSync(path)
  const lease = pool.get(1000)
  const done = new Promise((resolve, reject) => {
    fs.read(fd, lease.pin(), 0, 1000, 0, (error, bytes) => {
      lease.unpin()
      if (error) reject(error)
      else resolve(bytes)
    })
  })
  refuses('BUSY', () => lease.put())
  assert.equal(await done, 1000)
  assert.ok(lease.buffer.equals(contents.subarray(0, 1000)))
  lease.put()
  fs.closeSync(fd)
  reconciles(pool)
})

test('synchronous reads, writes and streams take the Buffer', async () => {
  const pool = new Pool()
  const lease = pool.get(1000)
  const fd = fs.openSync(path)
  assert.equal(fs.readSync(fd, lease.buffer, 0, 1000, 0), 1000)
  fs.closeSync(fd)
  const copy = join(folder, 'copy')
  fs.writeFileSync(copy, lease.buffer)
  assert.ok(fs.readFileSync(copy).equals(contents.subarray(0, 1000)))
  lease.put()
  reconciles(pool)
})

test('a socket reads into leases', async () => {
  const pool = new Pool()
  const server = net.createServer((socket) => socket.end(contents))
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const parts = []
  const reader = pool.onread(8192, (lease, bytes) => {
    assert.equal(lease.length, 8192)
    parts.push(lease.copyOut(0, bytes))
    lease.put()
  })
  const socket = net.connect({ port: server.address().port, host: '127.0.0.1', onread: reader })
  await once(socket, 'close')
  server.close()
  assert.ok(Buffer.concat(parts).equals(contents))
  const stats = reconciles(pool)
  assert.ok(stats.gets > parts.length)
})

test('a handler may keep leases; a socket without room is destroyed', async () => {
  const pool = new Pool({ classes: [1024], maxBytes: 5 * 1024, maxRetainedBytes: 0 })
  const server = net.createServer((socket) => {
    socket.on('error', () => {})
    socket.end(contents)
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const kept = []
  const reader = pool.onread(1024, (lease, bytes) => {
    kept.push([lease, bytes])
  })
  const socket = net.connect({ port: server.address().port, host: '127.0.0.1', onread: reader })
  const [error] = await once(socket, 'error')
  assert.equal(error.code, 'ERR_MILLPOND_EXHAUSTED')
  assert.equal(kept.length, 5)
  let from = 0
  for (const [lease, bytes] of kept) {
    assert.ok(lease.buffer.subarray(0, bytes).equals(contents.subarray(from, from + bytes)))
    from += bytes
    lease.put()
  }
  server.close()
  reconciles(pool)
})

test('a reader that never read gives its lease back at its end', async () => {
  const pool = new Pool()
  const reader = pool.onread(100, () => {})
  reader.buffer()
  reconciles(pool, 1)
  reader.end()
  reader.end()
  reconciles(pool)
})
