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
  readonly key: string
  /** Equal times fire in the order in which they were set. */
  readonly turn: number
}

export interface Due {
  readonly time: number
  /** As state has it (latin1). */
  readonly key: string
}

/** Fewer dead ones are left where they are. */
const DEAD_MIN = 1_000

const earlier = (a: Pending, b: Pending): boolean => a.time < b.time || (a.time === b.time && a.turn < b.turn)

/** Pending timers, the earliest first: a binary heap. What is deleted stays in it until it comes up, or until half of it is dead. */
export class TimerQueue {
  #heap: Pending[] = []
  /** Deleted ones by time: their keys. */
  readonly #dead = new Map<number, Set<string>>()
  #deadCount = 0
  #turn = 0

  get length(): number {
    return this.#heap.length - this.#deadCount
  }

  /** Infinity: none. */
  get nextTime(): number {
    return this.#heap[0]?.time ?? Number.POSITIVE_INFINITY
  }

  /** Later ones have this turn, or a higher one. */
  get turn(): number {
    return this.#turn
  }

  push(time: number, key: string): void {
    if (this.#revive(time, key)) return
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

  /** It was deleted, and is in the heap still: it counts again. */
  #revive(time: number, key: string): boolean {
    const dead = this.#dead.get(time)
    if (!dead?.delete(key)) return false
    if (dead.size === 0) this.#dead.delete(time)
    this.#deadCount--
    return true
  }

  /** For one that was pushed and has not come up. */
  delete(time: number, key: string): void {
    const dead = this.#dead.get(time) ?? new Set()
    if (dead.has(key)) return
    this.#dead.set(time, dead.add(key))
    this.#deadCount++
    if (this.#deadCount > DEAD_MIN && this.#deadCount * 2 > this.#heap.length) this.#compact()
  }

  #compact(): void {
    const alive = this.#heap.filter(({ time, key }) => this.#dead.get(time)?.has(key) !== true)
    // In order, an array is a heap.
    this.#heap = alive.sort((a, b) => (earlier(a, b) ? -1 : 1))
    this.#dead.clear()
    this.#deadCount = 0
  }

  /** The earliest one; undefined: it was deleted, or there is none. */
  pop(): Due | undefined {
    const heap = this.#heap
    const first = heap[0]
    if (!first) return undefined
    const last = heap.pop()
    if (last && heap.length > 0) this.#sink(last)
    return this.#revive(first.time, first.key) ? undefined : first
  }

  /** The earliest one was set before `turn` and is due. */
  isDue(nowMs: number, turn: number): boolean {
    const first = this.#heap[0]
    return first !== undefined && first.time <= nowMs && first.turn < turn
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
