// Rows of keyed state as they stand in checkpoint files. A segment is a dictionary of states (operator, name, kind, serde
// ids), then rows. Replaying the segments of a chain in order gives the state; rows of a base are full, rows of a delta
// are what changed. One format for all backends.
import { ByteReader } from '../base/byte-reader.ts'
import { ByteWriter } from '../base/byte-writer.ts'
import { MillraceError } from '../base/errors.ts'
import { encodeState, type Serde } from './serde.ts'

export const Row = { PUT: 0, DELETE: 1, MAP_PUT: 2, MAP_DELETE: 3, LIST_APPEND: 4 } as const
/** Beside an operation: the row has the key of the row before and does not write it again. */
const SAME_KEY = 0x10

/** Rows are written into pieces of about this size: what has grown to millions of bytes is never copied. */
const PIECE_BYTES = 256 * 1024
/** Room behind it for the last row. */
const SPARE_BYTES = 4 * 1024

/** Identity of a state and of its byte format. */
export interface StateIdentity {
  readonly operator: string
  readonly name: string
  readonly kind: 'value' | 'list' | 'map'
  readonly key: string
  readonly serde: string
  readonly mapKey: string
}

/** Where rows of a segment are delivered on restore, per state. */
export interface RowTarget {
  apply(op: number, key: Buffer, mapKey: Buffer | null, value: Buffer | null): void
}

/** Collects the rows of one task and checkpoint. */
export class SegmentWriter {
  #rows = new ByteWriter(SPARE_BYTES)
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

  #start(): void {
    if (this.#rows.position >= PIECE_BYTES) {
      this.#full.push(this.#rows.view())
      this.#rows = new ByteWriter(PIECE_BYTES + SPARE_BYTES)
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
