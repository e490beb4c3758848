// Broadcast topics are read once per worker: each batch goes to all tasks that are connected to its topic, which may be at different
// places. What all of them have had is forgotten; who is ahead waits when there is too much of it.
import type { LogRange, PartitionReader, ReaderElement } from './ports.ts'

/** Batches that not all tasks have had. */
const ELEMENTS_MAX = 64
/** Broadcast topics have one partition, so that every task sees their records in the same order. */
export const BROADCAST_PARTITION = 0

/** One task's way through a broadcast topic. */
export interface Subscription {
  /** What comes at `next` or behind it, if it is here. */
  poll(next: bigint): ReaderElement | undefined
  leave(): void
}

export interface BroadcastPlace {
  /** The next one. */
  readonly offset: bigint
  readonly leaderEpoch: number
}

/** What a task wants to read: from `place` on; undefined: from the beginning. */
export interface BroadcastStream {
  readonly topic: string
  readonly place: BroadcastPlace | undefined
}

/** How a task gets at a broadcast topic. */
export interface BroadcastWay {
  readonly subscription: Subscription
  readonly from: BroadcastPlace
  /** Its end when the task began. */
  readonly until: bigint
}

interface Reader {
  /** Of the element that it gets next, counted from the first one of the channel. */
  index: number
}

class Channel {
  readonly #reader: PartitionReader
  readonly #topic: string
  readonly #readers = new Set<Reader>()
  #elements: ReaderElement[] = []
  /** Elements that were forgotten. */
  #gone = 0
  /** From here on it has everything; undefined: nothing is fetched. */
  #start: bigint | undefined

  constructor(reader: PartitionReader, topic: string) {
    this.#reader = reader
    this.#topic = topic
  }

  join({ offset, leaderEpoch }: BroadcastPlace): Subscription {
    // Who comes later and further behind has all of them begin there: they pass over what they have had.
    if (this.#start === undefined || offset < this.#start) this.#begin(offset, leaderEpoch)
    const reader: Reader = { index: this.#gone }
    this.#readers.add(reader)
    return {
      poll: (next) => this.#poll(reader, next),
      leave: () => {
        this.#readers.delete(reader)
        if (this.#readers.size === 0) this.#end()
        else this.#forget()
      },
    }
  }

  #begin(offset: bigint, leaderEpoch: number): void {
    this.#end()
    for (const each of this.#readers) each.index = 0
    this.#start = offset
    this.#reader.assign([{ topic: this.#topic, partition: BROADCAST_PARTITION, offset, leaderEpoch }])
  }

  #end(): void {
    if (this.#start !== undefined) this.#reader.revoke(this.#topic, BROADCAST_PARTITION)
    this.#start = undefined
    this.#elements = []
    this.#gone = 0
  }

  #poll(reader: Reader, next: bigint): ReaderElement | undefined {
    for (;;) {
      const held = reader.index - this.#gone
      if (held >= ELEMENTS_MAX) return undefined
      const element = this.#elements[held] ?? this.#reader.poll(this.#topic, BROADCAST_PARTITION)
      if (!element) return undefined
      if (held === this.#elements.length) this.#elements.push(element)
      reader.index++
      this.#forget()
      if (endOf(element) > next) return element
    }
  }

  #forget(): void {
    const least = [...this.#readers].reduce((index, each) => Math.min(index, each.index), Number.POSITIVE_INFINITY)
    if (least <= this.#gone) return
    const last = this.#elements.splice(0, least - this.#gone).at(-1)
    this.#gone = least
    if (last) this.#start = endOf(last)
  }
}

const endOf = (element: ReaderElement): bigint =>
  element.kind === 'progress' ? element.nextOffset : element.batch.nextOffset

export class BroadcastHub {
  readonly #reader: PartitionReader
  readonly #channels = new Map<string, Channel>()

  constructor(reader: PartitionReader) {
    this.#reader = reader
  }

  /** One more task that reads the topic from a place on. */
  join(topic: string, place: BroadcastPlace): Subscription {
    const channel = this.#channels.get(topic) ?? new Channel(this.#reader, topic)
    this.#channels.set(topic, channel)
    return channel.join(place)
  }

  /** A task's way through a topic that holds these offsets now; where sources stand still, to their end and no further. */
  way({ topic, place }: BroadcastStream, { start, end }: LogRange, reads: 'all' | 'hops'): BroadcastWay {
    const from = place ?? { offset: start, leaderEpoch: -1 }
    const joined = this.join(topic, from)
    const poll = (next: bigint): ReaderElement | undefined => (next < end ? joined.poll(next) : undefined)
    return { subscription: reads === 'all' ? joined : { ...joined, poll }, from, until: end }
  }
}
