/**
 * The stage of a fault test: a broker with upstream producers for a whole test file, and per test a job with names,
 * topics and a store of its own. At the end of every test stands the verdict of the independent checker.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { check } from '../../checker/check.ts'
import { KafkaAccess, type KafkaConnection } from '../../checker/kafka.ts'
import { keyedCountModel } from '../../checker/models/keyed-count-model.ts'
import { committedOffsets, listOffsets, listTransactions } from '../../checker/requests.ts'
import type { Verdict } from '../../checker/verdict.ts'
import {
  type BrokerOptions,
  javaClientConfig,
  startBroker,
  type TestBroker,
} from '../../connectors/kafka/testing/index.ts'
import type { Point } from './crash-worker.ts'
import { Feed, Upstream } from './feed.ts'
import { TestWorker, until } from './test-worker.ts'

export const REFERENCE: string = fileURLToPath(new URL('./reference-pipeline.ts', import.meta.url))

/** Short waits of the broker's own, so that what takes minutes in production takes seconds here. */
const QUICK = {
  'group.min.session.timeout.ms': '500',
  'transaction.abort.timed.out.transaction.cleanup.interval.ms': '200',
}

/** A worker's settings unless a test says otherwise. */
const QUICK_WORKER = { MILLRACE_HTTP_PORT: '0', MILLRACE_CHECKPOINT_INTERVAL_MS: '50', MILLRACE_HEARTBEAT_MS: '100' }

export interface JobOptions {
  readonly key?: 'hop' | 'record'
  readonly partitions?: number
  readonly outputPartitions?: number
  readonly seed?: number
  readonly env?: Readonly<Record<string, string>>
  /** Replication of the output; default the cluster's. */
  readonly outputReplication?: number
  /** Instead of a name that no other test has. */
  readonly pipeline?: string
  readonly timestamp?: () => number | undefined
}

/** How the tests themselves reach a broker, with or without security: as the super user. */
export function connectionOf(broker: TestBroker): KafkaConnection {
  return { brokers: broker.brokers, ...clientOptions(broker, broker.security?.superUser ?? '') }
}

/** TLS and SASL settings of a user; none for a plaintext broker. */
export function clientOptions({ security }: TestBroker, user: string): Pick<KafkaConnection, 'ssl' | 'sasl'> {
  if (!security) return {}
  const password = security.users[user] ?? ''
  return { ssl: { ca: security.ca }, sasl: { mechanism: security.mechanism, username: user, password } }
}

export class Stage implements AsyncDisposable {
  readonly broker: TestBroker
  readonly kafka: KafkaAccess
  readonly upstream: Upstream
  readonly #jobs: Job[] = []
  #count = 0

  private constructor(broker: TestBroker, kafka: KafkaAccess, upstream: Upstream) {
    this.broker = broker
    this.kafka = kafka
    this.upstream = upstream
  }

  static async open(options: BrokerOptions = {}): Promise<Stage> {
    const broker = await startBroker({ kind: 'java', ...options, settings: { ...QUICK, ...options.settings } })
    try {
      const client = { brokers: broker.brokers, config: javaClientConfig(broker) }
      const [kafka, upstream] = await Promise.all([KafkaAccess.connect(connectionOf(broker)), Upstream.start(client)])
      return new Stage(broker, kafka, upstream)
    } catch (error) {
      await broker.close()
      throw error
    }
  }

  /** A pipeline that no other test has. */
  async job(name: string, options: JobOptions = {}): Promise<Job> {
    const pipeline = options.pipeline ?? `${name}-${++this.#count}`
    const store = await mkdtemp(join(tmpdir(), 'millrace-store-'))
    const job = new Job(this, pipeline, store, options)
    this.#jobs.push(job)
    await this.createTopics([
      { topic: job.input, partitions: options.partitions ?? 3 },
      {
        topic: job.output,
        partitions: options.outputPartitions ?? options.partitions ?? 3,
        replication: options.outputReplication,
      },
    ])
    return job
  }

  async createTopics(
    topics: readonly {
      readonly topic: string
      readonly partitions: number
      readonly replication?: number | undefined
      readonly configs?: Readonly<Record<string, string>>
    }[],
  ): Promise<void> {
    const admin = this.kafka.admin()
    await admin.connect()
    try {
      await admin.createTopics({
        waitForLeaders: false,
        topics: topics.map(({ topic, partitions, replication, configs }) => ({
          topic,
          numPartitions: partitions,
          replicationFactor: replication ?? this.broker.nodes.length,
          configEntries: Object.entries({ 'retention.ms': '-1', ...configs }).map(([key, value]) => ({
            name: key,
            value,
          })),
        })),
      })
    } finally {
      await admin.disconnect()
    }
    // kafkajs's own waiting gives up where one broker does not know the topic yet. A leader must answer, too: while it only has the
    // office it refuses a producer's first batch and may take the second one, and after that the first one never comes in.
    const names = topics.map(({ topic }) => topic)
    const ready = async (): Promise<boolean> => {
      const leaders = await this.kafka.leaders(names).catch(() => new Map<string, number[]>())
      if (!names.every((name) => leaders.get(name)?.every((leader) => leader >= 0))) return false
      return await listOffsets(this.kafka, names, 'high-watermark').then(
        () => true,
        () => false,
      )
    }
    await until(`the leaders of ${names.join(', ')} answer`, ready)
  }

  /** Ends what a test left running, whether it passed or not. */
  async clear(): Promise<void> {
    for (const job of this.#jobs.splice(0)) await job[Symbol.asyncDispose]()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.clear()
    await this.upstream[Symbol.asyncDispose]()
    await this.kafka[Symbol.asyncDispose]()
    await this.broker.close()
  }
}

export interface StartOptions {
  readonly lives?: readonly (readonly Point[])[]
  readonly env?: Readonly<Record<string, string>>
  readonly restart?: 'yes' | 'no'
}

export class Job implements AsyncDisposable {
  readonly stage: Stage
  readonly pipeline: string
  readonly store: string
  readonly input: string
  readonly output: string
  readonly hops: readonly string[]
  readonly group: string
  readonly feed: Feed
  readonly workers: TestWorker[] = []
  readonly #options: JobOptions

  constructor(stage: Stage, pipeline: string, store: string, options: JobOptions) {
    this.stage = stage
    this.pipeline = pipeline
    this.store = store
    this.#options = options
    this.input = `${pipeline}-in`
    this.output = `${pipeline}-out`
    this.group = `millrace.${pipeline}`
    this.hops = options.key === 'hop' ? [`${this.group}.hop.key`] : []
    this.feed = new Feed(stage.upstream, this.input, options.seed ?? 1, options.timestamp)
  }

  get env(): Record<string, string> {
    return {
      ...QUICK_WORKER,
      KAFKA_BROKERS: this.stage.broker.brokers.join(','),
      MILLRACE_STORE: this.store,
      REF_KAFKA: JSON.stringify(clientOptions(this.stage.broker, 'app')),
      REF_PIPELINE: this.pipeline,
      REF_INPUT: this.input,
      REF_OUTPUT: this.output,
      REF_KEY: this.#options.key ?? 'record',
      ...this.#options.env,
    }
  }

  start(instance: string, options: StartOptions = {}): TestWorker {
    const worker = new TestWorker({
      module: REFERENCE,
      instance,
      env: { ...this.env, ...options.env },
      lives: options.lives ?? [],
      restart: options.restart ?? 'yes',
    })
    this.workers.push(worker)
    return worker
  }

  /**
   * Every output of what is in the input now is committed: first the input, then what its records became in the hops. Ends
   * are high watermarks: a last stable offset lies behind until the markers of what is committed are written.
   */
  async caughtUp(timeoutMs = 45_000): Promise<void> {
    for (const topic of [this.input, ...this.hops]) {
      let seen = ''
      const reached = async (): Promise<boolean> => {
        try {
          const ends = (await listOffsets(this.stage.kafka, [topic], 'high-watermark')).get(topic) ?? []
          const committed = (await committedOffsets(this.stage.kafka, this.group, 'wait')).get(topic)
          const stable = (await listOffsets(this.stage.kafka, [topic], 'last-stable')).get(topic) ?? []
          seen = `${topic}: ${JSON.stringify([...(committed ?? [])])} of ${JSON.stringify(ends)}, stable up to ${JSON.stringify(stable)}`
          return ends.every((end, partition) => end === 0 || (committed?.get(partition) ?? -1) >= end)
        } catch (error) {
          seen = String(error)
          await this.stage.kafka.refresh().catch(() => undefined)
          return false
        }
      }
      await until(`${topic} is read to its end`, reached, timeoutMs, () => `${seen}\n${this.explain()}`)
    }
  }

  /** The sum of the committed input offsets: it grows with every committed checkpoint that did something. */
  async progress(): Promise<number> {
    try {
      const committed = (await committedOffsets(this.stage.kafka, this.group, 'ignore')).get(this.input)
      return [...(committed?.values() ?? [])].reduce((sum, offset) => sum + Math.max(0, offset), 0)
    } catch {
      await this.stage.kafka.refresh().catch(() => undefined)
      return 0
    }
  }

  /** Checkpoints with new input are committed from now on. */
  async progresses(by = 1): Promise<void> {
    const before = await this.progress()
    const moved = async (): Promise<boolean> => (await this.progress()) >= before + by
    await until('new input is committed', moved, 45_000, () => this.explain())
  }

  /** States of this pipeline's transactions, by transactional id. */
  async transactions(): Promise<Map<string, string>> {
    const listed = await listTransactions(this.stage.kafka)
    const ours = listed.filter(({ transactionalId }) => transactionalId.startsWith(`${this.group}.`))
    return new Map(ours.map(({ transactionalId, state }) => [transactionalId, state]))
  }

  async hasOpenTransaction(instance: string): Promise<boolean> {
    const states = await this.transactions()
    return [0, 1].some((slot) => states.get(`${this.group}.${instance}.${slot}`) === 'Ongoing')
  }

  verdict(): Promise<Verdict> {
    return check({
      connection: connectionOf(this.stage.broker),
      reader: 'raw',
      inputs: [this.input],
      output: this.output,
      model: keyedCountModel,
      hops: this.hops,
      group: this.group,
      transactionalIdPrefix: `${this.group}.`,
      committed: 'check',
    })
  }

  /**
   * The end of a test: all input is processed, all workers stop in order, nobody ended in a way that was not planned
   * (`ends`: allowed besides SIGKILL and 0), and the checker finds nothing.
   */
  async finish(options: { readonly unplanned?: readonly string[] } = {}): Promise<Verdict> {
    await this.feed.endStream()
    await this.caughtUp()
    await Promise.all(this.workers.map((worker) => worker.stop()))
    const verdict = await this.verdict()
    const strange = this.workers.flatMap((worker) =>
      worker.ends
        .filter(
          ({ code, signal, error }) => code !== 0 && signal !== 'SIGKILL' && !options.unplanned?.includes(error ?? ''),
        )
        .map((end) => `${worker.instance} ended with ${JSON.stringify(end)}`),
    )
    const missed = this.workers
      .filter((worker) => !worker.pointsReached)
      .map(({ instance }) => `${instance} missed a point`)
    if (!verdict.ok || strange.length > 0 || missed.length > 0) {
      const problems = [...strange, ...missed, JSON.stringify(verdict)]
      throw new Error(`${problems.join('\n')}\n${this.explain()}`)
    }
    return verdict
  }

  explain(): string {
    // The newest first: a report may be cut.
    return this.workers
      .toReversed()
      .map((worker) => worker.explain())
      .join('\n')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.feed.endStream().catch(() => undefined)
    await Promise.all(this.workers.map((worker) => worker.destroy()))
    await rm(this.store, { recursive: true, force: true })
  }
}
