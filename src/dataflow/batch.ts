// The unit that moves from a source: one buffer as it came over the wire, and columns of positions in it. Nothing is
// decoded until a user function asks. Positions stay valid as long as the batch lives; buffers are never reused.
import { ByteReader } from '../base/byte-reader.ts'

/** Int32 columns per record in `fields`. */
export const STRIDE = 7
export const OFFSET_DELTA = 0
export const KEY_AT = 1
/** −1: the key is null. */
export const KEY_LENGTH = 2
export const VALUE_AT = 3
/** −1: the value is null (a tombstone). */
export const VALUE_LENGTH = 4
/** Where the headers' count (a varint) stands. */
export const HEADERS_AT = 5
/** End of the headers, which is the end of the record. */
export const RECORD_END = 6

/** `[name, value]`, in the record's order; names may repeat. */
export type Headers = readonly (readonly [string, Buffer | null])[]

export class ColumnarBatch {
  readonly topic: string
  readonly partition: number
  readonly baseOffset: bigint
  /** The offset after the last one of the batch, records that were filtered or compacted away included (I10). */
  readonly nextOffset: bigint
  readonly leaderEpoch: number
  readonly count: number
  readonly bytes: Buffer
  readonly fields: Int32Array
  /** Milliseconds since 1970, absolute: a delta overflows Int32 after 24.8 days. */
  readonly timestamps: Float64Array

  constructor(init: {
    topic: string
    partition: number
    baseOffset: bigint
    nextOffset: bigint
    leaderEpoch: number
    count: number
    bytes: Buffer
    fields: Int32Array
    timestamps: Float64Array
  }) {
    this.topic = init.topic
    this.partition = init.partition
    this.baseOffset = init.baseOffset
    this.nextOffset = init.nextOffset
    this.leaderEpoch = init.leaderEpoch
    this.count = init.count
    this.bytes = init.bytes
    this.fields = init.fields
    this.timestamps = init.timestamps
  }

  offsetOf(index: number): bigint {
    return this.baseOffset + BigInt(this.fields[index * STRIDE + OFFSET_DELTA] as number)
  }

  headersOf(index: number): Headers {
    const row = index * STRIDE
    return decodeHeaders(this.bytes, this.fields[row + HEADERS_AT] as number, this.fields[row + RECORD_END] as number)
  }
}

/** Headers in Kafka's record encoding: a varint count, then name and value with varint lengths. */
export function decodeHeaders(bytes: Buffer, start: number, end: number): Headers {
  const reader = new ByteReader(bytes, start, end)
  const headers: [string, Buffer | null][] = []
  const count = reader.count(reader.varint(), 2)
  for (let i = 0; i < count; i++) {
    const name = reader.utf8(reader.varint())
    const length = reader.varint()
    headers.push([name, length < 0 ? null : reader.bytes(length)])
  }
  return headers
}
