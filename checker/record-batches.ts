/**
 * Record batches (format 2) as a Fetch answer carries them, and the rule that hides aborted ones.
 *
 * The broker sends every batch below the last stable offset, aborted ones too, with a list of aborted transactions that
 * is *not* ordered. The rule, per batch: (1) open every listed transaction with firstOffset ≤ the batch's last offset,
 * (2) a control batch closes its producer's transaction, (3) transactional batches of an open producer are dropped.
 */
import { ByteReader } from './bytes.ts'
import { checksum, decompress } from './compression.ts'
import { CheckerError } from './errors.ts'
import { type RecordChunk, RecordChunkBuilder, type RecordHeader } from './record-log.ts'
import type { AbortedTransaction } from './requests.ts'

const LENGTH_AT = 8
const MAGIC_AT = 16
const CRC_AT = 17
const CHECKED_FROM = 21
const HEADER_BYTES = 61

/** The fixed part of a batch. */
export interface BatchHeader {
  readonly baseOffset: number
  readonly lastOffset: number
  readonly producerId: bigint
  readonly transactional: boolean
  readonly control: boolean
}

/** A batch whose checksum held; its records are still as they were sent. */
export interface RecordBatch extends BatchHeader {
  readonly codec: number
  readonly appendTime: boolean
  readonly baseTimestamp: number
  readonly maxTimestamp: number
  readonly count: number
  readonly body: Buffer
}

/** Splits a record set into batches. A cut last batch is normal and ends the walk. @throws CheckerError CORRUPT_BATCH */
export function* splitBatches(records: Buffer): Generator<RecordBatch> {
  for (let at = 0; at + HEADER_BYTES <= records.length; ) {
    const end = at + LENGTH_AT + 4 + records.readInt32BE(at + LENGTH_AT)
    if (end - at < HEADER_BYTES) throw new CheckerError('CORRUPT_BATCH', `a batch of ${end - at} bytes`)
    if (end > records.length) return
    yield readBatch(records.subarray(at, end))
    at = end
  }
}

function readBatch(batch: Buffer): RecordBatch {
  const reader = new ByteReader(batch)
  const baseOffset = reader.long()
  const magic = batch.readInt8(MAGIC_AT)
  if (magic !== 2) throw new CheckerError('CORRUPT_BATCH', `batch at offset ${baseOffset}: format ${magic}, not 2`)
  if (checksum(batch.subarray(CHECKED_FROM)) !== batch.readUInt32BE(CRC_AT)) {
    throw new CheckerError('CORRUPT_BATCH', `batch at offset ${baseOffset}: the checksum does not match`)
  }
  reader.position = CHECKED_FROM
  const attributes = reader.int16()
  const lastOffset = baseOffset + reader.int32()
  const baseTimestamp = reader.long()
  const maxTimestamp = reader.long()
  const producerId = reader.int64()
  reader.take(6) // epoch, base sequence
  return {
    baseOffset,
    lastOffset,
    producerId,
    baseTimestamp,
    maxTimestamp,
    codec: attributes & 0x07,
    appendTime: (attributes & 0x08) !== 0,
    transactional: (attributes & 0x10) !== 0,
    control: (attributes & 0x20) !== 0,
    count: reader.int32(),
    body: batch.subarray(reader.position),
  }
}

/** The aborted-transaction filter of one partition of one Fetch answer; batches must be shown to it in order. */
export class AbortedFilter {
  #waiting: AbortedTransaction[]
  readonly #open: Set<bigint> = new Set()

  constructor(aborted: readonly AbortedTransaction[]) {
    this.#waiting = [...aborted]
  }

  /** Whether a read_committed reader may see the records of this batch. */
  admits(batch: BatchHeader): boolean {
    if (this.#waiting.some((one) => one.firstOffset <= batch.lastOffset)) {
      for (const one of this.#waiting) if (one.firstOffset <= batch.lastOffset) this.#open.add(one.producerId)
      this.#waiting = this.#waiting.filter((one) => one.firstOffset > batch.lastOffset)
    }
    if (batch.control) {
      this.#open.delete(batch.producerId)
      return false
    }
    return !(batch.transactional && this.#open.has(batch.producerId))
  }
}

/** Decodes the records of one batch from `fromOffset` on (a fetch may start inside a batch). */
export function decodeRecords(
  topic: string,
  partition: number,
  batch: RecordBatch,
  fromOffset: number,
  arrivedAtMs: number,
): RecordChunk {
  const bytes = decompress(batch.codec, batch.body)
  const reader = new ByteReader(bytes)
  const builder = new RecordChunkBuilder(topic, partition, bytes)
  for (let i = 0; i < batch.count; i++) {
    const length = reader.varint()
    const end = reader.position + length
    reader.int8()
    const delta = reader.varlong()
    const offset = batch.baseOffset + reader.varint()
    const key = span(reader)
    const value = span(reader)
    const headers = readHeaders(reader)
    if (reader.position !== end) throw new CheckerError('CORRUPT_BATCH', `record at offset ${offset}: wrong length`)
    if (offset < fromOffset) continue
    if (headers.length > 0) builder.headers.set(builder.offsets.length, headers)
    builder.add(offset, batch.appendTime ? batch.maxTimestamp : batch.baseTimestamp + delta, key, value)
  }
  return builder.build(arrivedAtMs)
}

function span(reader: ByteReader): readonly [number, number] {
  const length = reader.varint()
  if (length < 0) return [-1, -1]
  const start = reader.position
  reader.take(length)
  return [start, start + length]
}

function readHeaders(reader: ByteReader): RecordHeader[] {
  const headers: RecordHeader[] = []
  for (let left = reader.varint(); left > 0; left--) {
    const name = reader.take(reader.varint()).toString()
    const length = reader.varint()
    headers.push({ name, value: length < 0 ? null : reader.take(length) })
  }
  return headers
}
