/**
 * Goal: an object of serdes comes back as it was, other bytes than it wrote are refused, and every mistake names the field.
 * Method: round trips of random objects; cut and lengthened bytes.
 */
import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { ByteWriter } from '../../src/base/byte-writer.ts'
import { boolean, bytes, f64, int32, int64, json, nullable, object, type Serde, tuple, utf8 } from '../../src/index.ts'

const bidFields = {
  auction: utf8,
  price: f64,
  count: int32,
  id: int64,
  open: boolean,
  note: nullable(utf8),
  rest: json<unknown>(),
}
const bid = object(bidFields)

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
    expect(() => two.decode(endless, 0, endless.length)).toThrow("field 'a' leaves the 10 bytes that there are")
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
    const mine = { ...utf8, appends: false }
    expect([object({ a: utf8, b: bytes }).appends, object({ a: utf8, b: mine }).appends]).toEqual([true, false])
  })

  test('needs a field, and none called __proto__', () => {
    expect(() => object({})).toThrow('at least one field')
    expect(() => object(JSON.parse('{"__proto__":1}') as never)).toThrow('cannot be called "__proto__"')
  })
})

describe('code made for an object of serdes', () => {
  test('has fields of any name, in the order that an object gives them', () => {
    const names = ['2', '1', "it's", 'a "b" \\c', 'x\u2028y\n', '$' + '{a}', '*/', 'constructor', 'toString', 'é', '']
    const odd = object(Object.fromEntries(names.map((name) => [name, int32])))
    const value = Object.fromEntries(names.map((name, i) => [name, i]))
    const encoded = written(odd, value)
    const back = odd.decode(encoded, 0, encoded.length)
    expect(back).toEqual(value)
    expect(Object.keys(back)).toEqual(Object.keys(value))
  })

  test('does without code made from texts where Node forbids it', () => {
    const value = { auction: 'a', price: 1.5, count: 1, id: 2n, open: true, note: null, rest: [1] }
    const encoded = written(bid, value)
    const { Function: made } = globalThis
    const forbidden = class {
      constructor() {
        throw new EvalError('Code generation from strings disallowed for this context')
      }
    }
    Object.assign(globalThis, { Function: forbidden })
    try {
      const plain = object(bidFields)
      expect(plain.decode(encoded, 0, encoded.length)).toEqual(value)
    } finally {
      Object.assign(globalThis, { Function: made })
    }
  })
})

describe('a tuple of serdes', () => {
  const serde = tuple(utf8, nullable(f64), object({ x: int32 }), tuple(boolean))

  test('comes back as an array, item by item, among other bytes', () => {
    const items = fc.tuple(
      arbitrary.map(({ auction }) => auction),
      fc.option(fc.double()),
      fc.record({ x: fc.integer() }),
      fc.tuple(fc.boolean()),
    )
    fc.assert(
      fc.property(items, (value) => {
        const encoded = written(serde, value)
        const around = Buffer.concat([Buffer.from('<<'), encoded, Buffer.from('>>')])
        expect(serde.decode(around, 2, 2 + encoded.length)).toEqual(value)
      }),
    )
  })

  test('is written whole or not at all, and names the item that cannot be written', () => {
    const pair = tuple(utf8, f64)
    expect(() => written(pair, ['a'] as never)).toThrow('an array of 2 items expected')
    expect(() => written(pair, ['a', 1, 2] as never)).toThrow('an array of 2 items expected')
    expect(() => written(pair, { 0: 'a', 1: 1, length: 2 } as never)).toThrow('an array of 2 items expected')
    expect(() => written(pair, ['a', '1'] as never)).toThrow("item '1': f64: a number expected")
  })

  test('refuses bytes that end early or go on, and names the item', () => {
    const pair = tuple(utf8, f64)
    const encoded = written(pair, ['text', 1])
    for (let end = 0; end < encoded.length; end++) expect(() => pair.decode(encoded, 0, end)).toThrow(/item '[01]'/)
    expect(() => tuple(utf8).decode(encoded, 0, encoded.length)).toThrow('9 bytes behind the last item')
  })

  test('is another format with other items or another order, and needs one', () => {
    const ids = [tuple(utf8, f64), tuple(f64, utf8), tuple(utf8), tuple(tuple(utf8), f64)].map(({ id }) => id)
    expect(new Set(ids).size).toBe(ids.length)
    expect([tuple(utf8, bytes).copies, tuple(utf8, f64).copies]).toEqual([false, true])
    expect(() => tuple()).toThrow('at least one item')
  })
})
