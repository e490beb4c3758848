// The worker's own sink: one Kafka transaction per checkpoint, under two alternating transactional ids. It is the last
// agent of the two-phase commit: the transaction that makes output visible also carries the input offsets and the pointer
// to the state, so its EndTxn decides everything at once. With `at-least-once` an idempotent producer takes its place.
//
//   begin ─▶ write … ─▶ barrier: prepare (all acked) ─▶ commit (offsets + pointer, EndTxn) ─▶ confirm (visible) ─▶ id is free
import { assert } from '../../src/base/assert.ts'
import { monotonicMs } from '../../src/base/clock.ts'
import { isCode } from '../../src/base/errors.ts'
import type { CheckpointId } from '../../src/base/ids.ts'
import type { Logger } from '../../src/base/log.ts'
import { traced } from '../../src/base/messages.ts'
import type {
  Fence,
  PartitionWriter,
  TransactionRecord,
  TransactionSinkOptions,
  WorkerSink,
} from '../../src/dataflow/ports.ts'
import type { KafkaCluster } from './cluster.ts'
import { type CommitRow, Committer } from './committer.ts'
import { BATCH_BYTES_MAX, BuilderPool, Transaction } from './output.ts'
import { Producer } from './producer.ts'
import { TopicWriter } from './topic-writer.ts'
import type { TransactionAdmin } from './transactions.ts'
import { InitProducerId, type ProducerIdentity } from './wire/transaction-requests.ts'

/** A batch's own header, and some. */
const HEADER_BYTES = 128
/** A full request and half of one: the next fills while one is under way. More memory in flight is colder memory. */
const BUFFERED_BYTES_MAX = 12 * 1024 * 1024

export class KafkaTransactionSink implements WorkerSink {
  bytesWritten = 0
  recordsWritten = 0
  readonly #cluster: KafkaCluster
  readonly #admin: TransactionAdmin
  readonly #options: TransactionSinkOptions
  readonly #log: Logger
  readonly #pool = new BuilderPool()
  readonly #producer: Producer
  readonly #committer: Committer
  readonly #transactional: boolean
  readonly #sequences = new Map<string, number>()
  #identities: [Promise<ProducerIdentity> | undefined, Promise<ProducerIdentity> | undefined] = [undefined, undefined]
  #current: Transaction
  #upcoming: Transaction | undefined
  #records = new Map<CheckpointId, TransactionRecord>()
  #committedRows: readonly CommitRow[] = []
  #flushed: (() => void) | undefined
  #deciding: Promise<unknown> = Promise.resolve()
  readonly #stopping = new AbortController()
  #closed = false

  constructor(cluster: KafkaCluster, admin: TransactionAdmin, options: TransactionSinkOptions, log: Logger) {
    this.#cluster = cluster
    this.#admin = admin
    this.#options = options
    this.#log = log
    this.#transactional = options.mode === 'exactly-once'
    this.#producer = new Producer(
      cluster,
      this.#pool,
      log,
      (bytes, records) => this.#onAck(bytes, records),
      options.onFailure,
      options.onStep,
    )
    this.#committer = new Committer(cluster, admin, options.group, options.onStep)
    this.#current = this.#transaction(0)
  }

  #transaction(slot: 0 | 1): Transaction {
    return new Transaction(slot, this.#transactional, this.#transactional ? new Map() : this.#sequences)
  }

  begin(): void {
    const first = this.#initialise(0)
    // An idempotent producer is one for all checkpoints: its sequences go on.
    this.#identities = [first, this.#transactional ? this.#initialise(1) : first]
    this.#adopt(this.#current)
    this.#producer.use([this.#current])
  }

  /** A new epoch for every transaction (I6): a late EndTxn can then only repeat itself. */
  #initialise(slot: 0 | 1): Promise<ProducerIdentity> {
    const transactionalId = this.#options.transactionalIds[slot]
    const to = this.#transactional
      ? ({ kind: 'coordinator', type: 'transaction', key: transactionalId } as const)
      : ({ kind: 'any' } as const)
    const identity = traced(this.#options.onStep, 'init-producer', () =>
      this.#cluster.call(
        InitProducerId,
        {
          transactionalId: this.#transactional ? transactionalId : null,
          timeoutMs: this.#options.transactionTimeoutMs,
        },
        {
          to,
          purpose: 'transaction',
          what: `InitProducerId ${transactionalId}`,
          codeOf: (response) => response.code,
          signal: this.#stopping.signal,
        },
      ),
    ).then(({ producerId, epoch }) => ({ transactionalId, producerId, epoch }))
    identity.catch((error: Error) => !this.#closed && this.#options.onFailure(error))
    return identity
  }

  #adopt(transaction: Transaction): void {
    void this.#identities[transaction.slot]?.then(
      (identity) => {
        transaction.identity = identity
        this.#producer.kick()
      },
      () => undefined,
    )
  }

  writer(topic: string, partitions: number): PartitionWriter {
    const topicBytesMax = this.#options.batchBytesMax.get(topic) ?? BATCH_BYTES_MAX
    return new TopicWriter({
      topic,
      partitions,
      compression: this.#options.compression.get(topic) ?? 'none',
      batchBytesMax: Math.min(BATCH_BYTES_MAX, topicBytesMax - HEADER_BYTES),
      pool: this.#pool,
      transaction: this.#current,
      behind: (checkpoint) => this.#behind(checkpoint),
    })
  }

  #behind(checkpoint: CheckpointId): Transaction {
    const next = this.#upcoming
    const known = next && this.#current.checkpoint === checkpoint
    assert(known, `I1: barrier ${checkpoint} at a sink that has no transaction behind it`)
    return next
  }

  get blocked(): boolean {
    return this.#pool.bufferedBytes > BUFFERED_BYTES_MAX
  }

  get hasWrites(): boolean {
    return this.#current.partitions.size > 0
  }

  get openAgeMs(): number {
    const since = this.#current.openedAtMs
    return since === undefined ? 0 : monotonicMs() - since
  }

  flushIdle(): void {
    this.#producer.kick()
  }

  #onAck(bytes: number, records: number): void {
    this.bytesWritten += bytes
    this.recordsWritten += records
    if (this.#current.sealed && this.#current.outstanding === 0) this.#flushed?.()
    this.#options.onProgress()
  }

  startBarrier(checkpoint: CheckpointId): void {
    assert(!this.#upcoming, `I6: barrier ${checkpoint} while two transactions are open`)
    this.#current.checkpoint = checkpoint
    const next = this.#transaction(this.#current.slot === 0 ? 1 : 0)
    this.#upcoming = next
    this.#adopt(next)
    this.#producer.use([this.#current, next])
  }

  async prepare(checkpoint: CheckpointId): Promise<TransactionRecord> {
    const transaction = this.#current
    assert(transaction.checkpoint === checkpoint, `I4: prepare ${checkpoint} of transaction ${transaction.checkpoint}`)
    const identity = await this.#identities[transaction.slot]
    assert(identity, 'I6: a transaction without InitProducerId')
    transaction.identity = identity
    await new Promise<void>((resolve) => {
      transaction.sealed = true
      this.#flushed = resolve
      if (transaction.outstanding === 0) resolve()
      else this.#producer.kick()
    })
    const partitions = [...transaction.partitions.values()].map((output) => {
      // Pre-commit is a promise of the brokers: everything that was sent is acknowledged (F03 counts on it).
      assert(
        output.acked === output.appended,
        `I14: ${output.topic}-${output.partition} acked ${output.acked} of ${output.appended}`,
      )
      return { topic: output.topic, partition: output.partition, lastOffset: output.lastOffset.toString() }
    })
    const { transactionalId, producerId, epoch } = identity
    const record = { transactionalId, producerId: producerId.toString(), epoch, partitions }
    this.#records.set(checkpoint, record)
    return record
  }

  commit(checkpoint: CheckpointId, offsets: readonly CommitRow[], fence: Fence): Promise<void> {
    const transaction = this.#current
    assert(
      transaction.checkpoint === checkpoint && transaction.sealed,
      `I4: commit ${checkpoint} before it was prepared`,
    )
    assert(offsets.length > 0, `I11: commit ${checkpoint} without offsets`)
    this.#committedRows = offsets
    const deciding = this.#transactional
      ? this.#committer.decide(transaction, offsets, fence)
      : this.#committer.commitOffsets(transaction, offsets, fence)
    this.#deciding = deciding.catch(() => undefined)
    return deciding
  }

  async confirm(checkpoint: CheckpointId, signal?: AbortSignal): Promise<void> {
    const transaction = this.#current
    assert(
      transaction.checkpoint === checkpoint && transaction.phase === 'decided',
      `I4: confirm ${checkpoint} before it was decided`,
    )
    if (this.#transactional) {
      const work = this.#confirmed(checkpoint, signal)
      this.#deciding = work.catch(() => undefined)
      await work
    }
    transaction.phase = 'committed'
    if (this.#closed) return
    this.#identities[transaction.slot] = this.#transactional
      ? this.#initialise(transaction.slot)
      : this.#identities[transaction.slot]
    const next = this.#upcoming
    assert(next, `I6: no transaction behind ${checkpoint}`)
    this.#upcoming = undefined
    this.#current = next
    this.#producer.use([next])
    this.#producer.kick()
  }

  async #confirmed(checkpoint: CheckpointId, signal?: AbortSignal): Promise<void> {
    const record = this.#records.get(checkpoint)
    assert(record, `I4: nothing is known of checkpoint ${checkpoint}`)
    await this.#committer.confirm(checkpoint, record, this.#committedRows, signal)
    this.#records = new Map()
  }

  /** Drops the buffers. A commit that was sent is followed to its end first (I7); what is open is aborted by a new epoch. */
  async abort(): Promise<void> {
    this.#closed = true
    this.#stopping.abort()
    this.#producer.stop()
    // A late InitProducerId of this attempt would fence the next one.
    await Promise.allSettled(this.#identities)
    await this.#deciding
    const decided = this.#current.phase === 'decided'
    const checkpoint = this.#current.checkpoint
    if (decided && this.#transactional && checkpoint !== undefined && this.#records.has(checkpoint))
      // Visible everywhere is what counts here; whether the partitions still are ours, the next assignment says.
      await this.#confirmed(checkpoint).catch((error: unknown) => {
        if (!isCode(error, 'GENERATION_STALE')) throw error
      })
    if (!this.#transactional) return
    const touched = [this.#current, this.#upcoming].filter(
      (each) => each && each.phase === 'open' && each.openedAtMs !== undefined,
    )
    if (this.#current.phase === 'deciding') touched.push(this.#current)
    await Promise.all(
      touched.map(async (transaction) => {
        if (!transaction) return
        const id = this.#options.transactionalIds[transaction.slot]
        this.#log.info({ transactionalId: id }, 'aborting')
        await this.#admin.resolve(id, transaction.identity)
      }),
    )
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#producer.stop()
  }
}
