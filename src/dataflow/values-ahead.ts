// Values of one source decoded together, before most of their records' turn: that costs less than each by itself.

import type { Serde } from '../state/serde.ts'
import { type ColumnarBatch, STRIDE, VALUE_AT, VALUE_LENGTH } from './batch.ts'
import { RECORDS_PER_LOOK } from './element.ts'

type DecodeMany = NonNullable<Serde<unknown>['decodeMany']>

/** In place of a value: its record decodes it by itself. */
export const NOT_AHEAD: unique symbol = Symbol('not decoded ahead')

/** Windows left out after some that could not be decoded together, at most. */
const REST_MAX = 256

export class ValuesAhead {
  readonly #decodeMany: DecodeMany
  readonly #places = new Int32Array(2 * RECORDS_PER_LOOK)
  #batch: ColumnarBatch | undefined
  /** Where the window ends. */
  #to = 0
  /** Values of the records from `#from` on, each given once; null: none was asked for in this window. */
  #values: unknown[] | null = null
  #from = 0
  #rest = 0
  #restNext = 1

  private constructor(decodeMany: DecodeMany) {
    this.#decodeMany = decodeMany
  }

  /** null: values of this serde are decoded one by one. */
  static of(serde: Serde<unknown>): ValuesAhead | null {
    return serde.decodeMany && serde.copies ? new ValuesAhead(serde.decodeMany) : null
  }

  /** The records before `to` come next. Without a batch it forgets the last one. */
  expect(batch: ColumnarBatch | undefined, to: number): void {
    this.#batch = batch
    this.#to = to
    this.#values = null
  }

  /** The record's value; copies of a record get NOT_AHEAD but for the first: each has a value of its own. */
  take(batch: ColumnarBatch, index: number): unknown {
    if (batch !== this.#batch) return NOT_AHEAD
    this.#values ??= this.#decodeFrom(batch, index)
    const at = index - this.#from
    if (at < 0 || at >= this.#values.length) return NOT_AHEAD
    const value = this.#values[at]
    this.#values[at] = NOT_AHEAD
    return value
  }

  /** Of the rest of the window. */
  #decodeFrom(batch: ColumnarBatch, from: number): unknown[] {
    this.#from = from
    const count = this.#to - from
    if (count < 2 || this.#rest-- > 0) return []
    for (let i = 0; i < count; i++) {
      const row = (from + i) * STRIDE
      const start = batch.fields[row + VALUE_AT] as number
      this.#places[2 * i] = start
      this.#places[2 * i + 1] = start + (batch.fields[row + VALUE_LENGTH] as number)
    }
    const values = this.#decodeMany(batch.bytes, this.#places, count)
    this.#rest = values ? 0 : this.#restNext
    this.#restNext = values ? 1 : Math.min(REST_MAX, this.#restNext * 2)
    return values ?? []
  }
}
