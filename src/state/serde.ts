// Serdes: how values become bytes and come back. They write into a shared ByteWriter and read from a range of a buffer,
// so that the hot path allocates nothing for them.
import type { ByteWriter } from '../base/byte-writer.ts'
import { shortSlice, utf8Slice } from '../base/byte-writer.ts'
import { MillraceError } from '../base/errors.ts'
import { PatchedJson } from './json-patch.ts'
import { checkFieldNames, JsonProjection } from './json-projection.ts'
import { type SchemaOutput, type StandardSchema, validated } from './standard-schema.ts'

/**
 * Encodes and decodes one type. `id` names the byte format and is stored with state: an unequal id on restore is refused
 * before the first record. `decode` may throw anything: it becomes DECODE_FAILED with topic-partition@offset.
 */
export interface Serde<T> {
  readonly id: string
  /** True if null (a tombstone, a record without key) is a value of T. */
  readonly nullable: boolean
  /**
   * True: what `decode` gives holds nothing of the bytes it was given, whose memory is then used again. Without it they stay
   * as they are for as long as somebody holds them, which costs some speed. All built-in serdes but `bytes` copy.
   */
  readonly copies?: boolean
  /**
   * True: `encode` only appends to `out`, which holds other bytes already, and is through when it returns. A sink then has it
   * write right into its batch. All built-in serdes do.
   */
  readonly appends?: boolean
  /**
   * True: `decode` refuses or changes what others take as it is (a schema). Bytes of such a serde never pass undecoded to a sink. The
   * format is the same: state may change between `json()` and `json(schema)`.
   */
  readonly validates?: boolean
  /** Of one that validates: the same format without that, for what the pipeline wrote itself (repartition topics, state). */
  readonly plain?: Serde<T> | undefined
  encode(value: T, out: ByteWriter): void
  decode(bytes: Buffer, start: number, end: number): T
}

/** The half that a sink needs: it takes every subtype of T. */
export type Encoder<T> = Pick<Serde<T>, 'id' | 'nullable' | 'appends' | 'encode'>

/** A serde whose reader is its writer: what it reads is what was written, so it serves every subtype of its own type. */
export type RoundTrip<T> = Encoder<T> & Pick<Serde<unknown>, 'decode'>

/** @throws RangeError where bytes of one length are not of it */
export function fixed(id: string, start: number, end: number, bytes: number): void {
  if (end - start !== bytes) throw new RangeError(`${id}: ${bytes} bytes expected, ${end - start} found`)
}

/** A string as UTF-8. */
export const utf8: Serde<string> = {
  id: 'utf8',
  nullable: false,
  copies: true,
  appends: true,
  encode(value, out) {
    if (typeof value !== 'string') throw new TypeError(`utf8: a string expected, ${typeof value} found`)
    out.utf8(value)
  },
  decode: shortSlice,
}

/** Bytes as they are. What `decode` gives is a view of the source batch: copy it to keep it long. */
export const bytes: Serde<Buffer> = {
  id: 'bytes',
  nullable: false,
  appends: true,
  encode: (value, out) => out.bytes(value),
  decode: (from, start, end) => from.subarray(start, end),
}

/** A 64-bit float, big-endian (Java's DoubleSerializer). */
export const f64: Serde<number> = {
  id: 'f64',
  nullable: false,
  copies: true,
  appends: true,
  encode(value, out) {
    if (typeof value !== 'number') throw new TypeError(`f64: a number expected, ${typeof value} found`)
    out.f64(value)
  },
  decode(from, start, end) {
    fixed('f64', start, end, 8)
    return from.readDoubleBE(start)
  },
}

/** A 32-bit integer, big-endian (Java's IntegerSerializer). */
export const int32: Serde<number> = {
  id: 'int32',
  nullable: false,
  copies: true,
  appends: true,
  encode(value, out) {
    if (value !== (value | 0)) throw new RangeError(`int32: ${value} is not a 32-bit integer`)
    out.int32(value)
  },
  decode(from, start, end) {
    fixed('int32', start, end, 4)
    return from.readInt32BE(start)
  },
}

/** A 64-bit integer as bigint, big-endian (Java's LongSerializer). */
export const int64: Serde<bigint> = {
  id: 'int64',
  nullable: false,
  copies: true,
  appends: true,
  encode(value, out) {
    if (typeof value !== 'bigint' || BigInt.asIntN(64, value) !== value)
      throw new RangeError(`int64: ${value} is out of range`)
    out.int64(value)
  },
  decode(from, start, end) {
    fixed('int64', start, end, 8)
    return from.readBigInt64BE(start)
  },
}

/** One byte, 0 or 1. */
export const boolean: Serde<boolean> = {
  id: 'boolean',
  nullable: false,
  copies: true,
  appends: true,
  encode: (value, out) => out.uint8(value ? 1 : 0),
  decode(from, start, end) {
    fixed('boolean', start, end, 1)
    return from[start] !== 0
  },
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

/**
 * A UUID in lower case as its 16 bytes; other spellings are refused: equal ids, equal bytes. Kafka's UUIDSerializer writes text
 * instead: `utf8`.
 */
export const uuid: Serde<string> = {
  id: 'uuid',
  nullable: false,
  copies: true,
  appends: true,
  encode(value, out) {
    if (typeof value !== 'string' || !UUID.test(value))
      throw new TypeError('uuid: 8-4-4-4-12 hexadecimal digits in lower case expected')
    const digits = value.replaceAll('-', '')
    for (let at = 0; at < 32; at += 2) out.uint8(Number.parseInt(digits.slice(at, at + 2), 16))
  },
  decode(from, start, end) {
    fixed('uuid', start, end, 16)
    const digits = from.toString('hex', start, end)
    return `${digits.slice(0, 8)}-${digits.slice(8, 12)}-${digits.slice(12, 16)}-${digits.slice(16, 20)}-${digits.slice(20)}`
  },
}

/** For what the pipeline wrote itself: a schema must not be applied to what it has made already. */
export function plainOf<T>(serde: Serde<T>): Serde<T> {
  return serde.plain ?? serde
}

export interface JsonSerde<T> extends Serde<T> {
  /**
   * Decodes just these top-level fields, each `undefined` where the object has none: in half of the time for one or two fields of
   * seven, with no gain for most of them. It accepts nothing that JSON.parse rejects, and no value that is not an object. A
   * record that goes on, changed or not, has these fields only.
   * @throws OPTION_INVALID for no field, a field named twice, or one called `__proto__`
   */
  only<K extends keyof T & string>(...fields: readonly K[]): Serde<Pick<T, K>>
}

/**
 * JSON as UTF-8. Values that JSON cannot write (undefined, functions, BigInt, cycles) are refused. Without a schema the type is the
 * caller's promise; with one, of any library that follows standardschema.dev (zod, valibot, arktype), each value that is read is checked,
 * and is what the schema makes of it: an issue is a decode error. A schema must answer at once. It is for sources: what the pipeline wrote
 * itself, into repartition topics and state, is not checked again.
 * @example json<Order>(); json(z.object({ id: z.string() }))
 */
export function json<T>(): JsonSerde<T>
export function json<S extends StandardSchema>(schema: S): Serde<SchemaOutput<S>>
export function json(schema?: StandardSchema): Serde<unknown> {
  if (schema === undefined) return jsonSerde
  const { id, nullable, copies, appends, encode } = jsonSerde
  return {
    ...({ id, nullable, copies, appends, encode } as Serde<unknown>),
    validates: true,
    plain: jsonSerde,
    decode: (from, start, end) => validated(schema, jsonSerde.decode(from, start, end)),
  }
}

/** It is `json()` itself: its bytes are the JSON text of the whole value. */
export function isJson(serde: Encoder<unknown>): boolean {
  return serde === jsonSerde
}

/** Of serdes that read JSON objects: the fields, or null for all. By identity: one that only resembles them is the user's own. */
const jsonFields = new WeakMap<object, readonly string[] | null>()

/** Which top-level fields of a JSON object its values have; null: all. undefined: it does more than that, or reads no JSON. */
export function jsonFieldsOf(serde: Serde<unknown>): readonly string[] | null | undefined {
  return jsonFields.get(serde)
}

function onlyFields(fields: readonly string[]): Serde<unknown> {
  if (fields.length === 0) throw new MillraceError('OPTION_INVALID', 'json().only(): at least one field is needed')
  checkFieldNames(fields, 'json().only()')
  const projection = new JsonProjection(fields)
  const serde: Serde<unknown> = {
    id: `json(${fields.join(',')})`,
    nullable: false,
    copies: true,
    appends: true,
    encode: jsonSerde.encode,
    decode: (from, start, end) => projection.decode(from, start, end),
  }
  jsonFields.set(serde, [...fields])
  return serde
}

const jsonSerde: Serde<unknown> & { only(...fields: readonly string[]): Serde<unknown> } = {
  id: 'json',
  nullable: false,
  copies: true,
  appends: true,
  encode(value, out) {
    const patched = value instanceof PatchedJson
    if (patched && value.write(out)) return
    const text = JSON.stringify(patched ? value.value() : value)
    if (text === undefined) throw new TypeError(`json: ${typeof value} cannot be written as JSON`)
    out.utf8(text)
  },
  decode: (from, start, end) => JSON.parse(utf8Slice(from, start, end)) as unknown,
  only: (...fields) => onlyFields(fields),
}
jsonFields.set(jsonSerde, null)

/** Lets null through: a tombstone as value, a record without key. Without it a null from Kafka is a decode error. */
export function nullable<T>(serde: Serde<T>): Serde<T | null> {
  const made: Serde<T | null> = {
    id: `nullable(${serde.id})`,
    nullable: true,
    copies: serde.copies ?? false,
    appends: serde.appends ?? false,
    validates: serde.validates ?? false,
    plain: serde.plain && nullable(serde.plain),
    encode(value, out) {
      if (value !== null) serde.encode(value, out)
    },
    decode: (from, start, end) => serde.decode(from, start, end),
  }
  const fields = jsonFields.get(serde)
  if (fields !== undefined) jsonFields.set(made, fields)
  return made
}

/** How state writes a value: with a mark where it may be null, because nothing at all may be a value too (an empty string). */
export function encodeState(serde: Serde<unknown>, value: unknown, out: ByteWriter): void {
  if (serde.nullable) {
    out.uint8(value === null ? 0 : 1)
    if (value === null) return
  }
  serde.encode(value, out)
}

/** What `encodeState` wrote. State keeps what it decodes: give it bytes of its own. */
export function decodeState(serde: Serde<unknown>, bytes: Buffer, start = 0, end: number = bytes.length): unknown {
  if (!serde.nullable) return serde.decode(bytes, start, end)
  if (start >= end) throw new RangeError(`${serde.id}: no bytes, not even for null`)
  return bytes[start] === 0 ? null : serde.decode(bytes, start + 1, end)
}

/** What may be a stream key without a serde of its own. */
export type Key = string | number | bigint | boolean

/**
 * The canonical bytes of a key: a tag, then the value; −0 is 0. Equal keys have equal bytes, so they meet in one task.
 * @throws KEY_INVALID for NaN and for anything else
 */
export const anyKey: Serde<Key> = {
  id: 'key',
  nullable: false,
  copies: true,
  appends: true,
  encode(key, out) {
    switch (typeof key) {
      case 'string':
        out.uint8(1)
        out.utf8(key)
        return
      case 'number':
        if (Number.isNaN(key)) break
        out.uint8(2)
        out.f64(key === 0 ? 0 : key)
        return
      case 'bigint':
        out.uint8(3)
        out.utf8(key.toString())
        return
      case 'boolean':
        out.uint8(key ? 5 : 4)
        return
    }
    const found = Number.isNaN(key) ? 'NaN' : key === null ? 'null' : typeof key
    throw new MillraceError('KEY_INVALID', `a key must be a string, number, bigint or boolean; ${found} found`)
  },
  decode(from, start, end) {
    switch (from[start]) {
      case 1:
        return shortSlice(from, start + 1, end)
      case 2:
        return from.readDoubleBE(start + 1)
      case 3:
        return BigInt(utf8Slice(from, start + 1, end))
      case 4:
        return false
      case 5:
        return true
    }
    throw new RangeError(`key: tag ${from[start]} is unknown`)
  },
}
