// The Node contender of the benchmark.
//
//   node contender.mjs PEER WORK SIZE[,SIZE...] [--ms N]
//   node contender.mjs --list
//
// One JSON object per size, with the keys that tests/bench/workloads/README.md explains. N is how long one size is measured (default
// 30); in the work rss it is the longest rest. `cpu_ns` has the collector's threads in it, `ns` not.
import { spawnSync } from 'node:child_process'
import { first, metrics, resting, turns, twoThreads } from './extra.mjs'
import { residentKib, run } from './measure.mjs'
import { PEERS, only, settings, versions } from './peers.mjs'
import { SIZES, build, differs } from './works.mjs'

async function row(name, work, size, ms) {
  const peer = PEERS[name]
  differs(peer, work)
  if (work === 'first') return first(name, size)
  if (work === 'rss') return resting(peer, size, ms)
  if (work === 'metrics') return metrics(peer, ms)
  if (work === 'turn') return { ...(await turns(peer, size, ms)), settled_rss_kib: residentKib() }
  if (work === 'twothreads') return { ...(await twoThreads(name, size, ms)), settled_rss_kib: residentKib() }
  const { body, perTurn } = build(peer, work, size)
  return { ...(await run(body, size, ms, perTurn)), settled_rss_kib: residentKib() }
}

const given = process.argv.slice(2)
if (given[0] === '--list') {
  console.log(JSON.stringify({ peers: Object.keys(PEERS), works: SIZES, versions: versions(), settings, only }))
} else {
  const at = given.indexOf('--ms')
  const ms = at < 0 ? (given[1] === 'rss' ? 30_000 : 30) : Number(given.splice(at, 2)[1])
  const [name, work, sizes] = given
  if (given.length !== 3 || !(name in PEERS) || !(work in SIZES)) {
    console.error('usage: contender.mjs PEER WORK SIZE[,SIZE...] [--ms N], or --list')
    process.exit(2)
  }
  const env = PEERS[name].env ?? {}
  if (Object.keys(env).some((key) => process.env[key] !== env[key])) {
    // The C library reads these when it starts.
    const child = spawnSync(process.execPath, process.argv.slice(1), { stdio: 'inherit', env: { ...process.env, ...env } })
    process.exit(child.status ?? 1)
  }
  for (const size of sizes.split(',').map(Number)) {
    const told = { peer: name, work, size }
    try {
      Object.assign(told, await row(name, work, size, ms))
    } catch (error) {
      told.skip = error.constructor.name === 'Skip' ? error.message : `failed: ${error.code ?? error.name}: ${error.message}`
    }
    console.log(JSON.stringify(told))
  }
}
