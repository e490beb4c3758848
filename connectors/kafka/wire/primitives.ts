// Kafka's protocol primitives. A *flexible* version uses compact lengths (unsigned varint n + 1, 0 = null) and a tag
// section after every struct; `ProtocolWriter` and `ProtocolReader` hide the difference, so that one encoder serves both.
import { ByteReader } from '../../../src/base/byte-reader.ts'
import { ByteWriter } from '../../../src/base/byte-writer.ts'

export class ProtocolWriter extends ByteWriter {
  flexible = false
  #attached: { readonly at: number; readonly bytes: Uint8Array }[] = []

  string(text: string): void {
    const bytes = Buffer.from(text, 'utf8')
    if (this.flexible) this.uvarint(bytes.length + 1)
    else this.int16(bytes.length)
    this.bytes(bytes)
  }

  nullableString(text: string | null): void {
    if (text !== null) return this.string(text)
    if (this.flexible) this.uvarint(0)
    else this.int16(-1)
  }

  /** `bytes`, nullable or not, have the same form. */
  data(bytes: Uint8Array | null): void {
    if (bytes === null) {
      if (this.flexible) this.uvarint(0)
      else this.int32(-1)
      return
    }
    if (this.flexible) this.uvarint(bytes.length + 1)
    else this.int32(bytes.length)
    this.bytes(bytes)
  }

  /** As `data`, but the bytes stay where they are: they must not change until the request is answered. Only `parts` has them. */
  attach(bytes: Uint8Array): void {
    if (this.flexible) this.uvarint(bytes.length + 1)
    else this.int32(bytes.length)
    this.#attached.push({ at: this.position, bytes })
  }

  /** All that was written, attached bytes in their places. */
  parts(): Uint8Array[] {
    const parts: Uint8Array[] = []
    let from = 0
    for (const { at, bytes } of this.#attached) {
      parts.push(this.buffer.subarray(from, at), bytes)
      from = at
    }
    parts.push(this.buffer.subarray(from, this.position))
    return parts
  }

  boolean(value: boolean): void {
    this.uint8(value ? 1 : 0)
  }

  array<T>(items: readonly T[] | null, each: (item: T) => void): void {
    if (items === null) {
      if (this.flexible) this.uvarint(0)
      else this.int32(-1)
      return
    }
    if (this.flexible) this.uvarint(items.length + 1)
    else this.int32(items.length)
    for (const item of items) each(item)
  }

  /** Ends a struct: no tagged fields. */
  tags(): void {
    if (this.flexible) this.uvarint(0)
  }
}

export class ProtocolReader extends ByteReader {
  flexible = false

  string(): string {
    return this.nullableString() ?? ''
  }

  nullableString(): string | null {
    const length = this.flexible ? this.uvarint() - 1 : this.int16()
    return length < 0 ? null : this.utf8(length)
  }

  data(): Buffer | null {
    const length = this.flexible ? this.uvarint() - 1 : this.int32()
    return length < 0 ? null : this.bytes(length)
  }

  uuid(): string {
    const hex = this.bytes(16).toString('hex')
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
  }

  array<T>(each: () => T): T[] {
    const length = this.flexible ? this.uvarint() - 1 : this.int32()
    const items: T[] = []
    if (length < 0) return items
    this.count(length, 1)
    for (let i = 0; i < length; i++) items.push(each())
    return items
  }

  /** Ends a struct; `tagged` sees the known tagged fields, the others are skipped. */
  tags(tagged?: (tag: number, reader: ProtocolReader) => void): void {
    if (!this.flexible) return
    const fields = this.count(this.uvarint(), 2)
    for (let i = 0; i < fields; i++) {
      const tag = this.uvarint()
      const body = this.bytes(this.uvarint())
      if (!tagged) continue
      const inner = new ProtocolReader(body)
      inner.flexible = true
      tagged(tag, inner)
    }
  }
}

/** One request type at the versions that we speak: how to write the request and how to read the answer. */
export interface Api<Request, Response> {
  readonly name: string
  readonly key: number
  /** We speak `min` to `max`; the connection picks the highest that the broker offers too. */
  readonly min: number
  readonly max: number
  readonly flexibleFrom: number
  encode(writer: ProtocolWriter, request: Request, version: number): void
  decode(reader: ProtocolReader, version: number): Response
}

/** Writes rows as most requests want them: `[topic, [row]]`. `row` writes what stands behind the partition. */
export function writeByTopic<T extends { readonly topic: string; readonly partition: number }>(
  writer: ProtocolWriter,
  rows: readonly T[],
  row: (row: T) => void,
): void {
  writer.array([...Map.groupBy(rows, (each) => each.topic)], ([topic, grouped]) => {
    writer.string(topic)
    writer.array(grouped, (each) => {
      writer.int32(each.partition)
      row(each)
      writer.tags()
    })
    writer.tags()
  })
}

/** Writes bare partitions: `[topic, [partition]]`, without tags behind each number. */
export function writePartitions(
  writer: ProtocolWriter,
  rows: readonly { readonly topic: string; readonly partition: number }[],
): void {
  writer.array([...Map.groupBy(rows, (each) => each.topic)], ([topic, grouped]) => {
    writer.string(topic)
    writer.array(grouped, (each) => writer.int32(each.partition))
    writer.tags()
  })
}

/** Reads `[topic, [partition, row]]` as flat rows; `row` reads what stands behind the partition, up to the tags. */
export function readByTopic<T>(reader: ProtocolReader, row: (topic: string, partition: number) => T): T[] {
  const topics = reader.array(() => {
    const topic = reader.string()
    const rows = reader.array(() => {
      const each = row(topic, reader.int32())
      reader.tags()
      return each
    })
    reader.tags()
    return rows
  })
  return topics.flat()
}
