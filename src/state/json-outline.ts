// Where the values of a JSON object stand in its text.
import { utf8Slice } from '../base/byte-writer.ts'

const QUOTE = 0x22
const COMMA = 0x2c
const OPEN_BRACKET = 0x5b
const BACKSLASH = 0x5c
const CLOSE_BRACKET = 0x5d
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d
const SPACE = 0x20

/** Deeper objects are told as one value. */
const DEPTH_MAX = 8

/** An object's names, in the order of the text: for each the number of its value, or the names of the object that it is. */
export type Names = ReadonlyMap<string, number | Names>

/** One for each text, which JSON.parse has found to be an object. */
export class JsonOutline {
  readonly starts: number[] = []
  readonly ends: number[] = []
  /** undefined: a name stands twice, or is `__proto__`. */
  readonly names: Names | undefined
  readonly #bytes: Buffer
  #at: number

  /** `deep`: objects within it are told by their own values, but for those that `only` leaves out. */
  constructor(bytes: Buffer, start: number, only: readonly string[] | null, deep: boolean) {
    this.#bytes = bytes
    this.#at = start
    this.#skipBlanks()
    this.names = this.#object(deep ? DEPTH_MAX : 1, only)
  }

  #object(depth: number, only: readonly string[] | null): Names | undefined {
    const names = new Map<string, number | Names>()
    this.#skip()
    while (this.#bytes[this.#at] !== CLOSE_BRACE) {
      const start = this.#at
      this.#skipString()
      const name = JSON.parse(utf8Slice(this.#bytes, start, this.#at)) as string
      if (names.has(name) || name === '__proto__') return undefined
      this.#skipBlanks()
      // The colon.
      this.#skip()
      const isWanted = only === null || only.includes(name)
      const value = isWanted && depth > 1 && this.#isFilled() ? this.#object(depth - 1, null) : this.#value()
      if (value === undefined) return undefined
      names.set(name, value)
      this.#skipBlanks()
      if (this.#bytes[this.#at] === COMMA) this.#skip()
    }
    this.#at++
    return names
  }

  /** An object that has a field follows. */
  #isFilled(): boolean {
    if (this.#bytes[this.#at] !== OPEN_BRACE) return false
    const start = this.#at
    this.#skip()
    const first = this.#bytes[this.#at]
    this.#at = start
    return first !== CLOSE_BRACE
  }

  #value(): number {
    this.starts.push(this.#at)
    let open = 0
    do {
      const byte = this.#bytes[this.#at]
      if (byte === QUOTE) this.#skipString()
      else {
        if (byte === OPEN_BRACE || byte === OPEN_BRACKET) open++
        else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) open--
        this.#at++
        if (open === 0 && byte !== CLOSE_BRACE && byte !== CLOSE_BRACKET) this.#skipWord()
      }
    } while (open > 0)
    return this.ends.push(this.#at) - 1
  }

  /** The rest of a number, `true`, `false` or `null`. */
  #skipWord(): void {
    const { length } = this.#bytes
    for (; this.#at < length; this.#at++) {
      const byte = this.#bytes[this.#at] as number
      if (byte <= SPACE || byte === COMMA || byte === CLOSE_BRACE || byte === CLOSE_BRACKET) return
    }
  }

  #skipString(): void {
    this.#at++
    for (; this.#bytes[this.#at] !== QUOTE; this.#at++) if (this.#bytes[this.#at] === BACKSLASH) this.#at++
    this.#at++
  }

  /** One character, and blanks. */
  #skip(): void {
    this.#at++
    this.#skipBlanks()
  }

  #skipBlanks(): void {
    while ((this.#bytes[this.#at] as number) <= SPACE) this.#at++
  }
}
