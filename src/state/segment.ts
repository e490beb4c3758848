// Rows of keyed state as they stand in checkpoint files. A segment is a dictionary of states (operator, name, kind, serde
// ids), then rows. Replaying the segments of a chain in order gives the state; rows of a base are full, rows of a delta
// are what changed. One format for all backends.
import { assert } from '../base/assert.ts'
import { ByteReader } from '../base/byte-reader.ts'
import { ByteWriter } from '../base/byte-writer.ts'
import { MillraceError } from '../base/errors.ts'
import { Words } from '../base/words.ts'
import type { StateDescriptor } from './descriptors.ts'
import { encodeState, type Serde } from './serde.ts'

export const Row = { PUT: 0, DELETE: 1, MAP_PUT: 2, MAP_DELETE: 3, LIST_APPEND: 4 } as const
/** Beside an operation: the row has the key of the row before and does not write it again. */
const SAME_KEY = 0x10

/** Rows are written into pieces of about this size: what has grown to millions of bytes is never copied. */
const PIECE_BYTES = 256 * 1024
/** Room behind it for the last row. */
const SPARE_BYTES = 4 * 1024
/** State, operation, length and the number. */
const NUMBER_ROW_BYTES = 3 + 8
/** Smaller lengths and indices take one byte. */
const ONE_BYTE = 128

/** Identity of a state and of its byte format. */
export interface StateIdentity {
  readonly operator: string
  readonly name: string
  readonly kind: StateDescriptor<unknown>['kind']
  readonly key: string
  readonly serde: string
  readonly mapKey: string
}

/** Where rows of a segment are delivered on restore, per state. */
export interface RowTarget {
  apply(op: number, key: Buffer, mapKey: Buffer | null, value: Buffer | null): void
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

/** Collects the rows of one task and checkpoint. */
export class SegmentWriter {
  /** Memory comes with the first row: most segments of many tasks have none. */
  #rows = NO_ROWS
  readonly #full: Buffer[] = []
  readonly #identities: StateIdentity[] = []
  /** Of the row written last: the states of a key follow one another. */
  #key: unknown
  #keySerde: Serde<unknown> | undefined
  #startedAt = 0
  rowCount = 0

  /** Number of a state in this segment's dictionary. */
  register(identity: StateIdentity): number {
    return this.#identities.push(identity) - 1
  }

  row(
    state: number,
    op: number,
    keySerde: Serde<unknown>,
    key: unknown,
    writeMapKey: ((out: ByteWriter) => void) | null,
    writeValue: ((out: ByteWriter) => void) | null,
  ): void {
    this.#start()
    try {
      this.#begin(state, op, keySerde, key)
      if (writeMapKey) this.#part(writeMapKey)
      if (writeValue) this.#part(writeValue)
    } catch (error) {
      throw this.#undone(error)
    }
  }

  /** A PUT of an `f64`. */
  number(state: number, keySerde: Serde<unknown>, key: unknown, value: number): void {
    this.#start()
    try {
      this.#begin(state, Row.PUT, keySerde, key)
      this.#rows.uint8(8)
      this.#rows.f64(value)
    } catch (error) {
      throw this.#undone(error)
    }
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
    this.#keySerde = undefined
    return true
  }

  #start(): void {
    if (this.#rows === NO_ROWS) this.#rows = new ByteWriter(freePieces.pop() ?? SPARE_BYTES)
    if (this.#rows.position >= PIECE_BYTES) {
      this.#full.push(this.#rows.view())
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
    this.#keySerde = undefined
    return error
  }

  #begin(state: number, op: number, serde: Serde<unknown>, key: unknown): void {
    this.#rows.uvarint(state)
    if (key === this.#key && serde === this.#keySerde && typeof key !== 'object') {
      this.#rows.uint8(op | SAME_KEY)
      return
    }
    this.#rows.uint8(op)
    const start = this.#rows.beginPart()
    encodeState(serde, key, this.#rows)
    this.#rows.endPart(start)
    this.#key = key
    this.#keySerde = serde
  }

  #part(write: (out: ByteWriter) => void): void {
    const start = this.#rows.beginPart()
    write(this.#rows)
    this.#rows.endPart(start)
  }

  /** The whole segment in parts; null if it has no rows and may be left out. */
  finish(empty: 'drop-empty' | 'keep-empty'): readonly Buffer[] | null {
    if (this.rowCount === 0 && empty === 'drop-empty') return null
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
    out.uvarint(this.rowCount)
    return [out.view(), ...this.#full, this.#rows.view()]
  }
}

/**
 * Replays a segment. `target` resolves a state of the dictionary, or throws STATE_INCOMPATIBLE.
 * @throws CHECKPOINT_CORRUPT
 */
export function replaySegment(segment: Buffer, target: (identity: StateIdentity) => RowTarget): void {
  try {
    const reader = new ByteReader(segment)
    const targets: RowTarget[] = []
    const states = reader.count(reader.uvarint(), 6)
    for (let i = 0; i < states; i++) targets.push(target(readIdentity(reader)))
    const rows = reader.count(reader.uvarint(), 2)
    let key: Buffer | undefined
    for (let i = 0; i < rows; i++) {
      const to = targets[reader.uvarint()]
      const byte = reader.uint8()
      const op = byte & ~SAME_KEY
      if ((byte & SAME_KEY) === 0) key = reader.lengthPrefixed()
      if (!to || !key || op > Row.LIST_APPEND)
        throw new MillraceError('CHECKPOINT_CORRUPT', `row ${i} has operation ${byte}`)
      const mapKey = op === Row.MAP_PUT || op === Row.MAP_DELETE ? reader.lengthPrefixed() : null
      const value = op === Row.DELETE || op === Row.MAP_DELETE ? null : reader.lengthPrefixed()
      to.apply(op, key, mapKey, value)
    }
    if (reader.remaining > 0)
      throw new MillraceError('CHECKPOINT_CORRUPT', `${reader.remaining} bytes behind the last row`)
  } catch (error) {
    if (error instanceof MillraceError && error.code === 'BYTES_MALFORMED') {
      throw new MillraceError('CHECKPOINT_CORRUPT', `a state segment ends early: ${error.message}`, { cause: error })
    }
    throw error
  }
}

function readIdentity(reader: ByteReader): StateIdentity {
  const [operator, name, kind, key, serde, mapKey] = [0, 0, 0, 0, 0, 0].map(() => reader.lengthPrefixedUtf8())
  return { operator, name, kind, key, serde, mapKey } as StateIdentity
}
