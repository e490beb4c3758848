// A growable byte buffer with the primitive encodings of Kafka's record format (zigzag varints, big-endian numbers).
// Serdes, the record-batch codec and checkpoint segments write into it; a writer is reused, so that the hot path
// allocates nothing per record.

import { copyWords, NATIVE_COPY_BYTES_MIN, Words } from './words.ts'

/** Buffer has these since Node 0.x; its type declarations leave them out. They skip the generic `write` dispatch. */
interface SliceableBuffer {
  utf8Write(text: string, offset: number, length?: number): number
  utf8Slice(start: number, end: number): string
}

/** Decodes UTF-8 without the argument handling of `toString`. */
export function utf8Slice(bytes: Buffer, start: number, end: number): string {
  return (bytes as Buffer & SliceableBuffer).utf8Slice(start, end)
}

/** Above, the native call is no dearer than strings put together. */
const SHORT_BYTES_MAX = 8
/** Above, it is no dearer than a loop. */
const SHORT_CHARS_MAX = 16

/** As `utf8Slice`, at half of the price for a short ASCII text: a key. */
export function shortSlice(bytes: Buffer, start: number, end: number): string {
  if (end - start > SHORT_BYTES_MAX || end > bytes.length) return utf8Slice(bytes, start, end)
  let text = ''
  let all = 0
  let at = start
  for (; at + 3 < end; at += 4) {
    const [a, b, c, d] = [
      bytes[at] as number,
      bytes[at + 1] as number,
      bytes[at + 2] as number,
      bytes[at + 3] as number,
    ]
    all |= a | b | c | d
    text += String.fromCharCode(a, b, c, d)
  }
  for (; at < end; at++) {
    const a = bytes[at] as number
    all |= a
    text += String.fromCharCode(a)
  }
  return all < 128 ? text : utf8Slice(bytes, start, end)
}

/** In all parts of what is never put together. */
export function bytesOf(parts: readonly { readonly length: number }[]): number {
  return parts.reduce((sum, { length }) => sum + length, 0)
}

/** Fewer are copied one by one: they come from ever other places, whose view would have to be made. */
const WORDS_BYTES_MIN = 25

export class ByteWriter {
  buffer: Buffer
  position = 0
  readonly #words = new Words()
  readonly #sourceWords = new Words()

  /** `memory`: how many bytes to begin with, or a buffer to write over. */
  constructor(memory: number | Buffer = 1024) {
    this.buffer = typeof memory === 'number' ? Buffer.allocUnsafeSlow(memory) : memory
  }

  /** Forgets the content and keeps the memory. */
  reset(): void {
    this.position = 0
  }

  /** A copy of what was written: safe to keep. */
  copy(): Buffer {
    const out = Buffer.allocUnsafeSlow(this.position)
    this.buffer.copy(out, 0, 0, this.position)
    return out
  }

  /** A view of what was written: valid until the next write. */
  view(): Buffer {
    return this.buffer.subarray(0, this.position)
  }

  ensure(bytes: number): void {
    if (this.position + bytes <= this.buffer.length) return
    const grown = Buffer.allocUnsafeSlow(Math.max(this.buffer.length * 2, this.position + bytes))
    this.buffer.copy(grown, 0, 0, this.position)
    this.buffer = grown
  }

  uint8(value: number): void {
    this.ensure(1)
    this.buffer[this.position++] = value
  }

  int16(value: number): void {
    this.ensure(2)
    this.position = this.buffer.writeInt16BE(value, this.position)
  }

  int32(value: number): void {
    this.ensure(4)
    this.position = this.buffer.writeInt32BE(value, this.position)
  }

  uint32(value: number): void {
    this.ensure(4)
    this.position = this.buffer.writeUInt32BE(value >>> 0, this.position)
  }

  int64(value: bigint): void {
    this.ensure(8)
    this.position = this.buffer.writeBigInt64BE(value, this.position)
  }

  f64(value: number): void {
    this.ensure(8)
    this.#words.of(this.buffer).setFloat64(this.position, value)
    this.position += 8
  }

  /** Unsigned LEB128 of a value below 2^32. */
  uvarint(value: number): void {
    this.ensure(5)
    let rest = value >>> 0
    while (rest > 127) {
      this.buffer[this.position++] = (rest & 127) | 128
      rest >>>= 7
    }
    this.buffer[this.position++] = rest
  }

  /** Zigzag varint of a signed 32-bit value. */
  varint(value: number): void {
    this.uvarint((value << 1) ^ (value >> 31))
  }

  /** Zigzag varint of a safe integer (timestamps: a delta overflows 32 bits after 24.8 days). */
  varlong(value: number): void {
    if (value >= -0x40000000 && value < 0x40000000) return this.varint(value)
    this.ensure(10)
    let rest = BigInt.asUintN(64, (BigInt(value) << 1n) ^ (BigInt(value) >> 63n))
    while (rest > 127n) {
      this.buffer[this.position++] = Number(rest & 127n) | 128
      rest >>= 7n
    }
    this.buffer[this.position++] = Number(rest)
  }

  bytes(source: Uint8Array, start = 0, end: number = source.length): void {
    const length = end - start
    this.ensure(length)
    if (length < WORDS_BYTES_MIN) {
      for (let i = start; i < end; i++) this.buffer[this.position++] = source[i] as number
      return
    }
    if (length < NATIVE_COPY_BYTES_MIN)
      copyWords(this.#words.of(this.buffer), this.position - start, this.#sourceWords.of(source), start, end)
    else this.buffer.set(source.subarray(start, end), this.position)
    this.position += length
  }

  /** UTF-8 without a length. */
  utf8(text: string): void {
    this.ensure(text.length * 3)
    if (text.length <= SHORT_CHARS_MAX && this.#ascii(text)) return
    this.position += (this.buffer as Buffer & SliceableBuffer).utf8Write(text, this.position)
  }

  /** False: it has other letters, too, and nothing is written. */
  #ascii(text: string): boolean {
    const { buffer, position } = this
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i)
      if (code > 127) return false
      buffer[position + i] = code
    }
    this.position += text.length
    return true
  }

  /** What is written from here to `endPart` gets its length (unsigned varint) in front. @returns for `endPart` */
  beginPart(): number {
    this.uint8(0)
    return this.position
  }

  endPart(start: number): void {
    const length = this.position - start
    if (length < 128) {
      this.buffer[start - 1] = length
      return
    }
    // One byte was too few.
    const more = uvarintSize(length) - 1
    this.ensure(more)
    this.buffer.copyWithin(start + more, start, this.position)
    this.position = start - 1
    this.uvarint(length)
    this.position += length
  }

  /** Length (unsigned varint), then the bytes. */
  lengthPrefixed(source: Uint8Array): void {
    this.uvarint(source.length)
    this.bytes(source)
  }

  lengthPrefixedUtf8(text: string): void {
    this.lengthPrefixed(Buffer.from(text, 'utf8'))
  }
}

/** Bytes of the unsigned varint of a value below 2^32. */
function uvarintSize(value: number): number {
  return value < 0x80 ? 1 : value < 0x4000 ? 2 : value < 0x200000 ? 3 : value < 0x10000000 ? 4 : 5
}

/** Bytes of the zigzag varint of `value` (32 bit). */
export function varintSize(value: number): number {
  const zigzag = ((value << 1) ^ (value >> 31)) >>> 0
  return uvarintSize(zigzag)
}

/** Bytes of the zigzag varint of a safe integer. */
export function varlongSize(value: number): number {
  if (value >= -0x40000000 && value < 0x40000000) return varintSize(value)
  let size = 0
  let rest = BigInt.asUintN(64, (BigInt(value) << 1n) ^ (BigInt(value) >> 63n))
  do {
    size++
    rest >>= 7n
  } while (rest > 0n)
  return size
}
