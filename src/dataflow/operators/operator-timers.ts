// The timers of one operator in one task: what its function calls, what is due, and the record that stands for a timer downstream.
import { wallMs } from '../../base/clock.ts'
import type { OperatorId } from '../../base/ids.ts'
import type { HeapStore } from '../../state/heap/store.ts'
import { bytes, type Serde } from '../../state/serde.ts'
import { type Due, TIMERS, TimerQueue, type TimerState, wholeTime } from '../../state/timers.ts'
import { ColumnarBatch, HEADERS_AT, KEY_AT, KEY_LENGTH, RECORD_END, STRIDE, VALUE_AT, VALUE_LENGTH } from '../batch.ts'
import type { Timers } from '../functions.ts'
import { StreamRecord, type TaskContext } from '../record.ts'

export class OperatorTimers implements Timers {
  readonly #operator: OperatorId
  readonly #store: HeapStore
  readonly #queue = new TimerQueue()
  readonly #keyOf: () => unknown

  /** `keyOf`: of the call that is under way. */
  constructor(operator: OperatorId, store: HeapStore, keyOf: () => unknown) {
    this.#operator = operator
    this.#store = store
    this.#keyOf = keyOf
  }

  get #pending(): TimerState {
    return this.#store.handles[TIMERS] as TimerState
  }

  now(): number {
    return wallMs()
  }

  set(given: number): void {
    const time = wholeTime(given)
    this.#keyOf()
    if (this.#pending.has(time)) return
    this.#pending.set(time, true)
    this.#queue.push(time, this.#currentKey())
  }

  delete(given: number): void {
    const time = wholeTime(given)
    this.#keyOf()
    if (!this.#pending.has(time)) return
    this.#pending.delete(time)
    this.#queue.delete(time, this.#currentKey())
  }

  #currentKey(): string {
    return this.#store.currentKey.toString('latin1')
  }

  get turn(): number {
    return this.#queue.turn
  }

  isDue(nowMs: number, turn: number): boolean {
    return this.#queue.isDue(nowMs, turn)
  }

  get nextTime(): number {
    return this.#queue.nextTime
  }

  /** The earliest timer, and the state is its key's; undefined: it was deleted meanwhile. It is pending no more. */
  take(): Due | undefined {
    const due = this.#queue.pop()
    if (!due) return undefined
    this.#store.setKeyInState(Buffer.from(due.key, 'latin1'))
    if (!this.#pending.has(due.time)) return undefined
    this.#pending.delete(due.time)
    return due
  }

  async restore(): Promise<void> {
    await this.#store.eachMapKey(TIMERS, (key, time) => this.#queue.push(time as number, key.toString('latin1')))
  }

  /** No record caused it: it has the timer's key and time, no value, and no place. */
  recordOf({ key, time }: Due, context: TaskContext): StreamRecord {
    const serde = this.#store.keySerde
    // As state has it: with a mark in front where it may be null.
    const inState = Buffer.from(key, 'latin1')
    const isNull = serde.nullable && inState[0] === 0
    const bytesOfKey = inState.subarray(serde.nullable ? 1 : 0)
    const { length } = bytesOfKey
    const noHeaders = Buffer.of(0)
    const fields = new Int32Array(STRIDE)
    fields[KEY_AT] = 0
    fields[KEY_LENGTH] = isNull ? -1 : length
    fields[VALUE_AT] = length
    fields[VALUE_LENGTH] = -1
    fields[HEADERS_AT] = length
    fields[RECORD_END] = length + 1
    const batch = new ColumnarBatch({
      ...{
        topic: `timer of ${this.#operator}`,
        partition: 0,
        baseOffset: 0n,
        nextOffset: 1n,
        leaderEpoch: -1,
        count: 1,
      },
      ...{ bytes: Buffer.concat([bytesOfKey, noHeaders]), fields, timestamps: Float64Array.of(time) },
    })
    const origin = { operator: this.#operator, context, key: serde, value: bytes as Serde<unknown>, ahead: null }
    return new StreamRecord(origin, batch, 0)
  }
}
