// Finds a few top-level values of a JSON object without building any. One strict pass over all bytes finds them; whatever is
// unexpected (an escaped name, deep nesting, an empty object, a syntax error) is left to JSON.parse, which decides: nothing is
// accepted that JSON.parse rejects.
//
// Records of a topic look alike: what stands between one value and the next (`,"price":`, with its blanks) is learned once and
// compared four bytes at a time from then on, each piece leading to its successor.
import { Words } from '../base/words.ts'
import { skipBlanks, skipString, skipValue, UNEXPECTED } from './json-skipper.ts'

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

/** Pieces up to this length are compared in one go. */
const SHORT_BYTES = 16

/** What stands before a value: its bytes in words, which field follows, and the piece that came behind it last time. */
class Piece {
  readonly bytes: number
  /** Index among the wanted fields; −1: not wanted. */
  readonly field: number
  next: Piece | null = null
  readonly #words: readonly number[]
  /** Which bits of each word count. */
  readonly #masks: readonly number[]
  // The first four words again, with masks.
  readonly #w0: number
  readonly #w1: number
  readonly #w2: number
  readonly #w3: number
  readonly #m0: number
  readonly #m1: number
  readonly #m2: number
  readonly #m3: number

  constructor(bytes: Buffer, start: number, end: number, field: number) {
    this.bytes = end - start
    this.field = field
    const padded = Buffer.alloc(Math.max(SHORT_BYTES, Math.ceil(this.bytes / 4) * 4))
    bytes.copy(padded, 0, start, end)
    const mask = Buffer.alloc(padded.length).fill(0xff, 0, this.bytes)
    const indices = Array.from({ length: padded.length / 4 }, (_, i) => i * 4)
    this.#words = indices.map((at) => padded.readInt32LE(at))
    this.#masks = indices.map((at) => mask.readInt32LE(at))
    ;[this.#w0, this.#w1, this.#w2, this.#w3] = this.#words as [number, number, number, number]
    ;[this.#m0, this.#m1, this.#m2, this.#m3] = this.#masks as [number, number, number, number]
  }

  /** These bytes stand at `at`, and something behind them before `end`. `limit`: of the view. */
  matches(view: DataView, at: number, end: number, limit: number): boolean {
    if (at + this.bytes >= end) return false
    if (this.bytes > SHORT_BYTES || at + SHORT_BYTES > limit) return this.#matchesSlowly(view, at, limit)
    const first = (view.getInt32(at, true) ^ this.#w0) & this.#m0
    const second = (view.getInt32(at + 4, true) ^ this.#w1) & this.#m1
    const third = (view.getInt32(at + 8, true) ^ this.#w2) & this.#m2
    const fourth = (view.getInt32(at + 12, true) ^ this.#w3) & this.#m3
    return (first | second | third | fourth) === 0
  }

  #matchesSlowly(view: DataView, at: number, limit: number): boolean {
    for (let from = 0; from < this.bytes; from += 4) {
      if (at + from + 4 > limit) return false
      const difference = view.getInt32(at + from, true) ^ (this.#words[from >> 2] as number)
      if ((difference & (this.#masks[from >> 2] as number)) !== 0) return false
    }
    return true
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
    const limit = bytes.length
    const { starts, ends } = this
    for (let i = 0; i < starts.length; i++) starts[i] = -1
    let patience = this.#patience
    let previous: Piece | null = null
    let piece: Piece | null = this.#first
    let at = start
    for (;;) {
      let field: number
      if (piece && patience > 0 && piece.matches(view, at, end, limit)) {
        if (patience < PATIENCE) patience++
        at += piece.bytes
        field = piece.field
        // One blank more than the piece has.
        if (at < end && (bytes[at] as number) <= 0x20) at = skipBlanks(bytes, at, end)
      } else {
        const from = at
        const close = skipBlanks(bytes, at, end)
        if (at > start && bytes[close] === CLOSE_BRACE) {
          this.lastEnd = at
          this.#patience = patience
          return skipBlanks(bytes, close + 1, end) === end
        }
        at = this.#readKey(bytes, from, end, from === start)
        if (at < 0) return false
        this.#patience = patience
        piece = this.#learn(bytes, from, at, from === start ? 'first' : previous)
        patience = this.#patience
        field = this.#field
      }
      if (field >= 0) starts[field] = at
      at = bytes[at] === QUOTE ? skipString(bytes, view, at + 1, end) : skipValue(bytes, view, at, end)
      if (at < 0) return false
      if (field >= 0) ends[field] = at
      previous = piece
      piece = piece ? piece.next : null
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

  /** `behind`: the piece in front of it, if that is known. */
  #learn(bytes: Buffer, from: number, to: number, behind: Piece | 'first' | null): Piece | null {
    this.#patience -= this.#patience > 0 ? 2 : 1
    if (this.#patience <= -PAUSE_KEYS) this.#patience = PATIENCE
    if (this.#patience <= 0 || to - from > PIECE_BYTES_MAX) return null
    const piece = new Piece(bytes, from, to, this.#field)
    // Only what begins an object may be taken for its beginning.
    if (behind === 'first') this.#first = piece
    else if (behind) behind.next = piece
    return piece
  }
}
