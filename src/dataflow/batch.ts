// The unit that moves from a source: one buffer as it came over the wire, and columns of positions in it. Nothing is
// decoded until a user function asks. When its last record has left the chain the batch may be released: its memory is then
// used again, unless somebody got a view of it.
import { assert } from '../base/assert.ts'
import { ByteReader } from '../base/byte-reader.ts'
import { MillraceError } from '../base/errors.ts'

/** Int32 columns per record in `fields`. */
export const STRIDE = 8
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
/** Where key, value and headers begin as Kafka's record format has them, lengths included; 0: the bytes have another format. */
export const BODY_AT = 7

/** `[name, value]`, in the record's order; names may repeat. */
export type Headers = readonly (readonly [string, Buffer | null])[]

export interface Columns {
  readonly fields: Int32Array
  readonly timestamps: Float64Array
}

/** Whose memory a batch is. */
export interface BatchOwner {
  /** Nobody reads the batch any more. */
  release(batch: ColumnarBatch): void
}

export class ColumnarBatch implements Columns {
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
  /** Somebody got a view of the bytes and may keep it: they must stay as they are. */
  viewed = false
  readonly #owner: BatchOwner | null
  #released = false

  /** `fields` and `timestamps` may be longer than `count` records. */
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
    owner?: BatchOwner | null
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
    this.#owner = init.owner ?? null
  }

  /** No record of the batch is read any more: its memory may be used again. Optional; what is never released is collected. */
  release(): void {
    if (this.viewed || !this.#owner) return
    assert(!this.#released, `batch ${this.topic}-${this.partition}@${this.baseOffset} was released twice`)
    this.#released = true
    this.#owner.release(this)
  }

  /** Before a late read. @throws CALL_OVER */
  checkAlive(): void {
    if (!this.#released) return
    const text = `a record of the batch ${this.topic}-${this.partition}@${this.baseOffset} was read after the function that got it had returned; take what you need of it (key, value, timestamp, offset) while the function runs`
    throw new MillraceError('CALL_OVER', text)
  }

  offsetOf(index: number): bigint {
    this.checkAlive()
    return this.baseOffset + BigInt(this.fields[index * STRIDE + OFFSET_DELTA] as number)
  }

  headersOf(index: number): Headers {
    this.checkAlive()
    const row = index * STRIDE
    return decodeHeaders(this.bytes, this.fields[row + HEADERS_AT] as number, this.fields[row + RECORD_END] as number)
  }
}

/** Headers in Kafka's record encoding: a varint count, then name and value with varint lengths. Values are copies. */
export function decodeHeaders(bytes: Buffer, start: number, end: number): Headers {
  const reader = new ByteReader(bytes, start, end)
  const headers: [string, Buffer | null][] = []
  const count = reader.count(reader.varint(), 2)
  for (let i = 0; i < count; i++) {
    const name = reader.utf8(reader.varint())
    const length = reader.varint()
    headers.push([name, length < 0 ? null : Buffer.from(reader.bytes(length))])
  }
  return headers
}
