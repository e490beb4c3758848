// A record on its way through one stage. Key and value decode on first use and stay decoded; while they are unchanged
// since the source, a sink copies their bytes. Operators change the record in place; a fan-out gives each branch a copy.

import { MillraceError, messageOf } from '../base/errors.ts'
import type { OperatorId } from '../base/ids.ts'
import { type JsonPatch, PatchedJson, type TextPlace } from '../state/json-patch.ts'
import { type Encoder, isJson, type Serde } from '../state/serde.ts'
import { type ColumnarBatch, type Headers, KEY_AT, KEY_LENGTH, STRIDE, VALUE_AT, VALUE_LENGTH } from './batch.ts'
import type { RecordContext } from './functions.ts'
import { NOT_AHEAD, type ValuesAhead } from './values-ahead.ts'

/** What the operators of one task share. */
export class TaskContext {
  /** The operator whose function runs: named in the error if it throws. */
  current: OperatorId
  /** A decode error that a user function may have swallowed: checked when it has returned. */
  latched: MillraceError | null = null
  /** A record that an operator released from its queue: named in the error instead of the one being read. */
  released: StreamRecord | null = null

  constructor(current: OperatorId) {
    this.current = current
  }
}

/** A source's serdes, one object for all its records. */
export interface RecordOrigin {
  readonly operator: OperatorId
  readonly context: TaskContext
  readonly key: Serde<unknown>
  readonly value: Serde<unknown>
  readonly ahead: ValuesAhead | null
}

const RAW = 0
const DECODED = 1
const CHANGED = 2

export class StreamRecord implements RecordContext {
  readonly origin: RecordOrigin
  readonly batch: ColumnarBatch
  readonly index: number
  #keyState = RAW
  #valueState = RAW
  #key: unknown
  #value: unknown
  /** The source's text with fields set: the value, unless it is CHANGED. */
  #patched: PatchedJson | null = null

  constructor(origin: RecordOrigin, batch: ColumnarBatch, index: number) {
    this.origin = origin
    this.batch = batch
    this.index = index
  }

  get value(): unknown {
    if (this.#valueState === RAW) {
      this.#value = this.#patched ? this.#patchedAlive(this.#patched).value() : this.#decodeValue()
      this.#valueState = DECODED
    }
    return this.#value
  }

  get key(): unknown {
    if (this.#keyState === RAW) {
      const row = this.index * STRIDE
      this.#key = this.#decode('key', this.origin.key, row + KEY_AT, row + KEY_LENGTH)
      this.#keyState = DECODED
    }
    return this.#key
  }

  #decodeValue(): unknown {
    const { ahead, value } = this.origin
    const decoded = ahead ? ahead.take(this.batch, this.index) : NOT_AHEAD
    if (decoded !== NOT_AHEAD) return decoded
    const row = this.index * STRIDE
    return this.#decode('value', value, row + VALUE_AT, row + VALUE_LENGTH)
  }

  #decode(part: string, serde: Serde<unknown>, at: number, length: number): unknown {
    const { batch } = this
    batch.checkAlive()
    if (!serde.copies) batch.viewed = true
    const { bytes, fields } = batch
    const size = fields[length] as number
    try {
      if (size >= 0) return serde.decode(bytes, fields[at] as number, (fields[at] as number) + size)
      if (serde.nullable) return null
      throw new TypeError(`it is null; use nullable(${serde.id}) if that is meant to be`)
    } catch (error) {
      throw this.#undecodable(part, serde, error)
    }
  }

  #undecodable(part: string, serde: Serde<unknown>, error: unknown): MillraceError {
    const text = `source '${this.origin.operator}': the ${part} of ${this.where} is not ${serde.id}: ${messageOf(error)}; repair the producer, or set onDecodeError: 'skip'`
    const coded = new MillraceError('DECODE_FAILED', text, { cause: error })
    this.origin.context.latched ??= coded
    return coded
  }

  /** The value is `value` from here on. */
  setValue(value: unknown): void {
    this.#value = value
    this.#valueState = CHANGED
    this.#patched = null
  }

  /** Sets the fields that `fn` returns; it gets those that the patch reads. */
  patchValue(patch: JsonPatch, fn: (fields: unknown, record: RecordContext) => unknown): void {
    const { batch, index } = this
    const start = batch.fields[index * STRIDE + VALUE_AT] as number
    const length = batch.fields[index * STRIDE + VALUE_LENGTH] as number
    if (this.#valueState === CHANGED || length < 0 || !isJson(this.origin.value)) {
      const { value } = this
      this.setValue({ ...(value as object), ...fieldsOf(fn(patch.pick(value), this)) })
      return
    }
    batch.checkAlive()
    const decoded = this.#valueState === DECODED ? this.#value : undefined
    const patched = new PatchedJson(patch, batch.bytes, start, start + length, decoded)
    const fields = fieldsOf(fn(this.#readFields(patch, patched), this))
    // A copy: a function may return the same object every time. V8 copies one object as a whole, and two field by field.
    const before = this.#patched?.fields
    patched.fields = (before ? { ...before, ...fields } : { ...fields }) as Record<string, unknown>
    this.#patched = patched
    this.#valueState = RAW
  }

  #readFields(patch: JsonPatch, text: TextPlace): unknown {
    if (this.#valueState === DECODED) return patch.pick(this.#value)
    try {
      return patch.read(text, this.#patched?.fields)
    } catch (error) {
      // JSON that is no object is the function's problem, as in a `map`.
      throw error instanceof SyntaxError ? this.#undecodable('value', this.origin.value, error) : error
    }
  }

  /** What a sink with this serde encodes. */
  valueFor(serde: Encoder<unknown>): unknown {
    return this.#patched && isJson(serde) ? this.#patchedAlive(this.#patched) : this.value
  }

  /** Its text is in the batch. */
  #patchedAlive(patched: PatchedJson): PatchedJson {
    this.batch.checkAlive()
    return patched
  }

  /** A record with another value, from the same place. */
  withValue(value: unknown): StreamRecord {
    const record = this.clone()
    record.setValue(value)
    return record
  }

  clone(): StreamRecord {
    const record = new StreamRecord(this.origin, this.batch, this.index)
    record.#keyState = this.#keyState
    record.#key = this.#key
    record.#valueState = this.#valueState
    record.#value = this.#value
    record.#patched = this.#patched
    return record
  }

  /** The value's bytes as they were read serve a sink whose serde writes the same format. */
  valueIsRawFor(serde: Encoder<unknown>): boolean {
    const { value } = this.origin
    return this.#valueState !== CHANGED && !this.#patched && value.id === serde.id && !value.validates
  }

  keyIsRawFor(serde: Encoder<unknown>): boolean {
    return this.origin.key.id === serde.id && !this.origin.key.validates
  }

  get timestamp(): number {
    this.batch.checkAlive()
    return this.batch.timestamps[this.index] as number
  }

  get headers(): Headers {
    return this.batch.headersOf(this.index)
  }

  get topic(): string {
    return this.batch.topic
  }

  get partition(): number {
    return this.batch.partition
  }

  get offset(): bigint {
    return this.batch.offsetOf(this.index)
  }

  /** `topic-partition@offset`, for error texts. */
  get where(): string {
    return `${this.topic}-${this.partition}@${this.offset}`
  }
}

/** @throws TypeError */
function fieldsOf(result: unknown): object {
  if (typeof result === 'object' && result !== null && !Array.isArray(result)) return result
  throw new TypeError('a patch returns an object of the fields to set')
}
