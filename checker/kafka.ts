/**
 * The checker's own way to the brokers, and its only import of kafkajs.
 *
 * kafkajs gives what it does well: opening sockets (TLS, SASL included), metadata, the coordinator look-up. Every request
 * that matters for a verdict is our own bytes over that transport. Its consumer is never used: it leaks aborted records.
 * The Cluster class is an internal of kafkajs; the version is pinned exactly for that reason.
 */
import { createRequire } from 'node:module'
import type { Admin, KafkaConfig, Producer } from 'kafkajs'
import { CheckerError, messageOf } from './errors.ts'

/** How to reach the cluster. `clientProperties` are the same settings for the Java reader (`security.protocol` …). */
export interface KafkaConnection {
  readonly brokers: readonly string[]
  readonly ssl?: KafkaConfig['ssl']
  readonly sasl?: KafkaConfig['sasl']
  readonly clientProperties?: Readonly<Record<string, string>>
}

/** One request of our own bytes. */
export interface RawRequest {
  readonly api: number
  readonly version: number
  readonly name: string
  readonly body: Buffer
  readonly timeoutMs?: number
}

interface ClusterBroker {
  readonly nodeId: string | number
  readonly connectionPool: {
    send(message: {
      request: { apiKey: number; apiVersion: number; apiName: string; encode: () => Promise<unknown> }
      response: { decode: (payload: Buffer) => Promise<Buffer>; parse: (decoded: Buffer) => Promise<Buffer> }
      requestTimeout: number | null
      logResponseError: boolean
    }): Promise<Buffer>
  }
}

interface TopicMetadata {
  readonly topic: string
  readonly partitionMetadata: readonly { partitionId: number; leader: number }[]
}

interface ClusterMetadata {
  readonly brokers: readonly { nodeId: number }[]
  readonly topicMetadata: readonly TopicMetadata[]
}

interface Cluster {
  connect(): Promise<void>
  disconnect(): Promise<void>
  metadata(options: { topics: readonly string[] }): Promise<ClusterMetadata | null>
  refreshMetadata(): Promise<void>
  findBroker(options: { nodeId: number }): Promise<ClusterBroker>
  findGroupCoordinator(options: { groupId: string }): Promise<ClusterBroker>
}

interface RequestQueue {
  readonly pending: readonly unknown[]
  readonly throttledUntil: number
}

const require = createRequire(import.meta.url)
const kafkajs: typeof import('kafkajs') = require('kafkajs')
const ClusterOf: new (options: object) => Cluster = require('kafkajs/src/cluster/index.js')
const socketFactory: () => unknown = require('kafkajs/src/network/socketFactory.js')
const loggers: { createLogger: (options: object) => unknown } = require('kafkajs/src/loggers/index.js')
const queuePrototype: { scheduleCheckPendingRequests(this: RequestQueue): void } =
  require('kafkajs/src/network/requestQueue/index.js').prototype

// An idle kafkajs connection re-arms a timer with a negative delay for ever: 5 % of a core, and a warning since Node 24.
const schedule = queuePrototype.scheduleCheckPendingRequests
queuePrototype.scheduleCheckPendingRequests = function scheduleOnlyWhenNeeded() {
  if (this.pending.length > 0 || this.throttledUntil > Date.now()) schedule.call(this)
}

const silent = (): (() => void) => () => {}

/** A connected client: metadata, raw requests to a chosen broker, and kafkajs's admin and plain producer. */
export class KafkaAccess implements AsyncDisposable {
  readonly connection: KafkaConnection
  readonly #cluster: Cluster
  readonly #kafka: InstanceType<typeof kafkajs.Kafka>
  readonly #leaders: Map<string, number[]> = new Map()
  #closed = false

  private constructor(connection: KafkaConnection, cluster: Cluster, kafka: InstanceType<typeof kafkajs.Kafka>) {
    this.connection = connection
    this.#cluster = cluster
    this.#kafka = kafka
  }

  /** @throws CheckerError BROKER_UNREACHABLE */
  static async connect(connection: KafkaConnection): Promise<KafkaAccess> {
    const common = {
      brokers: [...connection.brokers],
      clientId: 'millrace-checker',
      connectionTimeout: 5_000,
      requestTimeout: 30_000,
      retry: { retries: 5 },
      ...(connection.ssl === undefined ? {} : { ssl: connection.ssl }),
      ...(connection.sasl === undefined ? {} : { sasl: connection.sasl }),
    }
    const kafka = new kafkajs.Kafka({ ...common, logLevel: kafkajs.logLevel.NOTHING })
    const cluster = new ClusterOf({
      ...common,
      authenticationTimeout: 10_000,
      reauthenticationThreshold: 10_000,
      metadataMaxAge: 0,
      allowAutoTopicCreation: false,
      enforceRequestTimeout: true,
      socketFactory: socketFactory(),
      logger: loggers.createLogger({ level: kafkajs.logLevel.NOTHING, logCreator: silent }),
    })
    try {
      await cluster.connect()
    } catch (cause) {
      await cluster.disconnect().catch(silent)
      throw new CheckerError('BROKER_UNREACHABLE', `no broker answers at ${connection.brokers.join(', ')}`, { cause })
    }
    return new KafkaAccess(connection, cluster, kafka)
  }

  /** Every broker's id. */
  async nodes(): Promise<number[]> {
    return (await this.#metadata([])).brokers.map((broker) => broker.nodeId)
  }

  /** The names of all topics, internal ones too. */
  async topics(): Promise<string[]> {
    return (await this.#metadata([])).topicMetadata.map((metadata) => metadata.topic)
  }

  /** For each topic the leader of each partition, by partition number. @throws CheckerError UNKNOWN_TOPIC */
  async leaders(topics: readonly string[]): Promise<Map<string, number[]>> {
    const found = new Map<string, number[]>()
    for (const topic of topics) {
      const metadata = await this.#metadata([topic])
      const partitions = metadata.topicMetadata.find((one) => one.topic === topic)?.partitionMetadata ?? []
      if (partitions.length === 0) throw new CheckerError('UNKNOWN_TOPIC', `topic ${topic} has no partitions`)
      const leaders: number[] = []
      for (const { partitionId, leader } of partitions) leaders[partitionId] = leader
      found.set(topic, leaders)
    }
    return found
  }

  /** The same from memory until `refresh`: for loops that would ask before every fetch. */
  async leadersCached(topics: readonly string[]): Promise<Map<string, number[]>> {
    const missing = topics.filter((topic) => !this.#leaders.has(topic))
    for (const [topic, leaders] of await this.leaders(missing)) this.#leaders.set(topic, leaders)
    return new Map(topics.map((topic) => [topic, this.#leaders.get(topic) ?? []]))
  }

  /** kafkajs answers null when every broker failed. No topics means all of them. */
  async #metadata(topics: readonly string[]): Promise<ClusterMetadata> {
    try {
      const metadata = await this.#cluster.metadata({ topics })
      if (metadata) return metadata
    } catch (cause) {
      const unknown = cause instanceof Error && 'type' in cause && cause.type === 'UNKNOWN_TOPIC_OR_PARTITION'
      const code = unknown ? 'UNKNOWN_TOPIC' : 'BROKER_UNREACHABLE'
      throw new CheckerError(code, `metadata of ${topics.join(', ') || 'the cluster'}: ${messageOf(cause)}`, { cause })
    }
    throw new CheckerError('BROKER_UNREACHABLE', 'no broker answered the metadata request')
  }

  async coordinatorOf(group: string): Promise<number> {
    return Number((await this.#cluster.findGroupCoordinator({ groupId: group })).nodeId)
  }

  /** Sends one request and returns the body of its answer (behind the correlation id). */
  async send(nodeId: number, request: RawRequest): Promise<Buffer> {
    const broker = await this.#cluster.findBroker({ nodeId })
    const encoded = { buf: request.body, buffer: request.body }
    return broker.connectionPool.send({
      request: {
        apiKey: request.api,
        apiVersion: request.version,
        apiName: request.name,
        encode: async () => encoded,
      },
      response: { decode: async (payload) => payload, parse: async (decoded) => decoded },
      requestTimeout: request.timeoutMs ?? null,
      logResponseError: false,
    })
  }

  async refresh(): Promise<void> {
    this.#leaders.clear()
    await this.#cluster.refreshMetadata()
  }

  admin(): Admin {
    return this.#kafka.admin()
  }

  /** Acks from all replicas, the Java client's partitioner. A plain one may write what it sends again twice, an idempotent one not. */
  producer(kind: 'plain' | 'idempotent' = 'plain'): Producer {
    return this.#kafka.producer({
      allowAutoTopicCreation: false,
      createPartitioner: kafkajs.Partitioners.DefaultPartitioner,
      ...(kind === 'idempotent' ? { idempotent: true, maxInFlightRequests: 1 } : {}),
    })
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await this.#cluster.disconnect()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}
