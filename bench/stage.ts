/** What all runs share: the broker, its process, topics made and deleted, and the input that is written once. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { KafkaAccess } from '../checker/kafka.ts'
import { openReader, type Reader } from '../checker/reader.ts'
import { listOffsets, withRetries } from '../checker/requests.ts'
import { startBroker, type TestBroker } from '../connectors/kafka/testing/index.ts'
import { waitUntil } from '../connectors/kafka/testing/wait.ts'
import { Bids } from './bids.ts'
import { processCpuUs } from './proc.ts'

export const partitions = 4
export const brokerHeapMb = 1_024

const callRecordsEach = 250
const callBytes = 900_000
const topicWaitMs = 30_000
const callsUnderWay = 4

type Producer = ReturnType<KafkaAccess['producer']>

/** Of the topic that all runs read. */
export interface InputShape {
  readonly records: number
  /** Default {@link partitions}. */
  readonly partitions?: number
  /** Of a value; default: bids of 210 bytes. */
  readonly bytes?: number
}

export class Stage implements AsyncDisposable {
  readonly broker: TestBroker
  readonly kafka: KafkaAccess
  /** Without Java: the raw reader decodes faster than the Java reader can hand records over, and takes no third core. */
  readonly reader: Reader
  readonly folder: string
  readonly #prefix: string

  private constructor(broker: TestBroker, kafka: KafkaAccess, reader: Reader, folder: string) {
    this.broker = broker
    this.kafka = kafka
    this.reader = reader
    this.folder = folder
    this.#prefix = `bench-${Date.now().toString(36)}`
  }

  static async open(say: (line: string) => void): Promise<Stage> {
    const external = (process.env.KAFKA_BROKERS ?? '') !== ''
    const broker = await startBroker({
      kind: external ? 'external' : 'java',
      heapMb: brokerHeapMb,
      forLoad: true,
      log: say,
    })
    const connection = { brokers: broker.brokers }
    const folder = await mkdtemp(join(tmpdir(), 'millrace-bench-'))
    return new Stage(
      broker,
      await KafkaAccess.connect(connection),
      await openReader({ connection, reader: 'raw' }),
      folder,
    )
  }

  /** A name for one run: topics, pipeline, group and transactional ids derive from it. */
  name(...parts: readonly (string | number)[]): string {
    return [this.#prefix, ...parts].join('-').toLowerCase()
  }

  /** CPU of the broker's process in µs; undefined if it is somebody else's. */
  get brokerCpuUs(): number | undefined {
    const pid = this.broker.nodes[0]?.pid
    return pid === undefined ? undefined : processCpuUs(pid)
  }

  async createTopic(name: string, numPartitions: number = partitions): Promise<void> {
    const admin = this.kafka.admin()
    await admin.connect()
    try {
      // Timestamps of the input may be old: without this retention would delete it.
      const configEntries = [{ name: 'retention.ms', value: '-1' }]
      // kafkajs's own waiting for leaders gives up when the broker does not know the topic yet.
      await admin.createTopics({ topics: [{ topic: name, numPartitions, configEntries }], waitForLeaders: false })
    } finally {
      await admin.disconnect()
    }
    const known = async (): Promise<boolean> => (await this.kafka.topics()).includes(name)
    if (!(await waitUntil(known, { timeoutMs: topicWaitMs, everyMs: 20 })))
      throw new Error(`the broker does not know ${name}, which was created`)
    // Leaders are told before they lead: a producer without sequence numbers would send whole requests twice for those that do not.
    await withRetries(this.kafka, `the leaders of ${name}`, () => listOffsets(this.kafka, [name], 'high-watermark'))
  }

  /** Deletes all topics of a run: those made here and those that the system made for itself, which carry its name. */
  async deleteTopicsOf(run: string): Promise<void> {
    const topics = await this.kafka.topics()
    await this.#deleteTopics(topics.filter((topic) => topic.includes(run)))
  }

  /** One that was made here. */
  async deleteTopic(name: string): Promise<void> {
    await this.#deleteTopics([name])
  }

  async #deleteTopics(names: readonly string[]): Promise<void> {
    const admin = this.kafka.admin()
    await admin.connect()
    try {
      await admin.deleteTopics({ topics: [...names] }).catch((error: unknown) => {
        // Brokers list a topic for a while after it was deleted.
        const { cause, type } = error as { readonly cause?: { readonly type?: string }; readonly type?: string }
        if ((cause?.type ?? type) !== 'UNKNOWN_TOPIC_OR_PARTITION') throw error
      })
    } finally {
      await admin.disconnect()
    }
  }

  /** The sum over a topic's partitions. */
  async offset(topic: string, which: 'high-watermark' | 'last-stable'): Promise<number> {
    const offsets = (await listOffsets(this.kafka, [topic], which)).get(topic) ?? []
    return offsets.reduce((sum, offset) => sum + offset, 0)
  }

  /** Makes a topic of `records` bids, partitioned by key as every Kafka client does it. */
  async writeInput(topic: string, shape: InputShape, onProgress: (written: number) => void): Promise<void> {
    const { records, bytes } = shape
    await this.createTopic(topic, shape.partitions)
    await this.produce(async (producer) => {
      const bids = new Bids()
      // As many for each partition as the default has: a call writes one batch into each.
      const callMax =
        bytes === undefined ? callRecordsEach * (shape.partitions ?? partitions) : Math.ceil(callBytes / bytes)
      let taken = 0
      let written = 0
      const writer = async (): Promise<void> => {
        while (taken < records) {
          const count = Math.min(callMax, records - taken)
          taken += count
          const messages = Array.from({ length: count }, () => (bytes === undefined ? bids.next() : bids.text(bytes)))
          await producer.send({ topic, messages, acks: -1 })
          written += count
          onProgress(written)
        }
      }
      await Promise.all(Array.from({ length: callsUnderWay }, writer))
    }, 'idempotent')
  }

  async produce(
    work: (producer: Producer) => Promise<void>,
    kind: Parameters<KafkaAccess['producer']>[0] = 'plain',
  ): Promise<void> {
    const producer = this.kafka.producer(kind)
    await producer.connect()
    try {
      await work(producer)
    } finally {
      await producer.disconnect()
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.broker.kind === 'external') await this.deleteTopicsOf(this.#prefix).catch(() => undefined)
    await this.kafka.close()
    await this.broker.close()
    await rm(this.folder, { recursive: true, force: true })
  }
}
