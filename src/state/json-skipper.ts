// Passes over one JSON value without building it, as strict as JSON.parse (ECMA-404): what it passes, JSON.parse reads.

const QUOTE = 0x22
const COMMA = 0x2c
const MINUS = 0x2d
const PLUS = 0x2b
const DOT = 0x2e
const ZERO = 0x30
const NINE = 0x39
const COLON = 0x3a
const OPEN_BRACKET = 0x5b
const BACKSLASH = 0x5c
const CLOSE_BRACKET = 0x5d
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d
const DEPTH_MAX = 64

/** Not valid, or not worth it: JSON.parse must see it. */
export const UNEXPECTED = -1

/** `true`, `null` and `alse` as little-endian words. */
const TRUE = 0x65757274
const NULL = 0x6c6c756e
const ALSE = 0x65736c61

export function skipBlanks(bytes: Buffer, at: number, end: number): number {
  while (at < end) {
    const byte = bytes[at]
    if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) break
    at++
  }
  return at
}

const isDigit = (byte: number | undefined): boolean => byte !== undefined && byte >= ZERO && byte <= NINE

function isHex(byte: number | undefined): boolean {
  if (byte === undefined) return false
  return (byte >= ZERO && byte <= NINE) || (byte >= 0x41 && byte <= 0x46) || (byte >= 0x61 && byte <= 0x66)
}

/** Where the value at `at` ends, no later than `end`; or UNEXPECTED. `view`: of the same bytes. */
export function skipValue(bytes: Buffer, view: DataView, at: number, end: number, depth = 0): number {
  const first = at < end ? (bytes[at] as number) : 0
  if (first === QUOTE) return skipString(bytes, view, at + 1, end)
  if (first === MINUS || isDigit(first)) return number(bytes, at, end)
  if (first === OPEN_BRACE || first === OPEN_BRACKET)
    return depth < DEPTH_MAX ? nested(bytes, view, at, end, depth) : UNEXPECTED
  if (at + 4 > end) return UNEXPECTED
  const word = view.getInt32(at, true)
  if (word === TRUE || word === NULL) return at + 4
  return first === 0x66 && at + 5 <= end && view.getInt32(at + 1, true) === ALSE ? at + 5 : UNEXPECTED
}

/**
 * Which of a word's four bytes end a plain piece of a string: a quote, a backslash, a control character. Their top bits, the
 * lowest of which is right for certain; 0: none. With bit 1 flipped a quote is 0x20, control characters stay below it and all
 * others above.
 */
function ends(word: number): number {
  const flipped = word ^ 0x02020202
  const backslash = word ^ 0x5c5c5c5c
  return (((flipped - 0x21212121) & ~flipped) | ((backslash - 0x01010101) & ~backslash)) & 0x80808080
}

const firstByte = (found: number): number => (31 - Math.clz32(found & -found)) >> 3

/** `at`: behind the opening quote. Eight bytes at a time while none of them ends a plain piece. */
export function skipString(bytes: Buffer, view: DataView, at: number, end: number): number {
  for (;;) {
    while (at + 8 <= end) {
      const found = ends(view.getInt32(at, true))
      const later = ends(view.getInt32(at + 4, true))
      if ((found | later) !== 0) {
        at += found !== 0 ? firstByte(found) : 4 + firstByte(later)
        break
      }
      at += 8
    }
    if (at >= end) return UNEXPECTED
    const byte = bytes[at] as number
    if (byte === QUOTE) return at + 1
    if (byte < 0x20) return UNEXPECTED
    at = byte === BACKSLASH ? escaped(bytes, at, end) : at + 1
    if (at < 0) return UNEXPECTED
  }
}

function nested(bytes: Buffer, view: DataView, from: number, end: number, depth: number): number {
  const object = bytes[from] === OPEN_BRACE
  const close = object ? CLOSE_BRACE : CLOSE_BRACKET
  let at = skipBlanks(bytes, from + 1, end)
  if (at < end && bytes[at] === close) return at + 1
  for (;;) {
    if (object) {
      if (at >= end || bytes[at] !== QUOTE) return UNEXPECTED
      at = skipString(bytes, view, at + 1, end)
      if (at < 0) return UNEXPECTED
      at = skipBlanks(bytes, at, end)
      if (at >= end || bytes[at] !== COLON) return UNEXPECTED
      at = skipBlanks(bytes, at + 1, end)
    }
    at = skipValue(bytes, view, at, end, depth + 1)
    if (at < 0) return UNEXPECTED
    at = skipBlanks(bytes, at, end)
    if (at >= end) return UNEXPECTED
    if (bytes[at] === close) return at + 1
    if (bytes[at] !== COMMA) return UNEXPECTED
    at = skipBlanks(bytes, at + 1, end)
  }
}

/** Behind the escape whose backslash is at `at`. */
function escaped(bytes: Buffer, at: number, end: number): number {
  const byte = at + 1 < end ? (bytes[at + 1] as number) : 0
  switch (byte) {
    case 0x22: // "
    case 0x5c: // \
    case 0x2f: // /
    case 0x62: // b
    case 0x66: // f
    case 0x6e: // n
    case 0x72: // r
    case 0x74: // t
      return at + 2
    case 0x75: // u
      if (at + 6 > end) return UNEXPECTED
      for (let i = at + 2; i < at + 6; i++) if (!isHex(bytes[i])) return UNEXPECTED
      return at + 6
  }
  return UNEXPECTED
}

function number(bytes: Buffer, from: number, end: number): number {
  let at = bytes[from] === MINUS ? from + 1 : from
  if (at >= end || !isDigit(bytes[at])) return UNEXPECTED
  if (bytes[at] === ZERO) at++
  else at = digits(bytes, at, end)
  if (at < end && bytes[at] === DOT) {
    const fraction = at + 1
    at = digits(bytes, fraction, end)
    if (at === fraction) return UNEXPECTED
  }
  if (at < end && ((bytes[at] as number) | 0x20) === 0x65) {
    at++
    if (at < end && (bytes[at] === PLUS || bytes[at] === MINUS)) at++
    const exponent = at
    at = digits(bytes, exponent, end)
    if (at === exponent) return UNEXPECTED
  }
  return at
}

function digits(bytes: Buffer, at: number, end: number): number {
  while (at < end && isDigit(bytes[at])) at++
  return at
}
