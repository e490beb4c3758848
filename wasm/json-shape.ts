// AssemblyScript: reads JSON objects of a known shape. A shape is the bytes that stand around an object's values, as one record had them
// (`{"id":`, `,"price":`, `}`): a text with these very bytes, and with any JSON values between them, is an object of the same names.
// Numbers become numbers here; all other values are handed on as one JSON array's items, for JSON.parse. What is not wanted is passed over.
//
// Memory at `shape`: for each value, and for the end, an entry of 12 bytes (u32 where the bytes before it stand, u32 how many, u32 1: the
// value is wanted). Behind these bytes there are 16 of room, behind the text and what is handed on 32. `count`: how many values.
import {
  BACKSLASH,
  byteAt,
  COMMA,
  DOT,
  isDigit,
  MINUS,
  QUOTE,
  skipEscape,
  skipNumber,
  skipOther,
  skipValue,
  specials,
  UNEXPECTED,
  ZERO,
} from './json-scan'

/** So many digits are a number that a double has exactly. */
const EXACT_DIGITS: usize = 15

const ENTRY_BYTES: usize = 12

/** Where the next value goes that is handed on. */
let handed: usize = 0

/**
 * The wanted values of a text of this shape: numbers to `values` (f64 for each value, NaN for others), all others to `others`, each with a
 * comma behind. Gives where the others end; UNEXPECTED: the text is of another shape, or JSON.parse must decide.
 */
export function read(shape: usize, count: i32, from: usize, end: usize, values: usize, others: usize): usize {
  // The next text may stand there.
  const kept = v128.load(end)
  v128.store(end, i64x2.splat(0))
  handed = others
  const found = readValues(shape, count, from, end, values)
  v128.store(end, kept)
  return found ? handed : UNEXPECTED
}

function readValues(shape: usize, count: i32, at: usize, end: usize, values: usize): bool {
  const last = shape + <usize>count * ENTRY_BYTES
  for (; shape < last; shape += ENTRY_BYTES, values += 8) {
    at = behind(at, shape)
    if (at == UNEXPECTED) return false
    at = load<u32>(shape, 8) == 0 ? skipValue(at, 0) : readValue(at, values)
    if (at == UNEXPECTED) return false
  }
  return behind(at, last) == end
}

/** Behind the value at `at`. */
@inline
function readValue(at: usize, values: usize): usize {
  const first = byteAt(at)
  if (first != QUOTE) return isDigit(first) || first == MINUS ? readNumber(at, values) : handOnOther(at, values)
  store<f64>(values, NaN)
  return handOnString(at)
}

/** Behind the bytes that stand before a value, if they stand at `at`. */
@inline
function behind(at: usize, entry: usize): usize {
  let bytes = <usize>load<u32>(entry)
  const length = <usize>load<u32>(entry, 4)
  const next = at + length
  for (; at + 16 < next; at += 16, bytes += 16)
    if (i8x16.bitmask(i8x16.eq(v128.load(at), v128.load(bytes))) != 0xffff) return UNEXPECTED
  const differs = i8x16.bitmask(i8x16.eq(v128.load(at), v128.load(bytes))) ^ 0xffff
  return (differs & ((1 << <i32>(next - at)) - 1)) == 0 ? next : UNEXPECTED
}

/** Copies as it looks, 16 bytes at a time. */
@inline
function handOnString(at: usize): usize {
  let to = handed
  store<u8>(to, <u8>QUOTE)
  at++
  to++
  while (true) {
    const bytes = v128.load(at)
    v128.store(to, bytes)
    const found = specials(bytes)
    if (found == 0) {
      at += 16
      to += 16
      continue
    }
    const plain = <usize>ctz(found)
    at += plain
    to += plain
    const byte = byteAt(at)
    if (byte == QUOTE) break
    const next = byte == BACKSLASH ? skipEscape(at) : UNEXPECTED
    if (next == UNEXPECTED) return UNEXPECTED
    store<u64>(to, load<u64>(at))
    to += next - at
    at = next
  }
  store<u16>(to, <u16>(QUOTE | (COMMA << 8)))
  handed = to + 2
  return at + 1
}

/** A number of few digits; others are handed on. */
@inline
function readNumber(at: usize, values: usize): usize {
  const negative = byteAt(at) == MINUS
  const whole = at + <usize>negative
  let digits = digitsAt(whole)
  let next = whole + digits
  // What is no number (no digit, a zero in front of others) is found out behind.
  let plain = digits - 1 < EXACT_DIGITS && (byteAt(whole) != ZERO || digits == 1)
  let number: u64 = plain ? numberOf(whole, digits) : 0
  let scale: u64 = 1
  if (byteAt(next) == DOT) {
    const fraction = next + 1
    const more = digitsAt(fraction)
    digits += more
    plain = plain && more > 0 && digits <= EXACT_DIGITS
    for (let i: usize = 0; i < more; i++) scale *= 10
    if (plain) number = number * scale + numberOf(fraction, more)
    next = fraction + more
  }
  if (!plain || (byteAt(next) | 0x20) == 0x65) return handOn(at, skipNumber(at), values)
  // Both are exact, so their quotient is the double next to what the text says.
  const size = scale == 1 ? <f64>number : <f64>number / <f64>scale
  store<f64>(values, negative ? -size : size)
  return next
}

/** How many digits follow, up to 16. */
function digitsAt(at: usize): usize {
  const digits = i8x16.sub(v128.load(at), i8x16.splat(0x30))
  return <usize>ctz(~i8x16.bitmask(i8x16.lt_u(digits, i8x16.splat(10))))
}

/** Of 1 to 16 digits. */
function numberOf(at: usize, digits: usize): u64 {
  if (digits <= 8) return eightOf(at, digits)
  return eightOf(at, digits - 8) * 100000000 + eightOf(at + digits - 8, 8)
}

/** Of 1 to 8 digits: neighbours are put together, then pairs, then fours. */
@inline
function eightOf(at: usize, digits: usize): u64 {
  // The first digit is in the lowest byte; what is behind the last one is shifted away.
  let word = (load<u64>(at) - 0x3030303030303030) << (64 - 8 * digits)
  word = (word * 10 + (word >> 8)) & 0x00ff00ff00ff00ff
  word = (word * 100 + (word >> 16)) & 0x0000ffff0000ffff
  return (word * 10000 + (word >> 32)) & 0xffffffff
}

function handOnOther(at: usize, values: usize): usize {
  return handOn(at, skipOther(at, 0), values)
}

function handOn(at: usize, end: usize, values: usize): usize {
  if (end == UNEXPECTED) return UNEXPECTED
  store<f64>(values, NaN)
  let to = handed
  for (let from = at; from < end; from += 16, to += 16) v128.store(to, v128.load(from))
  to = handed + (end - at)
  store<u8>(to, <u8>COMMA)
  handed = to + 1
  return end
}
