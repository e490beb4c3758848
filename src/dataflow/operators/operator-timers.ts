// The timers of one operator in one task: what its function calls, what is due, and the record that stands for a timer downstream.
import { ByteWriter } from '../../base/byte-writer.ts'
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
    // The state's own copy of the key: the one in hand may be a view of what was read.
    const key = this.#store.currentKey
    this.#queue.push(time, key, this.#store.identity(key))
  }

  delete(given: number): void {
    const time = wholeTime(given)
    this.#keyOf()
    if (!this.#pending.has(time)) return
    this.#pending.delete(time)
    this.#queue.delete(time, this.#store.identity(this.#store.currentKey))
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
    this.#store.setKey(due.key)
    if (!this.#pending.has(due.time)) return undefined
    this.#pending.delete(due.time)
    return due
  }

  async restore(): Promise<void> {
    await this.#store.eachMapKey(TIMERS, (key, time) =>
      this.#queue.push(time as number, key, this.#store.identity(key)),
    )
  }

  /** No record caused it: it has the timer's key and time, no value, and no place. */
  recordOf({ key, time }: Due, context: TaskContext): StreamRecord {
    const serde = this.#store.keySerde
    const out = new ByteWriter(64)
    const isNull = key === null && serde.nullable
    if (!isNull) serde.encode(key, out)
    const length = out.position
    // The number of headers.
    out.uint8(0)
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
      ...{ bytes: out.copy(), fields, timestamps: Float64Array.of(time) },
    })
    const origin = { operator: this.#operator, context, key: serde, value: bytes as Serde<unknown>, ahead: null }
    return new StreamRecord(origin, batch, 0)
  }
}
