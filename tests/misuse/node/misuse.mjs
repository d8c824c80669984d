// Commits the seeded bug that its last argument names and prints what the library says (say.mjs). MISUSE_PACKAGE is the
// folder of the package. With --keep, puts leave old views alive: put({ detach: false }).

import { createRequire } from 'node:module'
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads'
import { LEN, bug, collect, look, main, receiveInto, say, write } from './say.mjs'

const { Lease, MillpondError, Pool, reportFaults } = createRequire(import.meta.url)(process.env.MISUSE_PACKAGE)

const ROUNDS = 100
const options = process.argv.includes('--keep') ? { detach: false } : {}

function told(error) {
  if (!(error instanceof MillpondError)) throw error
  say('error', error.code, error.message.replaceAll('\n', ' '))
}

/** The two threads of the race: each adopts and puts all leases, at the same moments. */
function race(tokens, gate) {
  const errors = []
  for (let round = 0; round < ROUNDS; ++round) {
    Atomics.add(gate, 0, 1)
    while (Atomics.load(gate, 0) < 2 * (round + 1));
    try {
      Lease.adopt(tokens[round]).put() // PUT HERE
    } catch (error) {
      errors.push(error)
    }
  }
  return errors
}

if (!isMainThread) {
  const { id, tokens, gate } = workerData
  const pool = Pool.fromId(id)
  parentPort.postMessage(race(tokens, gate).map(({ code, message }) => ({ code, message })))
  pool.stats()
} else {
  reportFaults()
  const pool = new Pool({ name: 'misuse' })
  const other = new Pool({ name: 'other' })

  /** What every program does next: a few more leases, and the end of the pools. */
  const goOn = () => {
    for (let round = 1; round <= 3; ++round) {
      const lease = pool.get(LEN)
      lease.buffer.fill(round)
      lease.put()
    }
    pool.close()
    other.close()
  }

  const bugs = {
    none: async () => {
      bug()
      for (let length = 0; length < 3 * LEN; length += 7) {
        const lease = pool.get(length)
        if (lease.buffer.some((byte) => byte !== 0)) say('saw bytes that are not zero')
        lease.buffer.fill(1)
        lease.put(options)
      }
      const lease = pool.get(LEN)
      lease.pin()
      await receiveInto(lease.buffer, () => {})
      lease.unpin()
      lease.put(options)
      await collect()
    },

    'double-put': () => {
      const lease = pool.get(LEN) // GET
      lease.put(options) // PUT
      bug()
      lease.put(options) // HERE
    },

    'lease-after-put': () => {
      const lease = pool.get(LEN) // GET
      lease.put(options) // PUT
      bug()
      lease.buffer[100] = 1 // HERE
    },

    'read-after-put': () => {
      const lease = pool.get(LEN) // GET
      const kept = lease.buffer
      lease.put(options) // PUT
      bug()
      Buffer.from(kept) // HERE
      look(kept)
    },

    'write-after-put': () => {
      const lease = pool.get(LEN) // GET
      const kept = lease.buffer
      lease.put(options) // PUT
      bug()
      write(kept) // HERE
      look(kept)
    },

    'past-by-one': () => {
      const lease = pool.get(LEN) // GET
      const { buffer, byteOffset } = lease.buffer
      bug()
      new Uint8Array(buffer)[byteOffset + LEN] = 1 // HERE
      lease.put(options) // PUT
    },

    'past-by-far': () => {
      const lease = pool.get(2 * LEN) // GET
      const all = new Uint8Array(lease.buffer.buffer)
      bug()
      all[lease.buffer.byteOffset + 2 * LEN + 2000] = 1 // HERE
      lease.put(options) // PUT
    },

    'foreign-put': () => {
      const lease = pool.get(LEN) // GET
      bug()
      try {
        other.put(lease) // HERE
      } finally {
        lease.put()
      }
    },

    'racing-puts': async () => {
      const tokens = Array.from({ length: ROUNDS }, () => pool.get(LEN).transfer()) // GET
      const gate = new Int32Array(new SharedArrayBuffer(4))
      const worker = new Worker(new URL(import.meta.url), { workerData: { id: pool.id, tokens, gate } })
      const theirs = new Promise((resolve) => worker.once('message', resolve))
      bug()
      const errors = [...race(tokens, gate), ...(await theirs)]
      await worker.terminate()
      if (errors.length !== ROUNDS) say('saw not one of two puts')
      say('error', errors[0].code, errors[0].message)
    },

    leak: async () => {
      bug()
      ;(() => {
        pool.get(LEN).buffer[0] = 1 // GET HERE
      })()
      await collect()
    },

    'use-after-close': () => {
      other.close()
      bug()
      other.get(LEN) // HERE
    },

    'forged-handle': () => {
      const token = pool.get(LEN).transfer() // GET
      bug()
      try {
        Lease.adopt(token + 1n) // HERE
      } finally {
        Lease.adopt(token).put()
      }
    },

    'viewed-put': () => {
      const lease = pool.get(LEN) // GET
      const view = lease.buffer.subarray(100, 200)
      bug()
      lease.put(options) // HERE
      look(view)
    },

    'late-write': async () => {
      const lease = pool.get(LEN) // GET
      bug()
      await receiveInto(lease.buffer, () => lease.put(options)) // PUT
    },
  }

  for (const [name, commit] of Object.entries(bugs)) {
    bugs[name] = async () => {
      try {
        await commit()
      } catch (error) {
        told(error)
      }
    }
  }
  await main(bugs, goOn)
}
