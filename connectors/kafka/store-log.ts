// The log of a checkpoint topic: batches appended by an idempotent producer without transactions, acks=all, one in flight;
// and read from a given offset. It has a connection of its own per broker: a checkpoint's bytes do not stand behind fetches, and
// nothing of a transaction stands behind them.
//
// A batch is repeated as it is, same bytes under the same sequence, until it is acknowledged or refused (I8). After that its
// outcome may be unknown: what follows goes out under the next epoch, and then a broker takes nothing of the last one any more.
// In the same way others shut a producer out that they take for dead.
import { wallMs } from '../../src/base/clock.ts'
import { isCode, MillraceError } from '../../src/base/errors.ts'
import { KEY_AT, KEY_LENGTH, OFFSET_DELTA, STRIDE, VALUE_AT, VALUE_LENGTH } from '../../src/dataflow/batch.ts'
import type { KafkaCluster } from './cluster.ts'
import { BatchBuilder } from './wire/batch-builder.ts'
import { DeleteRecords, EARLIEST, LATEST, ListOffsets } from './wire/cluster-requests.ts'
import { Code } from './wire/codes.ts'
import { Fetch, Produce } from './wire/data-requests.ts'
import { decodeBatch, endOfBatches, readBatches } from './wire/record-batch.ts'
import { InitProducerId } from './wire/transaction-requests.ts'

/** Of our own epochs. */
const EPOCH_MAX = 32_000
/** Kafka's last one: nothing of this producer comes after it. */
const EPOCH_OF_THE_DEAD = 32_767
const SEQUENCE_MASK = 0x7fffffff
const MAX_WAIT_MS = 100

export interface NewRecord {
  readonly key: string
  /** In parts that follow one another; null: a tombstone. */
  readonly value: readonly Uint8Array[] | null
}

export interface Appended {
  readonly offset: bigint
  readonly ms: number
}

export interface LogRecord {
  readonly offset: bigint
  readonly timestamp: number
  readonly key: Buffer | null
  readonly value: Buffer | null
}

/** What a fetch gave; `gone`: the log does not hold the offset. */
export type Fetched =
  | { readonly kind: 'gone' }
  | {
      readonly kind: 'records'
      readonly records: Iterable<LogRecord>
      /** Behind the last whole batch; compaction may have taken records before it. */
      readonly next: bigint
      /** So far the log can be read. */
      readonly end: bigint
    }

export class StoreLog {
  readonly topic: string
  readonly #cluster: KafkaCluster
  readonly #sequences = new Map<number, number>()
  readonly #ends = new Map<number, bigint>()
  #builder: BatchBuilder | undefined
  #identifying: Promise<{ readonly producerId: bigint; readonly epoch: number }> | undefined
  #producer: { readonly producerId: bigint; readonly epoch: number } | undefined
  /** The append before. */
  #last: Promise<unknown> = Promise.resolve()

  constructor(cluster: KafkaCluster, topic: string) {
    this.#cluster = cluster
    this.topic = topic
  }

  /** One batch; gives its first offset, and when it was. `as`: only while that is our producer id. */
  append(partition: number, records: readonly NewRecord[], as?: bigint): Promise<Appended> {
    const next = this.#last.catch(() => undefined).then(() => this.#append(partition, records, as))
    this.#last = next
    return next
  }

  async #append(partition: number, records: readonly NewRecord[], as: bigint | undefined): Promise<Appended> {
    const { producerId, epoch } = await this.identify()
    if (as !== undefined && as !== producerId)
      throw new MillraceError('TRANSACTION_FENCED', `producer ${as} of ${this.topic} was given up`)
    const sequence = this.#sequences.get(partition) ?? 0
    const ms = wallMs()
    const builder = this.#builder ?? new BatchBuilder()
    // Its memory is not used again unless the batch was acknowledged.
    this.#builder = undefined
    const batch = sealed(builder, ms, records, { producerId, epoch, baseSequence: sequence })
    try {
      const what = `writing ${batch.length} bytes to ${this.topic}-${partition} (needs WRITE)`
      const offset = await this.#produce(partition, batch, what)
      this.#sequences.set(partition, (sequence + records.length) & SEQUENCE_MASK)
      this.#ends.set(partition, offset + BigInt(records.length))
      builder.reset()
      this.#builder = builder
      return { offset, ms }
    } catch (error) {
      const shutOut = isCode(error, 'TRANSACTION_FENCED') || epoch >= EPOCH_MAX
      this.#producer = shutOut ? undefined : { producerId, epoch: epoch + 1 }
      this.#sequences.clear()
      throw error
    }
  }

  /** Asked for once, however many ask at a time. */
  async identify(): Promise<{ readonly producerId: bigint; readonly epoch: number }> {
    if (this.#producer) return this.#producer
    this.#identifying ??= this.#newProducer()
    try {
      this.#producer ??= await this.#identifying
      return this.#producer
    } finally {
      this.#identifying = undefined
    }
  }

  #newProducer(): Promise<{ readonly producerId: bigint; readonly epoch: number }> {
    return this.#cluster.call(
      InitProducerId,
      { transactionalId: null, timeoutMs: 60_000 },
      {
        to: { kind: 'any' },
        purpose: 'store',
        what: `a producer id for ${this.topic} (needs WRITE)`,
        codeOf: (answer) => answer.code,
      },
    )
  }

  /**
   * Appends one record in the name of a producer, and nothing of that producer comes after it. Somebody else may have done so
   * already: then nothing is appended.
   */
  async shutOut(producerId: bigint, partition: number, record: NewRecord): Promise<void> {
    const batch = sealed(new BatchBuilder(), wallMs(), [record], {
      producerId,
      epoch: EPOCH_OF_THE_DEAD,
      baseSequence: 0,
    })
    const what = `shutting producer ${producerId} out of ${this.topic}-${partition} (needs WRITE)`
    await this.#produce(partition, batch, what, [Code.OUT_OF_ORDER_SEQUENCE, Code.DUPLICATE_SEQUENCE])
  }

  /** Gives the batch's first offset. `accepted`: codes that are as good as 0. */
  async #produce(partition: number, batch: Buffer, what: string, accepted: readonly number[] = []): Promise<bigint> {
    const { topic } = this
    const [answer] = await this.#cluster.call(
      Produce,
      { transactionalId: null, timeoutMs: 30_000, batches: [{ topic, partition, batch }] },
      {
        to: { kind: 'leader', topic, partition },
        purpose: 'store',
        what,
        codeOf: (answers) => answers[0]?.code ?? Code.NETWORK_EXCEPTION,
        accept: (code) => accepted.includes(code),
      },
    )
    return answer?.baseOffset ?? -1n
  }

  /** As of our last append: the partition was at least so long. */
  knownEnd(partition: number): bigint {
    return this.#ends.get(partition) ?? 0n
  }

  /** Everything acknowledged before the call stands before it, whoever leads. */
  end(partition: number): Promise<bigint> {
    return this.#offset(partition, LATEST)
  }

  start(partition: number): Promise<bigint> {
    return this.#offset(partition, EARLIEST)
  }

  async #offset(partition: number, timestamp: bigint): Promise<bigint> {
    const [row] = await this.#cluster.call(
      ListOffsets,
      { isolation: 'read_uncommitted', topics: [{ topic: this.topic, partitions: [{ partition, timestamp }] }] },
      {
        to: { kind: 'leader', topic: this.topic, partition },
        purpose: 'store',
        what: `ListOffsets ${this.topic}-${partition} (needs READ)`,
        codeOf: (rows) => rows[0]?.code ?? Code.NETWORK_EXCEPTION,
      },
    )
    return row?.offset ?? 0n
  }

  /** From `offset` on, about `bytes`. Batches are verified when they are reached. @throws BATCH_CORRUPT */
  async fetch(partition: number, offset: bigint, bytes: number): Promise<Fetched> {
    const where = `${this.topic}-${partition}`
    const answer = await this.#cluster.call(
      Fetch,
      {
        ...{ maxWaitMs: MAX_WAIT_MS, maxBytes: bytes, partitionBytesMax: bytes, isolation: 'read_uncommitted' },
        partitions: [{ topic: this.topic, partition, leaderEpoch: -1, offset, lastEpoch: -1 }],
      },
      {
        to: { kind: 'leader', topic: this.topic, partition },
        purpose: 'store',
        what: `reading ${where}@${offset} (needs READ)`,
        // A broker that holds us back for a quota answers without partitions.
        codeOf: ({ code, partitions }) => code || (partitions[0]?.code ?? Code.OFFSET_NOT_AVAILABLE),
        accept: (code) => code === Code.OFFSET_OUT_OF_RANGE,
      },
    )
    const [found] = answer.partitions
    if (!found || found.code === Code.OFFSET_OUT_OF_RANGE) return { kind: 'gone' }
    const read = found.records ?? Buffer.alloc(0)
    const records = recordsOf(read, this.topic, partition, offset)
    return { kind: 'records', records, next: endOfBatches(read, where)?.nextOffset ?? offset, end: found.highWatermark }
  }

  /** Deletes what stands before `offset`. Followers hear of it with their next fetch: not waited for. */
  async purge(partition: number, offset: bigint): Promise<void> {
    await this.#cluster.call(
      DeleteRecords,
      { topic: this.topic, offsets: [{ partition, offset }], timeoutMs: 1 },
      {
        to: { kind: 'leader', topic: this.topic, partition },
        purpose: 'store',
        what: `purging ${this.topic}-${partition} (needs DELETE)`,
        codeOf: (rows) => rows[0]?.code ?? Code.NETWORK_EXCEPTION,
        accept: (code) => code === Code.REQUEST_TIMED_OUT || code === Code.OFFSET_OUT_OF_RANGE,
      },
    )
  }
}

/** A batch of these records; a view of the builder's memory. */
function sealed(
  builder: BatchBuilder,
  ms: number,
  records: readonly NewRecord[],
  producer: { readonly producerId: bigint; readonly epoch: number; readonly baseSequence: number },
): Buffer {
  for (const { key, value } of records) {
    const bytes = Buffer.from(key)
    const writer = builder.begin(ms, bytes, 0, bytes.length)
    for (const part of value ?? []) writer.bytes(part)
    builder.end(value ? 'written' : 'null', null, 0, 0)
  }
  return builder.seal({ ...producer, transactional: false, compression: 'none' })
}

/** The records from `offset` on: a batch comes whole, also when it begins before it. */
function* recordsOf(bytes: Buffer, topic: string, partition: number, offset: bigint): Generator<LogRecord> {
  for (const header of readBatches(bytes, `${topic}-${partition}`)) {
    if (header.control || header.lastOffset < offset) continue
    const batch = decodeBatch(bytes, header, topic, partition)
    for (let index = 0; index < batch.count; index++) {
      const at = index * STRIDE
      const field = (column: number): number => batch.fields[at + column] ?? 0
      const piece = (from: number, length: number): Buffer | null =>
        length < 0 ? null : batch.bytes.subarray(from, from + length)
      const own = batch.baseOffset + BigInt(field(OFFSET_DELTA))
      if (own < offset) continue
      yield {
        offset: own,
        timestamp: batch.timestamps[index] ?? 0,
        key: piece(field(KEY_AT), field(KEY_LENGTH)),
        value: piece(field(VALUE_AT), field(VALUE_LENGTH)),
      }
    }
  }
}
