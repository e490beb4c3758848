// Rows of keyed state as they stand in checkpoint files. A segment is a dictionary of states (operator, name, kind, serde
// ids), then rows: first those that say what was there before (of a base that is read from disk), then what changed.
// Replaying the segments of a chain in order gives the state; so does replaying some of them again from any point on, in
// order: no row counts on what is there already. One format for all backends.
import { assert } from '../base/assert.ts'
import { ByteWriter } from '../base/byte-writer.ts'
import { Words } from '../base/words.ts'
import type { StateDescriptor } from './descriptors.ts'
import { type Conversion, conversionFrom, formatOf } from './formats.ts'
import type { Serde } from './serde.ts'

export const Row = { PUT: 0, DELETE: 1, MAP_PUT: 2, MAP_DELETE: 3, LIST_APPEND: 4 } as const
/** Beside an operation: the row has the key of the row before and does not write it again. */
export const SAME_KEY: number = 0x10

/** Rows are written into pieces of about this size: what has grown to millions of bytes is never copied. */
const PIECE_BYTES = 256 * 1024
/** Room behind it for the last row. */
const SPARE_BYTES = 4 * 1024
export const NUMBER_BYTES: number = 8
/** State, operation, length and the number. */
export const NUMBER_ROW_BYTES: number = 3 + NUMBER_BYTES
/** The `place`th of the numbers whose rows follow one another behind the key of the first one. */
export const numberBehind = (view: DataView, keyEnd: number, place: number): number =>
  view.getFloat64(keyEnd + 1 + place * NUMBER_ROW_BYTES)
/** Of one row's value: it is written as a whole at each change, and read as a whole. */
export const VALUE_BYTES_MAX: number = 64 * 2 ** 20
/** Smaller lengths and indices take one byte. */
export const ONE_BYTE: number = 128

/** Identity of a state and of its byte format. */
export interface StateIdentity {
  readonly operator: string
  readonly name: string
  readonly kind: StateDescriptor<unknown>['kind']
  readonly key: string
  readonly serde: string
  readonly mapKey: string
}

export function identityOf(
  operator: string,
  name: string,
  key: Serde<unknown>,
  descriptor: StateDescriptor<unknown>,
): StateIdentity {
  const { kind, mapKey } = descriptor
  return { operator, name, kind, key: key.id, serde: formatOf(descriptor), mapKey: mapKey?.id ?? '' }
}

/** A state of today, and how values of a checkpoint become its own; null: they are. */
export interface ReadableState {
  readonly identity: StateIdentity
  readonly convert: Conversion | null
}

/** How a state with `descriptor`, which is `now`, is read from what a checkpoint has; undefined: it is not. */
export function readable(
  was: StateIdentity,
  now: StateIdentity,
  descriptor: StateDescriptor<unknown>,
): ReadableState | undefined {
  if (was.kind !== now.kind || was.key !== now.key || was.mapKey !== now.mapKey) return undefined
  const convert = conversionFrom(was.serde, descriptor, `operator '${now.operator}', state '${now.name}'`)
  return convert === undefined ? undefined : { identity: now, convert }
}

/** The format, for messages. */
export function describeFormat({ kind, key, serde, mapKey }: StateIdentity): string {
  return `${kind} of ${mapKey ? `${mapKey} → ` : ''}${serde}, key ${key}`
}

/** Memory that is kept for later segments. */
const FREE_PIECES_MAX = 32

const words = new Words()
/** Fresh memory costs as much as writing rows into it. */
const freePieces: Buffer[] = []

/**
 * Nobody reads what `finish` gave any more: its memory is used again. Once at most, and optional. The assertion finds a second
 * time while the memory is free.
 */
export function releaseSegment(parts: readonly Buffer[]): void {
  for (const { buffer } of parts) {
    const kept = buffer.byteLength >= PIECE_BYTES && buffer.byteLength <= 2 * (PIECE_BYTES + SPARE_BYTES)
    if (!kept || freePieces.length >= FREE_PIECES_MAX) continue
    assert(!freePieces.some((piece) => piece.buffer === buffer), 'I2: a segment was released twice')
    freePieces.push(Buffer.from(buffer))
  }
}

const NO_ROWS = new ByteWriter(0)

/** Writes the key of a slot as state has it. */
export interface KeyWriter {
  writeKey(slot: number, out: ByteWriter): void
}

/** Rows one after the other. */
export class SegmentRows {
  /** Memory comes with the first row: most segments of many tasks have none. */
  #rows = NO_ROWS
  readonly #full: Buffer[] = []
  #fullBytes = 0
  /** Of the row written last: the states of a key follow one another. */
  #keys: KeyWriter | null = null
  #slot = 0
  /** The same of the last raw one. Rows of one kind only are written here. */
  #rawKey: Buffer | undefined
  #startedAt = 0
  rowCount = 0

  /** `slot`: has one key as long as rows are written here. `writeAt`, `writeValue`: as `RowTarget` gets them back. */
  row(
    state: number,
    op: number,
    keys: KeyWriter,
    slot: number,
    writeAt: ((out: ByteWriter) => void) | null,
    writeValue: ((out: ByteWriter) => void) | null,
  ): void {
    this.#start()
    try {
      this.#begin(state, op, keys, slot)
      if (writeAt) this.#part(writeAt)
      if (writeValue) this.#part(writeValue)
    } catch (error) {
      throw this.#undone(error)
    }
  }

  /** A row whose parts are bytes already. */
  raw(state: number, op: number, key: Buffer, at: Buffer | null, value: Buffer | null): void {
    this.#start()
    const out = this.#rows
    out.uvarint(state)
    const same = this.#rawKey?.equals(key) === true
    out.uint8(same ? op | SAME_KEY : op)
    if (!same) out.lengthPrefixed(key)
    this.#rawKey = key
    if (at) out.lengthPrefixed(at)
    if (value) out.lengthPrefixed(value)
  }

  /** A PUT of an `f64`. */
  number(state: number, keys: KeyWriter, slot: number, value: number): void {
    this.#start()
    this.#begin(state, Row.PUT, keys, slot)
    this.#rows.uint8(8)
    this.#rows.f64(value)
  }

  /**
   * PUTs of several `f64` of one key: `count` states from `first` on have `values` from `at` on, and the key's bytes are given. They
   * are read back as if each had been written by itself. False, and nothing is written: an index or the key's length takes more than a byte.
   */
  numbers(
    first: number,
    values: Float64Array,
    at: number,
    count: number,
    key: Uint8Array,
    keyAt: number,
    keyLength: number,
  ): boolean {
    if (first + count > ONE_BYTE || keyLength >= ONE_BYTE) return false
    this.#start()
    this.rowCount += count - 1
    const out = this.#rows
    out.ensure(count * NUMBER_ROW_BYTES + 1 + keyLength)
    const { buffer } = out
    const view = words.of(buffer)
    let position = out.position
    for (let i = 0; i < count; i++) {
      buffer[position++] = first + i
      buffer[position++] = i === 0 ? Row.PUT : Row.PUT | SAME_KEY
      if (i === 0) {
        buffer[position++] = keyLength
        for (let k = 0; k < keyLength; k++) buffer[position++] = key[keyAt + k] as number
      }
      buffer[position++] = 8
      view.setFloat64(position, values[at + i] as number)
      position += 8
    }
    out.position = position
    // The next row writes its key.
    this.#keys = null
    return true
  }

  #start(): void {
    if (this.#rows === NO_ROWS) this.#rows = new ByteWriter(freePieces.pop() ?? SPARE_BYTES)
    if (this.#rows.position >= PIECE_BYTES) {
      this.#full.push(this.#rows.view())
      this.#fullBytes += this.#rows.position
      this.#rows = new ByteWriter(freePieces.pop() ?? PIECE_BYTES + SPARE_BYTES)
    }
    this.#startedAt = this.#rows.position
    this.rowCount++
  }

  /** A row that a serde breaks off leaves nothing behind: the value may be written later, when it was repaired. */
  #undone(error: unknown): unknown {
    this.#rows.position = this.#startedAt
    this.rowCount--
    // The next row writes its key again, whatever it is.
    this.#keys = null
    return error
  }

  #begin(state: number, op: number, keys: KeyWriter, slot: number): void {
    this.#rows.uvarint(state)
    if (slot === this.#slot && keys === this.#keys) {
      this.#rows.uint8(op | SAME_KEY)
      return
    }
    this.#rows.uint8(op)
    const start = this.#rows.beginPart()
    keys.writeKey(slot, this.#rows)
    this.#rows.endPart(start)
    this.#keys = keys
    this.#slot = slot
  }

  #part(write: (out: ByteWriter) => void): void {
    const start = this.#rows.beginPart()
    write(this.#rows)
    this.#rows.endPart(start)
    const bytes = this.#rows.position - start
    if (bytes <= VALUE_BYTES_MAX) return
    throw new RangeError(
      `it takes ${bytes} bytes, the limit is ${VALUE_BYTES_MAX}; keep a list or a map, whose parts are written by themselves, or fewer of it`,
    )
  }

  /** Written so far. */
  get bytes(): number {
    return this.#fullBytes + this.#rows.position
  }

  get parts(): readonly Buffer[] {
    return [...this.#full, this.#rows.view()]
  }
}

/** Collects the rows of one task and checkpoint: what changed, and in `base` what was there before. */
export class SegmentWriter extends SegmentRows {
  readonly base: SegmentRows = new SegmentRows()
  readonly #identities: StateIdentity[] = []

  /** Number of a state in this segment's dictionary. */
  register(identity: StateIdentity): number {
    return this.#identities.push(identity) - 1
  }

  /** The whole segment in parts; null if it has no rows and may be left out. */
  finish(empty: 'drop-empty' | 'keep-empty'): readonly Buffer[] | null {
    if (this.rowCount === 0 && this.base.rowCount === 0 && empty === 'drop-empty') return null
    const out = new ByteWriter(512)
    out.uvarint(this.#identities.length)
    for (const identity of this.#identities) {
      for (const part of [
        identity.operator,
        identity.name,
        identity.kind,
        identity.key,
        identity.serde,
        identity.mapKey,
      ]) {
        out.lengthPrefixedUtf8(part)
      }
    }
    out.uvarint(this.base.rowCount)
    out.uvarint(this.rowCount)
    return [out.view(), ...this.base.parts, ...this.parts]
  }
}
