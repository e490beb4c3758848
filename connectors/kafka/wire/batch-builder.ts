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

const VARINT_BYTES_MAX = 5
/** Attributes, timestamp delta, offset delta. */
const HEAD_BYTES_MAX = 1 + 10 + VARINT_BYTES_MAX
const OPEN = -1
/** Fewer are copied one by one. */
const WORDS_BYTES_MIN = 8

// Keys, bodies and headers of neighbouring records come from the same buffers, but not from the same one.
const keyWords = new Words()
const bodyWords = new Words()
const headerWords = new Words()

export class BatchBuilder {
  readonly #writer: ByteWriter
  readonly #words = new Words()
  #count = 0
  #firstTimestamp = 0
  #maxTimestamp = 0
  // The record begun last. Its lengths stand in front of what they count: room is left for as many bytes as the record before
  // took, and what follows moves where that was wrong.
  #timestamp = 0
  #maxBefore = 0
  /** −1: the last record may not be moved. */
  #startsAt = -1
  #bodyAt = 0
  #valueAt = 0
  #sizeBytes = 2
  #valueSizeBytes = 2
  /** Where whole records end: nobody else has written here. OPEN: a record was begun. */
  #endsAt = BATCH_HEADER_BYTES

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
   * Begins a record; a key's length of −1 means null. What is then written to the result is its value, up to `end`: it need not
   * be put together elsewhere first.
   */
  begin(timestamp: number, key: Buffer, keyAt: number, keyLength: number): ByteWriter {
    this.#assertWhole()
    this.#endsAt = OPEN
    const writer = this.#writer
    this.#startsAt = writer.position
    this.#timestamp = timestamp
    writer.ensure(HEAD_BYTES_MAX + Math.max(keyLength, 0) + 3 * VARINT_BYTES_MAX)
    let at = this.#head(writer.position + this.#sizeBytes, timestamp)
    const { buffer } = writer
    this.#bodyAt = at
    at = putVarint(buffer, at, keyLength)
    if (keyLength > 0) at = this.#put(at, keyWords, key, keyAt, keyAt + keyLength)
    this.#valueAt = at + this.#valueSizeBytes
    writer.position = this.#valueAt
    return writer
  }

  /**
   * Ends the record; `null`: it has no value. `headers` is Kafka's encoding of them (a varint count first), as it stands in a
   * batch that was read; null: none.
   */
  end(value: 'written' | 'null', headers: Buffer | null, headersAt: number, headersEnd: number): void {
    assert(this.#endsAt === OPEN, 'I8: a record was ended that was not begun')
    const writer = this.#writer
    if (value === 'null') writer.position = this.#valueAt
    assert(writer.position >= this.#valueAt, 'I8: a serde took back what it had not written')
    const length = value === 'null' ? -1 : writer.position - this.#valueAt
    this.#valueSizeBytes = this.#putLength(this.#valueAt, this.#valueSizeBytes, length)
    const headerBytes = headers ? headersEnd - headersAt : 1
    writer.ensure(headerBytes)
    if (headers) writer.position = this.#put(writer.position, headerWords, headers, headersAt, headersEnd)
    else writer.buffer[writer.position++] = 0
    const sizeEnd = this.#startsAt + this.#sizeBytes
    const before = this.#sizeBytes
    this.#sizeBytes = this.#putLength(sizeEnd, before, writer.position - sizeEnd)
    this.#bodyAt += this.#sizeBytes - before
    this.#maxBefore = this.#maxTimestamp
    this.#finish(this.#timestamp)
  }

  /** Nothing of the record that was begun stays. */
  undo(): void {
    assert(this.#endsAt === OPEN, 'I8: a record was undone that was not begun')
    this.#cut()
  }

  /** Moves the record that `end` has just ended to an empty builder. */
  moveLastTo(other: BatchBuilder): void {
    assert(
      this.#endsAt !== OPEN && this.#startsAt >= 0 && other.count === 0,
      'I8: no record to move, or no place for it',
    )
    const { buffer, position } = this.#writer
    other.copy(this.#timestamp, buffer, this.#bodyAt, position)
    this.#maxTimestamp = this.#maxBefore
    this.#count--
    this.#cut()
  }

  #cut(): void {
    this.#writer.position = this.#startsAt
    this.#endsAt = this.#startsAt
    this.#startsAt = -1
  }

  #assertWhole(): void {
    assert(
      this.#writer.position === this.#endsAt,
      'I8: a serde wrote records, or after its record had ended, or took back more than it had written',
    )
  }

  /** Puts a length into the `room` bytes before `from`, and moves what stands behind them if it takes more or fewer; gives how many. */
  #putLength(from: number, room: number, length: number): number {
    const writer = this.#writer
    const wanted = varintSize(length)
    if (wanted !== room) {
      const shift = wanted - room
      writer.ensure(Math.max(shift, 0))
      writer.buffer.copyWithin(from + shift, from, writer.position)
      writer.position += shift
    }
    putVarint(writer.buffer, from - room, length)
    return wanted
  }

  /** Appends a record whose key, value and headers stand at `start … end` as the format has them, lengths included. */
  copy(timestamp: number, source: Buffer, start: number, end: number): void {
    const writer = this.#writer
    const count = this.#count
    if (writer.position !== this.#endsAt) this.#assertWhole()
    this.#startsAt = -1
    const delta = count === 0 ? 0 : timestamp - this.#firstTimestamp
    const size = 1 + varlongSize(delta) + varintSize(count) + end - start
    writer.ensure(VARINT_BYTES_MAX + HEAD_BYTES_MAX + end - start)
    const at = this.#head(putVarint(writer.buffer, writer.position, size), timestamp)
    writer.position = this.#put(at, bodyWords, source, start, end)
    this.#finish(timestamp)
  }

  /** Writes what stands between a record's length and its key, at `at`, where there is room; gives the position behind it. */
  #head(at: number, timestamp: number): number {
    if (this.#count === 0) this.#firstTimestamp = timestamp
    const delta = timestamp - this.#firstTimestamp
    const writer = this.#writer
    const { buffer } = writer
    buffer[at++] = 0
    if (delta >= -0x40000000 && delta < 0x40000000) at = putVarint(buffer, at, delta)
    else {
      writer.position = at
      writer.varlong(delta)
      at = writer.position
    }
    return putVarint(buffer, at, this.#count)
  }

  #finish(timestamp: number): void {
    if (this.#count === 0 || timestamp > this.#maxTimestamp) this.#maxTimestamp = timestamp
    this.#count++
    this.#endsAt = this.#writer.position
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
    this.#assertWhole()
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
    this.#endsAt = BATCH_HEADER_BYTES
    this.#startsAt = -1
    this.#count = 0
  }

  /** Of the memory that it holds. */
  get capacity(): number {
    return this.#writer.buffer.length
  }
}
