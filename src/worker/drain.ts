// Brings a stopped pipeline with repartition topics to rest: a worker of this process reads them to their ends, and no source.
import { delay, monotonicMs } from '../base/clock.ts'
import { MillraceError } from '../base/errors.ts'
import type { Logger } from '../base/log.ts'
import type { Cluster } from '../dataflow/ports.ts'
import type { Plan, Settings } from './job.ts'
import { unreadHops } from './savepoint.ts'
import { Worker } from './worker.ts'

const LOOK_EVERY_MS = 200
/** Without a record that is read. */
const STANDSTILL_MS = 120_000

export interface DrainOptions {
  readonly cluster: Cluster
  readonly plan: Plan
  readonly settings: Settings
  readonly log: Logger
  readonly onProgress?: (unread: bigint) => void
}

/** Resolves when every repartition topic is read to its end and what came of it is committed. @throws DRAIN_TIMEOUT, and what ends a worker */
export async function drainHops({ cluster, plan, settings, log, onProgress }: DrainOptions): Promise<void> {
  const unread = async (): Promise<bigint> =>
    (await unreadHops(cluster, plan)).reduce((sum, { records }) => sum + records, 0n)
  if ((await unread()) === 0n) return
  const worker = new Worker({ plan, settings, instance: `${settings.instance}-drain`, log, reads: 'hops' })
  let ended = false
  const running = worker.run().finally(() => {
    ended = true
  })
  // It is awaited below, whatever comes first.
  running.catch(() => undefined)
  let least = await unread()
  let since = monotonicMs()
  while (!ended) {
    await delay(LOOK_EVERY_MS)
    const left = await unread()
    onProgress?.(left)
    if (left === 0n) break
    if (left < least) since = monotonicMs()
    least = left < least ? left : least
    if (monotonicMs() - since < STANDSTILL_MS) continue
    worker.stop('leave')
    await running
    throw new MillraceError(
      'DRAIN_TIMEOUT',
      `${left} records of repartition topics stay unread; see the worker's log lines`,
    )
  }
  worker.stop('leave')
  await running
}
