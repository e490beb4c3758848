// Goal: bytes of ordered numbers sort as the numbers do, and come back as what they were. Method: random pairs, and the ends of each range.
import { expect, test } from '@jest/globals'
import fc from 'fast-check'
import { ByteWriter } from '../../src/base/byte-writer.ts'
import { ordered, type Serde } from '../../src/index.ts'

function written<T>(serde: Serde<T>, value: T): Buffer {
  const out = new ByteWriter(8)
  serde.encode(value, out)
  return out.copy()
}

function holds<T extends number | bigint>(serde: Serde<T>, values: fc.Arbitrary<T>): void {
  const property = fc.property(values, values, (a, b) => {
    const [first, second] = [written(serde, a), written(serde, b)]
    expect(Math.sign(first.compare(second))).toBe(a < b ? -1 : a > b ? 1 : 0)
    expect(serde.decode(first, 0, first.length) === a).toBe(true)
  })
  fc.assert(property, { numRuns: 3_000 })
}

test('32-bit integers', () =>
  holds(ordered.int32, fc.oneof(fc.integer(), fc.constantFrom(-(2 ** 31), 2 ** 31 - 1, 0, -1, 1))))

test('64-bit integers', () => {
  const wide = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })
  holds(ordered.int64, fc.oneof(wide, fc.constantFrom(-(2n ** 63n), 2n ** 63n - 1n, 0n, -1n, 1n)))
})

test('floats, infinities and the smallest ones, too', () => {
  const ends = fc.constantFrom(0, -0, Infinity, -Infinity, 5e-324, -5e-324, Number.MAX_VALUE, -Number.MAX_VALUE)
  holds(ordered.f64, fc.oneof(fc.double({ noNaN: true }), ends))
})

test('what is no such number is refused', () => {
  expect(() => written(ordered.f64, Number.NaN)).toThrow('ordered.f64: NaN has no place in an order')
  expect(() => written(ordered.int32, 0.5)).toThrow('ordered.int32: 0.5 is not a 32-bit integer')
  expect(() => written(ordered.int64, 2n ** 63n)).toThrow(`ordered.int64: ${2n ** 63n} is out of range`)
  expect(() => ordered.f64.decode(Buffer.alloc(7), 0, 7)).toThrow('ordered.f64: 8 bytes expected, 7 found')
})
