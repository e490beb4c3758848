// Brings a stopped pipeline with repartition topics to rest: a worker of this process reads them to their ends, and no source.
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { delay, monotonicMs } from '../base/clock.ts'
import { MillraceError } from '../base/errors.ts'
import type { Logger } from '../base/log.ts'
import type { Cluster } from '../dataflow/ports.ts'
import type { Plan, Settings } from './job.ts'
import { unreadHops } from './savepoint.ts'
import { Worker } from './worker.ts'

const LOOK_EVERY_MS = 200
/** Without a record that is read, after the state is there. */
const STANDSTILL_MS = 120_000

export interface DrainOptions {
  readonly cluster: Cluster
  readonly plan: Plan
  readonly settings: Settings
  readonly log: Logger
}

/** Resolves when every repartition topic is read to its end and what came of it is committed. @throws DRAIN_TIMEOUT, and what ends a worker */
export async function drainHops(options: DrainOptions): Promise<void> {
  const { settings, plan } = options
  const instance = `${settings.instance}-drain`
  try {
    // What the last round wrote may be in the next hop only when that worker is gone.
    while ((await unread(options)) > 0n) await drainOnce(options, instance)
  } finally {
    await rm(join(settings.stateFolder, plan.pipeline, instance), { recursive: true, force: true })
  }
}

async function unread({ cluster, plan }: DrainOptions): Promise<bigint> {
  return (await unreadHops(cluster, plan)).reduce((sum, { records }) => sum + records, 0n)
}

async function drainOnce(options: DrainOptions, instance: string): Promise<void> {
  const { plan, settings, log } = options
  const worker = new Worker({ plan, settings, instance, log, reads: 'hops' })
  let ended = false
  const running = worker.run().finally(() => {
    ended = true
  })
  // It is awaited below, whatever comes first.
  running.catch(() => undefined)
  let ran = false
  try {
    let least = await unread(options)
    let since = monotonicMs()
    while (!ended) {
      await delay(LOOK_EVERY_MS)
      const left = await unread(options)
      if (left === 0n) break
      ran ||= worker.status.phase === 'running'
      if (left < least || !ran) since = monotonicMs()
      least = left < least ? left : least
      if (monotonicMs() - since < STANDSTILL_MS) continue
      throw new MillraceError(
        'DRAIN_TIMEOUT',
        `${left} records of repartition topics stay unread; see the log lines above`,
      )
    }
  } finally {
    worker.stop('leave')
    await running
  }
}
