// Reads what ByteWriter wrote, and Kafka's responses. Every read is bounds-checked: hostile or cut bytes end in one
// coded error, never in a wrong value, an endless loop or an allocation of the size that the bytes claim.
import { utf8Slice } from './byte-writer.ts'
import { MillraceError } from './errors.ts'

export class ByteReader {
  readonly buffer: Buffer
  position: number
  readonly end: number
  #words: DataView | null = null

  constructor(buffer: Buffer, start = 0, end: number = buffer.length) {
    this.buffer = buffer
    this.position = start
    this.end = end
  }

  get remaining(): number {
    return this.end - this.position
  }

  private take(bytes: number): number {
    const at = this.position
    if (bytes < 0 || bytes > this.end - at) this.fail(`${bytes} bytes wanted, ${this.end - at} left`)
    this.position = at + bytes
    return at
  }

  private fail(what: string): never {
    throw new MillraceError('BYTES_MALFORMED', `at byte ${this.position}: ${what}`)
  }

  uint8(): number {
    return this.buffer[this.take(1)] as number
  }

  boolean(): boolean {
    return this.uint8() !== 0
  }

  int8(): number {
    return this.buffer.readInt8(this.take(1))
  }

  int16(): number {
    return this.buffer.readInt16BE(this.take(2))
  }

  int32(): number {
    return this.buffer.readInt32BE(this.take(4))
  }

  uint32(): number {
    return this.buffer.readUInt32BE(this.take(4))
  }

  int64(): bigint {
    return this.buffer.readBigInt64BE(this.take(8))
  }

  get view(): DataView {
    const { buffer } = this
    this.#words ??= new DataView(buffer.buffer, buffer.byteOffset, buffer.length)
    return this.#words
  }

  f64(): number {
    return this.view.getFloat64(this.take(8))
  }

  uvarint(): number {
    let value = 0
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.uint8()
      value |= (byte & 127) << shift
      if (byte < 128) return value >>> 0
    }
    return this.fail('a varint of more than 5 bytes')
  }

  varint(): number {
    const zigzag = this.uvarint()
    return (zigzag >>> 1) ^ -(zigzag & 1)
  }

  /** A zigzag varint of up to 64 bits, as a number. */
  varlong(): number {
    let low = 0n
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.uint8()
      low |= BigInt(byte & 127) << shift
      if (byte < 128) return Number(BigInt.asIntN(64, (low >> 1n) ^ -(low & 1n)))
    }
    return this.fail('a varint of more than 10 bytes')
  }

  /** Passes over them; gives where they begin. */
  skip(length: number): number {
    return this.take(length)
  }

  /** A view; valid as long as the buffer. */
  bytes(length: number): Buffer {
    const at = this.take(length)
    return this.buffer.subarray(at, at + length)
  }

  utf8(length: number): string {
    const at = this.take(length)
    return utf8Slice(this.buffer, at, at + length)
  }

  lengthPrefixed(): Buffer {
    return this.bytes(this.uvarint())
  }

  lengthPrefixedUtf8(): string {
    return this.utf8(this.uvarint())
  }

  /** A count of things that take at least `bytesEach`: a count that cannot be true is refused before anything is allocated. */
  count(value: number, bytesEach: number): number {
    if (value < 0 || value * bytesEach > this.remaining)
      this.fail(`${value} elements claimed, ${this.remaining} bytes left`)
    return value
  }
}
