// Fetches ahead of the tasks, read_committed always. One outstanding fetch per broker over all its partitions; a partition
// whose queue is full is left out (back-pressure by not fetching). A response waits as bytes: batches are verified and
// decoded when a task polls them, so that it finds them in the cache. Control batches and batches of aborted transactions
// are turned into progress. What cannot be explained stops loudly: out of range, truncation, damage.
import { delay, jitter, monotonicMs } from '../../src/base/clock.ts'
import { isCode, MillraceError } from '../../src/base/errors.ts'
import { partitionKey } from '../../src/base/ids.ts'
import type { Logger } from '../../src/base/log.ts'
import type { PartitionReader, Position, ReaderElement } from '../../src/dataflow/ports.ts'
import type { KafkaCluster } from './cluster.ts'
import { EARLIEST, LATEST, ListOffsets } from './wire/cluster-requests.ts'
import { Code, kafkaError, retryClass } from './wire/codes.ts'
import { Fetch, type FetchedPartition } from './wire/data-requests.ts'
import { controlType, decodeBatch, endOfBatches, readBatches } from './wire/record-batch.ts'
import { ResponseMemory } from './wire/response-memory.ts'

const QUEUE_BYTES_MAX = 2 * 1024 * 1024
const PARTITION_BYTES_MAX = 1024 * 1024
const RESPONSE_BYTES_MAX = 16 * 1024 * 1024
const MAX_WAIT_MS = 500
/** While some partitions of a broker are left out: they must not wait for a long poll when they are wanted again. */
const MAX_WAIT_PARTIAL_MS = 50
/** A transaction open for so long at the same offset is worth a warning: Kafka's own limit is 15 minutes, most take seconds. */
const HELD_BACK_MS = 60_000

interface Feed {
  readonly topic: string
  readonly partition: number
  /** Of the topic that the position is in. */
  topicId: string | undefined
  node: number | undefined
  leaderEpoch: number
  offset: bigint
  lastEpoch: number
  lastStable: bigint | undefined
  /** Everything below the last stable offset was fetched, more is there: since when, and when that is told. */
  heldBack: { readonly sinceMs: number; tellAtMs: number } | undefined
  /** Its position does not exist, or what was read is damaged: nothing more is fetched or given. */
  stuck: boolean
  queue: { readonly elements: Iterator<ReaderElement>; readonly bytes: number }[]
  queuedBytes: number
}

export class KafkaReader implements PartitionReader {
  readonly #cluster: KafkaCluster
  readonly #log: Logger
  readonly #onReady: () => void
  readonly #onError: (error: Error) => void
  readonly #heldBackMs: number
  readonly #feeds = new Map<string, Feed>()
  readonly #loops = new Set<number>()
  #wakers: (() => void)[] = []
  #stopped = false

  constructor(
    cluster: KafkaCluster,
    log: Logger,
    onReady: () => void,
    onError: (error: Error) => void,
    heldBackMs: number = HELD_BACK_MS,
  ) {
    this.#heldBackMs = heldBackMs
    this.#cluster = cluster
    this.#log = log
    this.#onReady = onReady
    this.#onError = onError
  }

  assign(positions: readonly Position[]): void {
    for (const { topic, partition, offset, leaderEpoch } of positions) {
      this.#feeds.set(partitionKey(topic, partition), {
        topic,
        partition,
        topicId: this.#cluster.topic(topic)?.id,
        node: undefined,
        leaderEpoch: -1,
        offset,
        lastEpoch: leaderEpoch,
        lastStable: undefined,
        heldBack: undefined,
        stuck: false,
        queue: [],
        queuedBytes: 0,
      })
    }
    void this.#guard(this.#locate())
  }

  /** Finds leaders of feeds that have none and sees that their brokers have a loop. */
  async #locate(): Promise<void> {
    while (!this.#stopped) {
      const lost = [...this.#feeds.values()].filter((feed) => feed.node === undefined)
      if (lost.length === 0) return
      await this.#cluster.refreshLeaders([...new Set(lost.map((feed) => feed.topic))]).catch(() => undefined)
      for (const feed of lost) {
        const leader = await this.#cluster.leader(feed.topic, feed.partition).catch(() => undefined)
        if (!leader) continue
        this.#sameTopic(feed)
        feed.node = leader.node
        feed.leaderEpoch = leader.epoch
        if (this.#loops.has(leader.node)) continue
        this.#loops.add(leader.node)
        void this.#guard(this.#run(leader.node))
      }
      this.#wake()
      if (lost.some((feed) => feed.node === undefined)) await delay(50 + 50 * jitter())
    }
  }

  /** Offsets say nothing of a topic that was created again. */
  #sameTopic(feed: Feed): void {
    const id = this.#cluster.topic(feed.topic)?.id
    feed.topicId ??= id
    if (id === undefined || id === feed.topicId) return
    const text = `topic ${feed.topic} was deleted and created again while it was read (id ${feed.topicId}, now ${id}); choose where to go on with \`millrace reset\``
    throw new MillraceError('TOPIC_ID_CHANGED', text)
  }

  async #guard(work: Promise<void>): Promise<void> {
    try {
      await work
    } catch (error) {
      if (!this.#stopped) this.#onError(error instanceof Error ? error : new Error(String(error)))
    }
  }

  async #run(node: number): Promise<void> {
    while (!this.#stopped) {
      const feeds = [...this.#feeds.values()].filter((feed) => feed.node === node)
      const wanted = feeds.filter((feed) => !feed.stuck && feed.queuedBytes < QUEUE_BYTES_MAX)
      if (wanted.length === 0) {
        await new Promise<void>((resolve) => this.#wakers.push(resolve))
        continue
      }
      await this.#fetch(node, wanted, wanted.length < feeds.length)
    }
  }

  async #fetch(node: number, wanted: readonly Feed[], partial: boolean): Promise<void> {
    try {
      const connection = await this.#cluster.node(node, 'fetch')
      const response = await connection.send(Fetch, {
        maxWaitMs: partial ? MAX_WAIT_PARTIAL_MS : MAX_WAIT_MS,
        maxBytes: RESPONSE_BYTES_MAX,
        partitionBytesMax: PARTITION_BYTES_MAX,
        isolation: 'read_committed',
        partitions: wanted,
      })
      if (this.#stopped) return
      if (response.code !== Code.NONE) throw kafkaError(response.code, 'Fetch')
      let arrived = false
      const memory = new ResponseMemory(response.frame)
      const asked = new Map(wanted.map((feed) => [partitionKey(feed.topic, feed.partition), feed]))
      for (const partition of response.partitions) {
        // A partition that was revoked and assigned again, or whose leader was looked for meanwhile, is asked for anew.
        const key = partitionKey(partition.topic, partition.partition)
        const feed = asked.get(key)
        if (feed && this.#feeds.get(key) === feed && feed.node === node)
          arrived = this.#accept(feed, partition, memory) || arrived
      }
      memory.letGo()
      if (arrived) this.#onReady()
    } catch (error) {
      if (this.#stopped) return
      if (!isCode(error, 'KAFKA_CONNECTION_LOST', 'KAFKA_REQUEST_TIMEOUT', 'KAFKA_RETRIABLE')) throw error
      this.#log.debug({ node, error: error.message }, 'fetch failed, looking for the leaders again')
      await delay(50 + 50 * jitter())
      for (const feed of wanted) feed.node = undefined
      void this.#guard(this.#locate())
    }
  }

  #accept(feed: Feed, fetched: FetchedPartition, memory: ResponseMemory): boolean {
    const where = `${feed.topic}-${feed.partition}@${feed.offset}`
    const lost = fetched.diverged !== null || fetched.code === Code.OFFSET_OUT_OF_RANGE
    // The position may come from a batch that was not verified yet: if that one is damaged, then this is why.
    if (lost) exhaust(feed)
    if (fetched.diverged) {
      const { endOffset, epoch } = fetched.diverged
      const text = `${where}: the log was cut back to ${endOffset} (leader epoch ${epoch}) below what was already read; records are lost upstream. Compare the topic with its source, then \`millrace reset\``
      throw new MillraceError('LOG_TRUNCATED', text)
    }
    if (fetched.code === Code.OFFSET_OUT_OF_RANGE) {
      void this.#guard(this.#outOfRange(feed))
      return false
    }
    if (fetched.code !== Code.NONE) {
      if (!retryClass(fetched.code)) throw kafkaError(fetched.code, `reading ${where}`)
      feed.node = undefined
      void this.#guard(this.#locate())
      return false
    }
    this.#noteHeldBack(feed, fetched)
    feed.lastStable = fetched.lastStableOffset
    const { records } = fetched
    const end = records && endOfBatches(records, `${feed.topic}-${feed.partition}`)
    if (!end) return false
    feed.queue.push({ elements: elementsOf(fetched, feed.offset, records, memory.hold()), bytes: records.length })
    feed.queuedBytes += records.length
    // Not verified yet: a damaged batch may claim any offset, and stops the partition before what follows it is given.
    if (end.nextOffset > feed.offset) feed.offset = end.nextOffset
    feed.lastEpoch = end.leaderEpoch
    return true
  }

  /**
   * An open transaction holds back all that is behind it. One whose markers its broker has dropped does so for ever, and if it
   * is not ours, nobody but an operator can end it.
   */
  #noteHeldBack(feed: Feed, { topic, partition, highWatermark, lastStableOffset }: FetchedPartition): void {
    const now = monotonicMs()
    const held = highWatermark > lastStableOffset && feed.offset >= lastStableOffset
    if (!held || feed.lastStable !== lastStableOffset || !feed.heldBack) {
      feed.heldBack = held ? { sinceMs: now, tellAtMs: now + this.#heldBackMs } : undefined
      return
    }
    if (now < feed.heldBack.tellAtMs) return
    const ms = now - feed.heldBack.sinceMs
    // And again after as long.
    feed.heldBack.tellAtMs = now + ms
    const text = `nothing more can be fetched of ${topic}-${partition}: for ${Math.round(ms / 1_000)} s a transaction at offset ${lastStableOffset} has been open, or its end not replicated; if that does not change, look for it with \`kafka-transactions.sh find-hanging --topic ${topic}\``
    this.#log.warn(
      { topic, partition, lastStable: lastStableOffset.toString(), highWatermark: highWatermark.toString() },
      text,
    )
  }

  /** The refusal itself does not say what the log holds. */
  async #outOfRange(feed: Feed): Promise<never> {
    const { topic, partition, offset } = feed
    const end = async (timestamp: bigint): Promise<bigint> => {
      const rows = await this.#cluster.call(
        ListOffsets,
        { isolation: 'read_committed', topics: [{ topic, partitions: [{ partition, timestamp }] }] },
        {
          to: { kind: 'leader', topic, partition },
          what: `ListOffsets ${topic}-${partition}`,
          codeOf: (each) => each[0]?.code ?? 0,
        },
      )
      return rows[0]?.offset ?? -1n
    }
    const range = `the log holds ${await end(EARLIEST)} to ${await end(LATEST)}`
    const text = `${topic}-${partition}@${offset} does not exist: ${range}. Retention has passed the pipeline's position, or the topic was cut; nothing was skipped. Choose where to go on with \`millrace reset <module> --to earliest|latest|timestamp|<file>\``
    throw new MillraceError('OFFSET_OUT_OF_RANGE', text, { kafkaCode: Code.OFFSET_OUT_OF_RANGE })
  }

  poll(topic: string, partition: number): ReaderElement | undefined {
    const feed = this.#feeds.get(partitionKey(topic, partition))
    if (!feed || feed.stuck) return undefined
    for (let head = feed.queue[0]; head; head = feed.queue[0]) {
      const next = this.#next(feed, head.elements)
      if (!next.done) return next.value
      feed.queue.shift()
      const full = feed.queuedBytes >= QUEUE_BYTES_MAX
      feed.queuedBytes -= head.bytes
      if (full && feed.queuedBytes < QUEUE_BYTES_MAX) this.#wake()
    }
    return undefined
  }

  #next(feed: Feed, elements: Iterator<ReaderElement>): IteratorResult<ReaderElement> {
    try {
      return elements.next()
    } catch (error) {
      // What comes behind the damage must not be read either.
      feed.stuck = true
      throw error
    }
  }

  revoke(topic: string, partition: number): void {
    this.#feeds.delete(partitionKey(topic, partition))
  }

  lag(topic: string, partition: number, position: bigint): bigint | undefined {
    const end = this.#feeds.get(partitionKey(topic, partition))?.lastStable
    if (end === undefined) return undefined
    return end > position ? end - position : 0n
  }

  #wake(): void {
    const wakers = this.#wakers
    this.#wakers = []
    for (const waker of wakers) waker()
  }

  stop(): void {
    this.#stopped = true
    this.#feeds.clear()
    this.#wake()
  }
}

/** Verifies all that waits, and gives none of it. @throws BATCH_CORRUPT, CODEC_UNKNOWN */
function exhaust(feed: Feed): void {
  feed.stuck = true
  for (const { elements } of feed.queue) while (!elements.next().done);
}

/** What a response has of a partition from `offset` on, each batch verified and decoded when it is asked for. */
function* elementsOf(
  fetched: FetchedPartition,
  offset: bigint,
  records: Buffer,
  memory: ResponseMemory,
): Generator<ReaderElement, undefined> {
  const { topic, partition } = fetched
  let waiting = [...fetched.aborted]
  const aborted = new Set<bigint>()
  for (const header of readBatches(records, `${topic}-${partition}`)) {
    // The entries are not ordered: open every one that begins at or before this batch's end, close at its control batch.
    if (waiting.length > 0) {
      for (const entry of waiting) if (entry.firstOffset <= header.lastOffset) aborted.add(entry.producerId)
      waiting = waiting.filter((entry) => entry.firstOffset > header.lastOffset)
    }
    const dropped = header.control || (header.transactional && aborted.has(header.producerId))
    if (header.control && controlType(records, header) === 'abort') aborted.delete(header.producerId)
    if (header.lastOffset < offset) continue
    if (dropped || header.count === 0)
      yield { kind: 'progress', nextOffset: header.lastOffset + 1n, leaderEpoch: header.leaderEpoch }
    else yield { kind: 'batch', batch: decodeBatch(records, header, topic, partition, memory) }
  }
  memory.letGo()
}
