// Reads record batches, format v2 (Kafka's "DefaultRecordBatch"): the header with its CRC32C, then the records as columns
// of positions. A decoder may only return or throw a coded error, whatever the bytes are: lengths are checked against what
// is there before they are used, and a record must end exactly where its length says.
import { crc32c } from '../../../src/base/crc32c.ts'
import { MillraceError } from '../../../src/base/errors.ts'
import { ColumnarBatch, STRIDE } from '../../../src/dataflow/batch.ts'
import { type Compression, compressionOf, decompress } from './compression.ts'
import { newColumns, type ResponseMemory } from './response-memory.ts'

export const BATCH_HEADER_BYTES = 61
/** Base offset and batch length: what stands before the length counts. */
const LOG_OVERHEAD = 12
const CRC_FROM = 21
/** Length, attributes, two deltas, two lengths, header count: no record is smaller. */
const RECORD_BYTES_MIN = 7

export interface BatchHeader {
  readonly position: number
  readonly end: number
  readonly baseOffset: bigint
  readonly lastOffset: bigint
  readonly leaderEpoch: number
  readonly compression: Compression
  readonly transactional: boolean
  readonly control: boolean
  readonly producerId: bigint
  readonly producerEpoch: number
  readonly baseSequence: number
  readonly baseTimestamp: number
  /** Set when the topic stamps records with the time of the append (`message.timestamp.type=LogAppendTime`). */
  readonly appendTimestamp: number | null
  readonly count: number
}

/** Where the batch at `at` ends; −1: the response ends before it does, which is normal for the last one. */
function endOf(buffer: Buffer, at: number, where: string): number {
  if (buffer.length - at < LOG_OVERHEAD + 5) return -1
  const length = buffer.readInt32BE(at + 8)
  const magic = buffer[at + 16]
  if (magic !== 2)
    throw corrupt(where, buffer, at, `record format ${magic}; Millrace reads format 2 (Kafka 0.11 and newer)`)
  if (length < BATCH_HEADER_BYTES - LOG_OVERHEAD) throw corrupt(where, buffer, at, `a batch length of ${length}`)
  const end = at + LOG_OVERHEAD + length
  return end > buffer.length ? -1 : end
}

/** The batches of a fetched record set, each read and verified when it is asked for. @throws BATCH_CORRUPT, CODEC_UNKNOWN */
export function* readBatches(buffer: Buffer, where: string): Generator<BatchHeader> {
  for (let at = 0, end = endOf(buffer, 0, where); end >= 0; at = end, end = endOf(buffer, at, where))
    yield readHeader(buffer, at, end, where)
}

/**
 * Where a record set ends, without its checksums: enough to ask for what comes next. undefined: no batch is whole.
 * @throws BATCH_CORRUPT, also for offsets that do not rise: no checksum covers a batch's first one
 */
export function endOfBatches(buffer: Buffer, where: string): { nextOffset: bigint; leaderEpoch: number } | undefined {
  let nextOffset = 0n
  let leaderEpoch = -1
  for (let at = 0, end = endOf(buffer, 0, where); end >= 0; at = end, end = endOf(buffer, at, where)) {
    const first = buffer.readBigInt64BE(at)
    const delta = buffer.readInt32BE(at + 23)
    if (first < nextOffset || delta < 0) throw corrupt(where, buffer, at, `it follows ${where}@${nextOffset - 1n}`)
    nextOffset = first + BigInt(delta) + 1n
    leaderEpoch = buffer.readInt32BE(at + 12)
  }
  return nextOffset > 0n ? { nextOffset, leaderEpoch } : undefined
}

function readHeader(buffer: Buffer, at: number, end: number, where: string): BatchHeader {
  const stored = buffer.readUInt32BE(at + 17)
  const computed = crc32c(buffer.subarray(at + CRC_FROM, end))
  if (stored !== computed) {
    throw corrupt(where, buffer, at, `checksum ${stored.toString(16)} stored, ${computed.toString(16)} computed`)
  }
  const attributes = buffer.readInt16BE(at + 21)
  const compression = compressionOf(attributes)
  const baseOffset = buffer.readBigInt64BE(at)
  if (compression === undefined) {
    const text = `${where}@${baseOffset}: codec ${attributes & 7} is unknown; this release reads gzip, snappy, lz4 and zstd`
    throw new MillraceError('CODEC_UNKNOWN', text)
  }
  const lastOffsetDelta = buffer.readInt32BE(at + 23)
  const count = buffer.readInt32BE(at + 57)
  // The checksum leaves the base offset out: the broker sets it.
  if (baseOffset < 0n || lastOffsetDelta < 0 || count < 0)
    throw corrupt(where, buffer, at, `${count} records, last delta ${lastOffsetDelta}`)
  return {
    position: at,
    end,
    baseOffset,
    lastOffset: baseOffset + BigInt(lastOffsetDelta),
    leaderEpoch: buffer.readInt32BE(at + 12),
    compression,
    transactional: (attributes & 0x10) !== 0,
    control: (attributes & 0x20) !== 0,
    producerId: buffer.readBigInt64BE(at + 43),
    producerEpoch: buffer.readInt16BE(at + 51),
    baseSequence: buffer.readInt32BE(at + 53),
    baseTimestamp: Number(buffer.readBigInt64BE(at + 27)),
    appendTimestamp: (attributes & 8) !== 0 ? Number(buffer.readBigInt64BE(at + 35)) : null,
    count,
  }
}

function corrupt(where: string, buffer: Buffer, at: number, what: string): MillraceError {
  const offset = buffer.length - at >= 8 ? buffer.readBigInt64BE(at) : '?'
  return new MillraceError(
    'BATCH_CORRUPT',
    `${where}@${offset}: ${what}; the log or the network is damaged, nothing was skipped`,
  )
}

/** What a control batch says; `undefined` for control types other than transaction markers. */
export function controlType(buffer: Buffer, header: BatchHeader): 'commit' | 'abort' | undefined {
  const batch = decodeBatch(buffer, header, 'control', 0)
  const at = batch.fields[1]
  if (batch.count < 1 || at === undefined || (batch.fields[2] ?? 0) < 4) return undefined
  const type = batch.bytes.readInt16BE(at + 2)
  return type === 0 ? 'abort' : type === 1 ? 'commit' : undefined
}

let cursor = 0

/** A zigzag varint at `cursor`. Past the end it reads zeros: the caller checks `cursor` after each record. */
function varint(bytes: Buffer): number {
  let byte = bytes[cursor++] as number
  if (byte < 128) return (byte >>> 1) ^ -(byte & 1)
  let value = byte & 127
  for (let shift = 7; shift < 35; shift += 7) {
    byte = bytes[cursor++] as number
    value |= (byte & 127) << shift
    if (byte < 128) return (value >>> 1) ^ -(value & 1)
  }
  cursor = Number.POSITIVE_INFINITY
  return 0
}

/** As `varint`, for up to 64 bits (timestamps). */
function varlong(bytes: Buffer): number {
  const start = cursor
  const low = varint(bytes)
  if (cursor - start < 5) return low
  cursor = start
  let value = 0n
  for (let shift = 0n; shift < 70n; shift += 7n) {
    const byte = bytes[cursor++]
    if (byte === undefined) break
    value |= BigInt(byte & 127) << shift
    if (byte < 128) return Number(BigInt.asIntN(64, (value >> 1n) ^ -(value & 1n)))
  }
  cursor = Number.POSITIVE_INFINITY
  return 0
}

/** The records of a batch as columns. Uncompressed ones are a view of `buffer`, of `memory`. @throws BATCH_CORRUPT */
export function decodeBatch(
  buffer: Buffer,
  header: BatchHeader,
  topic: string,
  partition: number,
  memory?: ResponseMemory,
): ColumnarBatch {
  const packed = buffer.subarray(header.position + BATCH_HEADER_BYTES, header.end)
  // A batch that compaction emptied may still name its codec.
  const plain = header.compression === 'none' || header.count === 0
  // Uncompressed positions are in the response buffer itself: one less object, and bytes are copied straight from it.
  const bytes = plain ? buffer : decompress(header.compression, packed)
  const start = plain ? header.position + BATCH_HEADER_BYTES : 0
  const end = plain ? header.end : bytes.length
  const where = `${topic}-${partition}`
  if (header.count * RECORD_BYTES_MIN > end - start) {
    throw corrupt(where, buffer, header.position, `${header.count} records in ${end - start} bytes`)
  }
  const { fields, timestamps } = memory?.columns(header.count) ?? newColumns(header.count)
  cursor = start
  for (let index = 0; index < header.count; index++) {
    if (!readRecord(bytes, end, fields, timestamps, index, header)) {
      throw corrupt(where, buffer, header.position, `record ${index} of ${header.count} contradicts its length`)
    }
  }
  if (cursor !== end) throw corrupt(where, buffer, header.position, `${end - cursor} bytes behind the last record`)
  const { baseOffset, leaderEpoch, count } = header
  // Offsets rise within a batch (the broker checks it): the first and the last bound them all.
  const first = fields[0] ?? 0
  const last = fields[(count - 1) * STRIDE] ?? 0
  if (first < 0 || last > Number(header.lastOffset - baseOffset)) {
    throw corrupt(where, buffer, header.position, `record deltas ${first} to ${last} leave the batch`)
  }
  const nextOffset = header.lastOffset + 1n
  if (plain) memory?.hold()
  return new ColumnarBatch({
    ...{ topic, partition, baseOffset, nextOffset, leaderEpoch, count, bytes, fields, timestamps },
    owner: memory ?? null,
  })
}

function readRecord(
  bytes: Buffer,
  end: number,
  fields: Int32Array,
  timestamps: Float64Array,
  index: number,
  header: BatchHeader,
): boolean {
  const row = index * STRIDE
  const length = varint(bytes)
  const recordEnd = cursor + length
  if (length < RECORD_BYTES_MIN - 1 || !(recordEnd <= end)) return false
  cursor++
  const delta = varlong(bytes)
  timestamps[index] = header.appendTimestamp ?? header.baseTimestamp + delta
  fields[row] = varint(bytes)
  fields[row + 7] = cursor
  const keyLength = varint(bytes)
  fields[row + 1] = cursor
  fields[row + 2] = keyLength
  if (keyLength > 0) cursor += keyLength
  const valueLength = varint(bytes)
  fields[row + 3] = cursor
  fields[row + 4] = valueLength
  if (valueLength > 0) cursor += valueLength
  fields[row + 5] = cursor
  fields[row + 6] = recordEnd
  const headers = varint(bytes)
  if (keyLength < -1 || valueLength < -1 || headers < 0 || headers > recordEnd - cursor) return false
  for (let i = 0; i < headers; i++) {
    const nameLength = varint(bytes)
    if (nameLength < 0) return false
    cursor += nameLength
    const length = varint(bytes)
    if (length < -1) return false
    if (length > 0) cursor += length
  }
  return cursor === recordEnd
}
