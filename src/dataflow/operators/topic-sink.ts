// The end of a chain on the pipeline's own cluster: encodes key and value, chooses topic and partition, and hands bytes to
// the worker's transaction. Key and value that are unchanged since the source are copied as bytes. A hop is such a sink,
// whose key is what `keyBy` chose.
import { ByteWriter } from '../../base/byte-writer.ts'
import { MillraceError, messageOf } from '../../base/errors.ts'
import type { CheckpointId, OperatorId } from '../../base/ids.ts'
import { partitionOf } from '../../base/murmur2.ts'
import type { Encoder } from '../../state/serde.ts'
import { BODY_AT, HEADERS_AT, KEY_AT, KEY_LENGTH, RECORD_END, STRIDE, VALUE_AT, VALUE_LENGTH } from '../batch.ts'
import type { Downstream } from '../element.ts'
import type { RecordContext } from '../functions.ts'
import type { PartitionWriter } from '../ports.ts'
import type { StreamRecord, TaskContext } from '../record.ts'

export interface TopicSinkSettings {
  readonly key: Encoder<unknown>
  readonly value: Encoder<unknown>
  /** The only topic, or the choice among `writers`. */
  readonly topic: string
  readonly topicOf?: ((value: never, record: RecordContext<never>) => string) | undefined
  readonly keyOf?: ((value: never, record: RecordContext<never>) => unknown) | undefined
  readonly partitioner?: ((key: never, value: never, partitions: number) => number) | undefined
  readonly headers?:
    | ((value: never, record: RecordContext<never>) => Iterable<readonly [string, Buffer | string | null]>)
    | undefined
}

export class TopicSinkOperator implements Downstream {
  readonly #id: OperatorId
  readonly #context: TaskContext
  readonly #settings: TopicSinkSettings
  readonly #writers: ReadonlyMap<string, PartitionWriter>
  readonly #only: PartitionWriter | undefined
  readonly #onBarrier: (checkpoint: CheckpointId) => void
  readonly #keyBytes = new ByteWriter(256)
  readonly #valueBytes = new ByteWriter(256)
  readonly #headerBytes = new ByteWriter(256)
  // Where the key of the record in hand stands; fields, so that nothing is allocated per record.
  #source: Buffer = Buffer.alloc(0)
  #at = 0
  #length = 0

  constructor(
    id: OperatorId,
    context: TaskContext,
    settings: TopicSinkSettings,
    writers: ReadonlyMap<string, PartitionWriter>,
    onBarrier: (checkpoint: CheckpointId) => void,
  ) {
    this.#id = id
    this.#context = context
    this.#settings = settings
    this.#writers = writers
    this.#only = settings.topicOf ? undefined : writers.get(settings.topic)
    this.#onBarrier = onBarrier
  }

  push(record: StreamRecord): void {
    this.#context.current = this.#id
    const { batch } = record
    const row = record.index * STRIDE
    const writer = this.#only ?? this.#choose(record)
    if (this.#unchanged(record, row)) {
      this.#copy(record, row, writer)
      return
    }
    this.#encodeKey(record, row)
    const key = this.#source
    const keyAt = this.#at
    const keyLength = this.#length
    const partition = this.#partition(record, writer, key, keyAt, keyLength)
    if (this.#settings.headers) this.#encodeHeaders(record, this.#settings.headers)
    const out = writer.begin(partition, batch.timestamps[record.index] as number, key, keyAt, keyLength)
    try {
      const written = this.#writeValue(record, row, out)
      if (this.#settings.headers) writer.end(written, this.#headerBytes.buffer, 0, this.#headerBytes.position)
      else {
        const headersAt = batch.fields[row + HEADERS_AT] as number
        const headersEnd = batch.fields[row + RECORD_END] as number
        writer.end(written, headersEnd - headersAt > 1 ? batch.bytes : null, headersAt, headersEnd)
      }
    } catch (error) {
      writer.undo()
      throw error
    }
  }

  /** Key, value and headers go on as they came. */
  #unchanged(record: StreamRecord, row: number): boolean {
    const { key, value, keyOf, headers } = this.#settings
    if (keyOf || headers || (record.batch.fields[row + BODY_AT] as number) === 0) return false
    return record.keyIsRawFor(key) && record.valueIsRawFor(value)
  }

  #copy(record: StreamRecord, row: number, writer: PartitionWriter): void {
    const { bytes, fields, timestamps } = record.batch
    const keyLength = fields[row + KEY_LENGTH] as number
    // Bytes pass undecoded, but a null is one only where the serde says so: decoding it raises the error.
    if (keyLength < 0 && !this.#settings.key.nullable) void record.key
    if ((fields[row + VALUE_LENGTH] as number) < 0 && !this.#settings.value.nullable) void record.value
    const partition = this.#partition(record, writer, bytes, fields[row + KEY_AT] as number, keyLength)
    const start = fields[row + BODY_AT] as number
    writer.copy(partition, timestamps[record.index] as number, bytes, start, fields[row + RECORD_END] as number)
  }

  #partition(record: StreamRecord, writer: PartitionWriter, key: Buffer, keyAt: number, keyLength: number): number {
    const custom = this.#settings.partitioner
    if (custom) {
      const chosen = custom(this.#keyOf(record) as never, record.value as never, writer.partitions)
      return this.#checked(chosen, writer, record)
    }
    if (keyLength < 0) return record.batch.partition % writer.partitions
    return partitionOf(key, keyAt, keyLength, writer.partitions)
  }

  #keyOf(record: StreamRecord): unknown {
    return this.#settings.keyOf ? this.#settings.keyOf(record.value as never, record as never) : record.key
  }

  #encodeKey(record: StreamRecord, row: number): void {
    const serde = this.#settings.key
    if (!this.#settings.keyOf && record.keyIsRawFor(serde)) {
      const { batch } = record
      this.#source = batch.bytes
      this.#at = batch.fields[row + KEY_AT] as number
      this.#length = batch.fields[row + KEY_LENGTH] as number
      // As in `#copy`.
      if (this.#length < 0 && !serde.nullable) void record.key
      return
    }
    const key = this.#keyOf(record)
    const out = this.#keyBytes
    out.reset()
    const isNull = key === null && serde.nullable
    if (!isNull) this.#encode('key', serde, key, out, record)
    this.#source = out.buffer
    this.#at = 0
    this.#length = isNull ? -1 : out.position
  }

  #writeValue(record: StreamRecord, row: number, out: ByteWriter): 'written' | 'null' {
    const serde = this.#settings.value
    if (!record.valueIsRawFor(serde)) {
      const value = record.valueFor(serde)
      if (value === null && serde.nullable) return 'null'
      if (serde.appends) this.#encode('value', serde, value, out, record)
      else this.#encodeApart(serde, value, out, record)
      return 'written'
    }
    const { bytes, fields } = record.batch
    const at = fields[row + VALUE_AT] as number
    const length = fields[row + VALUE_LENGTH] as number
    if (length >= 0) out.bytes(bytes, at, at + length)
    // As in `#copy`.
    else if (!serde.nullable) void record.value
    return length < 0 ? 'null' : 'written'
  }

  /** A serde that does not promise to append only does not get the batch into its hands. */
  #encodeApart(serde: Encoder<unknown>, value: unknown, out: ByteWriter, record: StreamRecord): void {
    const apart = this.#valueBytes
    apart.reset()
    this.#encode('value', serde, value, apart, record)
    out.bytes(apart.buffer, 0, apart.position)
  }

  #encode(part: string, serde: Encoder<unknown>, value: unknown, out: ByteWriter, record: StreamRecord): void {
    try {
      serde.encode(value, out)
    } catch (error) {
      if (error instanceof MillraceError && error.code !== 'KEY_INVALID') throw error
      const code = error instanceof MillraceError ? error.code : 'SERIALIZE_FAILED'
      const text = `operator '${this.#id}': the ${part} made from ${record.where} cannot be written as ${serde.id}: ${messageOf(error)}`
      throw new MillraceError(code, text, { cause: error })
    }
  }

  #encodeHeaders(record: StreamRecord, make: NonNullable<TopicSinkSettings['headers']>): void {
    const headers = [...make(record.value as never, record as never)]
    const out = this.#headerBytes
    out.reset()
    out.varint(headers.length)
    for (const [name, value] of headers) {
      const nameBytes = Buffer.from(name, 'utf8')
      out.varint(nameBytes.length)
      out.bytes(nameBytes)
      const bytes = typeof value === 'string' ? Buffer.from(value, 'utf8') : value
      out.varint(bytes ? bytes.length : -1)
      if (bytes) out.bytes(bytes)
    }
  }

  #choose(record: StreamRecord): PartitionWriter {
    const topic = this.#settings.topicOf?.(record.value as never, record as never) ?? this.#settings.topic
    const writer = this.#writers.get(topic)
    if (writer) return writer
    const text = `sink '${this.#id}' chose topic '${topic}' for ${record.where}; declared are ${[...this.#writers.keys()].join(', ')}`
    throw new MillraceError('SINK_PARTITION_INVALID', text)
  }

  #checked(partition: number, writer: PartitionWriter, record: StreamRecord): number {
    if (Number.isInteger(partition) && partition >= 0 && partition < writer.partitions) return partition
    const text = `sink '${this.#id}': the partitioner chose ${partition} for ${record.where}; the topic has partitions 0–${writer.partitions - 1}`
    throw new MillraceError('SINK_PARTITION_INVALID', text)
  }

  barrier(checkpoint: CheckpointId): void {
    for (const writer of this.#writers.values()) writer.barrier(checkpoint)
    this.#onBarrier(checkpoint)
  }
}
