/**
 * Big-endian bytes as Kafka writes them: one writer for request bodies, one reader for responses and records.
 * A read past the end throws a RangeError (by Buffer itself): callers treat it as a broken answer.
 */

/** Collects the fields of a request body. */
export class ByteWriter {
  readonly #parts: Buffer[] = []

  #fixed(size: number, fill: (part: Buffer) => void): this {
    const part = Buffer.allocUnsafe(size)
    fill(part)
    this.#parts.push(part)
    return this
  }

  int8(value: number): this {
    return this.#fixed(1, (part) => part.writeInt8(value))
  }

  int16(value: number): this {
    return this.#fixed(2, (part) => part.writeInt16BE(value))
  }

  int32(value: number): this {
    return this.#fixed(4, (part) => part.writeInt32BE(value))
  }

  int64(value: number | bigint): this {
    return this.#fixed(8, (part) => part.writeBigInt64BE(BigInt(value)))
  }

  string(value: string): this {
    const text = Buffer.from(value)
    this.int16(text.length)
    this.#parts.push(text)
    return this
  }

  array<T>(items: readonly T[], write: (item: T) => void): this {
    this.int32(items.length)
    for (const item of items) write(item)
    return this
  }

  uvarint(value: number): this {
    const bytes: number[] = []
    while (value >= 0x80) {
      bytes.push((value & 0x7f) | 0x80)
      value >>>= 7
    }
    bytes.push(value)
    this.#parts.push(Buffer.from(bytes))
    return this
  }

  /** The string of "flexible" request versions. */
  compactString(value: string): this {
    const text = Buffer.from(value)
    this.uvarint(text.length + 1)
    this.#parts.push(text)
    return this
  }

  /** The array of "flexible" request versions; null means "all". */
  compactArray<T>(items: readonly T[] | null, write: (item: T) => void): this {
    if (items === null) return this.uvarint(0)
    this.uvarint(items.length + 1)
    for (const item of items) write(item)
    return this
  }

  /** An empty tag section: ends every structure of a flexible version. */
  tags(): this {
    return this.uvarint(0)
  }

  toBuffer(): Buffer {
    return Buffer.concat(this.#parts)
  }
}

/** Walks over the fields of a response or a record. */
export class ByteReader {
  readonly buffer: Buffer
  position: number

  constructor(buffer: Buffer, position = 0) {
    this.buffer = buffer
    this.position = position
  }

  get remaining(): number {
    return this.buffer.length - this.position
  }

  int8(): number {
    const value = this.buffer.readInt8(this.position)
    this.position += 1
    return value
  }

  int16(): number {
    const value = this.buffer.readInt16BE(this.position)
    this.position += 2
    return value
  }

  int32(): number {
    const value = this.buffer.readInt32BE(this.position)
    this.position += 4
    return value
  }

  int64(): bigint {
    const value = this.buffer.readBigInt64BE(this.position)
    this.position += 8
    return value
  }

  /** An int64 as a number: right for offsets and timestamps, not for producer ids. */
  long(): number {
    return Number(this.int64())
  }

  string(): string {
    return this.nullableString() ?? ''
  }

  nullableString(): string | null {
    const length = this.int16()
    return length < 0 ? null : this.take(length).toString()
  }

  bytes(): Buffer {
    const length = this.int32()
    return length < 0 ? Buffer.alloc(0) : this.take(length)
  }

  take(length: number): Buffer {
    if (length < 0 || length > this.remaining) throw new RangeError(`${length} bytes wanted, ${this.remaining} left`)
    const part = this.buffer.subarray(this.position, this.position + length)
    this.position += length
    return part
  }

  array<T>(read: () => T): T[] {
    return this.#items(this.int32(), read)
  }

  compactArray<T>(read: () => T): T[] {
    return this.#items(this.uvarint() - 1, read)
  }

  #items<T>(length: number, read: () => T): T[] {
    if (length > this.remaining) throw new RangeError(`an array of ${length} does not fit in ${this.remaining} bytes`)
    const items: T[] = []
    for (let i = 0; i < length; i++) items.push(read())
    return items
  }

  compactString(): string {
    const length = this.uvarint() - 1
    return length < 0 ? '' : this.take(length).toString()
  }

  /** Skips the tag section of a flexible structure. */
  tags(): void {
    for (let left = this.uvarint(); left > 0; left--) {
      this.uvarint()
      this.take(this.uvarint())
    }
  }

  uvarint(): number {
    let value = 0
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.buffer.readUInt8(this.position++)
      value += (byte & 0x7f) * 2 ** shift
      if (byte < 0x80) return value
    }
    throw new RangeError('a varint is longer than five bytes')
  }

  /** Zigzag, 32 bits: lengths and deltas inside records. */
  varint(): number {
    const value = this.uvarint()
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2
  }

  /** Zigzag, 64 bits as a number: timestamp deltas, which stay far below 2^53. */
  varlong(): number {
    let value = 0n
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.buffer.readUInt8(this.position++)
      value |= BigInt(byte & 0x7f) << shift
      if (byte < 0x80) return Number((value >> 1n) ^ -(value & 1n))
    }
    throw new RangeError('a varlong is longer than ten bytes')
  }
}
