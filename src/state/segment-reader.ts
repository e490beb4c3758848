// Reads the rows of a segment (segment.ts) and hands them on to the states that they are of.
import { ByteReader } from '../base/byte-reader.ts'
import { bytesOf } from '../base/byte-writer.ts'
import { MillraceError } from '../base/errors.ts'
import {
  NUMBER_BYTES,
  NUMBER_ROW_BYTES,
  ONE_BYTE,
  type ReadableState,
  Row,
  SAME_KEY,
  type StateIdentity,
} from './segment.ts'

const NOTHING = Buffer.alloc(0)

/** The key of a row: bytes of the segment, where they stand. One object for all rows of a segment; good until the next row. */
export class RowKey {
  bytes: Buffer = NOTHING
  start = 0
  end = 0
  #view: Buffer | null = null

  move(bytes: Buffer, start: number, end: number): void {
    this.bytes = bytes
    this.start = start
    this.end = end
    this.#view = null
  }

  /** One and the same for all rows that share the key. */
  get view(): Buffer {
    this.#view ??= this.bytes.subarray(this.start, this.end)
    return this.#view
  }
}

/** In a row: behind its state, its operation and the key's length. */
const KEY_AT = 3
/** So many keys are handed on together. */
const KEYS_TOGETHER = 64

/** PUTs of all numbers of an operator for some keys, as `SegmentRows.numbers` wrote them: where they stand. Good during a call. */
export class NumberRows {
  bytes: Buffer = NOTHING
  view: DataView = new DataView(NOTHING.buffer)
  count = 0
  readonly keyAt: Int32Array = new Int32Array(KEYS_TOGETHER)
  readonly keyLength: Int32Array = new Int32Array(KEYS_TOGETHER)
}

export interface NumbersTarget {
  /** How many numbers a key has. */
  readonly states: number
  take(rows: NumberRows): void
}

/** Where rows of a segment are delivered on restore, per state. */
export interface RowTarget {
  /** `at`: of MAP_PUT and MAP_DELETE the entry's key, of LIST_APPEND the index of its first item (`indexOf`). The bytes are views. */
  apply(op: number, key: RowKey, at: Buffer | null, value: Buffer | null): void
  /** The same of a PUT of an `f64`, where the target is one: no view of its bytes is made. */
  number?(key: RowKey, value: number): void
  /** Takes the state's rows together with those of the others, among which it has this place. */
  readonly numbers?: { readonly of: NumbersTarget; readonly place: number } | null
  /** About so many keys are to come. */
  expect?(keys: number): void
}

/** Gives `target` rows in the format of today. */
export function converting(target: RowTarget, { identity, convert }: ReadableState): RowTarget {
  if (!convert) return target
  return { apply: (op, key, at, value) => target.apply(op, key, at, value && convert(identity.kind, value)) }
}

/**
 * What `at` of a LIST_APPEND says: items from there on come once more. A shorter list is one of a base whose slice with this key
 * comes later in the chain: the append changes nothing.
 */
export function indexOf(at: Buffer | null): number {
  return new ByteReader(at ?? Buffer.alloc(0)).uvarint()
}

/** Reads a segment's rows, as many at a time as wanted. Its parts may be those that `finish` gave: no row lies across two. */
export class SegmentReader {
  readonly #parts: readonly Buffer[]
  #reader: ByteReader
  #part = 0
  readonly #targets: RowTarget[] = []
  /** By the first of their states. */
  readonly #takers: readonly (NumbersTarget | null)[]
  readonly #numbers = new NumberRows()
  readonly #rows: number
  readonly #baseRows: number
  #row = 0
  readonly #key = new RowKey()

  /**
   * `target` resolves a state of the dictionary, or throws STATE_INCOMPATIBLE. `expected`: bytes of all segments, this one included, with
   * other keys each: the targets make room for them. @throws CHECKPOINT_CORRUPT
   */
  constructor(
    parts: readonly Buffer[],
    target: (identity: StateIdentity) => RowTarget,
    expected: number = bytesOf(parts),
  ) {
    this.#parts = parts
    this.#reader = new ByteReader(parts[0] ?? Buffer.alloc(0))
    const [base, rows] = this.#checked(() => {
      const states = this.#reader.count(this.#reader.uvarint(), 6)
      for (let i = 0; i < states; i++) this.#targets.push(target(readIdentity(this.#reader)))
      return [this.#reader.uvarint(), this.#reader.uvarint()]
    })
    // What an index of one byte tells.
    this.#takers = this.#targets.slice(0, ONE_BYTE).map((_, state) => this.#takerFrom(state))
    this.#baseRows = base
    this.#rows = base + rows
    // Of other states a key may have any number of rows.
    if (this.#targets.every((each) => each.number)) this.#announce(expected)
  }

  /** Hands up to `rows` on to their targets; true when none is left. `changes`: passes over what was there before. @throws CHECKPOINT_CORRUPT */
  replay(rows: number, which: 'all' | 'changes' = 'all'): boolean {
    const end = Math.min(this.#row + rows, this.#rows)
    this.#checked(() => {
      while (this.#row < end) {
        this.#enterPart()
        const wanted = which === 'all' || this.#row >= this.#baseRows
        const together = wanted ? this.#together(end - this.#row) : 0
        if (together === 0) this.#next(wanted)
        this.#row += Math.max(1, together)
      }
    })
    if (this.#row < this.#rows) return false
    const left = this.#reader.remaining + bytesOf(this.#parts.slice(this.#part + 1))
    if (left > 0) throw new MillraceError('CHECKPOINT_CORRUPT', `${left} bytes behind the last row`)
    return true
  }

  #enterPart(): void {
    while (this.#reader.remaining === 0 && this.#part < this.#parts.length - 1)
      this.#reader = new ByteReader(this.#parts[++this.#part] as Buffer)
  }

  /** Who takes rows together that begin with those of this state. */
  #takerFrom(state: number): NumbersTarget | null {
    const taker = this.#targets[state]?.numbers?.of
    if (!taker) return null
    const states = this.#targets.slice(state, state + taker.states)
    const areAll =
      states.length === taker.states &&
      states.every(({ numbers }, place) => numbers?.of === taker && numbers.place === place)
    return areAll ? taker : null
  }

  /** Hands on keys with all of their numbers that follow here, in up to `rows` rows; gives how many rows these were. */
  #together(rows: number): number {
    const reader = this.#reader
    const { buffer, end } = reader
    const first = buffer[reader.position] as number
    const taker = this.#takers[first]
    if (!taker) return 0
    const found = this.#numbers
    const keysMax = Math.min(KEYS_TOGETHER, Math.floor(rows / taker.states))
    let at = reader.position
    let count = 0
    for (; count < keysMax; count++) {
      const keyAt = at + KEY_AT
      const keyLength = buffer[keyAt - 1] as number
      const next = numbersEnd(buffer, at, first, taker.states)
      if (next < 0 || next > end) break
      found.keyAt[count] = keyAt
      found.keyLength[count] = keyLength
      at = next
    }
    if (count === 0) return 0
    found.count = count
    found.bytes = buffer
    found.view = reader.view
    taker.take(found)
    reader.skip(at - reader.position)
    const last = found.keyAt[count - 1] as number
    this.#key.move(buffer, last, last + (found.keyLength[count - 1] as number))
    return count * taker.states
  }

  #next(wanted: boolean): void {
    const reader = this.#reader
    const to = this.#targets[reader.uvarint()]
    const byte = reader.uint8()
    const op = byte & ~SAME_KEY
    if ((byte & SAME_KEY) === 0) this.#readKey()
    if (!to || this.#key.bytes === NOTHING || op > Row.LIST_APPEND)
      throw new MillraceError('CHECKPOINT_CORRUPT', `row ${this.#row} has operation ${byte}`)
    if (op === Row.PUT && to.number) {
      if (reader.uvarint() !== NUMBER_BYTES)
        throw new MillraceError('CHECKPOINT_CORRUPT', `row ${this.#row} is no number`)
      const value = reader.f64()
      if (wanted) to.number(this.#key, value)
      return
    }
    const at = op === Row.PUT || op === Row.DELETE ? null : reader.lengthPrefixed()
    const value = op === Row.DELETE || op === Row.MAP_DELETE ? null : reader.lengthPrefixed()
    if (wanted) to.apply(op, this.#key, at, value)
  }

  #announce(expected: number): void {
    const bytes = bytesOf(this.#parts)
    // A number of rows that cannot be true reserves no memory.
    const here = Math.min(this.#rows / this.#targets.length, bytes / NUMBER_ROW_BYTES)
    const keys = Math.ceil((here * Math.max(bytes, expected)) / bytes)
    for (const each of this.#targets) each.expect?.(keys)
  }

  #readKey(): void {
    const reader = this.#reader
    const length = reader.uvarint()
    const start = reader.skip(length)
    this.#key.move(reader.buffer, start, start + length)
  }

  #checked<T>(read: () => T): T {
    try {
      return read()
    } catch (error) {
      if (error instanceof MillraceError && error.code === 'BYTES_MALFORMED') {
        throw new MillraceError('CHECKPOINT_CORRUPT', `a state segment ends early: ${error.message}`, { cause: error })
      }
      throw error
    }
  }
}

/** Replays a whole segment. @throws CHECKPOINT_CORRUPT, STATE_INCOMPATIBLE */
export function replaySegment(
  segment: Buffer,
  target: (identity: StateIdentity) => RowTarget,
  expected?: number,
): void {
  new SegmentReader([segment], target, expected).replay(Number.POSITIVE_INFINITY)
}

function readIdentity(reader: ByteReader): StateIdentity {
  const [operator, name, kind, key, serde, mapKey] = [0, 0, 0, 0, 0, 0].map(() => reader.lengthPrefixedUtf8())
  return { operator, name, kind, key, serde, mapKey } as StateIdentity
}

/** Behind the numbers of the key whose rows begin at `at`: `states` PUTs, the first one for `first`; −1: there is something else. */
function numbersEnd(bytes: Buffer, at: number, first: number, states: number): number {
  const keyLength = bytes[at + KEY_AT - 1] as number
  if (bytes[at] !== first || bytes[at + 1] !== Row.PUT || keyLength >= ONE_BYTE) return -1
  // Each one's length, then itself; between them the next state and that it has the same key.
  let next = at + KEY_AT + keyLength
  for (let state = 1; state < states; state++) {
    if (bytes[next] !== NUMBER_BYTES) return -1
    next += 1 + NUMBER_BYTES
    if (bytes[next] !== first + state || bytes[next + 1] !== (Row.PUT | SAME_KEY)) return -1
    next += 2
  }
  return bytes[next] === NUMBER_BYTES ? next + 1 + NUMBER_BYTES : -1
}
