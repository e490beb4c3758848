// A PartitionReader over logs in memory. Nothing is fetched ahead: what is polled is taken from the log.
import { isCode, MillraceError } from '../../src/base/errors.ts'
import { partitionKey } from '../../src/base/ids.ts'
import type { PartitionReader, Position, ReaderElement } from '../../src/dataflow/ports.ts'
import type { MemoryLog } from './log.ts'

interface Feed {
  readonly log: MemoryLog
  readonly partition: number
  offset: bigint
}

export class MemoryReader implements PartitionReader {
  readonly #logs: ReadonlyMap<string, MemoryLog>
  readonly #onReady: () => void
  readonly #onError: (error: Error) => void
  readonly #feeds = new Map<string, Feed>()
  readonly #unsubscribe: readonly (() => void)[]
  #stopped = false

  constructor(logs: readonly MemoryLog[], onReady: () => void, onError: (error: Error) => void) {
    this.#logs = new Map(logs.map((log) => [log.topic, log]))
    this.#onReady = onReady
    this.#onError = onError
    this.#unsubscribe = logs.map((log) => log.onAppend(() => this.#ready()))
  }

  /** In a turn of its own: callbacks only enqueue, also when the caller is the one who appends. */
  #ready(): void {
    queueMicrotask(() => {
      if (!this.#stopped) this.#onReady()
    })
  }

  assign(positions: readonly Position[]): void {
    try {
      for (const position of positions) this.#assign(position)
    } catch (error) {
      if (!isCode(error, 'TOPIC_UNKNOWN', 'OFFSET_OUT_OF_RANGE')) throw error
      queueMicrotask(() => this.#onError(error))
    }
    this.#ready()
  }

  #assign({ topic, partition, offset }: Position): void {
    const log = this.#logs.get(topic)
    if (!log) throw new MillraceError('TOPIC_UNKNOWN', `topic ${topic} is not in memory`)
    if (offset > log.end(partition)) {
      const text = `${topic}-${partition}@${offset} does not exist: the log ends at ${log.end(partition)}`
      throw new MillraceError('OFFSET_OUT_OF_RANGE', text)
    }
    this.#feeds.set(partitionKey(topic, partition), { log, partition, offset })
  }

  poll(topic: string, partition: number): ReaderElement | undefined {
    const feed = this.#feeds.get(partitionKey(topic, partition))
    if (!feed) return undefined
    const entry = feed.log.at(feed.partition, feed.offset)
    if (!entry) return undefined
    feed.offset = entry.nextOffset
    if (entry.batch) return { kind: 'batch', batch: entry.batch }
    return { kind: 'progress', nextOffset: entry.nextOffset, leaderEpoch: 0 }
  }

  revoke(topic: string, partition: number): void {
    this.#feeds.delete(partitionKey(topic, partition))
  }

  lag(topic: string, partition: number, position: bigint): bigint | undefined {
    const feed = this.#feeds.get(partitionKey(topic, partition))
    if (!feed) return undefined
    const end = feed.log.end(feed.partition)
    return end > position ? end - position : 0n
  }

  stop(): void {
    this.#stopped = true
    this.#feeds.clear()
    for (const end of this.#unsubscribe) end()
  }
}
