/**
 * Kills workers while the input flows: seeded victims at seeded moments, spread over the run, one at a time. The next one
 * waits until all workers run again and the last victim's recovery was seen.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { KafkaAccess } from '../../checker/kafka.ts'
import { committedOffsets, describeGroup, withRetries } from '../../checker/requests.ts'
import { Random } from '../nexmark/generator.ts'
import type { Feed } from './feed.ts'
import type { Kill, OutputWatch } from './output-watch.ts'
import type { PipelineProcess, WorkerView } from './pipeline-process.ts'
import { group } from './topics.ts'

const recoveryLimitMs = 30_000
const lookEveryMs = 20
/**
 * A commit that the victim had decided before it died still becomes visible within milliseconds; it must not pass for the
 * recovery. So the committed offsets are read this long after the kill: sooner than any successor can have committed.
 */
const afterglowMs = 30

export interface KillerOptions {
  readonly kafka: KafkaAccess
  readonly pipeline: PipelineProcess
  readonly watch: OutputWatch
  readonly feed: Feed
  readonly bidsTopic: string
  readonly kills: number
  readonly workers: number
  readonly seed: number
  /** How long the input flows if nothing slows it. */
  readonly durationMs: number
}

export class Killer {
  readonly kills: Kill[] = []
  readonly #options: KillerOptions
  readonly #random: Random

  constructor(options: KillerOptions) {
    this.#options = options
    this.#random = new Random(options.seed ^ 0x5eed)
  }

  /** Ends when all kills were made or no input flows any more. */
  async run(signal: AbortSignal): Promise<void> {
    const { feed, kills, durationMs } = this.#options
    const step = durationMs / (kills + 1)
    for (let i = 0; i < kills; i++) {
      const moment = step * (i + 1 + (this.#random.next() - 0.5) / 2)
      while (!feed.done && feed.elapsedMs < moment) await sleep(lookEveryMs, undefined, { signal })
      const victim = await this.#chooseVictim(signal)
      if (victim === null) return
      await this.#kill(victim.worker, victim.partitions, signal)
    }
  }

  /** A random one of the running workers that own input, once all of them run in a settled group; null: too late. */
  async #chooseVictim(signal: AbortSignal): Promise<{ worker: WorkerView; partitions: readonly number[] } | null> {
    const { kafka, pipeline, feed, workers, bidsTopic } = this.#options
    while (!feed.done) {
      signal.throwIfAborted()
      if (pipeline.running.length === workers) {
        const { state, members } = await withRetries(kafka, 'describe group', () => describeGroup(kafka, group))
        const owners = pipeline.running.flatMap((worker) => {
          const own = members.filter((one) => one.instanceId === worker.instance || one.clientId === worker.instance)
          const partitions = own.flatMap((member) => member.assignment.get(bidsTopic) ?? [])
          return partitions.length > 0 ? [{ worker, partitions }] : []
        })
        const victim = owners[this.#random.below(owners.length)]
        if (state === 'Stable' && victim && pipeline.running.length === workers && !feed.done) return victim
      }
      await sleep(lookEveryMs, undefined, { signal })
    }
    return null
  }

  async #kill(worker: WorkerView, partitions: readonly number[], signal: AbortSignal): Promise<void> {
    const { kafka, pipeline, watch, bidsTopic } = this.#options
    const kill = watch.expectRecovery(worker.instance, worker.pid, Date.now())
    if (!pipeline.killWorker(worker)) return
    this.kills.push(kill)
    await sleep(afterglowMs, undefined, { signal })
    const committed = await withRetries(kafka, 'committed offsets', () => committedOffsets(kafka, group, 'ignore'))
    const offsets = committed.get(bidsTopic)
    const thresholds = partitions.map((partition) => [partition, Math.max(0, offsets?.get(partition) ?? 0)] as const)
    watch.setThresholds(kill, new Map(thresholds))
    const deadline = kill.atMs + recoveryLimitMs
    while (kill.recoveredAtMs === null && Date.now() < deadline) await sleep(lookEveryMs, undefined, { signal })
  }
}

/** Median and maximum; undefined without kills, and where a recovery that was never seen stands. */
export function recoveryFigures(kills: readonly Kill[]): { medianMs: number | undefined; maxMs: number | undefined } {
  const waited = kills.map((kill) => (kill.recoveredAtMs ?? Number.POSITIVE_INFINITY) - kill.atMs)
  const sorted = waited.sort((a, b) => a - b)
  const upper = sorted[Math.floor(sorted.length / 2)]
  const lower = sorted[Math.floor((sorted.length - 1) / 2)]
  const medianMs = upper === undefined || lower === undefined ? undefined : (lower + upper) / 2
  const seen = (ms: number | undefined): number | undefined => (ms === Number.POSITIVE_INFINITY ? undefined : ms)
  return { medianMs: seen(medianMs), maxMs: seen(sorted.at(-1)) }
}
