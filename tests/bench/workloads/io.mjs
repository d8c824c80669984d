// Node copying a file (fs), proxying a TCP stream (net) and serving a file over HTTP (http) in chunks, with four ways of
// taking memory for the chunks. Four transfers run at once. For net and http a process of its own is source, sink and
// client: CPU time, page faults, memory and the collector's runs are of the process in the middle.
//
//   node io.mjs PEER WORK SIZE[,SIZE...] [--ms N]        SIZE: bytes of a chunk
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  appendFileSync,
  closeSync,
  createReadStream,
  createWriteStream,
  existsSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { open } from 'node:fs/promises'
import http from 'node:http'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { fileURLToPath } from 'node:url'
import { Collections, median, resetPeak, residentKib, round, usage } from '../node/measure.mjs'
import { PEERS as MEMORY, millpond, settings as texts, versions } from '../node/peers.mjs'
import { serve } from './io_other_side.mjs'

const AT_ONCE = 4
/** Bytes of one transfer: a batch is AT_ONCE of them. */
const TRANSFER = 16 * 2 ** 20
/** Chunks that may wait for the other side before a transfer stops reading. */
const AHEAD = 4
const self = fileURLToPath(import.meta.url)

/**
 * `take(size)` returns what is held, `bytes(held)` its Buffer, `give(held, used)` ends it. `read` reads from a file;
 * `onread` is the option of net.connect, whose `arrived(held, count)` returns false to pause.
 */
function plain(take, give = () => {}) {
  return {
    take,
    bytes: (held) => held,
    give,
    read: async (file, held, position, length) => (await file.read(held, 0, length, position)).bytesRead,
    onread: (size, arrived) => {
      let held = take(size)
      return {
        buffer: () => (held ??= take(size)),
        callback(count) {
          const filled = held
          held = undefined
          return arrived(filled, count) !== false
        },
      }
    },
  }
}

function pooled(options) {
  const pool = new (millpond().Pool)({ name: 'io', ...options })
  return {
    take: (size) => pool.get(size),
    bytes: (lease) => lease.buffer,
    give: (lease, used) => lease.put({ used }),
    read: (file, lease, position, length) => lease.readFrom(file, { position, length }),
    onread: (size, arrived) => pool.onread(size, arrived),
  }
}

const WAYS = {
  millpond: () => pooled({}),
  'millpond-noclear': () => pooled({ clear: 'never' }),
  streams: () => undefined,
  allocUnsafe: () => plain((size) => Buffer.allocUnsafe(size)),
  'allocUnsafe, glibc-tuned': () => plain((size) => Buffer.allocUnsafe(size)),
  'Buffer.alloc': () => plain((size) => Buffer.alloc(size)),
  'array pool': () => {
    const free = []
    return plain((size) => free.pop() ?? Buffer.allocUnsafeSlow(size), (buffer) => free.push(buffer))
  },
}

/** Runs AT_ONCE of them and waits for all. */
const all = (act) => Promise.all(Array.from({ length: AT_ONCE }, (_, index) => act(index)))

/** A folder in memory where there is one, so that no disk is measured, with a file of so many bytes. */
function folderWith(name, bytes) {
  const folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'millpond-bench-'))
  const path = join(folder, name)
  const piece = Buffer.alloc(65536)
  for (let at = 0; at < bytes; at += piece.length) {
    for (let page = 0; page < piece.length; page += 4096) piece[page] = ((at + page) / 4096) * 31 + (at >> 16)
    appendFileSync(path, piece)
  }
  return { folder, path }
}

/** The digest of a file, read in pieces: what is measured has its memory to itself. */
function digestOf(path) {
  const hash = createHash('sha1')
  const piece = Buffer.alloc(65536)
  const file = openSync(path)
  for (let count; (count = readSync(file, piece)) > 0; ) hash.update(piece.subarray(0, count))
  closeSync(file)
  return hash.digest('hex').slice(0, 8)
}

/** Copies a file: each of the transfers a part of its own. */
async function fileCopy(way, size) {
  const { folder, path: from } = folderWith('from', AT_ONCE * TRANSFER)
  const to = join(folder, 'to')
  writeFileSync(to, '')
  truncateSync(to, AT_ONCE * TRANSFER)
  const source = await open(from, 'r')
  const target = await open(to, 'r+')
  return {
    batch: () =>
      all(async (index) => {
        const begin = index * TRANSFER
        if (way === undefined) {
          const part = { start: begin, highWaterMark: size }
          await pipeline(createReadStream(from, { ...part, end: begin + TRANSFER - 1 }), createWriteStream(to, { ...part, flags: 'r+' }))
          return
        }
        for (let at = begin; at < begin + TRANSFER; ) {
          const held = way.take(size)
          const count = await way.read(source, held, at, size)
          await target.write(way.bytes(held), 0, count, at)
          way.give(held, count)
          at += count
        }
      }),
    digest: () => digestOf(to),
    end: async () => {
      await source.close()
      await target.close()
      rmSync(folder, { recursive: true })
    },
  }
}

/** The process that sends and receives, and how to ask it. */
async function otherSide(kind, size) {
  const child = spawn(process.execPath, [self, '--other-side', kind, String(TRANSFER), String(size)], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  const answer = () => new Promise((resolve, reject) => child.once('message', resolve).once('exit', () => reject(new Error('the other side ended'))))
  const told = await answer()
  return {
    told,
    ask(message) {
      child.send(message)
      return answer()
    },
    end: () => child.kill(),
  }
}

/** Pulls from a source and pushes to a sink, a connection each. */
async function tcpProxy(way, size) {
  const other = await otherSide('net', size)
  const { sourcePort, sinkPort } = other.told
  let digest
  const one = () =>
    new Promise((resolve, reject) => {
      const sink = net.connect({ port: sinkPort, host: '127.0.0.1' })
      sink.once('error', reject).once('close', resolve)
      if (way === undefined) {
        net.connect({ port: sourcePort, host: '127.0.0.1', readableHighWaterMark: size }).once('error', reject).pipe(sink)
        return
      }
      const arrived = (held, count) => {
        sink.write(way.bytes(held).subarray(0, count), () => way.give(held, count))
        if (sink.writableLength < AHEAD * size) return true
        sink.once('drain', () => source.resume())
        return false
      }
      const source = net.connect({ port: sourcePort, host: '127.0.0.1', onread: way.onread(size, arrived) })
      source.once('error', reject).once('end', () => sink.end())
    })
  return {
    batch: async () => {
      const received = other.ask('expect')
      await all(one)
      digest = await received
    },
    digest: () => digest,
    end: () => other.end(),
  }
}

/** Serves a file; the other side asks for it. */
async function fileServer(way, size) {
  const { folder, path } = folderWith('file', TRANSFER)
  const file = await open(path, 'r')
  const server = http.createServer(async (request, response) => {
    response.writeHead(200, { 'content-length': TRANSFER })
    if (way === undefined) {
      await pipeline(createReadStream(path, { highWaterMark: size }), response)
      return
    }
    for (let at = 0; at < TRANSFER; ) {
      const held = way.take(size)
      const count = await way.read(file, held, at, size)
      response.write(way.bytes(held).subarray(0, count), () => way.give(held, count))
      if (response.writableLength >= AHEAD * size) await new Promise((resolve) => response.once('drain', resolve))
      at += count
    }
    response.end()
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  const other = await otherSide('http', size)
  let digest
  return {
    batch: async () => {
      digest = await other.ask({ port: server.address().port, count: AT_ONCE })
    },
    digest: () => digest,
    end: async () => {
      other.end()
      server.close()
      await file.close()
      rmSync(folder, { recursive: true })
    },
  }
}

const WORKS = { fs: fileCopy, net: tcpProxy, http: fileServer }

async function row(peer, work, size, ms) {
  const { batch, digest, end } = await WORKS[work](WAYS[peer](), size)
  try {
    for (let i = 0; i < 3; i++) await batch()
    const first = digest()
    resetPeak()
    const collections = new Collections()
    const before = usage()
    const begun = performance.now()
    const samples = []
    const chunks = (AT_ONCE * TRANSFER) / size
    while (samples.length < 3 || performance.now() - begun < ms) {
      const from = performance.now()
      await batch()
      samples.push(((performance.now() - from) * 1e6) / chunks)
    }
    const after = usage()
    const peak = residentKib('VmHWM')
    if (digest() !== first) throw new Error(`the digest was ${first} and is ${digest()}`)
    const ops = samples.length * chunks
    return {
      ns: round(median(samples), 0),
      cpu_ns: round((after.cpu - before.cpu) / ops, 0),
      faults: round((after.faults - before.faults) / ops),
      ops,
      cpu_seconds: round((after.cpu - before.cpu) / 1e9, 3),
      ...(await collections.stop()),
      peak_rss_kib: peak,
      settled_rss_kib: residentKib(),
      digest: first,
    }
  } finally {
    await end()
  }
}

const given = process.argv.slice(2)
if (given[0] === '--other-side') {
  serve(given[1], Number(given[2]), Number(given[3]), AT_ONCE)
} else if (given[0] === '--list') {
  const sizes = [2 ** 20, 2 ** 16]
  const settings = { ...Object.fromEntries(['millpond-noclear', 'array pool'].map((name) => [name, texts[name]])), streams: 'pipeline or pipe, highWaterMark of a chunk' }
  settings['millpond-noclear'] = "clear: 'never', otherwise nothing but defaults"
  settings.millpond = 'a pool with nothing but defaults; put({ used }) with what was read'
  console.log(JSON.stringify({ peers: Object.keys(WAYS), works: Object.fromEntries(Object.keys(WORKS).map((work) => [work, sizes])), versions: versions(), settings }))
} else {
  const at = given.indexOf('--ms')
  const ms = at < 0 ? 1000 : Number(given.splice(at, 2)[1])
  const [peer, work, sizes] = given
  if (given.length !== 3 || !(peer in WAYS) || !(work in WORKS)) {
    console.error('usage: io.mjs PEER WORK SIZE[,SIZE...] [--ms N], or --list')
    process.exit(2)
  }
  const env = peer.endsWith('glibc-tuned') ? MEMORY['Buffer.allocUnsafe, glibc-tuned'].env : {}
  if (Object.keys(env).some((key) => process.env[key] !== env[key])) {
    // The C library reads these when it starts.
    const child = spawnSync(process.execPath, process.argv.slice(1), { stdio: 'inherit', env: { ...process.env, ...env } })
    process.exit(child.status ?? 1)
  }
  for (const size of sizes.split(',').map(Number)) {
    const told = { peer, work, size }
    try {
      Object.assign(told, await row(peer, work, size, ms))
    } catch (error) {
      told.skip = `failed: ${error.code ?? error.name}: ${error.message}`
    }
    console.log(JSON.stringify(told))
  }
}
