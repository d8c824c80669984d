// Checked by `tsc --strict`, down-levelled and run: the types as a user meets them.
import { open } from 'node:fs/promises'
import { connect } from 'node:net'
import millpond, { Lease, MillpondError, Pool, defaultPool, get, version } from 'millpond'
import type { LeakRecord, LeaseToken, MillpondErrorCode, PoolOptions, PoolStats, PutOptions } from 'millpond'

const options: PoolOptions = {
  name: 'typed',
  classes: { min: 512, max: 65536 },
  maxBytes: 2 ** 24,
  maxRetainedBytes: 2 ** 22,
  onLimit: { wait: 50 },
  clear: 'onPut',
  threadCacheBytes: 2 ** 20,
  check: 'sample:1000',
}

async function main(): Promise<void> {
  using pool = new Pool(options)
  {
    using lease: Lease = pool.get(1000)
    const buffer: Buffer = lease.buffer
    buffer.writeUInt32LE(42, 0)
    const copy: Buffer = lease.copyOut(0, 4)
    if (copy.readUInt32LE() !== 42) throw new Error('copied wrongly')
    await using file = await open(process.execPath)
    const bytes: number = await lease.readFrom(file, { position: 0, length: 10 })
    if (bytes !== 10) throw new Error('read wrongly')
  }
  const waiting: Promise<Lease> = pool.getAsync(10, { timeout: 100, signal: AbortSignal.timeout(1000) })
  const token: LeaseToken = (await waiting).transfer()
  const put: PutOptions = { used: 0, detach: true }
  Lease.adopt(token).put(put)
  try {
    pool.put(get(1))
  } catch (error) {
    if (!(error instanceof MillpondError)) throw error
    const code: MillpondErrorCode = error.code
    if (code !== 'ERR_MILLPOND_FOREIGN_LEASE') throw error
  }
  pool.setCheck('on')
  pool.inject('')
  millpond.reportFaults()
  const stats: PoolStats = pool.stats()
  const leaks: LeakRecord[] = pool.leaks()
  const own: Buffer = defaultPool().get(5).detach()
  const onread = pool.onread(4096, (lease, bytesRead) => {
    lease.put({ used: bytesRead })
  })
  connect({ port: 9, host: '127.0.0.1', onread })
    .on('error', () => {})
    .on('close', () => onread.end())
  console.log(stats.inUse, stats.classes.length, leaks.length, own.length, version === millpond.version)

  // @ts-expect-error a length is a number
  const wrong = (): Lease => pool.get('5')
  // @ts-expect-error leases are made by pools
  const forged = (): Lease => new Lease()
  // @ts-expect-error there is no such option
  const misspelt = (): Pool => new Pool({ maxBites: 1 })
  // @ts-expect-error a lease's Buffer is not to be replaced
  const replace = (lease: Lease): void => void (lease.buffer = own)
  // @ts-expect-error there is no such mode
  const loud = (): void => pool.setCheck('loud')
  void [wrong, forged, misspelt, replace, loud]
}

main().catch((error: unknown) => {
  console.error(error)
  process.exitCode = 1
})
