// Finds a few top-level values of a JSON object without building any. One strict pass over all bytes finds them; whatever is
// unexpected (an escaped name, deep nesting, an empty object, a syntax error) is left to JSON.parse, which decides: nothing is
// accepted that JSON.parse rejects.
//
// Records of a topic look alike: what stands between one value and the next (`,"price":`, with its blanks) is learned once and
// compared four bytes at a time from then on, each piece leading to its successor.
import { Words } from '../base/words.ts'
import { skipBlanks, skipValue, UNEXPECTED } from './json-skipper.ts'

// Its own: an imported constant is read from memory for each byte.
const QUOTE = 0x22
const COMMA = 0x2c
const COLON = 0x3a
const BACKSLASH = 0x5c
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d

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

export class JsonScan {
  readonly #encoded: readonly Buffer[]
  readonly #words = new Words()
  /** Where the wanted values begin; −1: not there. A name that stands twice: its last value, as JSON.parse takes it. */
  readonly starts: Int32Array
  readonly ends: Int32Array
  /** The last scan came to its end. */
  complete = false
  /** Where the object's last value ends. */
  lastEnd = 0
  #first: Piece | null = null
  /** Above 0 while records look alike. */
  #patience = PATIENCE
  /** Of the key read last, by `#readKey`. */
  #field = -1

  /** `names`: well-formed, without U+FFFD, which damaged bytes decode to. */
  constructor(names: readonly string[]) {
    this.#encoded = names.map((name) => Buffer.from(name, 'utf8'))
    this.starts = new Int32Array(names.length)
    this.ends = new Int32Array(names.length)
  }

  /** Notes where the wanted values stand. False: JSON.parse must decide. */
  scan(bytes: Buffer, start: number, end: number): boolean {
    this.complete = this.#pass(bytes, start, end)
    return this.complete
  }

  #pass(bytes: Buffer, start: number, end: number): boolean {
    const view = this.#words.of(bytes)
    for (let i = 0; i < this.starts.length; i++) this.starts[i] = -1
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
        if (at > start && bytes[close] === CLOSE_BRACE) {
          this.lastEnd = at
          return skipBlanks(bytes, close + 1, end) === end
        }
        at = this.#readKey(bytes, from, end, from === start)
        if (at < 0) return false
        piece = this.#learn(bytes, from, at, previous)
      }
      const field = this.#field
      if (field >= 0) this.starts[field] = at
      at = skipValue(bytes, view, at, end)
      if (at < 0) return false
      if (field >= 0) this.ends[field] = at
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
