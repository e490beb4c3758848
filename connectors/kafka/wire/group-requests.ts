// Requests of the classic consumer-group protocol, and the two embedded messages that Kafka's own tools can read
// (ConsumerProtocolSubscription and ConsumerProtocolAssignment).
import { type Api, ProtocolReader, ProtocolWriter, readByTopic, writeByTopic, writePartitions } from './primitives.ts'

export interface JoinGroupRequest {
  readonly group: string
  readonly sessionTimeoutMs: number
  readonly rebalanceTimeoutMs: number
  readonly member: string
  readonly instance: string
  readonly protocol: string
  readonly metadata: Buffer
}

export interface JoinGroupResponse {
  readonly code: number
  readonly generation: number
  readonly protocol: string | null
  readonly leader: string
  /** v9: the broker wants this member to keep the plan that it has (a static leader that restarted). */
  readonly skipAssignment: boolean
  readonly member: string
  readonly members: readonly { readonly member: string; readonly instance: string | null; readonly metadata: Buffer }[]
}

export const JoinGroup: Api<JoinGroupRequest, JoinGroupResponse> = {
  name: 'JoinGroup',
  key: 11,
  min: 7,
  max: 9,
  flexibleFrom: 6,
  encode(writer, request, version) {
    writer.string(request.group)
    writer.int32(request.sessionTimeoutMs)
    writer.int32(request.rebalanceTimeoutMs)
    writer.string(request.member)
    writer.nullableString(request.instance)
    writer.string('consumer')
    writer.array([request], ({ protocol, metadata }) => {
      writer.string(protocol)
      writer.data(metadata)
      writer.tags()
    })
    if (version >= 8) writer.nullableString(null)
    writer.tags()
  },
  decode(reader, version) {
    reader.int32()
    const code = reader.int16()
    const generation = reader.int32()
    reader.nullableString()
    const protocol = reader.nullableString()
    const leader = reader.string()
    const skipAssignment = version >= 9 ? reader.boolean() : false
    const member = reader.string()
    const members = reader.array(() => {
      const row = {
        member: reader.string(),
        instance: reader.nullableString(),
        metadata: reader.data() ?? Buffer.alloc(0),
      }
      reader.tags()
      return row
    })
    return { code, generation, protocol, leader, skipAssignment, member, members }
  },
}

/** Who speaks for the group: captured with the assignment, sent with every commit (I9). */
export interface Membership {
  readonly group: string
  readonly generation: number
  readonly member: string
  readonly instance: string
}

export interface SyncGroupRequest extends Membership {
  readonly protocol: string
  readonly assignments: readonly { readonly member: string; readonly assignment: Buffer }[]
}

export const SyncGroup: Api<SyncGroupRequest, { readonly code: number; readonly assignment: Buffer }> = {
  name: 'SyncGroup',
  key: 14,
  min: 5,
  max: 5,
  flexibleFrom: 4,
  encode(writer, request) {
    writer.string(request.group)
    writer.int32(request.generation)
    writer.string(request.member)
    writer.nullableString(request.instance)
    writer.nullableString('consumer')
    writer.nullableString(request.protocol)
    writer.array(request.assignments, ({ member, assignment }) => {
      writer.string(member)
      writer.data(assignment)
      writer.tags()
    })
    writer.tags()
  },
  decode(reader) {
    reader.int32()
    const code = reader.int16()
    reader.nullableString()
    reader.nullableString()
    return { code, assignment: reader.data() ?? Buffer.alloc(0) }
  },
}

export const Heartbeat: Api<Membership, { readonly code: number }> = {
  name: 'Heartbeat',
  key: 12,
  min: 4,
  max: 4,
  flexibleFrom: 4,
  encode(writer, request) {
    writer.string(request.group)
    writer.int32(request.generation)
    writer.string(request.member)
    writer.nullableString(request.instance)
    writer.tags()
  },
  decode(reader) {
    reader.int32()
    return { code: reader.int16() }
  },
}

/** A static member is removed by its instance id with an empty member id, or with both. */
export const LeaveGroup: Api<{ group: string; member: string; instance: string }, { readonly code: number }> = {
  name: 'LeaveGroup',
  key: 13,
  min: 4,
  max: 4,
  flexibleFrom: 4,
  encode(writer, request) {
    writer.string(request.group)
    writer.array([request], ({ member, instance }) => {
      writer.string(member)
      writer.nullableString(instance)
      writer.tags()
    })
    writer.tags()
  },
  decode(reader) {
    reader.int32()
    const code = reader.int16()
    const members = reader.array(() => {
      reader.string()
      reader.nullableString()
      const memberCode = reader.int16()
      reader.tags()
      return memberCode
    })
    return { code: code || (members.find((each) => each !== 0) ?? 0) }
  },
}

export interface FetchedOffset {
  readonly topic: string
  readonly partition: number
  readonly offset: bigint
  readonly leaderEpoch: number
  readonly metadata: string
  readonly code: number
}

/** `topics: null` asks for every partition that the group has an offset for. */
export const OffsetFetch: Api<
  { group: string; topics: readonly { topic: string; partitions: readonly number[] }[] | null; requireStable: boolean },
  { readonly code: number; readonly offsets: readonly FetchedOffset[] }
> = {
  name: 'OffsetFetch',
  key: 9,
  min: 7,
  max: 7,
  flexibleFrom: 6,
  encode(writer, { group, topics, requireStable }) {
    writer.string(group)
    writer.array(topics, ({ topic, partitions }) => {
      writer.string(topic)
      writer.array(partitions, (partition) => writer.int32(partition))
      writer.tags()
    })
    writer.boolean(requireStable)
    writer.tags()
  },
  decode(reader) {
    reader.int32()
    const offsets = readByTopic(reader, (topic, partition) => ({
      topic,
      partition,
      offset: reader.int64(),
      leaderEpoch: reader.int32(),
      metadata: reader.nullableString() ?? '',
      code: reader.int16(),
    }))
    return { offsets, code: reader.int16() }
  },
}

export interface CommitOffset {
  readonly topic: string
  readonly partition: number
  readonly offset: bigint
  readonly leaderEpoch: number
  readonly metadata: string
}

export interface PartitionCode {
  readonly topic: string
  readonly partition: number
  readonly code: number
}

/** Groups rows by their topic, as most requests want them. */
export function byTopic<T extends { readonly topic: string }>(rows: readonly T[]): { topic: string; rows: T[] }[] {
  return [...Map.groupBy(rows, (row) => row.topic)].map(([topic, grouped]) => ({ topic, rows: grouped }))
}

/** At-least-once mode only; exactly-once commits through TxnOffsetCommit. */
export const OffsetCommit: Api<Membership & { offsets: readonly CommitOffset[] }, PartitionCode[]> = {
  name: 'OffsetCommit',
  key: 8,
  min: 8,
  max: 8,
  flexibleFrom: 8,
  encode(writer, request) {
    writer.string(request.group)
    writer.int32(request.generation)
    writer.string(request.member)
    writer.nullableString(request.instance === '' ? null : request.instance)
    writeByTopic(writer, request.offsets, (row) => writeCommit(writer, row))
    writer.tags()
  },
  decode: (reader) => {
    reader.int32()
    return partitionCodes(reader)
  },
}

/** `[topic, [partition, code]]`, the response of several requests. */
export function partitionCodes(reader: ProtocolReader): PartitionCode[] {
  return readByTopic(reader, (topic, partition) => ({ topic, partition, code: reader.int16() }))
}

/** What OffsetCommit and TxnOffsetCommit say of a partition. */
export function writeCommit(writer: ProtocolWriter, row: CommitOffset): void {
  writer.int64(row.offset)
  writer.int32(row.leaderEpoch)
  writer.nullableString(row.metadata)
}

export interface GroupDescription {
  readonly code: number
  readonly state: string
  readonly members: readonly {
    readonly member: string
    readonly instance: string | null
    readonly assignment: Buffer
  }[]
}

export const DescribeGroups: Api<{ groups: readonly string[] }, GroupDescription[]> = {
  name: 'DescribeGroups',
  key: 15,
  min: 5,
  max: 5,
  flexibleFrom: 5,
  encode(writer, { groups }) {
    writer.array(groups, (group) => writer.string(group))
    writer.boolean(false)
    writer.tags()
  },
  decode(reader) {
    reader.int32()
    return reader.array(() => {
      const code = reader.int16()
      reader.string()
      const state = reader.string()
      reader.string()
      reader.string()
      const members = reader.array(() => {
        const member = reader.string()
        const instance = reader.nullableString()
        reader.string()
        reader.string()
        reader.data()
        const assignment = reader.data() ?? Buffer.alloc(0)
        reader.tags()
        return { member, instance, assignment }
      })
      reader.int32()
      reader.tags()
      return { code, state, members }
    })
  },
}

/** ConsumerProtocolSubscription version 0: topics and opaque user data. */
export function encodeSubscription(topics: readonly string[], userData: Buffer): Buffer {
  const writer = new ProtocolWriter()
  writer.int16(0)
  writer.array(topics, (topic) => writer.string(topic))
  writer.data(userData)
  return writer.copy()
}

export function decodeSubscription(bytes: Buffer): { readonly topics: string[]; readonly userData: Buffer } {
  const reader = new ProtocolReader(bytes)
  reader.int16()
  const topics = reader.array(() => reader.string())
  return { topics, userData: reader.remaining > 0 ? (reader.data() ?? Buffer.alloc(0)) : Buffer.alloc(0) }
}

/** ConsumerProtocolAssignment version 0. */
export function encodeAssignment(
  partitions: readonly { topic: string; partition: number }[],
  userData: Buffer,
): Buffer {
  const writer = new ProtocolWriter()
  writer.int16(0)
  writePartitions(writer, partitions)
  writer.data(userData)
  return writer.copy()
}

export function decodeAssignment(bytes: Buffer): {
  readonly partitions: { topic: string; partition: number }[]
  readonly userData: Buffer
} {
  if (bytes.length === 0) return { partitions: [], userData: Buffer.alloc(0) }
  const reader = new ProtocolReader(bytes)
  reader.int16()
  const rows = reader.array(() => {
    const topic = reader.string()
    return reader.array(() => ({ topic, partition: reader.int32() }))
  })
  const userData = reader.remaining > 0 ? (reader.data() ?? Buffer.alloc(0)) : Buffer.alloc(0)
  return { partitions: rows.flat(), userData }
}
