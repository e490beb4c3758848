// JSON values of one source parsed together, before most of their records' turn: that costs less than each by itself. A task says
// which records of a batch come next (a window); the first that is asked for its value has the rest of the window parsed with
// it. A window never outlives its batch: the task forgets it before it gives the batch's memory back.
import { Backoff } from '../base/backoff.ts'
import { parseMany } from '../state/json-many.ts'
import { JsonShapes } from '../state/json-shapes.ts'
import { jsonFieldsOf, type Serde } from '../state/serde.ts'
import { type ColumnarBatch, STRIDE, VALUE_AT, VALUE_LENGTH } from './batch.ts'
import { RECORDS_PER_LOOK } from './element.ts'

/** In place of a value: its record decodes it by itself. */
export const NOT_AHEAD: unique symbol = Symbol('not decoded ahead')

const NOTHING: unknown[] = []

export class ValuesAhead {
  readonly #places = new Int32Array(2 * RECORDS_PER_LOOK)
  #batch: ColumnarBatch | undefined
  /** The window: the records `#from … #to − 1`. */
  #from = 0
  #to = 0
  /** Values of the records from `#first` on, each given once; null: none was asked for. */
  #values: unknown[] | null = null
  #first = 0
  /** Values are whole objects. */
  readonly #whole: boolean
  readonly #shapes: JsonShapes
  readonly #backoff = new Backoff()

  private constructor(fields: readonly string[] | null) {
    this.#whole = fields === null
    this.#shapes = new JsonShapes(fields, NOT_AHEAD)
  }

  /** null: values of this serde are decoded one by one. */
  static of(serde: Serde<unknown>): ValuesAhead | null {
    const fields = jsonFieldsOf(serde)
    return fields === undefined ? null : new ValuesAhead(fields)
  }

  /** The records `from … to − 1` of the batch come next. */
  expect(batch: ColumnarBatch, from: number, to: number): void {
    this.#batch = batch
    this.#from = from
    this.#to = to
    this.#values = null
  }

  /** The batch is over. */
  forget(): void {
    this.#batch = undefined
    this.#values = null
  }

  /** The record's value; NOT_AHEAD for all copies of a record but the first that asks: each has a value of its own. */
  take(batch: ColumnarBatch, index: number): unknown {
    if (batch !== this.#batch || index < this.#from || index >= this.#to) return NOT_AHEAD
    this.#values ??= this.#parseFrom(batch, index)
    const at = index - this.#first
    if (at < 0 || at >= this.#values.length) return NOT_AHEAD
    const value = this.#values[at]
    this.#values[at] = NOT_AHEAD
    return value
  }

  #parseFrom(batch: ColumnarBatch, first: number): unknown[] {
    this.#first = first
    const count = this.#to - first
    if (count < 2) return NOTHING
    for (let i = 0; i < count; i++) {
      const row = (first + i) * STRIDE
      const start = batch.fields[row + VALUE_AT] as number
      this.#places[2 * i] = start
      // Of a null it lies before the start, where no text is.
      this.#places[2 * i + 1] = start + (batch.fields[row + VALUE_LENGTH] as number)
    }
    return this.#shapes.read(batch.bytes, this.#places, count) ?? this.#parseMany(batch.bytes, count) ?? NOTHING
  }

  #parseMany(bytes: Buffer, count: number): unknown[] | undefined {
    if (!this.#whole || !this.#backoff.isTurn()) return undefined
    const values = parseMany(bytes, this.#places, count)
    if (values) this.#backoff.worked()
    else this.#backoff.failed()
    return values
  }
}
