// The process around the measured one: source and sink of the TCP proxy, client of the HTTP server.
import http from 'node:http'
import net from 'node:net'

/** Sums one byte of each 4096 of a stream, however it is cut into chunks. */
class Seen {
  bytes = 0
  sum = 0

  take(chunk) {
    for (let at = (4096 - (this.bytes % 4096)) % 4096; at < chunk.length; at += 4096) {
      this.sum = (Math.imul(this.sum, 31) + chunk[at]) >>> 0
    }
    this.bytes += chunk.length
  }
}

function digest(all) {
  const sum = all.reduce((sofar, { bytes, sum }) => (sofar + bytes + sum) >>> 0, 0)
  return sum.toString(16).padStart(8, '0')
}

function listen(server) {
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server.address().port)))
}

async function around(transfer, chunk, atOnce) {
  const content = Buffer.alloc(chunk)
  for (let at = 0; at < chunk; at += 4096) content[at] = (at / 4096) * 31 + 7
  const source = net.createServer((socket) => {
    let left = transfer
    const more = () => {
      while (left > 0) {
        left -= chunk
        if (!socket.write(content)) return void socket.once('drain', more)
      }
      socket.end()
    }
    // A proxy that gives up is that proxy's error.
    socket.on('error', () => {})
    more()
  })
  let ended = []
  const sink = net.createServer((socket) => {
    const seen = new Seen()
    socket.on('data', (data) => seen.take(data))
    socket.on('end', () => {
      socket.end()
      ended.push(seen)
      if (ended.length === atOnce) process.send(digest(ended))
    })
    socket.on('error', () => {})
  })
  process.on('message', () => {
    ended = []
  })
  process.send({ sourcePort: await listen(source), sinkPort: await listen(sink) })
}

function client() {
  const agent = new http.Agent({ keepAlive: true })
  const one = (port) =>
    new Promise((resolve, reject) => {
      const request = http.get({ port, host: '127.0.0.1', agent }, (response) => {
        const seen = new Seen()
        response.on('data', (data) => seen.take(data)).on('end', () => resolve(seen)).on('error', reject)
      })
      request.on('error', reject)
    })
  process.on('message', async ({ port, count }) => {
    process.send(digest(await Promise.all(Array.from({ length: count }, () => one(port)))))
  })
  process.send({})
}

/** Plays the other side until it is killed. */
export function serve(kind, transfer, chunk, atOnce) {
  process.on('disconnect', () => process.exit())
  if (kind === 'net') void around(transfer, chunk, atOnce)
  else client()
}
