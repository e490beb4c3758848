// An object as its fields, or a tuple as its items, one after the other, each by a serde of its own and with its length in front:
// about half of JSON's work for what only pipelines read, a repartition topic or state.
import type { ByteWriter } from '../base/byte-writer.ts'
import { MillraceError, messageOf } from '../base/errors.ts'
import { functionOf } from '../base/function-of.ts'
import { checkFieldNames } from './json-projection.ts'
import { decodeState, encodeState, plainOf, type Serde } from './serde.ts'

/**
 * An object of just these fields, in this order; others that a value has are not written. Names, serdes and order are the format.
 * @throws OPTION_INVALID for no field, or one called `__proto__`
 */
export function object<T extends object>(fields: { readonly [Name in keyof T]: Serde<T[Name]> }): Serde<T> {
  return new ObjectSerde(fields as Readonly<Record<string, Serde<unknown>>>) as unknown as Serde<T>
}

/**
 * An array of just these items, each by its own serde. Their number, serdes and order are the format.
 * @throws OPTION_INVALID for no item
 * @example tuple(utf8, f64) // Serde<[string, number]>
 */
export function tuple<T extends readonly unknown[]>(
  ...items: { readonly [Index in keyof T]: Serde<T[Index]> }
): Serde<T> {
  return new TupleSerde(items as unknown as readonly Serde<unknown>[]) as unknown as Serde<T>
}

type Values = Record<string, unknown>

type Decode<T> = (from: Buffer, start: number, end: number) => T

/**
 * Code for just these parts, of up to 127 bytes each; `slow` has what else there is, and the errors. A value made by one literal takes a
 * quarter of the time of one that is filled by names.
 */
function compiled<T>(
  serdes: readonly Serde<unknown>[],
  literal: (values: readonly string[]) => string,
  slow: Decode<T>,
) {
  const parts = serdes.map(
    (_, i) => `
    partEnd = at + 1 + from[at];
    if (!(from[at] < 128 && partEnd <= end)) return slow(from, start, end);
    const v${i} = d${i}.decode(from, at + 1, partEnd);
    at = partEnd;`,
  )
  const values = serdes.map((_, i) => `v${i}`)
  const body = `return (from, start, end) => {
    let at = start;
    let partEnd = 0;${parts.join('')}
    return at === end ? ${literal(values)} : slow(from, start, end);
  }`
  const decoders = serdes.map((serde): { decode: Decode<unknown> } =>
    serde.nullable ? { decode: (from, start, end) => decodeState(serde, from, start, end) } : serde,
  )
  const parameters = { slow, ...Object.fromEntries(decoders.map((decoder, i) => [`d${i}`, decoder])) }
  return functionOf<Decode<T>>(parameters, body, slow)
}

/** Parts that follow one another, each with its length in front. */
class Parts {
  readonly copies: boolean
  readonly appends: boolean
  readonly validates: boolean
  readonly #what: string
  readonly #names: readonly (string | number)[]
  readonly #serdes: readonly Serde<unknown>[]

  /** `what`: a part, for messages. */
  constructor(what: string, names: readonly (string | number)[], serdes: readonly Serde<unknown>[]) {
    this.#what = what
    this.#names = names
    this.#serdes = serdes
    this.copies = serdes.every((serde) => serde.copies)
    this.appends = serdes.every((serde) => serde.appends)
    this.validates = serdes.some((serde) => serde.validates)
  }

  /** `value`: by name. */
  encode(value: Readonly<Record<string | number, unknown>>, out: ByteWriter): void {
    let index = 0
    try {
      for (; index < this.#names.length; index++) {
        const start = out.beginPart()
        encodeState(this.#serdes[index] as Serde<unknown>, value[this.#names[index] as string], out)
        out.endPart(start)
      }
    } catch (error) {
      throw new TypeError(`${this.#what} '${this.#names[index]}': ${messageOf(error)}`, { cause: error })
    }
  }

  decode<To extends Record<string | number, unknown>>(from: Buffer, start: number, end: number, to: To): To {
    let at = start
    for (let index = 0; index < this.#names.length; index++) {
      let length = 0
      let byte = 128
      for (let shift = 0; byte >= 128 && shift < 32; shift += 7) {
        byte = at < end ? (from[at++] as number) : Number.NaN
        length += (byte & 127) * 2 ** shift
      }
      const name = this.#names[index] as keyof To
      const partEnd = at + length
      if (!(byte < 128 && partEnd <= end))
        throw new RangeError(`${this.#what} '${String(name)}' leaves the ${end - start} bytes that there are`)
      to[name] = decodeState(this.#serdes[index] as Serde<unknown>, from, at, partEnd) as To[keyof To]
      at = partEnd
    }
    if (at !== end) throw new RangeError(`${end - at} bytes behind the last ${this.#what}`)
    return to
  }
}

class ObjectSerde implements Serde<Values> {
  readonly id: string
  readonly nullable = false
  readonly copies: boolean
  readonly appends: boolean
  readonly validates: boolean
  readonly plain: Serde<Values> | undefined
  readonly decode: Decode<Values>
  readonly #parts: Parts

  constructor(fields: Readonly<Record<string, Serde<unknown>>>) {
    const names = Object.keys(fields)
    const serdes = Object.values(fields)
    if (names.length === 0) throw new MillraceError('OPTION_INVALID', 'object(): at least one field is needed')
    checkFieldNames(names, 'object()')
    this.id = `object(${serdes.map((serde, index) => `${JSON.stringify(names[index])}:${serde.id}`).join(',')})`
    const parts = new Parts('field', names, serdes)
    this.#parts = parts
    const literal = (values: readonly string[]) =>
      `{${values.map((value, i) => `${JSON.stringify(names[i])}: ${value}`)}}`
    this.decode = compiled(serdes, literal, (from, start, end) => parts.decode<Values>(from, start, end, {}))
    this.copies = this.#parts.copies
    this.appends = this.#parts.appends
    this.validates = this.#parts.validates
    if (this.validates)
      this.plain = new ObjectSerde(
        Object.fromEntries(serdes.map((serde, index) => [names[index] as string, plainOf(serde)])),
      )
  }

  encode(value: Values, out: ByteWriter): void {
    this.#parts.encode(value, out)
  }
}

class TupleSerde implements Serde<unknown[]> {
  readonly id: string
  readonly nullable = false
  readonly copies: boolean
  readonly appends: boolean
  readonly validates: boolean
  readonly plain: Serde<unknown[]> | undefined
  readonly decode: Decode<unknown[]>
  readonly #items: number
  readonly #parts: Parts

  constructor(serdes: readonly Serde<unknown>[]) {
    if (serdes.length === 0) throw new MillraceError('OPTION_INVALID', 'tuple(): at least one item is needed')
    this.id = `tuple(${serdes.map((serde) => serde.id).join(',')})`
    this.#items = serdes.length
    const parts = new Parts('item', [...serdes.keys()], serdes)
    this.#parts = parts
    this.decode = compiled(
      serdes,
      (values) => `[${values}]`,
      (from, start, end) => {
        const items: unknown[] = []
        parts.decode(from, start, end, items as unknown as Values)
        return items
      },
    )
    this.copies = this.#parts.copies
    this.appends = this.#parts.appends
    this.validates = this.#parts.validates
    if (this.validates) this.plain = new TupleSerde(serdes.map(plainOf))
  }

  encode(value: unknown[], out: ByteWriter): void {
    if (!Array.isArray(value) || value.length !== this.#items)
      throw new TypeError(`${this.id}: an array of ${this.#items} items expected`)
    this.#parts.encode(value as unknown as Record<number, unknown>, out)
  }
}
