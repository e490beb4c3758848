// JSON objects for tests of what reads and writes them: all spellings of names, blanks, numbers and strings, and hostile bytes
// around them.
import fc from 'fast-check'
import type { JsonShapes } from '../../src/state/json-shapes.ts'

export const wanted: string[] = [
  'price',
  'a',
  'é\u{1f600}',
  '',
  'nested',
  'ninebytes',
  'sixteen bytes ok',
  'seventeen bytes o',
]

/** Names that are wanted, names like them, and others; some are spelled with escapes. */
export const nameArbitrary: fc.Arbitrary<string> = fc
  .oneof(
    { arbitrary: fc.constantFrom(...wanted), weight: 4 },
    {
      arbitrary: fc.constantFrom(
        'pric',
        'prices',
        'Price',
        'b',
        '__proto__',
        'constructor',
        'Ninebytes',
        'sixteen Bytes ok',
        'x'.repeat(80),
      ),
      weight: 2,
    },
    { arbitrary: fc.string({ maxLength: 6 }), weight: 1 },
  )
  .chain((name) =>
    fc.oneof(
      { arbitrary: fc.constant(JSON.stringify(name)), weight: 9 },
      { arbitrary: fc.constant(`"${escaped(name)}"`), weight: 1 },
    ),
  )

function escaped(name: string): string {
  return [...Array(name.length).keys()].map((i) => `\\u${name.charCodeAt(i).toString(16).padStart(4, '0')}`).join('')
}

const numberArbitrary = fc.oneof(
  fc.constantFrom(
    '0',
    '-0',
    '-0.0',
    '1e5',
    '1E-7',
    '1e400',
    '-12.50',
    '9007199254740993',
    '123456789012345',
    '00',
    '1.',
    '.5',
  ),
  fc.integer().map(String),
  fc.double().map((value) => JSON.stringify(value)),
)
const stringArbitrary = fc.oneof(
  fc.string({ maxLength: 20 }).map((value) => JSON.stringify(value)),
  fc.string({ unit: 'binary', maxLength: 8 }).map((value) => JSON.stringify(value)),
  fc.constantFrom(
    '"\\ud800"',
    '"\\u00e9"',
    '"\\/"',
    '"tab\there"',
    '"\\x"',
    '"\\u12g4"',
    '"\\',
    '"\u007f"',
    '"price":',
  ),
)
const blankArbitrary = fc.constantFrom('', '', '', ' ', '\n  ', '\t', '\r', '\u00a0')

export const valueArbitrary: fc.Arbitrary<string> = fc.letrec<{ value: string; array: string; object: string }>(
  (tie) => ({
    value: fc.oneof(
      { arbitrary: numberArbitrary, weight: 4 },
      { arbitrary: stringArbitrary, weight: 4 },
      { arbitrary: fc.constantFrom('true', 'false', 'null', 'nul', 'True'), weight: 2 },
      { arbitrary: tie('array'), weight: 1 },
      { arbitrary: tie('object'), weight: 1 },
    ),
    array: fc
      .tuple(fc.array(tie('value'), { maxLength: 3 }), blankArbitrary)
      .map(([items, blank]) => `[${blank}${items.join(`${blank},`)}${blank}]`),
    object: fc
      .tuple(fc.array(fc.tuple(nameArbitrary, tie('value')), { maxLength: 3 }), blankArbitrary)
      .map(([rows, blank]) => `{${rows.map(([name, value]) => `${blank}${name}${blank}:${value}`).join(',')}${blank}}`),
  }),
).value

export const textArbitrary: fc.Arbitrary<string> = fc
  .tuple(fc.array(fc.tuple(nameArbitrary, valueArbitrary), { maxLength: 8 }), blankArbitrary, blankArbitrary)
  .map(
    ([rows, one, two]) =>
      `${one}{${rows.map(([name, value]) => `${two}${name}${one}:${two}${value}${one}`).join(',')}${two}}${one}`,
  )

/** What may stand before and behind a text in its buffer. */
export const neighbours: Buffer[] = ['', '"', '\\', '}', '0123456789', ',"price":1}', '{"price":', 'e5', '\ufffd'].map(
  (each) => Buffer.from(each),
)

/** In place of a value that is left to JSON.parse. */
export const unread: unique symbol = Symbol('unread')

/** The texts one behind the other, `between` them, as records of one batch are. */
export function readTogether(
  shapes: JsonShapes,
  texts: readonly (string | Buffer)[],
  between: Buffer = Buffer.from(']}"'),
): unknown[] | undefined {
  const pieces = texts.flatMap((text) => [between, Buffer.from(text)])
  const places: number[] = []
  let at = 0
  for (const [index, { length }] of pieces.entries()) {
    if (index % 2 === 1) places.push(at, at + length)
    at += length
  }
  return shapes.read(Buffer.concat([...pieces, between]), Int32Array.from(places), texts.length)
}
