// The works of the benchmark that make sense in Node, as loops into which a peer's lines are pasted.
const KIB = 1024
const MIB = 2 ** 20
const GIB = 2 ** 30
const small = [512, KIB, 4 * KIB, 4 * KIB + 1, 16 * KIB, 64 * KIB, 64 * KIB + 1, 256 * KIB, MIB]
const large = [4 * MIB, 16 * MIB, 64 * MIB, 256 * MIB]
const cleared = [4 * KIB, 64 * KIB, MIB, 16 * MIB]

/** What one turn does with the Buffer `b` between take and give. */
const TOUCH = {
  pair: '',
  ends: 'b[0] = 1; b[size - 1] = 1',
  pages: 'for (let at = 0; at < size; at += 4096) b[at] = 1',
  full: 'b.fill(7)',
  clear0: '',
  clear64: 'b.fill(1, 0, 64)',
  clear4k: 'b.fill(1, 0, 4096)',
  clearall: 'b.fill(1)',
}
export const BURSTS = { burst1: 1, burst8: 8, burst32: 32, burst128: 128 }
const MIXED = { mixed64k: 64 * KIB, mixed1m: MIB }
const SLOTS = 64

export const SIZES = {
  pair: [...small, ...large],
  ends: [...small, ...large],
  pages: [...small.slice(2), ...large],
  full: [...small, ...large.slice(0, 3)],
  burst1: [64 * KIB, 256 * KIB, MIB, 4 * MIB, 16 * MIB],
  burst8: [64 * KIB, 256 * KIB, MIB, 4 * MIB, 16 * MIB],
  burst32: [4 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB],
  burst128: [64 * KIB, 256 * KIB, MIB],
  mixed64k: [64 * KIB],
  mixed1m: [MIB],
  twothreads: [KIB, 4 * KIB, 64 * KIB],
  clear0: cleared,
  clear64: cleared,
  clear4k: cleared,
  clearall: cleared,
  turn: [256 * KIB, 64 * KIB, MIB],
  rss: [64 * KIB, MIB],
  first: [KIB, MIB],
  metrics: [0],
}

/** A combination that a peer cannot do; the message says why. */
export class Skip extends Error {}

function compile(names, lines) {
  return new Function(...Object.keys(names), `'use strict'; let sink = 0; return function body(n) { ${lines}; return sink }`)(...Object.values(names))
}

/** Throws where a peer has nothing of its own to show. */
export function differs(peer, work) {
  if (peer.give === undefined && !work.startsWith('clear')) throw new Skip('differs in the works clear* only')
}

/** The body of a work for one size, and how many operations one turn of it is. */
export function build(peer, work, size) {
  const live = size * (BURSTS[work] ?? (work in MIXED ? SLOTS : work === 'turn' ? 4 : 2))
  const names = { ...peer.names(size, live), size }
  names.said = { used: { clear0: 0, clear64: 64, clear4k: 4 * KIB }[work] ?? size }
  const use = 'sink = (sink + b.length) | 0'
  if (work in TOUCH || work === 'twothreads') {
    if (work.startsWith('clear') && peer.clear === undefined) throw new Skip('hands out what was there before')
    const give = work.startsWith('clear') ? peer.clear : peer.give
    const turn = `let h = ${peer.take}; const b = ${peer.bytes}; ${TOUCH[work] ?? ''}; ${use}; ${give}`
    return { body: compile(names, `for (let i = 0; i < n; i++) { ${turn} }`), perTurn: 1 }
  }
  if (work in BURSTS || work === 'turn') return { body: burst(peer, work, names, use), perTurn: BURSTS[work] ?? 1 }
  if (work in MIXED) return { body: mixed(peer, MIXED[work], names, use), perTurn: 1 }
  throw new Skip(`there is no work ${work} in Node`)
}

function burst(peer, work, names, use) {
  // A turn of the event loop fills its four buffers; a burst touches each page.
  const touch = work === 'turn' ? TOUCH.full : TOUCH.pages
  names.count = BURSTS[work] ?? (work === 'turn' ? 4 : GIB / names.size)
  names.held = []
  return compile(
    names,
    `for (let i = 0; i < n; i++) {
      for (let j = 0; j < count; j++) { const h = ${peer.take}; const b = ${peer.bytes}; ${touch}; ${use}; held.push(h) }
      while (held.length > 0) { let h = held.pop(); ${peer.give} }
    }`,
  )
}

/** Sizes from 64 bytes to `limit`, each doubling as likely as another, and slots; the same in each run. */
function draws(limit, count = 4096) {
  let state = 4711
  const draw = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
  return {
    sizes: Array.from({ length: count }, () => Math.floor(64 * (limit / 64) ** draw())),
    slots: Array.from({ length: count }, () => Math.floor(SLOTS * draw())),
  }
}

function mixed(peer, limit, names, use) {
  delete names.size
  Object.assign(names, draws(limit), { held: new Array(SLOTS).fill(undefined), state: [0] })
  return compile(
    names,
    `let at = state[0]
    for (let i = 0; i < n; i++) {
      const slot = slots[at]; const size = sizes[at]; at = (at + 1) & 4095
      let h = held[slot]; held[slot] = undefined
      if (h !== undefined) { ${peer.mixedGive ?? peer.give} }
      h = ${peer.mixed ?? peer.take}; const b = ${peer.bytes}; b[0] = 1; ${use}; held[slot] = h
    }
    state[0] = at`,
  )
}

/** Takes 1 GiB in buffers of `size`, touches each page and gives all back. */
export function burstOfAGib(peer, size) {
  burst(peer, 'rss', { ...peer.names(size, GIB), size }, 'sink = (sink + b.length) | 0')(1)
}
