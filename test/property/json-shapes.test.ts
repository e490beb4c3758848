/**
 * Goal: objects read by their shape are what JSON.parse makes of their texts, whatever other texts a source has had. Method: windows of
 * random texts, of a few shapes and of none, damaged or not, one set of shapes for all of them; JSON.parse of each text is the judge.
 */
import { expect, test } from '@jest/globals'
import fc from 'fast-check'
import { JsonShapes } from '../../src/state/json-shapes.ts'
import { damageArbitrary, damaged } from '../support/hostile.ts'
import {
  nameArbitrary,
  neighbours,
  readTogether,
  textArbitrary,
  unread,
  valueArbitrary,
} from '../support/json-texts.ts'

const blanks = fc.constantFrom('', '', ' ', '\n\t')

/** The text around each value: a shape. */
const shapeArbitrary: fc.Arbitrary<string[]> = fc
  .tuple(fc.uniqueArray(nameArbitrary, { minLength: 1, maxLength: 6 }), blanks, blanks)
  .map(([names, one, two]) => [
    ...names.map((name, index) => `${index === 0 ? `${one}{` : `${two},${one}`}${name}${two}:${one}`),
    `${one}}${two}`,
  ])

/** No name that is `__proto__`, however it is spelled, and none twice: such shapes are not learned. */
const isLearned = (parts: readonly string[]): boolean => {
  const text = parts.join('1')
  const whole = JSON.parse(text) as object
  return !Object.hasOwn(whole, '__proto__') && Object.keys(whole).length === parts.length - 1
}
const known = [
  ...fc.sample(shapeArbitrary.filter(isLearned), { numRuns: 3, seed: 1 }),
  ['{"a":{"b":', ',"nested":{"d":', '}},"price":', ',"nested":{"a":{"7":', ',"a":', '}}}'],
]

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

const ofShape = (parts: readonly string[], value: fc.Arbitrary<string>): fc.Arbitrary<Buffer> =>
  fc
    .array(value, { minLength: parts.length - 1, maxLength: parts.length - 1 })
    .map((values) => Buffer.from(parts.map((part, index) => `${part}${values[index] ?? ''}`).join('')))
const ofAnyShape = (value: fc.Arbitrary<string>): fc.Arbitrary<Buffer> =>
  fc.oneof(...known.map((parts) => ofShape(parts, value)))

const valid = valueArbitrary.filter(isJson)
const anyText: fc.Arbitrary<Buffer> = fc.oneof(
  { arbitrary: ofAnyShape(valid), weight: 30 },
  { arbitrary: ofAnyShape(valueArbitrary), weight: 2 },
  { arbitrary: textArbitrary.map((text) => Buffer.from(text)), weight: 1 },
  {
    arbitrary: fc.tuple(ofAnyShape(valid), damageArbitrary).map(([text, damage]) => Buffer.from(damaged(text, damage))),
    weight: 3,
  },
)

/** As JSON text, so that the order of names counts, and minus zero told apart. */
function described(value: unknown): string {
  return JSON.stringify(value, (_, each: unknown) =>
    Object.is(each, -0) ? '-0' : each === Number.POSITIVE_INFINITY ? '1e999' : each,
  )
}

/** What is wanted of it. */
function picked(whole: object, only: readonly string[] | null): unknown {
  if (only === null) return whole
  return Object.fromEntries(only.map((name) => [name, Object.hasOwn(whole, name) ? whole[name as never] : undefined]))
}

test.each([
  ['', null],
  ['with a few fields only ', ['price', 'a', 'nested']],
])('objects of known shapes %sare what JSON.parse makes of them, and nothing else is taken for one', (_, only) => {
  let readByShape = 0
  const shapes = new JsonShapes(only, unread)
  for (const parts of known) {
    const text = parts.join('1')
    for (let i = 0; !readTogether(shapes, Array<string>(64).fill(text)); i++) expect(i).toBeLessThan(1_000)
  }
  const window = fc.tuple(fc.array(anyText, { minLength: 1, maxLength: 12 }), fc.constantFrom(...neighbours))
  fc.assert(
    fc.property(window, ([texts, between]) => {
      const values = readTogether(shapes, texts, between)
      for (const [index, value] of (values ?? []).entries()) {
        if (value === unread) continue
        readByShape++
        const expected = picked(JSON.parse((texts[index] as Buffer).toString()), only)
        expect(described(value)).toBe(described(expected))
        expect(value).toEqual(expected)
        expect(Object.keys(value as object)).toEqual(Object.keys(expected as object))
      }
    }),
    { numRuns: 6_000 },
  )
  expect(readByShape).toBeGreaterThan(10_000)
})
