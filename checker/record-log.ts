/**
 * What the readers deliver: records of one partition in columns, in offset order, kept as they came.
 *
 * A chunk holds the bytes of its records once (a decoded batch, or one poll of the Java reader) and number columns that
 * point into them: two million records cost their bytes plus 32 bytes each, and no object per record. `LogRecord` is a
 * view made on demand.
 */

/** One record as Kafka gave it. */
export interface LogRecord {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  readonly timestamp: number
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: readonly RecordHeader[]
}

export interface RecordHeader {
  readonly name: string
  readonly value: Buffer | null
}

const NO_HEADERS: readonly RecordHeader[] = []
const SPAN = 4

/** Records of one partition, rising offsets. `arrivedAtMs` is the wall clock at which the reader had them. */
export class RecordChunk {
  readonly topic: string
  readonly partition: number
  readonly arrivedAtMs: number
  readonly count: number
  readonly #bytes: Buffer
  readonly #offsets: Float64Array
  readonly #timestamps: Float64Array
  readonly #spans: Int32Array
  readonly #headers: ReadonlyMap<number, readonly RecordHeader[]>

  constructor(builder: RecordChunkBuilder, arrivedAtMs: number) {
    this.topic = builder.topic
    this.partition = builder.partition
    this.arrivedAtMs = arrivedAtMs
    this.count = builder.offsets.length
    this.#bytes = builder.bytes
    this.#offsets = Float64Array.from(builder.offsets)
    this.#timestamps = Float64Array.from(builder.timestamps)
    this.#spans = Int32Array.from(builder.spans)
    this.#headers = builder.headers
  }

  offset(index: number): number {
    return this.#offsets[index] ?? Number.NaN
  }

  record(index: number): LogRecord {
    const span = index * SPAN
    return {
      topic: this.topic,
      partition: this.partition,
      offset: this.offset(index),
      timestamp: this.#timestamps[index] ?? Number.NaN,
      key: this.#slice(span),
      value: this.#slice(span + 2),
      headers: this.#headers.get(index) ?? NO_HEADERS,
    }
  }

  #slice(span: number): Buffer | null {
    const start = this.#spans[span] ?? -1
    return start < 0 ? null : this.#bytes.subarray(start, this.#spans[span + 1])
  }

  /** The index of the first record at or above `offset`. */
  lowerBound(offset: number): number {
    let low = 0
    let high = this.count
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.offset(middle) < offset) low = middle + 1
      else high = middle
    }
    return low
  }
}

/** Columns under construction; positions point into `bytes`, −1 means null. */
export class RecordChunkBuilder {
  readonly topic: string
  readonly partition: number
  readonly bytes: Buffer
  readonly offsets: number[] = []
  readonly timestamps: number[] = []
  readonly spans: number[] = []
  readonly headers: Map<number, readonly RecordHeader[]> = new Map()

  constructor(topic: string, partition: number, bytes: Buffer) {
    this.topic = topic
    this.partition = partition
    this.bytes = bytes
  }

  /** Spans are `[start, end]` within `bytes`; a start below zero is a null key or value. */
  add(offset: number, timestamp: number, key: readonly [number, number], value: readonly [number, number]): void {
    this.offsets.push(offset)
    this.timestamps.push(timestamp)
    this.spans.push(key[0], key[1], value[0], value[1])
  }

  build(arrivedAtMs: number): RecordChunk {
    return new RecordChunk(this, arrivedAtMs)
  }
}

/** Builds a chunk from ready-made records: for tests and small logs. */
export function chunkOf(topic: string, partition: number, records: readonly LogRecord[], arrivedAtMs = 0): RecordChunk {
  const parts: Buffer[] = []
  let length = 0
  const place = (part: Buffer | null): readonly [number, number] => {
    if (part === null) return [-1, -1]
    parts.push(part)
    length += part.length
    return [length - part.length, length]
  }
  const placed = records.map((record) => ({ record, key: place(record.key), value: place(record.value) }))
  const builder = new RecordChunkBuilder(topic, partition, Buffer.concat(parts))
  for (const { record, key, value } of placed) {
    if (record.headers.length > 0) builder.headers.set(builder.offsets.length, record.headers)
    builder.add(record.offset, record.timestamp, key, value)
  }
  return builder.build(arrivedAtMs)
}

/** All chunks of one partition. Records are addressed by their index, found by their offset. */
export class PartitionLog {
  readonly #chunks: RecordChunk[] = []
  readonly #starts: number[] = []
  count = 0

  add(chunk: RecordChunk): void {
    if (chunk.count === 0) return
    this.#starts.push(this.count)
    this.#chunks.push(chunk)
    this.count += chunk.count
  }

  /** The index of the record with exactly this offset, or −1. */
  indexOf(offset: number): number {
    const at = lastAtOrBelow(this.#chunks.length, (i) => this.#chunks[i]?.offset(0) ?? 0, offset)
    const chunk = this.#chunks[at]
    if (!chunk) return -1
    const inside = chunk.lowerBound(offset)
    return inside < chunk.count && chunk.offset(inside) === offset ? (this.#starts[at] ?? 0) + inside : -1
  }

  /** @throws RangeError for an index outside the log. */
  at(index: number): LogRecord {
    const at = lastAtOrBelow(this.#starts.length, (i) => this.#starts[i] ?? 0, index)
    const chunk = this.#chunks[at]
    if (!chunk || index >= this.count) throw new RangeError(`record ${index} of ${this.count}`)
    return chunk.record(index - (this.#starts[at] ?? 0))
  }

  *[Symbol.iterator](): Generator<LogRecord> {
    for (const chunk of this.#chunks) {
      for (let i = 0; i < chunk.count; i++) yield chunk.record(i)
    }
  }
}

/** The last index whose value is ≤ `wanted`; −1 if there is none. */
function lastAtOrBelow(length: number, valueAt: (index: number) => number, wanted: number): number {
  let low = 0
  let high = length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (valueAt(middle) <= wanted) low = middle + 1
    else high = middle
  }
  return low - 1
}

/** One topic as a read_committed reader saw it. */
export class TopicLog {
  readonly topic: string
  readonly partitions: Map<number, PartitionLog> = new Map()

  constructor(topic: string, chunks: readonly RecordChunk[] = []) {
    this.topic = topic
    for (const chunk of chunks) this.add(chunk)
  }

  add(chunk: RecordChunk): void {
    let log = this.partitions.get(chunk.partition)
    if (!log) {
      log = new PartitionLog()
      this.partitions.set(chunk.partition, log)
    }
    log.add(chunk)
  }

  get count(): number {
    let count = 0
    for (const log of this.partitions.values()) count += log.count
    return count
  }

  /** Partition by partition, each in offset order. */
  *records(): Generator<LogRecord> {
    for (const partition of [...this.partitions.keys()].sort((a, b) => a - b)) {
      yield* this.partitions.get(partition) ?? []
    }
  }
}
