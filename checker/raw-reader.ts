/**
 * The read_committed reader without Java: Fetch requests of our own bytes, batch after batch through the checksum, the
 * decoder and the aborted-transaction filter of record-batches.ts. One loop per broker, one request under way in each.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { CheckerError, messageOf } from './errors.ts'
import { KafkaAccess, type KafkaConnection } from './kafka.ts'
import type { Follower, OnChunk, Reader, ReadStart } from './reader.ts'
import { AbortedFilter, decodeRecords, splitBatches } from './record-batches.ts'
import { byLeader, type FetchedPartition, fetch, KafkaCodeError, listOffsets, withRetries } from './requests.ts'

const followWaitMs = 100
const emptyAnswersMax = 100

/** One partition on its way from `offset` to `end`. */
interface Cursor {
  readonly topic: string
  readonly partition: number
  offset: number
  readonly end: number
}

export class RawReader implements Reader {
  readonly kind = 'raw' as const
  readonly #connection: KafkaConnection

  constructor(connection: KafkaConnection) {
    this.#connection = connection
  }

  async readToEnd(topics: readonly string[], onChunk: OnChunk, start?: ReadStart): Promise<void> {
    await using kafka = await KafkaAccess.connect(this.#connection)
    const ends = await withRetries(kafka, 'last stable offsets', () => listOffsets(kafka, topics, 'last-stable'))
    const cursors = await begin(kafka, topics, start, (topic, partition) => ends.get(topic)?.[partition] ?? 0)
    let idle = 0
    for (;;) {
      const open = cursors.filter((cursor) => cursor.offset < cursor.end)
      if (open.length === 0) return
      const moved = await withRetries(kafka, 'fetch', () => fetchOnce(kafka, open, onChunk, followWaitMs))
      idle = moved ? 0 : idle + 1
      if (idle > emptyAnswersMax) {
        const [stuck] = open
        const where = stuck ? `${stuck.topic}-${stuck.partition} at ${stuck.offset} of ${stuck.end}` : ''
        throw new CheckerError('READER_FAILED', `nothing more comes from ${where}`)
      }
    }
  }

  async follow(topics: readonly string[], onChunk: OnChunk): Promise<Follower> {
    const kafka = await KafkaAccess.connect(this.#connection)
    const state: { failure: Error | null; stopped: boolean } = { failure: null, stopped: false }
    const cursors = await begin(kafka, topics, undefined, () => Number.POSITIVE_INFINITY)
    const loop = async () => {
      while (!state.stopped) {
        const moved = await withRetries(kafka, 'fetch', () => fetchOnce(kafka, cursors, onChunk, followWaitMs))
        if (!moved) await sleep(1)
      }
    }
    const finished = loop().catch((error: unknown) => {
      if (!state.stopped) state.failure = error instanceof Error ? error : new Error(messageOf(error))
    })
    return {
      get failure() {
        return state.failure
      },
      stop: async () => {
        state.stopped = true
        await finished
        await kafka.close()
      },
    }
  }
}

async function begin(
  kafka: KafkaAccess,
  topics: readonly string[],
  start: ReadStart | undefined,
  endOf: (topic: string, partition: number) => number,
): Promise<Cursor[]> {
  const beginnings = await withRetries(kafka, 'first offsets', () => listOffsets(kafka, topics, 'earliest'))
  return [...beginnings].flatMap(([topic, offsets]) =>
    offsets.map((first, partition) => {
      const offset = Math.max(first, start?.get(topic)?.get(partition) ?? 0)
      return { topic, partition, offset, end: endOf(topic, partition) }
    }),
  )
}

/** One Fetch per leader. True if any partition moved on. Cursors advance only past whole batches. */
async function fetchOnce(
  kafka: KafkaAccess,
  cursors: readonly Cursor[],
  onChunk: OnChunk,
  waitMs: number,
): Promise<boolean> {
  const leaders = await kafka.leadersCached([...new Set(cursors.map((cursor) => cursor.topic))])
  const fetches = [...byLeader(leaders)].map(async ([node, topics]) => {
    const mine = cursors.filter((cursor) => topics.get(cursor.topic)?.includes(cursor.partition))
    if (mine.length === 0) return false
    const fetched = await fetch(kafka, node, mine, waitMs)
    return fetched.map((one) => advance(one, mine, onChunk)).some(Boolean)
  })
  const settled = await Promise.allSettled(fetches)
  for (const one of settled) if (one.status === 'rejected') throw one.reason
  return settled.some((one) => one.status === 'fulfilled' && one.value)
}

function advance(fetched: FetchedPartition, cursors: readonly Cursor[], onChunk: OnChunk): boolean {
  const { topic, partition } = fetched
  if (fetched.code !== 0) throw new KafkaCodeError(fetched.code, `fetch of ${topic}-${partition}`)
  const cursor = cursors.find((one) => one.topic === topic && one.partition === partition)
  if (!cursor) return false
  const from = cursor.offset
  const arrivedAtMs = Date.now()
  const filter = new AbortedFilter(fetched.aborted)
  for (const batch of splitBatches(fetched.records)) {
    const wanted = filter.admits(batch) && batch.lastOffset >= from && batch.baseOffset < cursor.end
    if (wanted) {
      const chunk = decodeRecords(topic, partition, batch, from, arrivedAtMs)
      if (chunk.count > 0) onChunk(chunk)
    }
    cursor.offset = Math.max(cursor.offset, batch.lastOffset + 1)
  }
  return cursor.offset > from
}
