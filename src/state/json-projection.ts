// Reads a few top-level fields of a JSON object without building the rest of it. One strict pass over all bytes finds the
// wanted values; whatever is unexpected (an escaped name, deep nesting, a syntax error) is left to JSON.parse, which decides:
// nothing is accepted that JSON.parse rejects, and errors are its own.
//
// Records of a topic look alike: what stands between one value and the next (`,"price":`, with its blanks) is learned once and
// compared four bytes at a time from then on, each piece leading to its successor.
import { utf8Slice } from '../base/byte-writer.ts'
import { MillraceError } from '../base/errors.ts'
import { Words } from '../base/words.ts'
import { skipBlanks, skipValue, UNEXPECTED } from './json-skipper.ts'

// Its own: an imported constant is read from memory for each byte.
const QUOTE = 0x22
const COMMA = 0x2c
const MINUS = 0x2d
const ZERO = 0x30
const COLON = 0x3a
const BACKSLASH = 0x5c
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d

/** So many digits are a number that a double has exactly. */
const EXACT_DIGITS = 15
/** Longer pieces are not learned. */
const PIECE_BYTES_MAX = 64
/** Keys that are read without learning when records do not look alike. */
const PAUSE_KEYS = 4096
const PATIENCE = 256

/** What stands before a value: its bytes in words, which field follows, and the piece that came behind it last time. */
class Piece {
  readonly bytes: number
  /** Index among the wanted fields; −1: not wanted. */
  readonly field: number
  next: Piece | null = null
  readonly #words: readonly number[]
  readonly #lastMask: number

  constructor(bytes: Buffer, start: number, end: number, field: number) {
    this.bytes = end - start
    this.field = field
    const padded = Buffer.alloc(Math.ceil(this.bytes / 4) * 4)
    bytes.copy(padded, 0, start, end)
    this.#words = Array.from({ length: padded.length / 4 }, (_, i) => padded.readInt32LE(i * 4))
    const rest = this.bytes & 3
    this.#lastMask = rest === 0 ? -1 : (1 << (rest * 8)) - 1
  }

  /** These bytes stand at `at`, and something behind them before `end`. */
  matches(view: DataView, at: number, end: number): boolean {
    const words = this.#words
    const last = words.length - 1
    if (at + this.bytes >= end || at + last * 4 + 4 > view.byteLength) return false
    for (let i = 0; i < last; i++) if (view.getInt32(at + i * 4, true) !== words[i]) return false
    return (view.getInt32(at + last * 4, true) & this.#lastMask) === words[last]
  }
}

export class JsonProjection {
  readonly #names: readonly string[]
  readonly #encoded: readonly Buffer[]
  readonly #words = new Words()
  /** Where the wanted values stand; −1: not there. */
  readonly #starts: Int32Array
  readonly #ends: Int32Array
  #first: Piece | null = null
  /** Above 0 while records look alike. */
  #patience = PATIENCE
  /** Of the key read last, by `#readKey`. */
  #field = -1

  /** @throws OPTION_INVALID for no name, a name given twice, and names that cannot be read safely */
  constructor(names: readonly string[]) {
    const invalid = (what: string): MillraceError => new MillraceError('OPTION_INVALID', `json().only(): ${what}`)
    if (names.length === 0) throw invalid('at least one field is needed')
    if (new Set(names).size < names.length) throw invalid('a field is named twice')
    for (const name of names) {
      if (name === '__proto__' || name.includes('\ufffd') || !name.isWellFormed())
        throw invalid(`a field cannot be called ${JSON.stringify(name)}`)
    }
    this.#names = [...names]
    this.#encoded = names.map((name) => Buffer.from(name, 'utf8'))
    this.#starts = new Int32Array(names.length)
    this.#ends = new Int32Array(names.length)
  }

  /** An object of the wanted fields, undefined where there is none. @throws SyntaxError, TypeError: not an object */
  decode(bytes: Buffer, start: number, end: number): Record<string, unknown> {
    if (!this.#scan(bytes, start, end)) return this.#pick(JSON.parse(utf8Slice(bytes, start, end)))
    const result: Record<string, unknown> = {}
    for (let i = 0; i < this.#names.length; i++) {
      const at = this.#starts[i] as number
      result[this.#names[i] as string] = at < 0 ? undefined : decodeValue(bytes, at, this.#ends[i] as number)
    }
    return result
  }

  #pick(whole: unknown): Record<string, unknown> {
    if (typeof whole !== 'object' || whole === null || Array.isArray(whole)) {
      const found = whole === null ? 'null' : Array.isArray(whole) ? 'an array' : `a ${typeof whole}`
      throw new TypeError(`an object with ${this.#names.join(', ')} expected, ${found} found`)
    }
    const result: Record<string, unknown> = {}
    for (const name of this.#names)
      result[name] = Object.hasOwn(whole, name) ? (whole as Record<string, unknown>)[name] : undefined
    return result
  }

  /** Notes where the wanted values stand. False: JSON.parse must decide. */
  #scan(bytes: Buffer, start: number, end: number): boolean {
    const view = this.#words.of(bytes)
    for (let i = 0; i < this.#starts.length; i++) this.#starts[i] = -1
    let previous: Piece | null = null
    let at = start
    for (;;) {
      let piece: Piece | null = previous ? previous.next : this.#first
      if (piece && this.#patience > 0 && piece.matches(view, at, end)) {
        if (this.#patience < PATIENCE) this.#patience++
        at += piece.bytes
        this.#field = piece.field
      } else {
        const from = at
        const close = skipBlanks(bytes, at, end)
        if (at > start && bytes[close] === CLOSE_BRACE) return skipBlanks(bytes, close + 1, end) === end
        at = this.#readKey(bytes, from, end, from === start)
        if (at < 0) return false
        piece = this.#learn(bytes, from, at, previous)
      }
      const field = this.#field
      if (field >= 0) this.#starts[field] = at
      at = skipValue(bytes, view, at, end)
      if (at < 0) return false
      if (field >= 0) this.#ends[field] = at
      previous = piece
    }
  }

  /** From `{` or `,` to the value: gives where it stands, and sets `#field`. */
  #readKey(bytes: Buffer, from: number, end: number, first: boolean): number {
    let at = skipBlanks(bytes, from, end)
    if (at >= end || bytes[at] !== (first ? OPEN_BRACE : COMMA)) return UNEXPECTED
    at = skipBlanks(bytes, at + 1, end)
    if (at >= end || bytes[at] !== QUOTE) return UNEXPECTED
    const name = at + 1
    for (at = name; ; at++) {
      if (at >= end) return UNEXPECTED
      const byte = bytes[at] as number
      if (byte === QUOTE) break
      if (byte === BACKSLASH || byte < 0x20) return UNEXPECTED
    }
    this.#field = this.#encoded.findIndex((each) => bytes.compare(each, 0, each.length, name, at) === 0)
    at = skipBlanks(bytes, at + 1, end)
    if (at >= end || bytes[at] !== COLON) return UNEXPECTED
    at = skipBlanks(bytes, at + 1, end)
    return at < end ? at : UNEXPECTED
  }

  #learn(bytes: Buffer, from: number, to: number, previous: Piece | null): Piece | null {
    this.#patience -= 2
    if (this.#patience <= -PAUSE_KEYS) this.#patience = PATIENCE
    if (this.#patience <= 0 || to - from > PIECE_BYTES_MAX) return null
    const piece = new Piece(bytes, from, to, this.#field)
    if (previous) previous.next = piece
    else this.#first = piece
    return piece
  }
}

/** A value that the scan has found valid. */
function decodeValue(bytes: Buffer, start: number, end: number): unknown {
  const first = bytes[start] as number
  if (first === QUOTE) {
    for (let at = start + 1; at < end - 1; at++)
      if (bytes[at] === BACKSLASH) return JSON.parse(utf8Slice(bytes, start, end))
    return utf8Slice(bytes, start + 1, end - 1)
  }
  const negative = first === MINUS
  const digits = negative ? start + 1 : start
  if (end - digits <= EXACT_DIGITS) {
    let number = 0
    let at = digits
    for (; at < end; at++) {
      const digit = (bytes[at] as number) - ZERO
      if (digit < 0 || digit > 9) break
      number = number * 10 + digit
    }
    // Zero may be negative.
    if (at === end && number !== 0) return negative ? -number : number
  }
  return JSON.parse(utf8Slice(bytes, start, end)) as unknown
}
