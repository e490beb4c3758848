// The ports between the engine and a connector: what a source or sink declares to the plan, and what the worker asks of a
// cluster. The engine knows no Kafka client; `kafkaSource()` carries the factory of one.
import type { ByteWriter } from '../base/byte-writer.ts'
import type { CheckpointStore } from '../base/checkpoint-store.ts'
import type { CheckpointId } from '../base/ids.ts'
import type { Logger } from '../base/log.ts'
import type { StepListener } from '../base/messages.ts'
import type { Encoder, Serde } from '../state/serde.ts'
import type { ColumnarBatch } from './batch.ts'
import type { RecordContext } from './functions.ts'

/** Where a partition begins when the pipeline has never read it. A timestamp is in ms since 1970. */
export type StartPosition = 'earliest' | 'latest' | { readonly timestamp: number }

export interface ClusterOptions {
  readonly brokers: readonly string[]
  readonly ssl?: boolean | object
  readonly sasl?: {
    readonly mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512'
    readonly username: string
    readonly password: string
  }
  /** How long the first contact may take, in ms. Default 30 000. */
  readonly connectTimeoutMs?: number
  /** Where to reach a broker that advertises `host:port`: for tunnels, port forwards and proxies. Default: right there. */
  readonly translateAddress?: (address: string) => string
}

/** Opens clusters of one kind; sources and sinks of that kind carry it. */
export interface ClusterFactory {
  readonly kind: string
  connect(options: ClusterOptions, clientId: string, log: Logger): Promise<Cluster>
}

export interface SourceConnector<K, V> {
  readonly role: 'source'
  readonly factory: ClusterFactory
  readonly topics: readonly string[]
  readonly key: Serde<K>
  readonly value: Serde<V>
  readonly start: StartPosition
  /** `fail` stops the pipeline at an undecodable record; `skip` counts and drops it. */
  readonly onDecodeError: 'fail' | 'skip'
  /** Set only if the source names its own cluster: exactly-once needs it to be the group's. */
  readonly brokers?: readonly string[]
}

export type Compression = 'none' | 'gzip' | 'snappy' | 'lz4' | 'zstd'

/** A sink on the pipeline's own cluster: its records go into the worker's transaction. */
export interface TopicSinkConnector<K, V> {
  readonly role: 'topic-sink'
  readonly factory: ClusterFactory
  /** All topics that it may write to. */
  readonly topics: readonly string[]
  readonly key: Encoder<K>
  readonly value: Encoder<V>
  readonly topicOf?: ((value: V, record: RecordContext<K>) => string) | undefined
  readonly keyOf?: ((value: V, record: RecordContext<K>) => K) | undefined
  /** Default: murmur2 of the key as the Java client's; records without key keep their source's partition, modulo. */
  readonly partitioner?: ((key: K, value: V, partitions: number) => number) | undefined
  readonly headers?:
    | ((value: V, record: RecordContext<K>) => Iterable<readonly [string, Buffer | string | null]>)
    | undefined
  readonly compression: Compression
  readonly brokers?: readonly string[]
}

/** A sink on another system that can hold a prepared transaction until it is told (Flink's two-phase commit sink). */
export interface TwoPhaseSinkConnector<K, V> {
  readonly role: 'two-phase-sink'
  open(context: {
    readonly pipeline: string
    readonly operator: string
    readonly partition: number
    readonly log: Logger
    /** To be called when the sink is `full` no more. */
    readonly wake: () => void
  }): TwoPhaseCommitSink<K, V>
}

export type SinkConnector<K, V> = TopicSinkConnector<K, V> | TwoPhaseSinkConnector<K, V>

/** What a two-phase sink remembers of a prepared transaction: JSON, stored in the checkpoint file. `{}`: there is none. */
export type TransactionHandle = Readonly<Record<string, unknown>>

/**
 * The contract of every exactly-once sink. Per checkpoint n: `begin` · any number of `write` · `prepare`, after which the
 * other system keeps the transaction through crashes of both sides until told · `commit` or `abort`. All must be
 * idempotent: recovery repeats them. The worker's own Kafka transaction is the last agent: handles of other systems are
 * committed only after it.
 */
export interface TwoPhaseCommitSink<K = unknown, V = unknown> {
  /** A transaction for the records before the next barrier. */
  begin(): Promise<void>
  write(value: V, record: RecordContext<K>): void
  /** True while more waits in memory than should: the task reads nothing; barriers pass. When it is false again, `wake` is to be called. Without it, never full. */
  readonly full?: boolean
  /** Flushes everything written since `begin`; when it resolves the transaction survives any crash. */
  prepare(checkpoint: CheckpointId): Promise<TransactionHandle>
  commit(handle: TransactionHandle): Promise<void>
  /** Without a handle: the transaction that is open. */
  abort(handle?: TransactionHandle): Promise<void>
  /** After a restore: commits `committed` (again) and aborts everything else of this operator and partition. */
  recover(committed: readonly TransactionHandle[]): Promise<void>
  close(): Promise<void>
}

export interface TopicInfo {
  readonly name: string
  readonly id: string
  readonly partitions: number
  readonly replication: number
}

export interface CommittedOffset {
  readonly topic: string
  readonly partition: number
  /** −1: none. */
  readonly offset: bigint
  readonly leaderEpoch: number
  readonly metadata: string
}

export interface Position {
  readonly topic: string
  readonly partition: number
  readonly offset: bigint
  readonly leaderEpoch: number
}

/** Captured with an assignment, sent with every commit under it (I9). */
export interface Fence {
  readonly generation: number
  readonly member: string
  readonly instance: string
}

/** A transaction by name, as checkpoint files keep it: enough to look it up and to repair it. */
export interface TransactionRecord {
  readonly transactionalId: string
  readonly producerId: string
  readonly epoch: number
  /** Output partitions with the offset of the last record written there. */
  readonly partitions: readonly { readonly topic: string; readonly partition: number; readonly lastOffset: string }[]
}

/** The coordinator recorded a commit for exactly this producer and epoch. */
export interface DecidedTransaction {
  readonly transactionalId: string
  readonly producerId: string
  readonly epoch: number
}

export interface Cluster extends AsyncDisposable {
  readonly brokerCount: number
  /** Missing topics are absent from the answer. */
  topics(names: readonly string[]): Promise<ReadonlyMap<string, TopicInfo>>
  topicConfigs(names: readonly string[]): Promise<ReadonlyMap<string, ReadonlyMap<string, string>>>
  /** Settings of the brokers; undefined where the right to read them is missing. */
  brokerConfigs(): Promise<ReadonlyMap<string, string> | undefined>
  createTopic(name: string, partitions: number, configs: ReadonlyMap<string, string>): Promise<void>
  /** Deletes one of the pipeline's own topics; resolves when it is gone. One that is not there is no error. */
  deleteTopic(name: string): Promise<void>
  startOffset(topic: string, partition: number, position: StartPosition): Promise<bigint>
  /** Log start and last stable offset. */
  logRange(topic: string, partition: number): Promise<LogRange>
  /** Committed offsets with nothing undecided behind them (waits for open transactions). null: of every partition. */
  committedOffsets(
    group: string,
    partitions: readonly { topic: string; partition: number }[] | null,
    options?: {
      readonly signal?: AbortSignal | undefined
      /** Transactions that may hold the offsets back: repaired if they are decided and lack their markers. */
      readonly suspects?: () => Promise<readonly TransactionRecord[]>
    },
  ): Promise<readonly CommittedOffset[]>
  /** Plain commit, outside any transaction: `millrace reset`, with an empty group. */
  resetOffsets(group: string, offsets: readonly (Position & { readonly metadata: string })[]): Promise<void>
  groupState(group: string): Promise<string>
  /** Gives up the place of a member that has ended; nothing happens if its instance is another member's by now. */
  removeMember(group: string, member: string, instance: string): Promise<void>
  deleteRecords(topic: string, offsets: readonly { partition: number; offset: bigint }[]): Promise<void>
  /**
   * Rights that are needed only when something went wrong (to look into `read` topics for open transactions) or much later
   * (to purge `purge` topics) are tried at the start. @throws KAFKA_NOT_AUTHORIZED
   */
  tryRights(topics: { readonly read: readonly string[]; readonly purge: readonly string[] }): Promise<void>
  /** A store in a topic of the pipeline's own. Nothing is asked of the cluster before its first call. */
  checkpointStore(options: TopicStoreOptions): CheckpointStore
  member(options: MemberOptions): GroupMember
  reader(onReady: () => void, onError: (error: Error) => void): PartitionReader
  transactionSink(options: TransactionSinkOptions): WorkerSink
  /**
   * Looks before it touches: aborts an id's open transaction, waits for one that is being decided, leaves the others. Gives
   * the ids whose last transaction is committed.
   */
  resolveTransactions(ids: readonly string[]): Promise<readonly DecidedTransaction[]>
  /** Open transactional ids that begin with `prefix`. */
  openTransactions(prefix: string): Promise<readonly string[]>
  /** Checks that a decided transaction is visible on all its partitions, and repairs dropped markers. @throws MARKERS_DROPPED */
  confirmTransaction(record: TransactionRecord, signal?: AbortSignal): Promise<void>
}

/** Offsets that a partition holds: from `start` (included) to `end` (not). */
export interface LogRange {
  readonly start: bigint
  readonly end: bigint
}

export interface TopicStoreOptions {
  readonly topic: string
  /** How many it gets if it has to be made. */
  readonly partitions: () => Promise<number>
  readonly configs: ReadonlyMap<string, string>
}

export interface MemberOptions {
  readonly group: string
  readonly instance: string
  readonly topics: () => readonly string[]
  readonly sessionTimeoutMs: number
  readonly rebalanceTimeoutMs: number
  readonly heartbeatMs: number
  /** What the member tells the leader: opaque to the connector. */
  readonly userData: () => Buffer
  /** Called on the leader: who gets what. */
  readonly assign: (members: readonly GroupMemberInfo[]) => Promise<ReadonlyMap<string, MemberAssignment>>
}

export interface GroupMemberInfo {
  readonly member: string
  readonly instance: string
  readonly topics: readonly string[]
  readonly userData: Buffer
}

export interface MemberAssignment {
  readonly partitions: readonly { readonly topic: string; readonly partition: number }[]
  readonly userData: Buffer
}

export interface JoinedGeneration extends MemberAssignment {
  readonly fence: Fence
  readonly leader: boolean
  /** The instances of the generation; on the leader only. */
  readonly instances: readonly string[]
}

export interface GroupMember {
  /** Joins or rejoins; resolves when this member has its assignment. */
  join(signal?: AbortSignal): Promise<JoinedGeneration>
  /** Called when the group wants this member to rejoin, or does not know it any more. */
  onRebalance: (reason: 'rebalance' | 'expelled') => void
  onFenced: (error: Error) => void
  /** Asks the group whether this member is still the one. @throws INSTANCE_FENCED, GENERATION_STALE */
  verify(): Promise<void>
  /** On our monotonic clock. */
  readonly lastHeartbeatMs: number
  leave(): Promise<void>
  close(): void
}

/** Fetches batches ahead of the tasks, bounded; aborted and control records are gone. */
export interface PartitionReader {
  /** Reads these too. */
  assign(positions: readonly Position[]): void
  /** Forgets a partition and what was fetched of it. */
  revoke(topic: string, partition: number): void
  /** The next batch of a partition, if one is here. The task may release it when it is through. @throws BATCH_CORRUPT */
  poll(topic: string, partition: number): ReaderElement | undefined
  /** Records between the position and the last stable offset, as of the last fetch; undefined: not known yet. */
  lag(topic: string, partition: number, position: bigint): bigint | undefined
  stop(): void
}

/** Records, or only progress: offsets that control and aborted batches took. */
export type ReaderElement =
  | { readonly kind: 'batch'; readonly batch: ColumnarBatch }
  | { readonly kind: 'progress'; readonly nextOffset: bigint; readonly leaderEpoch: number }

export interface TransactionSinkOptions {
  readonly mode: 'exactly-once' | 'at-least-once'
  readonly group: string
  readonly transactionalIds: readonly [string, string]
  readonly transactionTimeoutMs: number
  readonly compression: ReadonlyMap<string, Compression>
  /** The largest batch that each topic takes, in bytes: its `max.message.bytes`. */
  readonly batchBytesMax: ReadonlyMap<string, number>
  /** Something changed that may unblock tasks. */
  readonly onProgress: () => void
  readonly onStep: StepListener
  /** The transaction cannot go on: roll back. */
  readonly onFailure: (error: Error) => void
}

/** Where one operator writes: resolved once per topic, so that a record costs no look-up by name. */
export interface PartitionWriter {
  /**
   * Begins a record; a key's length of −1 means null. Its value is what is appended to the result, which is the batch itself,
   * until `end` or `undo`: one of them must follow, and nothing may come between.
   */
  begin(partition: number, timestamp: number, key: Buffer, keyAt: number, keyLength: number): ByteWriter
  /** Ends it. `headers`: Kafka's encoding of them at `headersAt … headersEnd`; null: none. */
  end(value: 'written' | 'null', headers: Buffer | null, headersAt: number, headersEnd: number): void
  /** Nothing of the record that was begun stays. */
  undo(): void
  /** Appends key, value and headers as they stand in Kafka's record format at `start … end`, lengths included. */
  copy(partition: number, timestamp: number, source: Buffer, start: number, end: number): void
  /** The operator passed barrier n: what it writes from now on belongs to n+1. */
  barrier(checkpoint: CheckpointId): void
  readonly partitions: number
}

/** The worker's own sink on its cluster: one transaction per checkpoint, carrying output, offsets and pointer. */
export interface WorkerSink {
  /** A writer for one operator of one task: operators pass a barrier at different times. */
  writer(topic: string, partitions: number): PartitionWriter
  /** True while so much is buffered that sources must pause. */
  readonly blocked: boolean
  /** Something was written since the last barrier. */
  readonly hasWrites: boolean
  /** Age of the oldest open transaction in ms; 0: none. */
  readonly openAgeMs: number
  readonly bytesWritten: number
  readonly recordsWritten: number
  /** Seals what is worth sending; called once per turn of the scheduler. */
  flushIdle(): void
  /** Barrier n is about to be injected: from now on there are two transactions. */
  startBarrier(checkpoint: CheckpointId): void
  /** All tasks delivered barrier n: flush. Resolves when every record of n is acknowledged. */
  prepare(checkpoint: CheckpointId): Promise<TransactionRecord>
  /** Puts offsets and pointer into transaction n and decides it. @throws TRANSACTION_UNKNOWN, GENERATION_STALE, … */
  commit(
    checkpoint: CheckpointId,
    offsets: readonly (Position & { readonly metadata: string })[],
    fence: Fence,
  ): Promise<void>
  /** Waits until n is visible everywhere; repairs dropped markers. Then its id may be used again. */
  confirm(checkpoint: CheckpointId, signal?: AbortSignal): Promise<void>
  /** Drops buffers and aborts open transactions; after it the sink is as new. */
  abort(): Promise<void>
  /** Opens the first transaction. */
  begin(): void
  close(): Promise<void>
}
