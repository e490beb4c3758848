// One transaction of the worker, as buffers: per output partition a batch being filled, batches waiting, at most one in
// flight. A batch gets its sequence when it is first sent and keeps bytes and sequence through every retry (I8).
import { assert } from '../../src/base/assert.ts'
import { monotonicMs } from '../../src/base/clock.ts'
import type { CheckpointId } from '../../src/base/ids.ts'
import type { Compression } from '../../src/dataflow/ports.ts'
import { BatchBuilder } from './wire/batch-builder.ts'
import type { ProducerIdentity } from './wire/transaction-requests.ts'

/** Below the default `max.message.bytes` (1 MiB) with room for the header. */
export const BATCH_BYTES_MAX: number = 900 * 1024
/** How long a batch that is not full may wait for more, in ms: nothing is visible before the commit anyway. */
export const LINGER_MS = 20
const SEQUENCE_LIMIT = 0x80000000
/** Larger builders are not kept. A text of a batch's size may take three times as much while it is encoded. */
const BUILDER_BYTES_MAX = 4 * 1024 * 1024

export interface InFlight {
  readonly builder: BatchBuilder
  readonly bytes: Buffer
  readonly records: number
  readonly raw: number
}

export class OutputPartition {
  readonly topic: string
  readonly partition: number
  readonly compression: Compression
  /** Known to the transaction coordinator. */
  added: 'no' | 'adding' | 'yes' = 'no'
  waiting: BatchBuilder[] = []
  inFlight: InFlight | undefined
  lastOffset = -1n
  acked = 0
  appended = 0
  filling: BatchBuilder | undefined
  fillingSinceMs = 0

  constructor(topic: string, partition: number, compression: Compression) {
    this.topic = topic
    this.partition = partition
    this.compression = compression
  }

  /** Records that the brokers have not acknowledged. */
  get outstanding(): number {
    return this.appended - this.acked
  }
}

/** Builders whose memory is free again: only after the ack of what they held. */
export class BuilderPool {
  /** In builders that are not free. */
  bufferedBytes = 0
  readonly #free: BatchBuilder[] = []

  take(): BatchBuilder {
    const builder = this.#free.pop() ?? new BatchBuilder()
    this.bufferedBytes += builder.bytes
    return builder
  }

  give(builder: BatchBuilder): void {
    this.bufferedBytes -= builder.bytes
    builder.reset()
    // What a single large record needed is not kept for good.
    if (this.#free.length < 64 && builder.capacity <= BUILDER_BYTES_MAX) this.#free.push(builder)
  }
}

export class Transaction {
  readonly slot: 0 | 1
  readonly transactional: boolean
  readonly partitions: Map<string, OutputPartition> = new Map()
  readonly #sequences: Map<string, number>
  identity: ProducerIdentity | undefined
  checkpoint: CheckpointId | undefined
  /** All tasks delivered the barrier: everything of this transaction is here. */
  sealed = false
  /** The broker may have it open. */
  openedAtMs: number | undefined
  phase: 'open' | 'deciding' | 'decided' | 'committed' = 'open'

  /** `sequences`: shared by all "transactions" of an idempotent producer; a transactional one begins at 0 each time. */
  constructor(slot: 0 | 1, transactional: boolean, sequences: Map<string, number>) {
    this.slot = slot
    this.transactional = transactional
    this.#sequences = sequences
  }

  get outstanding(): number {
    let sum = 0
    for (const output of this.partitions.values()) sum += output.outstanding
    return sum
  }

  /** Moves a batch that is full, old enough, or the transaction's last to the waiting line. */
  close(output: OutputPartition, when: 'full' | 'ripe'): void {
    const builder = output.filling
    if (!builder || builder.count === 0) return
    if (when === 'ripe' && !this.sealed && monotonicMs() - output.fillingSinceMs < LINGER_MS) return
    output.waiting.push(builder)
    output.filling = undefined
  }

  /** The next batch of a partition as bytes, its sequence taken. */
  take(output: OutputPartition): InFlight | undefined {
    if (output.inFlight) return output.inFlight
    const builder = output.waiting.shift()
    const identity = this.identity
    if (!builder || !identity) return undefined
    assert(
      !(this.transactional && output.added !== 'yes'),
      'I12: a batch before its partition was added to the transaction',
    )
    const key = `${output.topic}-${output.partition}`
    const baseSequence = this.#sequences.get(key) ?? 0
    const bytes = builder.seal({
      ...identity,
      baseSequence,
      transactional: this.transactional,
      compression: output.compression,
    })
    this.#sequences.set(key, (baseSequence + builder.count) % SEQUENCE_LIMIT)
    output.inFlight = { builder, bytes, records: builder.count, raw: builder.bytes }
    return output.inFlight
  }
}
