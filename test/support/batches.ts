// Record batches for the codec's tests: records as plain values, arbitraries for them, our writer around the builder,
// and a forger that seals any bytes as a batch with a right checksum, so that a decoder cannot stop at the door.
import fc from 'fast-check'
import { BatchBuilder, type SealOptions } from '../../connectors/kafka/wire/batch-builder.ts'
import { type Compression, compress, compressionBits } from '../../connectors/kafka/wire/compression.ts'
import { BATCH_HEADER_BYTES } from '../../connectors/kafka/wire/record-batch.ts'
import { ByteWriter } from '../../src/base/byte-writer.ts'
import { crc32c } from '../../src/base/crc32c.ts'
import { type ColumnarBatch, KEY_AT, KEY_LENGTH, STRIDE, VALUE_AT, VALUE_LENGTH } from '../../src/dataflow/batch.ts'

export const compressions: readonly Compression[] = ['none', 'gzip', 'snappy', 'lz4', 'zstd']

export interface PlainRecord {
  readonly timestamp: number
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: readonly (readonly [string, Buffer | null])[]
}

/** Null, empty, small and larger than the inline-copy limit of ByteWriter and than snappy's 32 KiB block. */
export const bytesArbitrary: fc.Arbitrary<Buffer | null> = fc
  .oneof(
    { arbitrary: fc.constant(null), weight: 2 },
    { arbitrary: fc.uint8Array({ maxLength: 40 }), weight: 6 },
    { arbitrary: fc.uint8Array({ minLength: 20, maxLength: 200 }), weight: 2 },
    { arbitrary: fc.tuple(fc.integer({ min: 0, max: 70_000 }), fc.nat(255)), weight: 1 },
  )
  .map((drawn) => {
    if (drawn === null) return null
    return Array.isArray(drawn) ? Buffer.alloc(drawn[0], drawn[1]) : Buffer.from(drawn)
  })

/** −1 is Kafka's "no timestamp"; neighbours may lie decades apart, in both directions. */
const timestampArbitrary = fc.oneof(
  fc.constantFrom(-1, 0, 1, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 1_700_000_000_000, 2 ** 53 - 1),
  fc.integer({ min: 1_700_000_000_000, max: 1_700_000_100_000 }),
  fc.maxSafeNat(),
)

const headerArbitrary = fc.tuple(
  fc.string({ unit: 'grapheme', maxLength: 12 }),
  fc.option(fc.uint8Array({ maxLength: 30 }).map((bytes) => Buffer.from(bytes))),
)

export const recordArbitrary: fc.Arbitrary<PlainRecord> = fc.record({
  timestamp: timestampArbitrary,
  key: bytesArbitrary,
  value: bytesArbitrary,
  headers: fc.oneof(fc.constant([]), fc.array(headerArbitrary, { maxLength: 4 })),
})

export const recordsArbitrary: fc.Arbitrary<PlainRecord[]> = fc.array(recordArbitrary, { minLength: 1, maxLength: 30 })

export const sealArbitrary: fc.Arbitrary<SealOptions> = fc.record({
  producerId: fc.oneof(fc.bigInt(0n, 2n ** 53n - 1n), fc.constant(0n)),
  epoch: fc.integer({ min: 0, max: 32_767 }),
  baseSequence: fc.oneof(fc.constantFrom(0, 2 ** 31 - 1, 2 ** 31 - 3), fc.nat()),
  transactional: fc.boolean(),
  compression: fc.constantFrom(...compressions),
})

/** Thousands of records of many shapes, without randomness. */
export function manyRecords(count: number): PlainRecord[] {
  return Array.from({ length: count }, (_, index) => ({
    timestamp: 1_700_000_000_000 + ((index * 7919) % 5000) * 86_400_000,
    key: index % 5 === 0 ? null : Buffer.from(`key-${index % 97}`),
    value: index % 11 === 0 ? null : Buffer.alloc(index % 301, index),
    headers: index % 3 === 0 ? [[`h${index}`, index % 2 === 0 ? null : Buffer.from([index & 255])] as const] : [],
  }))
}

/** Kafka's encoding of headers, as a sink hands it to the builder. */
export function encodeHeaders(headers: PlainRecord['headers']): Buffer {
  const writer = new ByteWriter(64)
  writer.varint(headers.length)
  for (const [name, value] of headers) {
    const bytes = Buffer.from(name, 'utf8')
    writer.varint(bytes.length)
    writer.bytes(bytes)
    writer.varint(value === null ? -1 : value.length)
    if (value !== null) writer.bytes(value)
  }
  return writer.copy()
}

const none = Buffer.alloc(0)

export function appendRecord(builder: BatchBuilder, record: PlainRecord): void {
  const { timestamp, key, value, headers } = record
  const packed = headers.length === 0 ? null : encodeHeaders(headers)
  const out = builder.begin(timestamp, key ?? none, 0, key?.length ?? -1)
  if (value) out.bytes(value)
  builder.end(value ? 'written' : 'null', packed, 0, packed?.length ?? 0)
}

/** A batch by our builder, in bytes of its own. */
export function buildBatch(records: readonly PlainRecord[], options: SealOptions): Buffer {
  const builder = new BatchBuilder(64)
  for (const record of records) appendRecord(builder, record)
  return Buffer.from(builder.seal(options))
}

/** A decoded batch as plain values, positions resolved. */
export function plainRecords(batch: ColumnarBatch): PlainRecord[] {
  return Array.from({ length: batch.count }, (_, index) => ({
    timestamp: batch.timestamps[index] ?? Number.NaN,
    key: sliceOf(batch, index, KEY_AT, KEY_LENGTH),
    value: sliceOf(batch, index, VALUE_AT, VALUE_LENGTH),
    headers: batch.headersOf(index),
  }))
}

function sliceOf(batch: ColumnarBatch, index: number, at: number, length: number): Buffer | null {
  const start = batch.fields[index * STRIDE + at] ?? Number.NaN
  const size = batch.fields[index * STRIDE + length] ?? Number.NaN
  return size < 0 ? null : batch.bytes.subarray(start, start + size)
}

/** Bytes as text, so that a failed comparison is short and fast. */
export function readable(records: readonly PlainRecord[]): unknown[] {
  return records.map(({ timestamp, key, value, headers }) => ({
    timestamp,
    key: textOf(key),
    value: textOf(value),
    headers: headers.map(([name, bytes]) => [name, textOf(bytes)]),
  }))
}

function textOf(bytes: Uint8Array | null): string | null {
  return bytes === null ? null : Buffer.from(bytes).toString('base64')
}

export interface Forgery {
  readonly body: Buffer
  readonly count: number
  readonly compression?: Compression
  /** The body is what the codec would have made: it goes in as it is. */
  readonly packed?: boolean
  readonly attributes?: number
  readonly lastOffsetDelta?: number
  readonly baseOffset?: bigint
  readonly baseTimestamp?: bigint
}

/** Any bytes as a batch whose length and checksum are right. */
export function forgeBatch(forgery: Forgery): Buffer {
  const compression = forgery.compression ?? 'none'
  const body = forgery.packed ? forgery.body : compress(compression, forgery.body)
  const batch = Buffer.alloc(BATCH_HEADER_BYTES + body.length)
  body.copy(batch, BATCH_HEADER_BYTES)
  batch.writeBigInt64BE(forgery.baseOffset ?? 0n, 0)
  batch[16] = 2
  batch.writeInt16BE((forgery.attributes ?? 0) | compressionBits(compression), 21)
  batch.writeInt32BE(forgery.lastOffsetDelta ?? Math.max(0, forgery.count - 1), 23)
  batch.writeBigInt64BE(forgery.baseTimestamp ?? 0n, 27)
  batch.writeBigInt64BE(forgery.baseTimestamp ?? 0n, 35)
  batch.writeBigInt64BE(7n, 43)
  batch.writeInt32BE(forgery.count, 57)
  return reseal(batch)
}

/** Makes length and checksum right again after the bytes of a single batch were changed. */
export function reseal(batch: Buffer): Buffer {
  batch.writeInt32BE(batch.length - 12, 8)
  batch.writeUInt32BE(crc32c(batch.subarray(21)), 17)
  return batch
}
