// The contract of every PartitionReader: each offset of an assigned partition comes once and in order, as records or as
// progress; what is polled begins at or before the position (a batch comes whole) and never behind it.
import { deepEqual, equal, ok } from 'node:assert/strict'
import { type ColumnarBatch, type PartitionReader, type ReaderElement, STRIDE } from '../../src/connector.ts'
import type { ContractCase } from './contract-case.ts'

export interface PartitionReaderHarness {
  /** A new, empty topic with two partitions. */
  create(): Promise<{
    readonly topic: string
    /** Writes values as one batch, committed; gives the offset behind everything that it wrote (markers, too). */
    append(partition: number, values: readonly string[]): Promise<bigint>
    /** Offsets that no reader may see records of: an aborted transaction. Gives the offset behind it. */
    appendAborted(partition: number, values: readonly string[]): Promise<bigint>
    open(onReady: () => void, onError: (error: Error) => void): PartitionReader
    remove(): Promise<void>
  }>
}

type Place = Awaited<ReturnType<PartitionReaderHarness['create']>>

/** How long the suite waits for what must come, in ms. */
const PATIENCE_MS = 30_000

/** Columns of a batch. */
const VALUE_AT = 3
const VALUE_LENGTH = 4

function rows(batch: ColumnarBatch): { readonly offset: bigint; readonly value: string }[] {
  return Array.from({ length: batch.count }, (_, index) => {
    const at = batch.fields[index * STRIDE + VALUE_AT] ?? 0
    const length = batch.fields[index * STRIDE + VALUE_LENGTH] ?? 0
    return { offset: batch.offsetOf(index), value: batch.bytes.toString('utf8', at, at + length) }
  })
}

/** A reader as a task uses it: polls when told that something is ready. */
class Consumer {
  readonly reader: PartitionReader
  readonly errors: Error[] = []
  readonly #place: Place
  readonly #next = new Map<number, bigint>()
  readonly #values = new Map<number, string[]>()
  #wake: (() => void) | undefined

  constructor(place: Place) {
    this.#place = place
    const ready = (): void => {
      this.#wake?.()
      this.#wake = undefined
    }
    this.reader = place.open(ready, (error) => {
      this.errors.push(error)
      ready()
    })
  }

  assign(...starts: readonly (readonly [partition: number, offset: bigint])[]): void {
    for (const [partition, offset] of starts) this.#next.set(partition, offset)
    this.reader.assign(
      starts.map(([partition, offset]) => ({ topic: this.#place.topic, partition, offset, leaderEpoch: -1 })),
    )
  }

  next(partition: number): bigint {
    return this.#next.get(partition) ?? -1n
  }

  values(partition: number): readonly string[] {
    return this.#values.get(partition) ?? []
  }

  /** Takes one element, if there is one. */
  take(partition: number): ReaderElement | undefined {
    const element = this.reader.poll(this.#place.topic, partition)
    if (!element) return undefined
    const position = this.next(partition)
    if (element.kind === 'progress') {
      if (element.nextOffset > position) this.#next.set(partition, element.nextOffset)
      return element
    }
    const { batch } = element
    ok(batch.baseOffset <= position, `a batch at ${batch.baseOffset} although the position is ${position}: a gap`)
    ok(batch.nextOffset > position, `a batch up to ${batch.nextOffset} that was read already (position ${position})`)
    equal(batch.topic, this.#place.topic)
    equal(batch.partition, partition)
    const fresh = rows(batch).filter(({ offset }) => offset >= position)
    this.#values.set(partition, [...this.values(partition), ...fresh.map(({ value }) => value)])
    this.#next.set(partition, batch.nextOffset)
    return element
  }

  /** Reads until every partition has reached its offset. */
  async reach(...ends: readonly (readonly [partition: number, offset: bigint])[]): Promise<void> {
    await this.until(() => ends.every(([partition, offset]) => this.next(partition) >= offset))
    for (const [partition, offset] of ends) equal(this.next(partition), offset, `partition ${partition}`)
  }

  async until(done: () => boolean): Promise<void> {
    const limit = performance.now() + PATIENCE_MS
    while (!done()) {
      let worked = false
      for (const partition of this.#next.keys()) worked = Boolean(this.take(partition)) || worked
      const [error] = this.errors
      if (error) throw error
      if (worked || done()) continue
      ok(performance.now() < limit, `nothing more came in ${PATIENCE_MS} ms: at ${[...this.#next].join(' ')}`)
      await this.#sleep()
    }
  }

  /** Until the reader calls; now and then by itself, to see the limit. */
  #sleep(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, 100)
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  close(): void {
    this.reader.stop()
  }
}

type Check = (place: Place, consumer: Consumer) => Promise<void>

const reading: Readonly<Record<string, Check>> = {
  'all records, in order, from both partitions': async (place, consumer) => {
    await place.append(0, ['a', 'b'])
    const end0 = await place.append(0, ['c'])
    const end1 = await place.append(1, ['x', 'y'])
    consumer.assign([0, 0n], [1, 0n])
    await consumer.reach([0, end0], [1, end1])
    deepEqual([...consumer.values(0)], ['a', 'b', 'c'])
    deepEqual([...consumer.values(1)], ['x', 'y'])
  },
  'what is written later comes later, without being asked for': async (place, consumer) => {
    consumer.assign([0, 0n])
    const first = await place.append(0, ['a'])
    await consumer.reach([0, first])
    const second = await place.append(0, ['b'])
    await consumer.reach([0, second])
    deepEqual([...consumer.values(0)], ['a', 'b'])
  },
  'a partition that is not assigned gives nothing': async (place, consumer) => {
    await place.append(1, ['x'])
    const end = await place.append(0, ['a'])
    consumer.assign([0, 0n])
    await consumer.reach([0, end])
    equal(consumer.reader.poll(place.topic, 1), undefined)
    equal(consumer.reader.lag(place.topic, 1, 0n), undefined)
  },
  'many batches': async (place, consumer) => {
    const values = Array.from({ length: 40 }, (_, index) => `value-${index}`)
    let end = 0n
    for (let at = 0; at < values.length; at += 4) end = await place.append(0, values.slice(at, at + 4))
    consumer.assign([0, 0n])
    await consumer.reach([0, end])
    deepEqual([...consumer.values(0)], values)
  },
  'aborted records never come; their offsets are passed as progress': async (place, consumer) => {
    await place.append(0, ['a'])
    await place.appendAborted(0, ['never', 'never'])
    await place.append(0, ['b'])
    const end = await place.appendAborted(0, ['nor this'])
    consumer.assign([0, 0n])
    await consumer.reach([0, end])
    deepEqual([...consumer.values(0)], ['a', 'b'])
  },
  'a topic of nothing but aborted records': async (place, consumer) => {
    const end = await place.appendAborted(0, ['never'])
    consumer.assign([0, 0n])
    await consumer.reach([0, end])
    deepEqual([...consumer.values(0)], [])
  },
}

const restarting: Readonly<Record<string, Check>> = {
  'from the end: only what is new': async (place, consumer) => {
    const start = await place.append(0, ['old'])
    consumer.assign([0, start])
    const end = await place.append(0, ['new'])
    await consumer.reach([0, end])
    deepEqual([...consumer.values(0)], ['new'])
  },
  'from inside a batch: nothing is left out': async (place, consumer) => {
    const end = await place.append(0, ['a', 'b', 'c', 'd'])
    consumer.assign([0, 2n])
    await consumer.reach([0, end])
    deepEqual([...consumer.values(0)], ['c', 'd'])
  },
  'from every offset in turn': async (place, consumer) => {
    await place.append(0, ['a', 'b'])
    const last = await place.appendAborted(0, ['never'])
    const end = await place.append(0, ['c'])
    for (let start = 0n; start < end; start++) {
      const other = new Consumer(place)
      other.assign([0, start])
      await other.reach([0, end])
      const left = [...(start <= 0n ? ['a'] : []), ...(start <= 1n ? ['b'] : []), ...(start <= last ? ['c'] : [])]
      deepEqual([...other.values(0)], left)
      other.close()
    }
    consumer.assign([0, end])
    await consumer.reach([0, end])
  },
  'revoked: it gives nothing, and may be assigned again anywhere': async (place, consumer) => {
    const end = await place.append(0, ['a', 'b'])
    const other = await place.append(1, ['x'])
    consumer.assign([0, 0n], [1, 0n])
    await consumer.reach([0, end], [1, other])
    consumer.reader.revoke(place.topic, 0)
    equal(consumer.reader.poll(place.topic, 0), undefined)
    const later = await place.append(0, ['c'])
    equal(consumer.reader.poll(place.topic, 0), undefined)
    consumer.assign([0, 1n])
    await consumer.reach([0, later], [1, other])
    deepEqual([...consumer.values(0)], ['a', 'b', 'b', 'c'])
  },
  'revoking what was never assigned is no error': async (place, consumer) => {
    consumer.reader.revoke(place.topic, 1)
  },
  'revoked with something fetched: that is forgotten': async (place, consumer) => {
    const end = await place.append(0, ['a', 'b'])
    consumer.assign([0, 0n])
    await consumer.until(() => (consumer.reader.lag(place.topic, 0, 0n) ?? 0n) >= end || consumer.next(0) > 0n)
    consumer.reader.revoke(place.topic, 0)
    equal(consumer.reader.poll(place.topic, 0), undefined)
    equal(consumer.reader.lag(place.topic, 0, 0n), undefined)
  },
}

const flow: Readonly<Record<string, Check>> = {
  'lag: what is left to read, 0 at the end': async (place, consumer) => {
    const end = await place.append(0, ['a', 'b', 'c'])
    consumer.assign([0, 0n])
    await consumer.reach([0, end])
    equal(consumer.reader.lag(place.topic, 0, end), 0n)
    equal(consumer.reader.lag(place.topic, 0, 0n), end)
    equal(consumer.reader.lag(place.topic, 0, end + 5n), 0n)
  },
  'stopped: it gives nothing and calls nobody; stop may be repeated': async (place, consumer) => {
    await place.append(0, ['a'])
    let calls = 0
    const reader = place.open(
      () => calls++,
      () => calls++,
    )
    reader.assign([{ topic: place.topic, partition: 0, offset: 0n, leaderEpoch: -1 }])
    reader.stop()
    reader.stop()
    calls = 0
    // Another reader sees the end of this append: by then the stopped one had its chance.
    const end = await place.append(0, ['b'])
    consumer.assign([0, 0n])
    await consumer.reach([0, end])
    equal(reader.poll(place.topic, 0), undefined)
    equal(calls, 0)
  },
}

/** All cases for one implementation. */
export function partitionReaderContract(harness: PartitionReaderHarness): ContractCase[] {
  return Object.entries({ ...reading, ...restarting, ...flow }).map(([name, check]) => ({
    name,
    run: async () => {
      const place = await harness.create()
      const consumer = new Consumer(place)
      try {
        await check(place, consumer)
        deepEqual([...consumer.errors], [])
      } finally {
        consumer.close()
        await place.remove()
      }
    },
  }))
}
