// Writes one record batch, format v2, straight into a buffer: records as they come, the header when the batch is sealed.
// A sealed batch is bytes for ever: a retry sends the same bytes with the same sequence (I8).
import { assert } from '../../../src/base/assert.ts'
import { ByteWriter, varintSize, varlongSize } from '../../../src/base/byte-writer.ts'
import { crc32c } from '../../../src/base/crc32c.ts'
import { copyWords, NATIVE_COPY_BYTES_MIN, Words } from '../../../src/base/words.ts'
import { type Compression, compress, compressionBits } from './compression.ts'
import { BATCH_HEADER_BYTES } from './record-batch.ts'

export interface SealOptions {
  readonly producerId: bigint
  readonly epoch: number
  readonly baseSequence: number
  readonly transactional: boolean
  readonly compression: Compression
}

const INT64_MAX = 2n ** 63n - 1n

/** A timestamp beyond ±2^53 (a producer may send any) is rounded in a number, and the largest one rounds to 2^63. */
function int64Of(timestamp: number): bigint {
  if (timestamp >= 2 ** 63) return INT64_MAX
  return timestamp < -(2 ** 63) ? -INT64_MAX - 1n : BigInt(timestamp)
}

/** A zigzag varint of a signed 32-bit value. Gives the position behind it. */
function putVarint(buffer: Buffer, at: number, value: number): number {
  let rest = ((value << 1) ^ (value >> 31)) >>> 0
  while (rest > 127) {
    buffer[at++] = (rest & 127) | 128
    rest >>>= 7
  }
  buffer[at++] = rest
  return at
}

/** Fewer are copied one by one. */
const WORDS_BYTES_MIN = 8

// Keys, values and headers of neighbouring records come from the same buffers, but not from the same one.
const keyWords = new Words()
const valueWords = new Words()
const headerWords = new Words()

export class BatchBuilder {
  readonly #writer: ByteWriter
  readonly #words = new Words()
  #count = 0
  #firstTimestamp = 0
  #maxTimestamp = 0

  constructor(initialBytes: number = 16 * 1024) {
    this.#writer = new ByteWriter(initialBytes)
    this.#writer.position = BATCH_HEADER_BYTES
  }

  get count(): number {
    return this.#count
  }

  /** Bytes so far, uncompressed, header included. */
  get bytes(): number {
    return this.#writer.position
  }

  /**
   * Appends a record. A length of −1 means null. `headers` is Kafka's encoding of them (a varint count first), as it
   * stands in a batch that was read; null: none.
   */
  append(
    timestamp: number,
    key: Buffer,
    keyAt: number,
    keyLength: number,
    value: Buffer,
    valueAt: number,
    valueLength: number,
    headers: Buffer | null,
    headersAt: number,
    headersEnd: number,
  ): void {
    const headerBytes = headers ? headersEnd - headersAt : 1
    const keyBytes = varintSize(keyLength) + Math.max(keyLength, 0)
    const valueBytes = varintSize(valueLength) + Math.max(valueLength, 0)
    let at = this.#begin(timestamp, keyBytes + valueBytes + headerBytes)
    const { buffer } = this.#writer
    at = putVarint(buffer, at, keyLength)
    if (keyLength > 0) at = this.#put(at, keyWords, key, keyAt, keyAt + keyLength)
    at = putVarint(buffer, at, valueLength)
    if (valueLength > 0) at = this.#put(at, valueWords, value, valueAt, valueAt + valueLength)
    if (headers) at = this.#put(at, headerWords, headers, headersAt, headersEnd)
    else buffer[at++] = 0
    this.#writer.position = at
  }

  /** Appends a record whose key, value and headers stand at `start … end` as the format has them, lengths included. */
  copy(timestamp: number, source: Buffer, start: number, end: number): void {
    const at = this.#begin(timestamp, end - start)
    this.#writer.position = this.#put(at, valueWords, source, start, end)
  }

  /**
   * Writes what stands before the key of a record with `bodyBytes` from there on; gives the position behind it. All of the
   * record fits then: plain stores will do, without a look at the limit for each field.
   */
  #begin(timestamp: number, bodyBytes: number): number {
    if (this.#count === 0) {
      this.#firstTimestamp = timestamp
      this.#maxTimestamp = timestamp
    } else if (timestamp > this.#maxTimestamp) this.#maxTimestamp = timestamp
    const delta = timestamp - this.#firstTimestamp
    const size = 1 + varlongSize(delta) + varintSize(this.#count) + bodyBytes
    const writer = this.#writer
    writer.ensure(size + 5)
    const { buffer } = writer
    let at = putVarint(buffer, writer.position, size)
    buffer[at++] = 0
    if (delta >= -0x40000000 && delta < 0x40000000) at = putVarint(buffer, at, delta)
    else {
      writer.position = at
      writer.varlong(delta)
      at = writer.position
    }
    return putVarint(buffer, at, this.#count++)
  }

  /** Copies `start … end` to `at`; gives the position behind it. */
  #put(at: number, sourceWords: Words, source: Buffer, start: number, end: number): number {
    const { buffer } = this.#writer
    const bytes = end - start
    if (bytes >= NATIVE_COPY_BYTES_MIN) source.copy(buffer, at, start, end)
    else if (bytes >= WORDS_BYTES_MIN) copyWords(this.#words.of(buffer), at - start, sourceWords.of(source), start, end)
    else for (let i = 0; i < bytes; i++) buffer[at + i] = source[start + i] as number
    return at + bytes
  }

  /** Ends the batch. The bytes are a view of the builder's memory: valid until `reset`. */
  seal(options: SealOptions): Buffer {
    assert(this.#count > 0, 'I8: an empty batch is never sent')
    // I12: a broker makes a batch without producer id or transactional bit visible even if its transaction aborts.
    assert(options.producerId >= 0n && options.epoch >= 0, `I12: producer ${options.producerId}/${options.epoch}`)
    const written = this.#writer.view()
    let batch = written
    if (options.compression !== 'none') {
      const packed = compress(options.compression, written.subarray(BATCH_HEADER_BYTES))
      batch = Buffer.allocUnsafeSlow(BATCH_HEADER_BYTES + packed.length)
      packed.copy(batch, BATCH_HEADER_BYTES)
    }
    const attributes = compressionBits(options.compression) | (options.transactional ? 0x10 : 0)
    batch.writeBigInt64BE(0n, 0)
    batch.writeInt32BE(batch.length - 12, 8)
    batch.writeInt32BE(-1, 12)
    batch[16] = 2
    batch.writeInt16BE(attributes, 21)
    batch.writeInt32BE(this.#count - 1, 23)
    batch.writeBigInt64BE(int64Of(this.#firstTimestamp), 27)
    batch.writeBigInt64BE(int64Of(this.#maxTimestamp), 35)
    batch.writeBigInt64BE(options.producerId, 43)
    batch.writeInt16BE(options.epoch, 51)
    batch.writeInt32BE(options.baseSequence, 53)
    batch.writeInt32BE(this.#count, 57)
    batch.writeUInt32BE(crc32c(batch.subarray(21)), 17)
    return batch
  }

  /** Starts the next batch in the same memory: only after the broker acknowledged what `seal` returned. */
  reset(): void {
    this.#writer.position = BATCH_HEADER_BYTES
    this.#count = 0
  }
}
