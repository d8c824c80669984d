// What the seeded programs in JavaScript print; ../c/say.h lists the words. And what they have in common.

import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export const LEN = 1000

export function say(...words) {
  fs.writeSync(1, `${words.join(' ')}\n`)
}

/** Says that the next thing done is the bug. */
export function bug() {
  say('bug')
}

/** Prints what a view shows that was kept from before a put. */
export function look(view) {
  if (view.length === 0) say('saw an empty view')
}

/** Writes into a view that was kept from before a put. */
export function write(view) {
  try {
    view.fill('x', 100, 164)
  } catch (error) {
    say('saw', error.name)
  }
}

/** Lets the event loop turn, and the collector work. */
export async function collect() {
  for (let round = 0; round < 10; ++round) {
    globalThis.gc()
    await new Promise((resolve) => setImmediate(resolve))
  }
}

/** Reads from a pipe into a buffer, calls `meanwhile` while the system waits for bytes, and then sends them. */
export async function receiveInto(buffer, meanwhile) {
  const directory = fs.mkdtempSync(join(tmpdir(), 'misuse-'))
  const path = join(directory, 'pipe')
  execFileSync('mkfifo', [path])
  const pipe = fs.openSync(path, 'r+')
  fs.rmSync(directory, { recursive: true })
  const received = new Promise((resolve) => fs.read(pipe, buffer, 0, LEN, null, resolve))
  // Most likely a thread waits in read() by then; if not, it comes there later still.
  await new Promise((resolve) => setTimeout(resolve, 50))
  try {
    meanwhile()
  } finally {
    fs.writeSync(pipe, Buffer.alloc(LEN, 1))
    const error = await received
    if (error) say('saw', error.code, 'from read')
    fs.closeSync(pipe)
  }
}

/** Commits the bug that the last argument names, and goes on. */
export async function main(bugs, goOn) {
  const commit = bugs[process.argv.at(-1)]
  if (commit === undefined) {
    console.error(`usage: ${process.argv[1]} BUG`)
    process.exit(2)
  }
  await commit()
  await goOn()
  say('done')
}
