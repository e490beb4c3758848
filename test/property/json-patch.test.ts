/**
 * Goal: setting fields in a JSON text gives what decoding, setting and encoding would, for every text and every change, or
 * says that it cannot. Method: random texts with all spellings, hostile bytes on both sides, random fields to set, one patch for
 * many texts so that it knows other fields than these most of the time; JSON.parse of what was written against a spread.
 */
import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { ByteWriter } from '../../src/base/byte-writer.ts'
import { JsonPatch, PatchedJson } from '../../src/state/json-patch.ts'
import { damageArbitrary, damaged } from '../support/hostile.ts'
import { neighbours, textArbitrary, wanted } from '../support/json-texts.ts'

const setValueArbitrary = fc.oneof(
  fc.constantFrom(0, -0, 1, 9, 10, 99, 100, 2147483647, 2147483648, -1, Number.NaN, Infinity, 1e21, 0.1),
  fc.integer(),
  fc.double(),
  fc.string({ unit: 'binary', maxLength: 6 }),
  fc.constantFrom(true, null, undefined, { toJSON: (name: string) => `called ${name}` }, () => 'called'),
  fc.jsonValue({ maxDepth: 2 }),
)
const setNameArbitrary = fc.oneof(
  fc.constantFrom(...wanted, 'b', 'prices', 'x'.repeat(80), '\ufffd', '1', 'toJSON'),
  fc.string({ unit: 'binary', maxLength: 4 }),
)
const fieldsArbitrary = fc
  .array(fc.tuple(setNameArbitrary, setValueArbitrary), { maxLength: 4 })
  .map((rows) => Object.fromEntries(rows.filter(([name]) => name !== '__proto__')))

/** As JSON has it; undefined: not JSON, or no object. */
function parsed(text: string): object | undefined {
  try {
    const value = JSON.parse(text) as unknown
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : undefined
  } catch {
    return undefined
  }
}

function check(patch: JsonPatch, read: boolean, text: Buffer, fields: object, before: Buffer, behind: Buffer): boolean {
  const bytes = Buffer.concat([before, text, behind])
  const place = new PatchedJson(patch, bytes, before.length, before.length + text.length)
  const whole = parsed(text.toString('utf8'))
  if (!whole) {
    // Nothing is set in a text that is not read first, and this one cannot be.
    expect(() => patch.read(place)).toThrow()
    return false
  }
  if (read) patch.read(place)
  place.fields = fields as Record<string, unknown>
  const out = new ByteWriter(1)
  out.utf8('before')
  const must = JSON.stringify({ ...whole, ...fields })
  const written = place.write(out)
  if (!written) expect(out.view().toString()).toBe('before')
  expect(JSON.stringify(place.value())).toBe(must)
  if (!written) return false
  const result = JSON.stringify(JSON.parse(out.view().subarray(6).toString('utf8')))
  expect(result).toBe(JSON.stringify(JSON.parse(must)))
  return true
}

const around = fc.constantFrom(...neighbours)

describe.each([[['price']], [wanted], [[]]])('a patch that reads %j', (names) => {
  const used = new JsonPatch(names)

  test('sets the fields of any object', () => {
    let written = 0
    const property = fc.property(
      fc.tuple(textArbitrary, fieldsArbitrary, fc.boolean(), around, around),
      ([text, fields, read, before, behind]) => {
        if (check(used, read, Buffer.from(text), fields, before, behind)) written++
        if (check(new JsonPatch(names), read, Buffer.from(text), fields, before, behind)) written++
      },
    )
    fc.assert(property, { numRuns: 2_500 })
    // Else the long way would have been all that was tested.
    expect(written).toBeGreaterThan(250)
  })

  test('sets fields in damaged texts only where JSON.parse reads them', () => {
    const property = fc.property(
      fc.tuple(textArbitrary, damageArbitrary, fieldsArbitrary, around, around),
      ([text, damage, fields, before, behind]) => {
        check(used, true, Buffer.from(damaged(Buffer.from(text), damage)), fields, before, behind)
      },
    )
    fc.assert(property, { numRuns: 2_000 })
  })
})

describe('what is not set stays byte for byte', () => {
  test.each([
    ['{ "a" : 1.0,\t"b":12345678901234567890 }', { c: 2 }, '{ "a" : 1.0,\t"b":12345678901234567890,"c":2 }'],
    ['{"a":1,"b":2}', { b: 'x', a: -1 }, '{"a":-1,"b":"x"}'],
    ['{"a":1,"b":[1, 2],"a":3}', { a: 4 }, '{"a":1,"b":[1, 2],"a":4}'],
    [' {"a":"\\u0041"} ', { é: null }, ' {"a":"\\u0041","é":null} '],
    ['{"a":1}', {}, '{"a":1}'],
  ])('%s with %j', (text, fields, must) => {
    const out = new ByteWriter(1)
    const bytes = Buffer.from(text)
    const place = { bytes, start: 0, end: bytes.length }
    expect(new JsonPatch([]).write(place, fields, out)).toBe(true)
    expect(out.view().toString()).toBe(must)
  })
})

test('another record at the same place is scanned anew', () => {
  const patch = new JsonPatch(['a'])
  const bytes = Buffer.from('{"a":1,"b":2}')
  const place = { bytes, start: 0, end: bytes.length }
  expect(patch.read(place)).toEqual({ a: 1 })
  const out = new ByteWriter(64)
  bytes.write('{"c":3,"a":5}')
  patch.write({ ...place }, { a: 6 }, out)
  bytes.write('{"a":7,"c":8}')
  patch.write({ ...place }, { a: 9 }, out)
  expect(out.view().toString()).toBe('{"c":3,"a":6}{"a":9,"c":8}')
})

test('a text that could not be read leaves nothing behind for the one before it', () => {
  const patch = new JsonPatch(['a'])
  const placed = (text: string) => ({ bytes: Buffer.from(text), start: 0, end: text.length })
  const good = placed('{"a":1,"b":2}')
  patch.read(good)
  expect(() => patch.read(placed('{"bbbb":1,"a":2,'))).toThrow(SyntaxError)
  const out = new ByteWriter(64)
  expect(patch.write(good, { a: 3 }, out)).toBe(true)
  expect(out.view().toString()).toBe('{"a":3,"b":2}')
})

test('two producers that spell blanks in two ways both get the short way', () => {
  const patch = new JsonPatch(['a'])
  const texts = ['{"a":1,"b":2}', '{"a": 1, "b": 2}', '{ "a" : 1 , "b" :\t2 }']
  const written = Array.from({ length: 3_000 }, (_, i) => {
    const bytes = Buffer.from(texts[i % 3] ?? '')
    const place = { bytes, start: 0, end: bytes.length }
    return patch.read(place).a === 1 && patch.write(place, { c: 3 }, new ByteWriter(64))
  })
  expect(written.every(Boolean)).toBe(true)
})

test('records that set ever new names are written the long way from some number on', () => {
  const patch = new JsonPatch(['a'])
  const bytes = Buffer.from('{"a":1}')
  const place = { bytes, start: 0, end: bytes.length }
  const out = new ByteWriter(64)
  const short = Array.from({ length: 100 }, (_, i) => patch.write(place, { [`x${i}`]: i }, out))
  expect(short.filter(Boolean)).toHaveLength(32)
  expect(patch.write(place, { x3: 0, a: 2 }, out)).toBe(true)
  expect(out.view().toString().endsWith('{"a":2,"x3":0}')).toBe(true)
})
