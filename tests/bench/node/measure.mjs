// Time, processor time, page faults, collector runs and resident memory of a body that is called in short repetitions.
import { readFileSync, writeFileSync } from 'node:fs'
import { PerformanceObserver, constants } from 'node:perf_hooks'

const REPETITION_NS = 1e6

const turn = () => new Promise((resolve) => setImmediate(resolve))

/** A figure of /proc/self/status in KiB: VmRSS, or VmHWM, the highest since resetPeak. */
export function residentKib(what = 'VmRSS') {
  return Number(new RegExp(`^${what}:\\s+(\\d+)`, 'm').exec(readFileSync('/proc/self/status', 'latin1'))[1])
}

/** Makes VmHWM start again from what is resident now. */
export function resetPeak() {
  try {
    writeFileSync('/proc/self/clear_refs', '5')
  } catch {
    // Without it the peak is the process's: higher, never lower.
  }
}

/** Counts the collector's runs from now on. */
export class Collections {
  minor = 0
  major = 0
  ms = 0
  #observer = new PerformanceObserver((list) => this.#count(list))

  constructor() {
    this.#observer.observe({ entryTypes: ['gc'] })
  }

  #count(list) {
    for (const { detail, duration } of list.getEntries()) {
      if (detail.kind === constants.NODE_PERFORMANCE_GC_MAJOR) this.major++
      else if (detail.kind === constants.NODE_PERFORMANCE_GC_MINOR) this.minor++
      this.ms += duration
    }
  }

  async stop() {
    // Entries reach the observer in a later turn.
    await turn()
    await turn()
    this.#observer.disconnect()
    return { gc_minor: this.minor, gc_major: this.major, gc_ms: Math.round(this.ms * 100) / 100 }
  }
}

/** What has been used so far, of the whole process: its threads and the collector's too. */
export function usage() {
  const { userCPUTime, systemCPUTime, minorPageFault } = process.resourceUsage()
  return { cpu: (userCPUTime + systemCPUTime) * 1000, faults: minorPageFault }
}

export const round = (value, digits = 2) => Math.round(value * 10 ** digits) / 10 ** digits

export function median(values) {
  const sorted = Float64Array.from(values).sort()
  return sorted[sorted.length >> 1]
}

function timed(body, turns) {
  const from = process.hrtime.bigint()
  body(turns)
  return Number(process.hrtime.bigint() - from)
}

/** Warm means: compiled, and the collector has been there. V8 looks at Buffers' memory when tens of MiB have been made. */
const WARM = { ops: 20_000, bytes: 2 ** 27, ms: 200 }

/**
 * Calls `body(n)`, which does `n` turns of `perTurn` operations of `size` bytes each, for about `ms` milliseconds or until
 * 64 MiB were taken, after a warm-up. Between two repetitions the event loop turns, as it does in a program: what was
 * finalized is freed there.
 */
export async function run(body, size, ms, perTurn = 1) {
  let turns = 1
  let done = 0
  const from = performance.now()
  for (;;) {
    const spent = timed(body, turns)
    done += turns * perTurn
    const left = performance.now() - from
    if (left > WARM.ms || (left > ms / 2 && done > WARM.ops && done * size > WARM.bytes)) break
    // Never more than four times as many: what was just measured may have been a pause, or not compiled yet.
    turns = Math.max(1, Math.min(turns * 4, Math.round((turns * REPETITION_NS) / Math.max(spent, 1))))
    await turn()
  }
  resetPeak()
  const collections = new Collections()
  const samples = []
  const before = usage()
  const begun = performance.now()
  const enough = (spent) => spent > Math.max(ms, 30) || samples.length * turns * perTurn * size > 2 ** 26
  while (samples.length < 5 || performance.now() - begun < ms || !enough(performance.now() - begun)) {
    samples.push(timed(body, turns) / turns / perTurn)
    await turn()
  }
  const after = usage()
  const ops = turns * samples.length * perTurn
  const peak = residentKib('VmHWM')
  return {
    ns: round(median(samples)),
    cpu_ns: round((after.cpu - before.cpu) / ops),
    faults: round((after.faults - before.faults) / ops, 4),
    ops,
    ns_min: round(Math.min(...samples)),
    ns_mean: round(samples.reduce((sum, value) => sum + value, 0) / samples.length),
    ...(await collections.stop()),
    peak_rss_kib: peak,
  }
}
