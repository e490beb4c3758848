// The engine's `Cluster` port on Kafka: puts the pieces of this folder together.
import type { CheckpointStore } from '../../src/base/checkpoint-store.ts'
import { delay, monotonicMs } from '../../src/base/clock.ts'
import { MillraceError } from '../../src/base/errors.ts'
import type { Logger } from '../../src/base/log.ts'
import type {
  Cluster,
  ClusterFactory,
  ClusterOptions,
  CommittedOffset,
  DecidedTransaction,
  GroupMember,
  LogRange,
  MemberOptions,
  PartitionReader,
  Position,
  StartPosition,
  TopicInfo,
  TopicStoreOptions,
  TransactionRecord,
  TransactionSinkOptions,
  WorkerSink,
} from '../../src/dataflow/ports.ts'
import { KafkaCheckpointStore } from './checkpoint-store.ts'
import type { ClientOptions } from './client.ts'
import { KafkaCluster } from './cluster.ts'
import { KafkaGroupMember, leaveGroup } from './group.ts'
import { fetchOffsets } from './offsets.ts'
import { KafkaReader } from './reader.ts'
import { KafkaTransactionSink } from './transaction-sink.ts'
import { TransactionAdmin } from './transactions.ts'
import {
  CreateTopics,
  DeleteRecords,
  DeleteTopics,
  DescribeConfigs,
  EARLIEST,
  type Isolation,
  LATEST,
  ListOffsets,
} from './wire/cluster-requests.ts'
import { Code, kafkaError } from './wire/codes.ts'
import { DescribeGroups, OffsetCommit } from './wire/group-requests.ts'
import { DescribeProducers } from './wire/transaction-requests.ts'

export const kafkaFactory: ClusterFactory = {
  kind: 'kafka',
  async connect(options: ClusterOptions, clientId: string, log: Logger): Promise<Cluster> {
    const cluster = new KafkaCluster(options as ClientOptions, clientId, log)
    await cluster.connect()
    return new KafkaPort(cluster, log)
  },
}

class KafkaPort implements Cluster {
  readonly #cluster: KafkaCluster
  readonly #log: Logger
  readonly #transactions: TransactionAdmin

  constructor(cluster: KafkaCluster, log: Logger) {
    this.#cluster = cluster
    this.#log = log
    this.#transactions = new TransactionAdmin(cluster, log)
  }

  get brokerCount(): number {
    return this.#cluster.brokerIds.length
  }

  async topics(names: readonly string[]): Promise<ReadonlyMap<string, TopicInfo>> {
    const described = await this.#cluster.describeTopics(names)
    const found = new Map<string, TopicInfo>()
    for (const topic of described.values()) {
      if (topic.code === Code.UNKNOWN_TOPIC_OR_PARTITION) continue
      if (topic.code !== Code.NONE) throw kafkaError(topic.code, `metadata of topic ${topic.name} (needs DESCRIBE)`)
      const replication = Math.min(...topic.partitions.map((partition) => partition.replicas.length))
      found.set(topic.name, { name: topic.name, id: topic.id, partitions: topic.partitions.length, replication })
    }
    return found
  }

  async topicConfigs(names: readonly string[]): Promise<ReadonlyMap<string, ReadonlyMap<string, string>>> {
    if (names.length === 0) return new Map()
    const rows = await this.#cluster.call(
      DescribeConfigs,
      { resources: names.map((name) => ({ type: 'topic' as const, name })) },
      {
        to: { kind: 'any' },
        what: `configs of ${names.join(', ')} (needs DESCRIBE_CONFIGS)`,
        codeOf: (each) => each.find((row) => row.code !== 0)?.code ?? 0,
      },
    )
    return new Map(rows.map((row) => [row.name, row.values]))
  }

  async brokerConfigs(): Promise<ReadonlyMap<string, string> | undefined> {
    const [node] = this.#cluster.brokerIds
    if (node === undefined) return undefined
    const rows = await this.#cluster.call(
      DescribeConfigs,
      { resources: [{ type: 'broker', name: String(node) }] },
      {
        to: { kind: 'node', node },
        what: 'broker configs',
        codeOf: (each) => each[0]?.code ?? 0,
        accept: (code) => code === Code.CLUSTER_AUTHORIZATION_FAILED,
      },
    )
    return rows[0]?.code === Code.NONE ? rows[0].values : undefined
  }

  async createTopic(name: string, partitions: number, given: ReadonlyMap<string, string>): Promise<void> {
    // As durable as the cluster can make it; on fewer than three brokers, as the brokers are set.
    const durable = this.brokerCount >= 3
    const replication = durable ? 3 : -1
    const configs = new Map([...(durable ? [['min.insync.replicas', '2'] as const] : []), ...given])
    await this.#cluster.call(
      CreateTopics,
      { topics: [{ name, partitions, replication, configs }], timeoutMs: 30_000 },
      {
        to: { kind: 'any' },
        what: `creating topic ${name} with ${partitions} partitions (needs CREATE)`,
        codeOf: (rows) => rows[0]?.code ?? 0,
        accept: (code) => code === Code.TOPIC_ALREADY_EXISTS,
      },
    )
    const deadline = monotonicMs() + 30_000
    for (;;) {
      const info = (await this.#cluster.describeTopics([name])).get(name)
      if (info?.code === Code.NONE && info.partitions.every((partition) => partition.leader >= 0)) return
      if (monotonicMs() > deadline)
        throw kafkaError(Code.LEADER_NOT_AVAILABLE, `topic ${name} was created and has no leaders`)
      await delay(20)
    }
  }

  async deleteTopic(name: string): Promise<void> {
    await this.#cluster.call(
      DeleteTopics,
      { topics: [name], timeoutMs: 30_000 },
      {
        to: { kind: 'any' },
        what: `deleting topic ${name} (needs DELETE)`,
        codeOf: (rows) => rows[0]?.code ?? 0,
        accept: (code) => code === Code.UNKNOWN_TOPIC_OR_PARTITION,
      },
    )
    const deadline = monotonicMs() + 30_000
    while ((await this.topics([name])).size > 0) {
      if (monotonicMs() > deadline)
        throw kafkaError(Code.REQUEST_TIMED_OUT, `topic ${name} was deleted and is still there`)
      await delay(20)
    }
  }

  async #list(topic: string, partition: number, timestamp: bigint, isolation: Isolation): Promise<bigint> {
    const [row] = await this.#cluster.call(
      ListOffsets,
      { isolation, topics: [{ topic, partitions: [{ partition, timestamp }] }] },
      {
        to: { kind: 'leader', topic, partition },
        what: `ListOffsets ${topic}-${partition}`,
        codeOf: (rows) => rows[0]?.code ?? 0,
      },
    )
    return row?.offset ?? -1n
  }

  async startOffset(topic: string, partition: number, position: StartPosition): Promise<bigint> {
    if (position === 'earliest') return this.#list(topic, partition, EARLIEST, 'read_committed')
    if (position !== 'latest') {
      const found = await this.#list(topic, partition, BigInt(position.timestamp), 'read_committed')
      if (found >= 0n) return found
    }
    return this.#list(topic, partition, LATEST, 'read_committed')
  }

  async logRange(topic: string, partition: number): Promise<LogRange> {
    const start = await this.#list(topic, partition, EARLIEST, 'read_committed')
    return { start, end: await this.#list(topic, partition, LATEST, 'read_committed') }
  }

  committedOffsets(
    group: string,
    partitions: readonly { topic: string; partition: number }[] | null,
    options: { signal?: AbortSignal | undefined; suspects?: () => Promise<readonly TransactionRecord[]> } = {},
  ): Promise<readonly CommittedOffset[]> {
    const { signal, suspects } = options
    const repair = async (): Promise<boolean> => this.#transactions.repairOffsets(group, (await suspects?.()) ?? [])
    return fetchOffsets(this.#cluster, group, partitions, { signal, repair })
  }

  async resetOffsets(group: string, offsets: readonly (Position & { readonly metadata: string })[]): Promise<void> {
    await this.#cluster.call(
      OffsetCommit,
      { group, generation: -1, member: '', instance: '', offsets },
      {
        to: { kind: 'coordinator', type: 'group', key: group },
        what: `writing offsets of group ${group}`,
        codeOf: (rows) => rows.find((row) => row.code !== 0)?.code ?? 0,
      },
    )
  }

  async groupState(group: string): Promise<string> {
    const [row] = await this.#cluster.call(
      DescribeGroups,
      { groups: [group] },
      {
        to: { kind: 'coordinator', type: 'group', key: group },
        what: `DescribeGroups ${group}`,
        codeOf: (rows) => rows[0]?.code ?? 0,
        accept: (code) => code === Code.GROUP_ID_NOT_FOUND,
      },
    )
    return row?.code === Code.NONE ? row.state : 'Dead'
  }

  removeMember(group: string, member: string, instance: string): Promise<void> {
    return leaveGroup(this.#cluster, group, member, instance)
  }

  async deleteRecords(topic: string, offsets: readonly { partition: number; offset: bigint }[]): Promise<void> {
    for (const each of offsets) {
      await this.#cluster.call(
        DeleteRecords,
        { topic, offsets: [each], timeoutMs: 30_000 },
        {
          to: { kind: 'leader', topic, partition: each.partition },
          what: `DeleteRecords ${topic}-${each.partition}`,
          codeOf: (rows) => rows[0]?.code ?? 0,
        },
      )
    }
  }

  async tryRights({ read, purge }: { read: readonly string[]; purge: readonly string[] }): Promise<void> {
    for (const topic of read) {
      await this.#cluster.call(
        DescribeProducers,
        { partitions: [{ topic, partition: 0 }] },
        {
          to: { kind: 'leader', topic, partition: 0 },
          what: `looking into topic ${topic} for open transactions (needs READ)`,
          codeOf: (rows) => rows[0]?.code ?? 0,
        },
      )
    }
    for (const topic of purge) {
      // Up to its beginning: nothing is deleted.
      await this.#cluster.call(
        DeleteRecords,
        { topic, offsets: [{ partition: 0, offset: 0n }], timeoutMs: 30_000 },
        {
          to: { kind: 'leader', topic, partition: 0 },
          what: `purging repartition topic ${topic} (needs DELETE)`,
          codeOf: (rows) => rows[0]?.code ?? 0,
          accept: (code) => code === Code.OFFSET_OUT_OF_RANGE,
        },
      )
    }
  }

  checkpointStore(options: TopicStoreOptions): CheckpointStore {
    return new KafkaCheckpointStore(this.#cluster, this, options, this.#log)
  }

  member(options: MemberOptions): GroupMember {
    return new KafkaGroupMember(this.#cluster, options, this.#log)
  }

  reader(onReady: () => void, onError: (error: Error) => void): PartitionReader {
    return new KafkaReader(this.#cluster, this.#log, onReady, onError)
  }

  transactionSink(options: TransactionSinkOptions): WorkerSink {
    return new KafkaTransactionSink(this.#cluster, this.#transactions, options, this.#log)
  }

  async resolveTransactions(ids: readonly string[]): Promise<readonly DecidedTransaction[]> {
    const resolved = await Promise.all(ids.map((id) => this.#transactions.resolve(id)))
    return resolved.flatMap((each) =>
      each?.state === 'CompleteCommit'
        ? [{ transactionalId: each.transactionalId, producerId: each.producerId.toString(), epoch: each.epoch }]
        : [],
    )
  }

  openTransactions(prefix: string): Promise<readonly string[]> {
    return this.#transactions.open(prefix)
  }

  confirmTransaction(record: TransactionRecord, signal?: AbortSignal): Promise<void> {
    return this.#transactions.confirm(record, signal)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cluster.close()
  }
}

/** Topics are compared by id: a name that was deleted and created again is another topic. */
export function assertKafkaName(name: string): void {
  if (/^[a-zA-Z0-9._-]{1,249}$/.test(name) && name !== '.' && name !== '..') return
  throw new MillraceError(
    'OPTION_INVALID',
    `'${name}' is not a topic name: letters, digits, '.', '_' and '-', at most 249`,
  )
}
