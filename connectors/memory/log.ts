// A partitioned log in memory, for tests of engines and of connectors: batches with offsets, transactions that abort, control
// records that take an offset. It lives as long as the process.
import { ByteWriter } from '../../src/base/byte-writer.ts'
import {
  ColumnarBatch,
  type Headers,
  KEY_AT,
  KEY_LENGTH,
  STRIDE,
  VALUE_AT,
  VALUE_LENGTH,
} from '../../src/dataflow/batch.ts'

export interface MemoryRecord {
  readonly key: Buffer | null
  readonly value: Buffer | null
  /** Milliseconds since 1970. Default 0. */
  readonly timestamp?: number
  readonly headers?: Headers
}

/** What stands at an offset and behind it, up to `nextOffset`. */
export interface LogEntry {
  /** undefined: a control record, or a batch whose transaction was aborted. */
  readonly batch: ColumnarBatch | undefined
  readonly nextOffset: bigint
}

export class MemoryLog {
  readonly topic: string
  readonly #partitions: LogEntry[][]
  readonly #listeners = new Set<() => void>()

  constructor(topic: string, partitions: number) {
    this.topic = topic
    this.#partitions = Array.from({ length: partitions }, () => [])
  }

  get partitions(): number {
    return this.#partitions.length
  }

  /** Kafka's way: a topic gets more partitions, never fewer. */
  grow(partitions: number): void {
    while (this.partitions < partitions) this.#partitions.push([])
  }

  /** Records as one batch; gives its first offset. */
  append(partition: number, records: readonly MemoryRecord[]): bigint {
    const base = this.end(partition)
    const batch = encodeBatch(this.topic, partition, base, records)
    this.#add(partition, { batch, nextOffset: batch.nextOffset })
    return base
  }

  /** Offsets that no reader gets records for: an aborted batch, or control records. */
  appendInvisible(partition: number, count: number): void {
    this.#add(partition, { batch: undefined, nextOffset: this.end(partition) + BigInt(count) })
  }

  #add(partition: number, entry: LogEntry): void {
    this.#entries(partition).push(entry)
    for (const listener of this.#listeners) listener()
  }

  #entries(partition: number): LogEntry[] {
    const entries = this.#partitions[partition]
    if (!entries) throw new RangeError(`${this.topic} has partitions 0–${this.partitions - 1}, not ${partition}`)
    return entries
  }

  /** The next offset to be written. */
  end(partition: number): bigint {
    return this.#entries(partition).at(-1)?.nextOffset ?? 0n
  }

  /** All records of a partition that readers get. */
  records(partition: number): MemoryRecord[] {
    return this.#entries(partition).flatMap(({ batch }) => (batch ? recordsOf(batch) : []))
  }

  /** What holds `offset`, whole; undefined: it is not written yet. */
  at(partition: number, offset: bigint): LogEntry | undefined {
    return this.#entries(partition).find((entry) => entry.nextOffset > offset)
  }

  /** Calls `listener` after each append; gives the way to end that. */
  onAppend(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }
}

/** A batch as a reader hands it to the engine: bytes and columns of positions. */
function encodeBatch(topic: string, partition: number, base: bigint, records: readonly MemoryRecord[]): ColumnarBatch {
  const out = new ByteWriter(1024)
  const fields = new Int32Array(records.length * STRIDE)
  const put = (part: Buffer | null): readonly [number, number] => {
    const at = out.position
    if (part) out.bytes(part)
    return [at, part ? part.length : -1]
  }
  for (const [index, { key, value, headers = [] }] of records.entries()) {
    const headersAt = (): number => {
      const at = out.position
      putHeaders(out, headers)
      return at
    }
    fields.set([index, ...put(key), ...put(value), headersAt(), out.position, 0], index * STRIDE)
  }
  return new ColumnarBatch({
    topic,
    partition,
    baseOffset: base,
    nextOffset: base + BigInt(records.length),
    leaderEpoch: 0,
    count: records.length,
    bytes: out.copy(),
    fields,
    timestamps: Float64Array.from(records, (record) => record.timestamp ?? 0),
  })
}

function putHeaders(out: ByteWriter, headers: Headers): void {
  out.varint(headers.length)
  for (const [name, value] of headers) {
    const bytes = Buffer.from(name, 'utf8')
    out.varint(bytes.length)
    out.bytes(bytes)
    out.varint(value ? value.length : -1)
    if (value) out.bytes(value)
  }
}

function recordsOf(batch: ColumnarBatch): MemoryRecord[] {
  const { bytes, fields, timestamps } = batch
  const part = (at: number, length: number): Buffer | null => (length < 0 ? null : bytes.subarray(at, at + length))
  return Array.from({ length: batch.count }, (_, index) => {
    const row = index * STRIDE
    return {
      key: part(fields[row + KEY_AT] as number, fields[row + KEY_LENGTH] as number),
      value: part(fields[row + VALUE_AT] as number, fields[row + VALUE_LENGTH] as number),
      timestamp: timestamps[index] as number,
      headers: batch.headersOf(index),
    }
  })
}
