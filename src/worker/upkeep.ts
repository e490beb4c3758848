// What a running worker does on the side: watches that topics are still the same ones; purges what is confirmed read from
// repartition topics; and holds back stages whose repartition topic grows faster than it is read.
import { startInterval, type Timer } from '../base/clock.ts'
import { MillraceError, messageOf } from '../base/errors.ts'
import type { Logger } from '../base/log.ts'
import type { Manifest } from '../checkpoint/file.ts'
import type { Cluster } from '../dataflow/ports.ts'
import type { Plan } from './job.ts'
import { checkTopic } from './recovery.ts'
import { readTopics, type Topology } from './topology.ts'

const LAG_EVERY_MS = 1_000

export interface UpkeepOptions {
  readonly cluster: Cluster
  readonly plan: Plan
  readonly topology: Topology
  readonly log: Logger
  /** Between two looks at the topics, and two purges. */
  readonly everyMs: number
  readonly hopLagRecordsMax: number
  /** The stages that must not read more for now. */
  readonly onHeldBack: (stages: ReadonlySet<string>) => void
  readonly onFailure: (error: Error) => void
}

export class Upkeep {
  readonly #options: UpkeepOptions
  readonly #timers: Timer[]
  /** Confirmed positions in hops, by topic and partition. */
  readonly #confirmed = new Map<string, Map<number, bigint>>()
  /** Topics that the last look did not find. */
  readonly #missed = new Set<string>()
  #busy = false
  #measuring = false

  constructor(options: UpkeepOptions) {
    this.#options = options
    this.#timers = [startInterval(options.everyMs, () => void this.#run())]
    if (options.plan.hops.length > 0) this.#timers.push(startInterval(LAG_EVERY_MS, () => void this.#watchLag()))
  }

  committed(manifest: Manifest): void {
    const hops = new Set(this.#options.plan.hops.map((hop) => hop.topic))
    for (const { topic, partition, offset } of manifest.tasks.flatMap((task) => task.positions)) {
      if (!hops.has(topic)) continue
      const positions = this.#confirmed.get(topic) ?? new Map<number, bigint>()
      positions.set(partition, offset)
      this.#confirmed.set(topic, positions)
    }
  }

  async #run(): Promise<void> {
    if (this.#busy) return
    this.#busy = true
    try {
      await this.#watchTopics()
      await this.#purgeHops()
    } catch (error) {
      if (error instanceof MillraceError && error.disposition === 'fatal') this.#options.onFailure(error)
      else this.#options.log.warn({ error: messageOf(error) }, 'upkeep failed; trying again later')
    } finally {
      this.#busy = false
    }
  }

  async #watchTopics(): Promise<void> {
    const { cluster, plan, topology } = this.#options
    const now = await readTopics(cluster, plan)
    for (const task of topology.tasks) {
      for (const [name, was] of topology.topics) {
        const info = now.get(name)
        if (info) checkTopic(name, was, info, task)
      }
    }
    for (const [name, was] of topology.topics) {
      const grown = now.get(name)
      if (!grown) {
        // A broker that has just started may not know its topics yet.
        if (!this.#missed.has(name)) {
          this.#missed.add(name)
          continue
        }
        throw new MillraceError(
          'TOPIC_UNKNOWN',
          `topic ${name} is gone while the pipeline runs; create it again only together with \`millrace reset\``,
        )
      }
      this.#missed.delete(name)
      if (grown.partitions > was.partitions) {
        throw new MillraceError(
          'TOPIC_PARTITIONS_GREW',
          `topic ${name} has ${grown.partitions} partitions now, ${was.partitions} at the start; restarting to read them`,
        )
      }
    }
  }

  async #purgeHops(): Promise<void> {
    const { cluster } = this.#options
    for (const [topic, positions] of this.#confirmed) {
      const offsets = [...positions]
        .filter(([, offset]) => offset > 0n)
        .map(([partition, offset]) => ({ partition, offset }))
      if (offsets.length > 0) await cluster.deleteRecords(topic, offsets)
    }
    this.#confirmed.clear()
  }

  /** Flow control between stages: a hop's writers pause while its reader is too far behind. */
  async #watchLag(): Promise<void> {
    if (this.#measuring) return
    this.#measuring = true
    const { plan, topology, hopLagRecordsMax, onHeldBack, log } = this.#options
    try {
      const held = new Set<string>()
      for (const hop of plan.hops) {
        const lag = await this.#lagOf(hop.topic, topology.topics.get(hop.topic)?.partitions ?? 0)
        if (lag > BigInt(hopLagRecordsMax)) held.add(hop.from)
      }
      onHeldBack(held)
    } catch (error) {
      log.debug({ error: messageOf(error) }, 'the lag of repartition topics could not be read')
    } finally {
      this.#measuring = false
    }
  }

  async #lagOf(topic: string, count: number): Promise<bigint> {
    const { cluster, plan } = this.#options
    const partitions = Array.from({ length: count }, (_, partition) => ({ topic, partition }))
    const committed = await cluster.committedOffsets(plan.group, partitions)
    const ranges = await Promise.all(partitions.map(({ partition }) => cluster.logRange(topic, partition)))
    return committed.reduce((sum, row) => {
      const { start, end } = ranges[row.partition] ?? { start: 0n, end: 0n }
      // Nothing is committed where the reader has not come to its first checkpoint.
      const read = row.offset >= 0n ? row.offset : start
      return end > read ? sum + end - read : sum
    }, 0n)
  }

  stop(): void {
    for (const timer of this.#timers) timer.cancel()
  }
}
