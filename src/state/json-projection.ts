// Reads a few top-level fields of a JSON object without building the rest of it; errors are JSON.parse's own. What it gives
// is what JSON.parse has for these fields, whatever the text is: where the scan gives up, JSON.parse itself is asked.
import { utf8Slice } from '../base/byte-writer.ts'
import { MillraceError } from '../base/errors.ts'
import { JsonScan } from './json-scan.ts'

const QUOTE = 0x22
const MINUS = 0x2d
const ZERO = 0x30
const BACKSLASH = 0x5c

/** So many digits are a number that a double has exactly. */
const EXACT_DIGITS = 15

export class JsonProjection {
  readonly #names: readonly string[]
  readonly #scan: JsonScan

  /** `scan`: one that finds these names first, and perhaps others. */
  constructor(names: readonly string[], scan: JsonScan = new JsonScan(names)) {
    this.#names = [...names]
    this.#scan = scan
  }

  /** An object of the wanted fields, undefined where there is none. @throws SyntaxError, TypeError: not an object */
  decode(bytes: Buffer, start: number, end: number): Record<string, unknown> {
    const { starts, ends } = this.#scan
    if (!this.#scan.scan(bytes, start, end)) return this.pick(JSON.parse(utf8Slice(bytes, start, end)))
    const result: Record<string, unknown> = {}
    for (let i = 0; i < this.#names.length; i++) {
      const at = starts[i] as number
      result[this.#names[i] as string] = at < 0 ? undefined : decodeValue(bytes, at, ends[i] as number)
    }
    return result
  }

  /** The same of an object that is there already. @throws TypeError */
  pick(whole: unknown): Record<string, unknown> {
    if (typeof whole !== 'object' || whole === null || Array.isArray(whole)) {
      const found = whole === null ? 'null' : Array.isArray(whole) ? 'an array' : `a ${typeof whole}`
      const wanted = this.#names.length === 0 ? '' : ` with ${this.#names.join(', ')}`
      throw new TypeError(`an object${wanted} expected, ${found} found`)
    }
    const result: Record<string, unknown> = {}
    for (const name of this.#names)
      result[name] = Object.hasOwn(whole, name) ? (whole as Record<string, unknown>)[name] : undefined
    return result
  }
}

/** A name that can be looked for as bytes: damaged bytes decode to U+FFFD, and `__proto__` is no field like others. */
export function isScannable(name: string): boolean {
  return name !== '__proto__' && !name.includes('\ufffd') && name.isWellFormed()
}

/** @throws OPTION_INVALID for a name given twice and for names that cannot be looked for */
export function checkFieldNames(names: readonly string[], who: string): void {
  const invalid = (what: string): MillraceError => new MillraceError('OPTION_INVALID', `${who}: ${what}`)
  if (new Set(names).size < names.length) throw invalid('a field is named twice')
  const wrong = names.find((name) => !isScannable(name))
  if (wrong !== undefined) throw invalid(`a field cannot be called ${JSON.stringify(wrong)}`)
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
