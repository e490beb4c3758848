/**
 * Goal: what a serde writes it reads back, it refuses what it cannot write, and equal keys have equal bytes, whatever their
 * type. Method: round trips of random values; the values at the edges by name.
 */
import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { ByteWriter } from '../../src/base/byte-writer.ts'
import { boolean, bytes, f64, int32, int64, json, nullable, type Serde, utf8, uuid } from '../../src/index.ts'
import { anyKey, decodeState, encodeState, jsonFieldsOf, type Key } from '../../src/state/serde.ts'

function written<T>(serde: Serde<T>, value: T): Buffer {
  const out = new ByteWriter(8)
  serde.encode(value, out)
  return out.copy()
}

function roundTrip<T>(serde: Serde<T>, value: T): T {
  const encoded = written(serde, value)
  // Serdes read ranges: with other bytes around them.
  const around = Buffer.concat([Buffer.from('<<'), encoded, Buffer.from('>>')])
  return serde.decode(around, 2, 2 + encoded.length)
}

describe('round trips', () => {
  const text = fc.string({ unit: 'grapheme' })
  const cases: readonly (readonly [string, Serde<never>, fc.Arbitrary<unknown>])[] = [
    ['utf8', utf8 as Serde<never>, text],
    [
      'short utf8',
      utf8 as Serde<never>,
      fc.string({ unit: 'binary', maxLength: 9 }).map((each) => each.toWellFormed()),
    ],
    ['bytes', bytes as Serde<never>, fc.uint8Array().map((each) => Buffer.from(each))],
    ['f64', f64 as Serde<never>, fc.double()],
    ['int32', int32 as Serde<never>, fc.integer()],
    ['int64', int64 as Serde<never>, fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n)],
    ['boolean', boolean as Serde<never>, fc.boolean()],
    ['uuid', uuid as Serde<never>, fc.uuid()],
    ['json', json() as Serde<never>, fc.jsonValue().map((each) => JSON.parse(JSON.stringify(each)) as unknown)],
    ['nullable', nullable(f64) as Serde<never>, fc.double()],
    [
      'key',
      anyKey as Serde<never>,
      fc.oneof(
        text,
        fc.double({ noNaN: true }).map((each) => each + 0),
        fc.bigInt(),
        fc.boolean(),
      ),
    ],
  ]
  test.each(cases)('%s', (_, serde, values) => {
    fc.assert(fc.property(values, (value) => expect(roundTrip(serde as Serde<unknown>, value)).toEqual(value)))
  })

  test('state keeps null apart from everything else', () => {
    for (const serde of [nullable(utf8), nullable(json<string>()), nullable(bytes)] as Serde<unknown>[]) {
      const copy = (value: unknown): unknown => {
        const out = new ByteWriter(8)
        encodeState(serde, value, out)
        return decodeState(serde, out.copy())
      }
      expect(copy(null)).toBeNull()
      expect(copy(serde.id.includes('bytes') ? Buffer.alloc(0) : '')).toHaveLength(0)
    }
  })
})

describe('refusals', () => {
  test.each([
    ['utf8', utf8, 5],
    ['f64', f64, '5'],
    ['int32', int32, 2 ** 31],
    ['int32', int32, 0.5],
    ['int32', int32, Number.NaN],
    ['int64', int64, 2n ** 63n],
    ['int64', int64, 5],
    ['uuid', uuid, '6BA7B810-9DAD-11D1-80B4-00C04FD430C8'],
    ['uuid', uuid, '6ba7b8109dad11d180b400c04fd430c8'],
    ['uuid', uuid, '6ba7b810-9dad-11d1-80b4-00c04fd430c8 '],
    ['uuid', uuid, null],
    ['json', json(), undefined],
    ['json', json(), () => 5],
    ['json', json(), 5n],
  ] as [string, Serde<unknown>, unknown][])('%s does not write %s %p', (_, serde, value) => {
    expect(() => written(serde, value)).toThrow()
  })

  test.each([
    ['f64', f64, 7],
    ['int32', int32, 5],
    ['int64', int64, 0],
    ['boolean', boolean, 2],
    ['uuid', uuid, 15],
    ['key', anyKey, 0],
  ] as [string, Serde<unknown>, number][])('%s does not read %s bytes of another number', (_, serde, length) => {
    expect(() => serde.decode(Buffer.alloc(length), 0, length)).toThrow()
  })
})

describe('keys', () => {
  const bytesOf = (key: unknown): string => written(anyKey, key as Key).toString('hex')

  test('equal keys have equal bytes, −0 is 0', () => {
    expect(bytesOf(-0)).toBe(bytesOf(0))
    expect(bytesOf(1)).toBe(bytesOf(1.0))
  })

  test('keys of different types differ, also where they print alike', () => {
    const keys = ['1', 1, 1n, true, 'true', '', 0, false, 0n]
    expect(new Set(keys.map(bytesOf)).size).toBe(keys.length)
  })

  test.each([
    [Number.NaN, 'NaN'],
    [null, 'null'],
    [undefined, 'undefined'],
    [{}, 'object'],
    [Symbol('s'), 'symbol'],
  ])('%p is no key', (key, named) => {
    expect(() => bytesOf(key)).toThrow(
      expect.objectContaining({ code: 'KEY_INVALID', message: expect.stringContaining(named) }),
    )
  })
})

test('only serdes of ours that read JSON objects as they are say which fields they read', () => {
  const schema = json({
    '~standard': { version: 1, vendor: 'test', validate: (value: unknown) => ({ value }) },
  } as const)
  const few = json<{ a: number; b: number }>().only('b', 'a')
  const cases: [Serde<unknown>, readonly string[] | null | undefined][] = [
    [json(), null],
    [nullable(json()), null],
    [few as Serde<unknown>, ['b', 'a']],
    [nullable(few) as Serde<unknown>, ['b', 'a']],
    [schema as Serde<unknown>, undefined],
    [nullable(schema) as Serde<unknown>, undefined],
    [{ ...json() }, undefined],
    [utf8 as Serde<unknown>, undefined],
  ]
  for (const [serde, fields] of cases) expect(jsonFieldsOf(serde)).toEqual(fields)
})
