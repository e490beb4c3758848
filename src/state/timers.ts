// Timers of a keyed operator: keyed state like any other, so that snapshots, restores, disks and savepoints need not know them. Each key
// has a map of its timers; in memory stands, besides, what comes next: all pending timers of the task, the earliest first. What is
// in memory is a hint: a timer fires if its key's map still has it, once, and is gone then.
import type { ByteWriter } from '../base/byte-writer.ts'
import { type MapState, mapState, type StateDescriptor } from './descriptors.ts'
import { boolean, type Serde } from './serde.ts'

/** The name of the state; users' states cannot begin with it. */
export const TIMERS = '$timers'

/** By what clock. Event time has a place here, so that its timers will be found beside these. */
const PROCESSING_TIME = 0
const TIMER_BYTES = 9

/** A time, in ms since 1970, as an entry's key: bytes in the order of time. */
const timerSerde: Serde<number> = {
  id: 'timer',
  nullable: false,
  copies: true,
  appends: true,
  encode(time, out: ByteWriter) {
    out.uint8(PROCESSING_TIME)
    out.f64(time)
  },
  decode(from, start, end) {
    if (end - start !== TIMER_BYTES || from[start] !== PROCESSING_TIME) throw new RangeError('timer: unknown kind')
    return from.readDoubleBE(start + 1)
  },
}

export type TimerState = MapState<number, boolean>

export function timersState(): StateDescriptor<TimerState> {
  return mapState(timerSerde, boolean)
}

/** Rounded up: records have whole milliseconds, and nothing fires before its time. @throws TypeError */
export function wholeTime(time: number): number {
  if (typeof time === 'number' && Number.isFinite(time) && time >= 0) return Math.ceil(time)
  throw new TypeError(`a timer's time is milliseconds since 1970, a finite number from 0 up; ${String(time)} found`)
}

interface Pending {
  readonly time: number
  readonly key: unknown
  /** Equal times fire in the order in which they were set. */
  readonly turn: number
}

const earlier = (a: Pending, b: Pending): boolean => a.time < b.time || (a.time === b.time && a.turn < b.turn)

/** Pending timers, the earliest first: a binary heap. */
export class TimerQueue {
  readonly #heap: Pending[] = []
  #turn = 0

  get length(): number {
    return this.#heap.length
  }

  /** Infinity: none. */
  get nextTime(): number {
    return this.#heap[0]?.time ?? Number.POSITIVE_INFINITY
  }

  push(time: number, key: unknown): void {
    const heap = this.#heap
    const added = { time, key, turn: this.#turn++ }
    let at = heap.push(added) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!earlier(added, heap[parent] as Pending)) break
      heap[at] = heap[parent] as Pending
      at = parent
    }
    heap[at] = added
  }

  pop(): { readonly time: number; readonly key: unknown } | undefined {
    const heap = this.#heap
    const first = heap[0]
    const last = heap.pop()
    if (first && last && heap.length > 0) this.#sink(last)
    return first
  }

  #sink(moved: Pending): void {
    const heap = this.#heap
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && earlier(heap[child + 1] as Pending, heap[child] as Pending)) child++
      if (!earlier(heap[child] as Pending, moved)) break
      heap[at] = heap[child] as Pending
      at = child
    }
    heap[at] = moved
  }
}
