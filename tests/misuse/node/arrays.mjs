// Commits the same bugs with a pool that is an array of Buffers, for comparison (say.mjs).

import { LEN, bug, collect, look, main, receiveInto, say, write } from './say.mjs'

/** What many programs have: an array of buffers of one size. */
class ArrayPool {
  idle = []

  get() {
    return this.idle.pop() ?? Buffer.alloc(LEN)
  }

  put(buffer) {
    this.idle.push(buffer)
  }

  close() {
    this.idle.length = 0
  }
}

const pool = new ArrayPool()
const other = new ArrayPool()

/** What every program does next: a few more buffers. */
function goOn() {
  try {
    for (let round = 1; round <= 3; ++round) {
      const buffer = pool.get()
      buffer.fill(round)
      pool.put(buffer)
    }
  } catch (error) {
    say('saw', error.name, 'in other code')
  }
  pool.close()
}

await main(
  {
    none: () => {
      bug()
      pool.put(pool.get())
    },

    'double-put': () => {
      const buffer = pool.get()
      pool.put(buffer)
      bug()
      pool.put(buffer)
    },

    'read-after-put': () => {
      const buffer = pool.get()
      pool.put(buffer)
      bug()
      Buffer.from(buffer)
      look(buffer)
    },

    'write-after-put': () => {
      const buffer = pool.get()
      pool.put(buffer)
      bug()
      write(buffer)
      look(buffer)
    },

    'foreign-put': () => {
      const buffer = pool.get()
      bug()
      other.put(buffer)
    },

    leak: async () => {
      bug()
      ;(() => {
        pool.get()[0] = 1
      })()
      await collect()
    },

    'use-after-close': () => {
      other.close()
      bug()
      other.get()
    },

    'forged-handle': () => {
      bug()
      pool.put({ length: LEN })
    },

    'viewed-put': () => {
      const buffer = pool.get()
      const view = buffer.subarray(100, 200)
      bug()
      pool.put(buffer)
      look(view)
    },

    'late-write': async () => {
      const buffer = pool.get()
      bug()
      await receiveInto(buffer, () => pool.put(buffer))
    },
  },
  goOn,
)
