// An object as its fields, one after the other, each by a serde of its own and with its length in front: about half of JSON's work
// for what only pipelines read, a repartition topic or state.
import type { ByteWriter } from '../base/byte-writer.ts'
import { MillraceError, messageOf } from '../base/errors.ts'
import { checkFieldNames } from './json-projection.ts'
import { decodeState, encodeState, type Serde } from './serde.ts'

/**
 * An object of just these fields, in this order; others that a value has are not written. Names, serdes and order are the format.
 * @throws OPTION_INVALID for no field, or one called `__proto__`
 */
export function object<T extends object>(fields: { readonly [Name in keyof T]: Serde<T[Name]> }): Serde<T> {
  return new ObjectSerde(fields as Readonly<Record<string, Serde<unknown>>>) as unknown as Serde<T>
}

type Values = Record<string, unknown>

class ObjectSerde implements Serde<Values> {
  readonly id: string
  readonly nullable = false
  readonly copies: boolean
  readonly appends: boolean
  readonly #names: readonly string[]
  readonly #serdes: readonly Serde<unknown>[]

  constructor(fields: Readonly<Record<string, Serde<unknown>>>) {
    this.#names = Object.keys(fields)
    this.#serdes = Object.values(fields)
    if (this.#names.length === 0) throw new MillraceError('OPTION_INVALID', 'object(): at least one field is needed')
    checkFieldNames(this.#names, 'object()')
    const parts = this.#serdes.map((serde, index) => `${JSON.stringify(this.#names[index])}:${serde.id}`)
    this.id = `object(${parts.join(',')})`
    this.copies = this.#serdes.every((serde) => serde.copies)
    this.appends = this.#serdes.every((serde) => serde.appends)
  }

  encode(value: Values, out: ByteWriter): void {
    let index = 0
    try {
      for (; index < this.#names.length; index++) {
        const start = out.beginPart()
        encodeState(this.#serdes[index] as Serde<unknown>, value[this.#names[index] as string], out)
        out.endPart(start)
      }
    } catch (error) {
      throw new TypeError(`field '${this.#names[index]}': ${messageOf(error)}`, { cause: error })
    }
  }

  decode(from: Buffer, start: number, end: number): Values {
    const value: Values = {}
    let at = start
    for (let index = 0; index < this.#names.length; index++) {
      let length = 0
      let byte = 128
      for (let shift = 0; byte >= 128 && shift < 32; shift += 7) {
        byte = at < end ? (from[at++] as number) : Number.NaN
        length += (byte & 127) * 2 ** shift
      }
      const name = this.#names[index] as string
      const fieldEnd = at + length
      if (!(byte < 128 && fieldEnd <= end))
        throw new RangeError(`field '${name}' leaves the object's ${end - start} bytes`)
      value[name] = decodeState(this.#serdes[index] as Serde<unknown>, from, at, fieldEnd)
      at = fieldEnd
    }
    if (at !== end) throw new RangeError(`${end - at} bytes behind the last field`)
    return value
  }
}
