/**
 * Goal: an object of serdes comes back as it was, other bytes than it wrote are refused, and every mistake names the field.
 * Method: round trips of random objects; cut and lengthened bytes.
 */
import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { ByteWriter } from '../../src/base/byte-writer.ts'
import { boolean, bytes, f64, int32, int64, json, nullable, object, type Serde, utf8 } from '../../src/index.ts'

const bid = object({
  auction: utf8,
  price: f64,
  count: int32,
  id: int64,
  open: boolean,
  note: nullable(utf8),
  rest: json<unknown>(),
})

function written<T>(serde: Serde<T>, value: T): Buffer {
  const out = new ByteWriter(8)
  serde.encode(value, out)
  return out.copy()
}

const arbitrary = fc.record({
  auction: fc.string({ unit: 'grapheme' }).map((text) => text.toWellFormed()),
  price: fc.double(),
  count: fc.integer(),
  id: fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n),
  open: fc.boolean(),
  note: fc.oneof(fc.constant(null), fc.string({ unit: 'grapheme', maxLength: 400 })),
  rest: fc.jsonValue().map((each) => JSON.parse(JSON.stringify(each)) as unknown),
})

describe('an object of serdes', () => {
  test('comes back as it was, among other bytes', () => {
    fc.assert(
      fc.property(arbitrary, (value) => {
        const encoded = written(bid, value)
        const around = Buffer.concat([Buffer.from('<<'), encoded, Buffer.from('>>')])
        expect(bid.decode(around, 2, 2 + encoded.length)).toEqual(value)
      }),
    )
  })

  test('keeps fields of any length, objects in objects too', () => {
    const nested = object({ inner: object({ text: utf8 }), after: int32 })
    for (const length of [0, 126, 127, 128, 16_383, 16_384, 3_000_000]) {
      const value = { inner: { text: 'x'.repeat(length) }, after: 7 }
      const encoded = written(nested, value)
      expect(nested.decode(encoded, 0, encoded.length)).toEqual(value)
    }
  })

  test('refuses bytes that end early or go on, and names the field', () => {
    const encoded = written(object({ a: utf8, b: f64 }), { a: 'text', b: 1 })
    const two = object({ a: utf8, b: f64 })
    for (let end = 0; end < encoded.length; end++) expect(() => two.decode(encoded, 0, end)).toThrow(/field '[ab]'/)
    expect(() => object({ a: utf8 }).decode(encoded, 0, encoded.length)).toThrow('9 bytes behind the last field')
    const empty = Buffer.from([0, 0])
    expect(() => object({ a: nullable(utf8), b: utf8 }).decode(empty, 0, 2)).toThrow('not even for null')
    const endless = Buffer.alloc(10, 0xff)
    expect(() => two.decode(endless, 0, endless.length)).toThrow("field 'a' leaves the object's 10 bytes")
  })

  test('names the field that cannot be written', () => {
    expect(() => written(bid, { auction: 'a', price: '1' } as never)).toThrow("field 'price': f64: a number expected")
  })

  test('is another format with other names, serdes or order, and copies only if all fields do', () => {
    const ids = [
      object({ a: utf8, b: f64 }),
      object({ b: f64, a: utf8 }),
      object({ a: utf8 }),
      object({ a: f64, b: f64 }),
    ]
    expect(new Set(ids.map(({ id }) => id)).size).toBe(ids.length)
    expect(object({ a: utf8, b: bytes }).copies).toBe(false)
    expect(bid.copies).toBe(true)
  })

  test('needs a field, and none called __proto__', () => {
    expect(() => object({})).toThrow('at least one field')
    expect(() => object(JSON.parse('{"__proto__":1}') as never)).toThrow('cannot be called "__proto__"')
  })
})
