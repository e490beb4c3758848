// Requests about the cluster itself: versions, metadata, coordinators, offsets of the log, topics and their configs.
// Field order: Kafka's message schemas (clients/src/main/resources/common/message).
import { type Api, type ProtocolReader, readByTopic } from './primitives.ts'

export interface ApiVersionsResponse {
  readonly code: number
  readonly ranges: ReadonlyMap<number, { readonly min: number; readonly max: number }>
}

/** Version 0 on purpose: every broker answers it, and its response header has never been flexible. */
export const ApiVersions: Api<null, ApiVersionsResponse> = {
  name: 'ApiVersions',
  key: 18,
  min: 0,
  max: 0,
  flexibleFrom: 3,
  encode() {},
  decode(reader) {
    const code = reader.int16()
    const entries = reader.array(() => [reader.int16(), { min: reader.int16(), max: reader.int16() }] as const)
    return { code, ranges: new Map(entries) }
  },
}

export interface MetadataPartition {
  readonly code: number
  readonly partition: number
  readonly leader: number
  readonly leaderEpoch: number
  readonly replicas: readonly number[]
  readonly isr: readonly number[]
}

export interface MetadataTopic {
  readonly code: number
  readonly name: string
  readonly id: string
  readonly partitions: readonly MetadataPartition[]
}

export interface MetadataResponse {
  readonly brokers: readonly { readonly id: number; readonly host: string; readonly port: number }[]
  readonly clusterId: string | null
  readonly controller: number
  readonly topics: readonly MetadataTopic[]
}

/** `topics: null` asks for every topic. */
export const Metadata: Api<{ topics: readonly string[] | null }, MetadataResponse> = {
  name: 'Metadata',
  key: 3,
  min: 11,
  max: 12,
  flexibleFrom: 9,
  encode(writer, { topics }) {
    writer.array(topics, (name) => {
      writer.bytes(Buffer.alloc(16))
      writer.nullableString(name)
      writer.tags()
    })
    writer.boolean(false)
    writer.boolean(false)
    writer.tags()
  },
  decode(reader) {
    reader.int32()
    const brokers = reader.array(() => {
      const broker = { id: reader.int32(), host: reader.string(), port: reader.int32() }
      reader.nullableString()
      reader.tags()
      return broker
    })
    const clusterId = reader.nullableString()
    const controller = reader.int32()
    const topics = reader.array(() => metadataTopic(reader))
    reader.tags()
    return { brokers, clusterId, controller, topics }
  },
}

function metadataTopic(reader: ProtocolReader): MetadataTopic {
  const code = reader.int16()
  const name = reader.string()
  const id = reader.uuid()
  reader.boolean()
  const partitions = reader.array(() => {
    const partition = {
      code: reader.int16(),
      partition: reader.int32(),
      leader: reader.int32(),
      leaderEpoch: reader.int32(),
      replicas: reader.array(() => reader.int32()),
      isr: reader.array(() => reader.int32()),
    }
    reader.array(() => reader.int32())
    reader.tags()
    return partition
  })
  reader.int32()
  reader.tags()
  return { code, name, id, partitions }
}

export interface CoordinatorResponse {
  readonly code: number
  readonly node: number
  readonly host: string
  readonly port: number
}

export const FindCoordinator: Api<{ key: string; type: 'group' | 'transaction' }, CoordinatorResponse> = {
  name: 'FindCoordinator',
  key: 10,
  min: 3,
  max: 3,
  flexibleFrom: 3,
  encode(writer, { key, type }) {
    writer.string(key)
    writer.uint8(type === 'group' ? 0 : 1)
    writer.tags()
  },
  decode(reader) {
    reader.int32()
    const code = reader.int16()
    reader.nullableString()
    const response = { code, node: reader.int32(), host: reader.string(), port: reader.int32() }
    reader.tags()
    return response
  },
}

export type Isolation = 'read_committed' | 'read_uncommitted'
export const EARLIEST = -2n
export const LATEST = -1n

export interface ListOffsetsRequest {
  readonly isolation: Isolation
  readonly topics: readonly {
    readonly topic: string
    readonly partitions: readonly { readonly partition: number; readonly timestamp: bigint }[]
  }[]
}

export interface ListedOffset {
  readonly topic: string
  readonly partition: number
  readonly code: number
  readonly timestamp: bigint
  readonly offset: bigint
  readonly leaderEpoch: number
}

export const ListOffsets: Api<ListOffsetsRequest, ListedOffset[]> = {
  name: 'ListOffsets',
  key: 2,
  min: 6,
  max: 7,
  flexibleFrom: 6,
  encode(writer, request) {
    writer.int32(-1)
    writer.uint8(request.isolation === 'read_committed' ? 1 : 0)
    writer.array(request.topics, ({ topic, partitions }) => {
      writer.string(topic)
      writer.array(partitions, ({ partition, timestamp }) => {
        writer.int32(partition)
        writer.int32(-1)
        writer.int64(timestamp)
        writer.tags()
      })
      writer.tags()
    })
    writer.tags()
  },
  decode(reader) {
    reader.int32()
    return readByTopic(reader, (topic, partition) => ({
      topic,
      partition,
      code: reader.int16(),
      timestamp: reader.int64(),
      offset: reader.int64(),
      leaderEpoch: reader.int32(),
    }))
  },
}

export interface NewTopic {
  readonly name: string
  readonly partitions: number
  /** −1: the broker's default. */
  readonly replication: number
  readonly configs: ReadonlyMap<string, string>
}

export const CreateTopics: Api<
  { topics: readonly NewTopic[]; timeoutMs: number },
  { readonly name: string; readonly code: number; readonly message: string | null }[]
> = {
  name: 'CreateTopics',
  key: 19,
  min: 5,
  max: 5,
  flexibleFrom: 5,
  encode(writer, { topics, timeoutMs }) {
    writer.array(topics, (topic) => {
      writer.string(topic.name)
      writer.int32(topic.partitions)
      writer.int16(topic.replication)
      writer.array([], () => {})
      writer.array([...topic.configs], ([name, value]) => {
        writer.string(name)
        writer.nullableString(value)
        writer.tags()
      })
      writer.tags()
    })
    writer.int32(timeoutMs)
    writer.boolean(false)
    writer.tags()
  },
  decode(reader) {
    reader.int32()
    return reader.array(() => {
      const name = reader.string()
      const code = reader.int16()
      const message = reader.nullableString()
      reader.int32()
      reader.int16()
      reader.array(() => {
        reader.string()
        reader.nullableString()
        reader.boolean()
        reader.int8()
        reader.boolean()
        reader.tags()
      })
      reader.tags()
      return { name, code, message }
    })
  },
}

export const DeleteTopics: Api<
  { topics: readonly string[]; timeoutMs: number },
  { readonly name: string; readonly code: number }[]
> = {
  name: 'DeleteTopics',
  key: 20,
  min: 4,
  max: 4,
  flexibleFrom: 4,
  encode(writer, { topics, timeoutMs }) {
    writer.array(topics, (name) => writer.string(name))
    writer.int32(timeoutMs)
    writer.tags()
  },
  decode(reader) {
    reader.int32()
    return reader.array(() => {
      const row = { name: reader.string(), code: reader.int16() }
      reader.tags()
      return row
    })
  },
}

export interface ConfigResource {
  readonly type: 'topic' | 'broker'
  readonly name: string
}

export interface DescribedConfigs extends ConfigResource {
  readonly code: number
  readonly values: ReadonlyMap<string, string>
}

export const DescribeConfigs: Api<{ resources: readonly ConfigResource[] }, DescribedConfigs[]> = {
  name: 'DescribeConfigs',
  key: 32,
  min: 4,
  max: 4,
  flexibleFrom: 4,
  encode(writer, { resources }) {
    writer.array(resources, ({ type, name }) => {
      writer.uint8(type === 'topic' ? 2 : 4)
      writer.string(name)
      writer.array(null, () => {})
      writer.tags()
    })
    writer.boolean(false)
    writer.boolean(false)
    writer.tags()
  },
  decode(reader) {
    reader.int32()
    return reader.array(() => {
      const code = reader.int16()
      reader.nullableString()
      const type = reader.int8() === 2 ? 'topic' : 'broker'
      const name = reader.string()
      const values = new Map<string, string>()
      reader.array(() => {
        const key = reader.string()
        values.set(key, reader.nullableString() ?? '')
        reader.boolean()
        reader.int8()
        reader.boolean()
        reader.array(() => {
          reader.string()
          reader.nullableString()
          reader.int8()
          reader.tags()
        })
        reader.int8()
        reader.nullableString()
        reader.tags()
      })
      reader.tags()
      return { code, type, name, values }
    })
  },
}

export const DeleteRecords: Api<
  { topic: string; offsets: readonly { partition: number; offset: bigint }[]; timeoutMs: number },
  { readonly partition: number; readonly code: number }[]
> = {
  name: 'DeleteRecords',
  key: 21,
  min: 2,
  max: 2,
  flexibleFrom: 2,
  encode(writer, { topic, offsets, timeoutMs }) {
    writer.array([topic], (name) => {
      writer.string(name)
      writer.array(offsets, ({ partition, offset }) => {
        writer.int32(partition)
        writer.int64(offset)
        writer.tags()
      })
      writer.tags()
    })
    writer.int32(timeoutMs)
    writer.tags()
  },
  decode(reader) {
    reader.int32()
    return readByTopic(reader, (_, partition) => {
      reader.int64()
      return { partition, code: reader.int16() }
    })
  },
}
