/**
 * Where the tests that act as users do take place: one broker with Kafka's own admin and producer for a whole file, and
 * per test a subject: a pipeline with names, topics and a store that no other test has.
 */
import { existsSync } from 'node:fs'
import { copyFile, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { readTopics } from '../../checker/check.ts'
import { KafkaAccess } from '../../checker/kafka.ts'
import { openReader, type Reader } from '../../checker/reader.ts'
import type { LogRecord } from '../../checker/record-log.ts'
import { committedOffsets, listOffsets } from '../../checker/requests.ts'
import {
  type BrokerOptions,
  JavaAdmin,
  type JavaOutgoing,
  JavaProducer,
  startBroker,
  type TestBroker,
} from '../../connectors/kafka/testing/index.ts'
import { findJava } from '../../connectors/kafka/testing/kafka-jars.ts'
import type { Case } from './case-pipeline.ts'
import { Cli, type Ended } from './cli.ts'
import type { Feature } from './feature-pipeline.ts'
import { until } from './test-worker.ts'

export const CASES: string = fileURLToPath(new URL('./case-pipeline.ts', import.meta.url))
export const FEATURES: string = fileURLToPath(new URL('./feature-pipeline.ts', import.meta.url))

const javaProcess = 'java'
const QUICK_BROKER = { 'group.min.session.timeout.ms': '500' }

/** A store's folder that goes when it is disposed. */
export async function newStore(): Promise<AsyncDisposable & { readonly folder: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-store-'))
  return { folder, [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }) }
}

type Given = Case | Feature

/** All but the names, which the site gives. */
export type CaseOptions<G extends Given = Case> = Partial<G> & {
  readonly partitions?: number
  readonly inputConfigs?: Readonly<Record<string, string>>
  readonly outputConfigs?: Readonly<Record<string, string>>
}

export class Site implements AsyncDisposable {
  readonly broker: TestBroker
  readonly admin: JavaAdmin
  readonly producer: JavaProducer
  readonly kafka: KafkaAccess
  readonly #reader: Reader
  readonly #subjects: Subject[] = []
  #count = 0

  private constructor(
    broker: TestBroker,
    admin: JavaAdmin,
    producer: JavaProducer,
    kafka: KafkaAccess,
    reader: Reader,
  ) {
    this.broker = broker
    this.admin = admin
    this.producer = producer
    this.kafka = kafka
    this.#reader = reader
  }

  static async open(options: BrokerOptions = {}): Promise<Site> {
    // Java processes start sooner; with Docker only, containers serve as well.
    const way = 'missing' in (await findJava()) ? {} : ({ kind: javaProcess } as const)
    const broker = await startBroker({ ...way, ...options, settings: { ...QUICK_BROKER, ...options.settings } })
    try {
      const { brokers } = broker
      const [admin, producer, kafka, reader] = await Promise.all([
        JavaAdmin.start({ brokers }),
        JavaProducer.start({ brokers }),
        KafkaAccess.connect({ brokers }),
        openReader({ connection: { brokers }, reader: 'raw' }),
      ])
      return new Site(broker, admin, producer, kafka, reader)
    } catch (error) {
      await broker.close()
      throw error
    }
  }

  /** A pipeline of the case module, its topics made. */
  subject(shape: Case['shape'], options: CaseOptions = {}): Promise<Subject> {
    return this.#subject<Case>(CASES, shape, options)
  }

  /** A pipeline of the feature module. */
  feature(shape: Feature['shape'], options: CaseOptions<Feature> = {}): Promise<Subject> {
    return this.#subject<Feature>(FEATURES, shape, options)
  }

  async #subject<G extends Given>(module: string, shape: G['shape'], options: CaseOptions<G>): Promise<Subject> {
    const { partitions, inputConfigs, outputConfigs, ...rest } = options
    const name = `${shape}-${++this.#count}`
    const store = await mkdtemp(join(tmpdir(), 'millrace-store-'))
    const subject = new Subject(this, module, store, {
      name,
      shape,
      inputs: [`${name}-in`],
      output: `${name}-out`,
      ...rest,
    } as unknown as G)
    this.#subjects.push(subject)
    for (const topic of subject.case.inputs)
      if (topic.startsWith(name)) await this.createTopic(topic, partitions ?? 1, inputConfigs)
    if (subject.case.output.startsWith(name))
      await this.createTopic(subject.case.output, partitions ?? 1, outputConfigs)
    return subject
  }

  async createTopic(name: string, partitions = 1, configs: Readonly<Record<string, string>> = {}): Promise<void> {
    await this.admin.createTopic(name, { partitions, configs: { 'retention.ms': '-1', ...configs } })
  }

  /** Acknowledged when it resolves. */
  async send(records: readonly JavaOutgoing[]): Promise<void> {
    for (const record of records) await this.producer.send(record)
    await this.producer.flush()
  }

  /** What a read_committed reader sees, partition by partition. */
  async read(topic: string): Promise<LogRecord[]> {
    await this.kafka.refresh()
    const log = (await readTopics(this.#reader, [topic])).get(topic)
    return [...(log?.partitions.values() ?? [])].flatMap((partition) =>
      Array.from({ length: partition.count }, (_, index) => partition.at(index)),
    )
  }

  /** Ends what a test left running, whether it passed or not. */
  async clear(): Promise<void> {
    for (const subject of this.#subjects.splice(0)) await subject[Symbol.asyncDispose]()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.clear()
    await this.kafka[Symbol.asyncDispose]()
    await Promise.all([this.admin[Symbol.asyncDispose](), this.producer[Symbol.asyncDispose]()])
    await this.broker.close()
  }
}

export class Subject implements AsyncDisposable {
  readonly site: Site
  readonly module: string
  readonly case: Given
  store: string
  readonly #running: Cli[] = []
  readonly #folders: string[]

  constructor(site: Site, module: string, store: string, given: Given) {
    this.site = site
    this.module = module
    this.store = store
    this.#folders = [store]
    this.case = given
  }

  get input(): string {
    return this.case.inputs[0] ?? ''
  }

  get output(): string {
    return this.case.output
  }

  get group(): string {
    return `millrace.${this.case.name}`
  }

  env(change: Partial<Given> = {}): Record<string, string> {
    return {
      KAFKA_BROKERS: this.site.broker.brokers.join(','),
      MILLRACE_STORE: this.store,
      MILLRACE_INSTANCE: 'here',
      CASE: JSON.stringify({ ...this.case, ...change }),
    }
  }

  /** A command on this pipeline's module, begun. */
  start(argv: readonly string[], env: Readonly<Record<string, string>> = {}, change: Partial<Given> = {}): Cli {
    const [command = '', ...flags] = argv
    const cli = new Cli([command, this.module, ...flags], { ...this.env(change), ...env })
    this.#running.push(cli)
    return cli
  }

  run(env?: Readonly<Record<string, string>>, change?: Partial<Given>): Cli {
    return this.start(['run'], env, change)
  }

  /** Runs to its own end. */
  async fails(env?: Readonly<Record<string, string>>, change?: Partial<Given>): Promise<Ended> {
    return this.run(env, change).ended()
  }

  /** A second store, kept until the test ends. */
  async anotherStore(): Promise<string> {
    const folder = await mkdtemp(join(tmpdir(), 'millrace-store-'))
    this.#folders.push(folder)
    return folder
  }

  /** The same files in another folder, under a new store id. */
  async copyStore(): Promise<string> {
    const folder = await this.anotherStore()
    const files = (await readdir(this.store)).filter((name) => name.endsWith('.ckpt'))
    for (const name of files) await copyFile(join(this.store, name), join(folder, name))
    return folder
  }

  /**
   * Feeds batch after batch, and each time some of it but not all is committed, kills a worker with SIGKILL; then waits
   * until the input is worked off.
   */
  async crash(cli: Cli, batches: readonly (readonly string[])[], workers = 1): Promise<void> {
    for (const [index, batch] of batches.entries()) {
      const before = await this.progress()
      await this.send(batch)
      await until(
        'some of the batch is committed',
        async () => (await this.progress()) > before,
        30_000,
        () => cli.output,
      )
      await cli.killWorker(index % workers)
    }
    await this.caughtUp(cli, this.case.inputs)
  }

  /** The sum of the committed input offsets. */
  async progress(): Promise<number> {
    const offsets = await this.site.admin.listGroupOffsets(this.group).catch(() => [])
    return offsets
      .filter(({ topic }) => this.case.inputs.includes(topic))
      .reduce((sum, { offset }) => sum + Number(offset), 0)
  }

  /** Values with optional keys, `k:v` in short, into the first input. */
  async send(values: readonly string[], partition?: number): Promise<void> {
    await this.site.send(
      values.map((text) => {
        const [key, value] = text.includes(':') ? text.split(':') : [null, text]
        const at = partition === undefined ? {} : { partition }
        return { topic: this.input, key: key ?? null, value: value ?? null, ...at }
      }),
    )
  }

  async values(): Promise<string[]> {
    return (await this.site.read(this.output)).map((record) => String(record.value))
  }

  /** The group has committed the input to its end; open transactions in it are waited for. */
  async caughtUp(cli?: Cli, topics: readonly string[] = [this.input]): Promise<void> {
    let seen = ''
    const reached = async (): Promise<boolean> => {
      if (cli && !cli.running) throw new Error(`it ended before it was through:\n${cli.output}`)
      try {
        const ends = await listOffsets(this.site.kafka, topics, 'high-watermark')
        const committed = await committedOffsets(this.site.kafka, this.group, 'wait')
        seen = JSON.stringify([...ends, ...[...committed].map(([topic, at]) => [topic, [...at]])])
        return topics.every((topic) =>
          (ends.get(topic) ?? []).every((end, partition) => (committed.get(topic)?.get(partition) ?? -1) >= end),
        )
      } catch (error) {
        seen = String(error)
        await this.site.kafka.refresh().catch(() => undefined)
        return false
      }
    }
    await until('the input is read to its end', reached, 30_000, () => `${seen}\n${cli?.output ?? ''}`)
  }

  /** Starts, works off what is in the input, and stops in order, giving up its place. */
  async once(env?: Readonly<Record<string, string>>, change?: Partial<Given>): Promise<Ended> {
    const cli = this.start(['run', '--leave'], env, change)
    await cli.runs()
    await this.caughtUp(cli, change?.inputs ?? this.case.inputs)
    const ended = await cli.stop()
    if (ended.code !== 0) throw new Error(`ended with ${ended.code}:\n${ended.output}`)
    return ended
  }

  reset(...flags: readonly string[]): Promise<Ended> {
    return this.start(['reset', ...flags]).ended()
  }

  /** No member is left: a place that was not given up ends after the session timeout. */
  async groupEmpty(): Promise<void> {
    await until('the group is empty', async () => {
      const { state } = await this.site.admin.describeGroup(this.group)
      return state.toUpperCase() === 'EMPTY'
    })
  }

  /** Paths of the store's checkpoint files, oldest first. */
  async files(): Promise<string[]> {
    if (!existsSync(this.store)) return []
    const names = (await readdir(this.store)).filter((name) => name.endsWith('.ckpt')).sort()
    return names.map((name) => join(this.store, name))
  }

  /** The file that the group's committed offsets name. */
  async pointedFile(): Promise<string> {
    const [row] = await this.site.admin.listGroupOffsets(this.group)
    return join(this.store, (JSON.parse(row?.metadata ?? '{}') as { file: string }).file)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#running.map((cli) => cli[Symbol.asyncDispose]()))
    for (const folder of this.#folders) await rm(folder, { recursive: true, force: true })
  }
}
