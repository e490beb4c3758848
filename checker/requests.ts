/**
 * The few requests the checker asks, as own bytes: offsets, fetch, open transactions, a group's offsets and members.
 * Each function is one question. `withRetries` repeats it while the answer is one of those that pass by themselves
 * (leader or coordinator moving, broker starting).
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { ByteReader, ByteWriter } from './bytes.ts'
import { CheckerError, messageOf } from './errors.ts'
import type { KafkaAccess } from './kafka.ts'

/** Error codes that pass by themselves: leaders and coordinators that move or load, and offsets under way (88). */
const PASSING_CODES = new Set([5, 6, 7, 9, 13, 14, 15, 16, 74, 75, 76, 77, 78, 79, 88])

/** An error code in an otherwise good answer. */
export class KafkaCodeError extends Error {
  readonly kafkaCode: number

  constructor(kafkaCode: number, what: string) {
    super(`${what}: Kafka error code ${kafkaCode}`)
    this.name = 'KafkaCodeError'
    this.kafkaCode = kafkaCode
  }
}

function expectOk(code: number, what: string): void {
  if (code !== 0) throw new KafkaCodeError(code, what)
}

/** Repeats `ask` until it answers, for at most `limitMs`. @throws CheckerError BROKER_REFUSED, BROKER_UNREACHABLE */
export async function withRetries<T>(
  kafka: KafkaAccess,
  what: string,
  ask: () => Promise<T>,
  limitMs = 30_000,
): Promise<T> {
  const deadline = Date.now() + limitMs
  for (let pauseMs = 20; ; pauseMs = Math.min(pauseMs * 2, 500)) {
    try {
      return await ask()
    } catch (cause) {
      if (cause instanceof RangeError) throw cause
      if (cause instanceof CheckerError && cause.code !== 'BROKER_UNREACHABLE') throw cause
      const passing = !(cause instanceof KafkaCodeError) || PASSING_CODES.has(cause.kafkaCode)
      if (!passing || Date.now() > deadline) {
        const code = cause instanceof KafkaCodeError ? 'BROKER_REFUSED' : 'BROKER_UNREACHABLE'
        throw new CheckerError(code, `${what}: ${messageOf(cause)}`, { cause })
      }
    }
    await sleep(pauseMs)
    await kafka.refresh().catch(() => {})
  }
}

export type Isolation = 'read_uncommitted' | 'read_committed'
/** topic → offset by partition number. */
export type TopicOffsets = Map<string, number[]>

const isolationByte = (isolation: Isolation): number => (isolation === 'read_committed' ? 1 : 0)
const LATEST = -1
const EARLIEST = -2

/**
 * The first offset, the end a read_committed reader may reach (last stable offset) or the high watermark of every
 * partition of these topics.
 */
export async function listOffsets(
  kafka: KafkaAccess,
  topics: readonly string[],
  which: 'earliest' | 'last-stable' | 'high-watermark',
): Promise<TopicOffsets> {
  const leaders = await kafka.leaders(topics)
  const found: TopicOffsets = new Map(topics.map((topic) => [topic, []]))
  for (const [node, byTopic] of byLeader(leaders)) {
    const request = new ByteWriter()
      .int32(-1)
      .int8(isolationByte(which === 'last-stable' ? 'read_committed' : 'read_uncommitted'))
    request.array([...byTopic], ([topic, partitions]) => {
      request.string(topic).array(partitions, (partition) => {
        request
          .int32(partition)
          .int32(-1)
          .int64(which === 'earliest' ? EARLIEST : LATEST)
      })
    })
    const answer = new ByteReader(
      await kafka.send(node, { api: 2, version: 5, name: 'ListOffsets', body: request.toBuffer() }),
    )
    answer.int32()
    answer.array(() => {
      const topic = answer.string()
      answer.array(() => {
        const partition = answer.int32()
        expectOk(answer.int16(), `ListOffsets ${topic}-${partition}`)
        answer.int64()
        const offsets = found.get(topic)
        if (offsets) offsets[partition] = answer.long()
        answer.int32()
      })
    })
  }
  return found
}

/** Groups partitions by the broker that leads them: node → topic → partitions. */
export function byLeader(leaders: ReadonlyMap<string, readonly number[]>): Map<number, Map<string, number[]>> {
  const grouped = new Map<number, Map<string, number[]>>()
  for (const [topic, nodes] of leaders) {
    nodes.forEach((node, partition) => {
      if (node < 0) throw new KafkaCodeError(5, `${topic}-${partition} has no leader`)
      const topics = grouped.get(node) ?? new Map<string, number[]>()
      const partitions = topics.get(topic) ?? []
      partitions.push(partition)
      topics.set(topic, partitions)
      grouped.set(node, topics)
    })
  }
  return grouped
}

/** One partition to fetch from. */
export interface FetchPosition {
  readonly topic: string
  readonly partition: number
  readonly offset: number
}

/** One aborted transaction in the range of a fetch: everything of this producer from `firstOffset` to its marker. */
export interface AbortedTransaction {
  readonly producerId: bigint
  readonly firstOffset: number
}

export interface FetchedPartition {
  readonly topic: string
  readonly partition: number
  readonly code: number
  readonly lastStableOffset: number
  readonly aborted: readonly AbortedTransaction[]
  readonly records: Buffer
}

/** Fetch version 11, read_committed, without a session. Partition codes are returned, not thrown. */
export async function fetch(
  kafka: KafkaAccess,
  node: number,
  positions: readonly FetchPosition[],
  waitMs: number,
): Promise<FetchedPartition[]> {
  const request = new ByteWriter()
    .int32(-1)
    .int32(waitMs)
    .int32(1)
    .int32(32 * 1024 * 1024)
  request.int8(isolationByte('read_committed')).int32(0).int32(-1)
  request.array(positions, (position) => {
    request.string(position.topic).array([position], (one) => {
      request
        .int32(one.partition)
        .int32(-1)
        .int64(one.offset)
        .int64(-1)
        .int32(4 * 1024 * 1024)
    })
  })
  request.int32(0).string('')
  const body = request.toBuffer()
  const answer = new ByteReader(await kafka.send(node, { api: 1, version: 11, name: 'Fetch', body }))
  answer.int32()
  expectOk(answer.int16(), 'Fetch')
  answer.int32()
  const fetched: FetchedPartition[] = []
  answer.array(() => {
    const topic = answer.string()
    answer.array(() => {
      const partition = answer.int32()
      const code = answer.int16()
      answer.int64()
      const lastStableOffset = answer.long()
      answer.int64()
      const aborted = answer.array(() => ({ producerId: answer.int64(), firstOffset: answer.long() }))
      answer.int32()
      fetched.push({ topic, partition, code, lastStableOffset, aborted, records: answer.bytes() })
    })
  })
  return fetched
}

/** A transaction some coordinator knows of. */
export interface ListedTransaction {
  readonly transactionalId: string
  readonly producerId: bigint
  readonly state: string
}

/** All transactions of every broker (ListTransactions version 0, no filter: an unknown state name would hide some). */
export async function listTransactions(kafka: KafkaAccess): Promise<ListedTransaction[]> {
  const body = new ByteWriter()
    .tags()
    .compactArray([], () => {})
    .compactArray([], () => {})
    .tags()
    .toBuffer()
  const found: ListedTransaction[] = []
  for (const node of await kafka.nodes()) {
    const answer = new ByteReader(await kafka.send(node, { api: 66, version: 0, name: 'ListTransactions', body }))
    answer.tags()
    answer.int32()
    expectOk(answer.int16(), 'ListTransactions')
    answer.compactArray(() => answer.compactString())
    found.push(
      ...answer.compactArray(() => {
        const one = {
          transactionalId: answer.compactString(),
          producerId: answer.int64(),
          state: answer.compactString(),
        }
        answer.tags()
        return one
      }),
    )
  }
  return found
}

/**
 * The group's committed offsets, by topic and partition; −1 where none. `pending: 'wait'` refuses (code 88, repeated by
 * `withRetries`) while a transaction has offsets under way; `'ignore'` answers with what is committed now.
 */
export async function committedOffsets(
  kafka: KafkaAccess,
  group: string,
  pending: 'wait' | 'ignore',
): Promise<Map<string, Map<number, number>>> {
  const stable = pending === 'wait' ? 1 : 0
  const body = new ByteWriter()
    .tags()
    .compactString(group)
    .compactArray(null, () => {})
    .int8(stable)
    .tags()
    .toBuffer()
  const node = await kafka.coordinatorOf(group)
  const answer = new ByteReader(await kafka.send(node, { api: 9, version: 7, name: 'OffsetFetch', body }))
  answer.tags()
  answer.int32()
  const found = new Map<string, Map<number, number>>()
  answer.compactArray(() => {
    const offsets = new Map<number, number>()
    found.set(answer.compactString(), offsets)
    answer.compactArray(() => {
      const partition = answer.int32()
      offsets.set(partition, answer.long())
      answer.int32()
      answer.compactString()
      expectOk(answer.int16(), `OffsetFetch ${group}`)
      answer.tags()
    })
    answer.tags()
  })
  expectOk(answer.int16(), `OffsetFetch ${group}`)
  return found
}

export interface GroupMember {
  readonly memberId: string
  readonly instanceId: string | null
  readonly clientId: string
  /** topic → partitions, from the standard consumer assignment. */
  readonly assignment: ReadonlyMap<string, readonly number[]>
}

export interface GroupDescription {
  readonly state: string
  readonly members: readonly GroupMember[]
}

/** DescribeGroups version 4. An unknown group comes back as state `Dead` without members. */
export async function describeGroup(kafka: KafkaAccess, group: string): Promise<GroupDescription> {
  const request = new ByteWriter()
  const body = request
    .array([group], (name) => request.string(name))
    .int8(0)
    .toBuffer()
  const node = await kafka.coordinatorOf(group)
  const answer = new ByteReader(await kafka.send(node, { api: 15, version: 4, name: 'DescribeGroups', body }))
  answer.int32()
  const groups = answer.array(() => {
    expectOk(answer.int16(), `DescribeGroups ${group}`)
    answer.string()
    const state = answer.string()
    answer.string()
    answer.string()
    const members = answer.array(() => {
      const memberId = answer.string()
      const instanceId = answer.nullableString()
      const clientId = answer.string()
      answer.string()
      answer.bytes()
      return { memberId, instanceId, clientId, assignment: decodeAssignment(answer.bytes()) }
    })
    answer.int32()
    return { state, members }
  })
  return groups[0] ?? { state: 'Dead', members: [] }
}

/** int16 version, [topic, [partition]], user data: empty while a rebalance runs. */
function decodeAssignment(bytes: Buffer): Map<string, number[]> {
  const assignment = new Map<string, number[]>()
  if (bytes.length < 6) return assignment
  const reader = new ByteReader(bytes, 2)
  reader.array(() =>
    assignment.set(
      reader.string(),
      reader.array(() => reader.int32()),
    ),
  )
  return assignment
}

/** Java's String.hashCode: which partition of `__consumer_offsets` a group's offsets live in. */
export function javaHashCode(text: string): number {
  let hash = 0
  for (let i = 0; i < text.length; i++) hash = (Math.imul(hash, 31) + text.charCodeAt(i)) | 0
  return hash
}

/** Kafka's `Utils.abs`: the smallest int32 counts as 0. */
export function offsetsPartitionOf(group: string, partitions: number): number {
  const hash = javaHashCode(group)
  return (hash === -2_147_483_648 ? 0 : Math.abs(hash)) % partitions
}
