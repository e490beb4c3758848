// Where one sink or hop of a task writes its topic: into the batches of the transaction that its records belong to.
// - A record is counted, and is there, when it ends: begun ones leave no trace (I8).
// - Records of a partition go into its batches in their order; at barrier n the writer goes over to the transaction behind it,
//   between two records (I1, I14).
import { assert } from '../../src/base/assert.ts'
import type { ByteWriter } from '../../src/base/byte-writer.ts'
import { monotonicMs } from '../../src/base/clock.ts'
import { type CheckpointId, partitionKey } from '../../src/base/ids.ts'
import type { Compression, PartitionWriter } from '../../src/dataflow/ports.ts'
import { type BuilderPool, OutputPartition, type Transaction } from './output.ts'
import type { BatchBuilder } from './wire/batch-builder.ts'

/** Lengths and deltas of a record. */
const RECORD_OVERHEAD_BYTES_MAX = 64

export interface TopicWriterOptions {
  readonly topic: string
  readonly partitions: number
  readonly compression: Compression
  /** Of a batch, in bytes, header included; a single record may be larger: the broker decides. */
  readonly batchBytesMax: number
  readonly pool: BuilderPool
  /** What is written belongs to it. */
  readonly transaction: Transaction
  /** The transaction behind barrier n. */
  readonly behind: (checkpoint: CheckpointId) => Transaction
}

export class TopicWriter implements PartitionWriter {
  readonly partitions: number
  readonly #options: TopicWriterOptions
  readonly #pool: BuilderPool
  readonly #batchBytesMax: number
  #transaction: Transaction
  #outputs: (OutputPartition | undefined)[] = []
  // The record that was begun; no builder: none.
  #output: OutputPartition | undefined
  #builder: BatchBuilder | undefined
  #bytesBefore = 0

  constructor(options: TopicWriterOptions) {
    this.partitions = options.partitions
    this.#options = options
    this.#pool = options.pool
    this.#batchBytesMax = options.batchBytesMax
    this.#transaction = options.transaction
  }

  begin(partition: number, timestamp: number, key: Buffer, keyAt: number, keyLength: number): ByteWriter {
    assert(!this.#builder, 'I8: a record was begun inside another: a serde must not write records')
    const output = this.#outputs[partition] ?? this.#open(partition)
    const builder = this.#room(output, keyLength)
    this.#output = output
    this.#builder = builder
    this.#bytesBefore = builder.bytes
    return builder.begin(timestamp, key, keyAt, keyLength)
  }

  end(value: 'written' | 'null', headers: Buffer | null, headersAt: number, headersEnd: number): void {
    const builder = this.#builder
    const output = this.#output
    assert(builder && output, 'I8: a record was ended that was not begun')
    builder.end(value, headers, headersAt, headersEnd)
    this.#builder = undefined
    output.appended++
    this.#pool.bufferedBytes += builder.bytes - this.#bytesBefore
    if (builder.bytes > this.#batchBytesMax && builder.count > 1) this.#moveLast(output, builder)
  }

  undo(): void {
    const builder = this.#builder
    this.#builder = undefined
    builder?.undo()
  }

  copy(partition: number, timestamp: number, source: Buffer, start: number, end: number): void {
    const output = this.#outputs[partition] ?? this.#open(partition)
    const builder = this.#room(output, end - start)
    const before = builder.bytes
    builder.copy(timestamp, source, start, end)
    output.appended++
    this.#pool.bufferedBytes += builder.bytes - before
  }

  barrier(checkpoint: CheckpointId): void {
    this.#transaction = this.#options.behind(checkpoint)
    this.#outputs = []
  }

  #open(partition: number): OutputPartition {
    const { topic, compression } = this.#options
    const { partitions } = this.#transaction
    const key = partitionKey(topic, partition)
    const output = partitions.get(key) ?? new OutputPartition(topic, partition, compression)
    partitions.set(key, output)
    this.#outputs[partition] = output
    return output
  }

  /** The batch to which the partition's next record, of at least so many bytes, goes. */
  #room(output: OutputPartition, bytes: number): BatchBuilder {
    const { filling } = output
    if (filling && filling.bytes + bytes + RECORD_OVERHEAD_BYTES_MAX <= this.#batchBytesMax) return filling
    if (filling?.count === 0) return filling
    if (filling) this.#transaction.close(output, 'full')
    return this.#fill(output)
  }

  #fill(output: OutputPartition): BatchBuilder {
    const builder = this.#pool.take()
    output.filling = builder
    output.fillingSinceMs = monotonicMs()
    return builder
  }

  /** With its last record the batch is too large. */
  #moveLast(output: OutputPartition, full: BatchBuilder): void {
    this.#transaction.close(output, 'full')
    const next = this.#fill(output)
    const before = full.bytes + next.bytes
    full.moveLastTo(next)
    this.#pool.bufferedBytes += full.bytes + next.bytes - before
  }
}
