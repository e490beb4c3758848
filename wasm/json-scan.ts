// AssemblyScript. Finds top-level values of one JSON object in a strict pass over its text (ECMA-404), sixteen bytes of a string at a time.
// What it passes, JSON.parse reads; whatever is not valid, or not worth it (an escaped name, deep nesting, no field at all), is left to it.
//
// Memory, from 0: a field of 16 bytes for each wanted name (u32 where its value begins, u32 where it ends, u32 where its name stands, u32
// the name's length), then the names, then the text. Behind each name are 8 bytes of room, behind the text 32.
//
// A zero behind the text ends every loop: it is no part of any JSON text, so nothing here asks whether there are bytes left.

export const QUOTE: u32 = 0x22
const PLUS: u32 = 0x2b
export const COMMA: u32 = 0x2c
export const MINUS: u32 = 0x2d
export const DOT: u32 = 0x2e
export const ZERO: u32 = 0x30
const COLON: u32 = 0x3a
const OPEN_BRACKET: u32 = 0x5b
export const BACKSLASH: u32 = 0x5c
const CLOSE_BRACKET: u32 = 0x5d
const OPEN_BRACE: u32 = 0x7b
const CLOSE_BRACE: u32 = 0x7d
/** Little-endian. */
const TRUE: u32 = 0x65757274
const NULL: u32 = 0x6c6c756e
const ALSE: u32 = 0x65736c61

const DEPTH_MAX: i32 = 64
const FIELD_BYTES: usize = 16
const NO_FIELD: usize = usize.MAX_VALUE
/** In place of a position. */
export const UNEXPECTED: usize = 0

/**
 * Notes begin and end of the value of each of `fields` wanted names, 0 and 0 where there is none; of a name that stands twice the last one.
 * Gives where the object's last value ends, or UNEXPECTED.
 */
export function scan(fields: i32, from: usize, end: usize): usize {
  v128.store(end, i64x2.splat(0))
  const fieldsEnd = <usize>fields * FIELD_BYTES
  for (let field: usize = 0; field < fieldsEnd; field += FIELD_BYTES) store<u64>(field, 0)
  let at = skipBlanks(from)
  if (byteAt(at) != OPEN_BRACE) return UNEXPECTED
  while (true) {
    at = skipBlanks(at + 1)
    if (byteAt(at) != QUOTE) return UNEXPECTED
    const name = at + 1
    at = plainEnd(name)
    if (byteAt(at) != QUOTE) return UNEXPECTED
    const field = fieldOf(fieldsEnd, name, at - name)
    at = skipBlanks(at + 1)
    if (byteAt(at) != COLON) return UNEXPECTED
    const value = skipBlanks(at + 1)
    at = skipValue(value, 0)
    if (at == UNEXPECTED) return UNEXPECTED
    if (field != NO_FIELD) {
      store<u32>(field, <u32>value)
      store<u32>(field, <u32>at, 4)
    }
    const last = at
    at = skipBlanks(at)
    const byte = byteAt(at)
    if (byte == COMMA) continue
    return byte == CLOSE_BRACE && skipBlanks(at + 1) == end ? last : UNEXPECTED
  }
}

export function byteAt(at: usize): u32 {
  return load<u8>(at)
}

export function isDigit(byte: u32): bool {
  return byte - ZERO < 10
}

function isHex(byte: u32): bool {
  return isDigit(byte) || (byte | 0x20) - 0x61 < 6
}

@inline
function skipBlanks(at: usize): usize {
  let byte = byteAt(at)
  // Most texts have none.
  if (byte > 0x20) return at
  while (byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09) byte = byteAt(++at)
  return at
}

function fieldOf(fieldsEnd: usize, name: usize, length: usize): usize {
  for (let field: usize = 0; field < fieldsEnd; field += FIELD_BYTES)
    if (<usize>load<u32>(field, 12) == length && isEqual(name, load<u32>(field, 8), length)) return field
  return NO_FIELD
}

function isEqual(one: usize, other: usize, length: usize): bool {
  let i: usize = 0
  for (; i + 8 < length; i += 8) if (load<u64>(one + i) != load<u64>(other + i)) return false
  // What is behind the last bytes is shifted away.
  return length == 0 || ((load<u64>(one + i) ^ load<u64>(other + i)) << (64 - 8 * (length - i))) == 0
}

/** A bit for each quote, backslash and control character. */
@inline
export function specials(bytes: v128): i32 {
  const quotes = i8x16.eq(bytes, i8x16.splat(0x22))
  const backslashes = i8x16.eq(bytes, i8x16.splat(0x5c))
  const controls = i8x16.eq(i8x16.min_u(bytes, i8x16.splat(0x1f)), bytes)
  return i8x16.bitmask(v128.or(v128.or(quotes, backslashes), controls))
}

/** The first quote, backslash or control character from `at` on. */
function plainEnd(at: usize): usize {
  while (true) {
    const found = specials(v128.load(at))
    if (found != 0) return at + <usize>ctz(found)
    at += 16
  }
}

/** Where the value at `at` ends. */
@inline
export function skipValue(at: usize, depth: i32): usize {
  const first = byteAt(at)
  if (first == QUOTE) return skipString(at + 1)
  return isDigit(first) || first == MINUS ? skipNumber(at) : skipOther(at, depth)
}

export function skipOther(at: usize, depth: i32): usize {
  const first = byteAt(at)
  if (first == OPEN_BRACE || first == OPEN_BRACKET) return depth < DEPTH_MAX ? skipNested(at, depth) : UNEXPECTED
  const word = load<u32>(at)
  if (word == TRUE || word == NULL) return at + 4
  return first == 0x66 && load<u32>(at + 1) == ALSE ? at + 5 : UNEXPECTED
}

/** `at`: behind the opening quote. */
function skipString(at: usize): usize {
  while (true) {
    at = plainEnd(at)
    const byte = byteAt(at)
    if (byte == QUOTE) return at + 1
    at = byte == BACKSLASH ? skipEscape(at) : UNEXPECTED
    if (at == UNEXPECTED) return UNEXPECTED
  }
}

/** `at`: the backslash. */
export function skipEscape(at: usize): usize {
  switch (byteAt(at + 1)) {
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
      for (let i: usize = 2; i < 6; i++) if (!isHex(byteAt(at + i))) return UNEXPECTED
      return at + 6
  }
  return UNEXPECTED
}

export function skipNumber(at: usize): usize {
  if (byteAt(at) == MINUS) at++
  const whole = at
  at = byteAt(at) == ZERO ? at + 1 : skipDigits(at)
  if (at == whole) return UNEXPECTED
  if (byteAt(at) == DOT) {
    const fraction = at + 1
    at = skipDigits(fraction)
    if (at == fraction) return UNEXPECTED
  }
  if ((byteAt(at) | 0x20) == 0x65) {
    const sign = byteAt(++at)
    if (sign == PLUS || sign == MINUS) at++
    const exponent = at
    at = skipDigits(exponent)
    if (at == exponent) return UNEXPECTED
  }
  return at
}

function skipDigits(at: usize): usize {
  while (isDigit(byteAt(at))) at++
  return at
}

/** An object or an array. */
function skipNested(at: usize, depth: i32): usize {
  const object = byteAt(at) == OPEN_BRACE
  const close = object ? CLOSE_BRACE : CLOSE_BRACKET
  at = skipBlanks(at + 1)
  if (byteAt(at) == close) return at + 1
  while (true) {
    if (object) {
      if (byteAt(at) != QUOTE) return UNEXPECTED
      at = skipString(at + 1)
      if (at == UNEXPECTED) return UNEXPECTED
      at = skipBlanks(at)
      if (byteAt(at) != COLON) return UNEXPECTED
      at = skipBlanks(at + 1)
    }
    at = skipValue(at, depth + 1)
    if (at == UNEXPECTED) return UNEXPECTED
    at = skipBlanks(at)
    const byte = byteAt(at)
    if (byte == close) return at + 1
    if (byte != COMMA) return UNEXPECTED
    at = skipBlanks(at + 1)
  }
}
