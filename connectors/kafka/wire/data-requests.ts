// Produce and Fetch: the only requests that carry records. Their bytes are not copied or decoded here.
import type { Isolation } from './cluster-requests.ts'
import { type Api, type ProtocolReader, readByTopic, writeByTopic } from './primitives.ts'

export interface ProduceBatch {
  readonly topic: string
  readonly partition: number
  readonly batch: Buffer
}

export interface ProducedPartition {
  readonly topic: string
  readonly partition: number
  readonly code: number
  readonly baseOffset: bigint
  readonly message: string | null
}

/** One batch per partition and request, all of one transaction (`transactionalId: null`: idempotent only). */
export const Produce: Api<
  { transactionalId: string | null; timeoutMs: number; batches: readonly ProduceBatch[] },
  ProducedPartition[]
> = {
  name: 'Produce',
  key: 0,
  min: 9,
  max: 9,
  flexibleFrom: 9,
  encode(writer, { transactionalId, timeoutMs, batches }) {
    writer.nullableString(transactionalId)
    writer.int16(-1)
    writer.int32(timeoutMs)
    writeByTopic(writer, batches, ({ batch }) => writer.attach(batch))
    writer.tags()
  },
  decode(reader) {
    return readByTopic(reader, (topic, partition) => {
      const code = reader.int16()
      const baseOffset = reader.int64()
      reader.int64()
      reader.int64()
      reader.array(() => {
        reader.int32()
        reader.nullableString()
        reader.tags()
      })
      return { topic, partition, code, baseOffset, message: reader.nullableString() }
    })
  },
}

export interface FetchPartition {
  readonly topic: string
  readonly partition: number
  readonly leaderEpoch: number
  readonly offset: bigint
  /** Leader epoch of the last record read; −1: unknown. Lets the broker see a truncation (KIP-320). */
  readonly lastEpoch: number
}

export interface AbortedTransaction {
  readonly producerId: bigint
  readonly firstOffset: bigint
}

export interface FetchedPartition {
  readonly topic: string
  readonly partition: number
  readonly code: number
  readonly highWatermark: bigint
  readonly lastStableOffset: bigint
  readonly logStartOffset: bigint
  readonly aborted: readonly AbortedTransaction[]
  readonly records: Buffer | null
  /** Set when the log that we read from was cut: the offset from which our history differs. */
  readonly diverged: { readonly epoch: number; readonly endOffset: bigint } | null
}

export interface FetchRequest {
  readonly maxWaitMs: number
  readonly maxBytes: number
  readonly partitionBytesMax: number
  readonly isolation: Isolation
  readonly partitions: readonly FetchPartition[]
}

export interface FetchResponse {
  readonly code: number
  readonly partitions: readonly FetchedPartition[]
  /** What all records are views of. */
  readonly frame: Buffer
}

export const Fetch: Api<FetchRequest, FetchResponse> = {
  name: 'Fetch',
  key: 1,
  min: 12,
  max: 12,
  flexibleFrom: 12,
  encode(writer, request) {
    writer.int32(-1)
    writer.int32(request.maxWaitMs)
    writer.int32(1)
    writer.int32(request.maxBytes)
    writer.uint8(request.isolation === 'read_committed' ? 1 : 0)
    writer.int32(0)
    writer.int32(-1)
    writeByTopic(writer, request.partitions, (row) => {
      writer.int32(row.leaderEpoch)
      writer.int64(row.offset)
      writer.int32(row.lastEpoch)
      writer.int64(-1n)
      writer.int32(request.partitionBytesMax)
    })
    writer.array([], () => {})
    writer.string('')
    writer.tags()
  },
  decode(reader) {
    reader.int32()
    const code = reader.int16()
    reader.int32()
    const topics = reader.array(() => {
      const topic = reader.string()
      const partitions = reader.array(() => fetchedPartition(topic, reader))
      reader.tags()
      return partitions
    })
    return { code, partitions: topics.flat(), frame: reader.buffer }
  },
}

function fetchedPartition(topic: string, reader: ProtocolReader): FetchedPartition {
  const partition = reader.int32()
  const code = reader.int16()
  const highWatermark = reader.int64()
  const lastStableOffset = reader.int64()
  const logStartOffset = reader.int64()
  const aborted = reader.array(() => {
    const row = { producerId: reader.int64(), firstOffset: reader.int64() }
    reader.tags()
    return row
  })
  reader.int32()
  const records = reader.data()
  let diverged: { epoch: number; endOffset: bigint } | null = null
  reader.tags((tag, inner) => {
    if (tag === 0) diverged = { epoch: inner.int32(), endOffset: inner.int64() }
  })
  return { topic, partition, code, highWatermark, lastStableOffset, logStartOffset, aborted, records, diverged }
}
