/**
 * Goal: reading a few fields gives what JSON.parse of the whole gives for them, for every text that there may be, and its
 * error for every other. Method: random objects with all spellings of names, blanks, numbers and strings, damaged bytes,
 * hostile bytes on both sides, one projection for many texts so that its memory has another one's most of the time.
 */
import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { json } from '../../src/index.ts'
import { JsonProjection } from '../../src/state/json-projection.ts'
import { damageArbitrary, damaged } from '../support/hostile.ts'
import { neighbours, textArbitrary, valueArbitrary, wanted } from '../support/json-texts.ts'

/** What must come out, or the message of what must be thrown. */
function reference(text: string, names: readonly string[]): unknown {
  try {
    const whole = JSON.parse(text) as Record<string, unknown>
    if (typeof whole !== 'object' || whole === null || Array.isArray(whole)) return 'not an object'
    return names.map((name) => (Object.hasOwn(whole, name) ? whole[name] : undefined))
  } catch (error) {
    return (error as Error).message
  }
}

function outcome(projection: JsonProjection, bytes: Buffer, start: number, end: number, names: readonly string[]) {
  try {
    const found = projection.decode(bytes, start, end)
    expect(Object.keys(found)).toEqual(names)
    return names.map((name) => found[name])
  } catch (error) {
    if (error instanceof TypeError && error.message.includes('expected')) return 'not an object'
    return (error as Error).message
  }
}

function compare(
  projection: JsonProjection,
  names: readonly string[],
  text: Buffer,
  before: Buffer,
  behind: Buffer,
): void {
  const bytes = Buffer.concat([before, text, behind])
  const found = outcome(projection, bytes, before.length, before.length + text.length, names)
  expect(found).toEqual(reference(text.toString('utf8'), names))
}

describe.each([[wanted], [['price']], [['nested', 'a']]])('the fields %j', (names) => {
  const around = fc.constantFrom(...neighbours)
  const used = new JsonProjection(names)

  test('of any object are as JSON.parse has them', () => {
    const property = fc.property(textArbitrary, around, around, (text, before, behind) => {
      compare(used, names, Buffer.from(text), before, behind)
      compare(new JsonProjection(names), names, Buffer.from(text), before, behind)
    })
    fc.assert(property, { numRuns: 4_000 })
  })

  test('of any JSON at all', () => {
    const property = fc.property(fc.oneof(fc.json(), valueArbitrary), around, around, (text, before, behind) =>
      compare(used, names, Buffer.from(text), before, behind),
    )
    fc.assert(property, { numRuns: 2_000 })
  })

  test('of damaged bytes: the same fields or the same error', () => {
    const property = fc.property(textArbitrary, damageArbitrary, around, around, (text, damage, before, behind) =>
      compare(used, names, Buffer.from(damaged(Buffer.from(text), damage)), before, behind),
    )
    fc.assert(property, { numRuns: 4_000 })
  })
})

test('records of any order and any names, by turns', () => {
  const projection = new JsonProjection(['a', 'b'])
  for (let i = 0; i < 20_000; i++) {
    const text =
      i % 3 === 0
        ? `{"a":${i},"b":-${i}}`
        : i % 3 === 1
          ? `{ "b" : -${i}, "c": 1, "a":${i} }`
          : `{"x${i}":0,"a":${i},"b":-${i}}`
    const bytes = Buffer.from(text)
    expect(projection.decode(bytes, 0, bytes.length)).toEqual({ a: i, b: -i })
  }
})

test('a text that begins inside an object is refused', () => {
  const projection = new JsonProjection(['b'])
  const bytes = Buffer.from('{"a":1,"b":7}')
  expect(projection.decode(bytes, 0, bytes.length)).toEqual({ b: 7 })
  for (let start = 1; start < bytes.length; start++)
    expect(() => projection.decode(bytes, start, bytes.length)).toThrow(SyntaxError)
})

test.each([
  [[], 'at least one'],
  [['a', 'a'], 'twice'],
  [['__proto__'], '__proto__'],
  [['\ud800'], 'cannot be called'],
  [['\ufffd'], 'cannot be called'],
])('names that cannot be read safely are refused: %j', (names, text) => {
  expect(() => json<Record<string, unknown>>().only(...(names as string[]))).toThrow(text)
})
