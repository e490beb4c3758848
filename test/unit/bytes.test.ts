/**
 * Goal: what ByteWriter and ProtocolWriter write, their readers read back, and a reader never leaves its bounds.
 * Method: round trips over the edges of every encoding and over random values; sizes against what was written.
 */
import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { ProtocolReader, ProtocolWriter } from '../../connectors/kafka/wire/primitives.ts'
import { ByteReader } from '../../src/base/byte-reader.ts'
import { ByteWriter, varintSize, varlongSize } from '../../src/base/byte-writer.ts'
import { codeOf } from '../support/hostile.ts'

/** Every power of two up to the limit, its neighbours, and their negatives. */
function edges(bits: number): number[] {
  const positive = Array.from({ length: bits + 1 }, (_, bit) => 2 ** bit).flatMap((each) => [each - 1, each, each + 1])
  const limit = 2 ** bits
  const both = [...positive, ...positive.map((each) => -each)]
  return [...new Set(both)].filter((each) => each < limit && each >= -limit && Number.isSafeInteger(each))
}

function written(write: (writer: ByteWriter) => void): ByteReader {
  const writer = new ByteWriter(1)
  write(writer)
  return new ByteReader(writer.copy())
}

test('bytes of every length from 0 to 600, of a buffer or an array, from any place to any other', () => {
  const source = Buffer.from(Array.from({ length: 700 }, (_, index) => (index * 37) % 253))
  for (const from of [source, new Uint8Array(source)]) {
    const writer = new ByteWriter(1)
    const lengths = Array.from({ length: 601 }, (_, length) => length)
    for (const length of lengths) writer.bytes(from, length % 97, (length % 97) + length)
    const expected = Buffer.concat(lengths.map((length) => source.subarray(length % 97, (length % 97) + length)))
    expect(writer.copy().equals(expected)).toBe(true)
  }
})

describe('varints', () => {
  test('of 32 bits, at every edge', () => {
    for (const value of edges(31)) {
      const reader = written((writer) => writer.varint(value))
      expect(reader.end).toBe(varintSize(value))
      expect(reader.varint()).toBe(value)
      expect(reader.remaining).toBe(0)
    }
  })

  test('of safe integers, at every edge, ±2^31 and ±(2^53 − 1) included', () => {
    for (const value of [...edges(53), Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER]) {
      const reader = written((writer) => writer.varlong(value))
      expect(reader.end).toBe(varlongSize(value))
      expect(reader.varlong()).toBe(value)
      expect(reader.remaining).toBe(0)
    }
  })

  test('unsigned, at every edge', () => {
    for (const value of [...edges(32).filter((each) => each >= 0), 2 ** 32 - 1]) {
      const reader = written((writer) => writer.uvarint(value))
      expect(reader.uvarint()).toBe(value)
      expect(reader.remaining).toBe(0)
    }
  })

  test('are those of Protocol Buffers: 300 is ac 02, −1 is 01, 2^31 takes five bytes', () => {
    expect(written((writer) => writer.uvarint(300)).buffer.toString('hex')).toBe('ac02')
    expect(written((writer) => writer.varint(-1)).buffer.toString('hex')).toBe('01')
    expect(written((writer) => writer.varlong(2 ** 31)).buffer.toString('hex')).toBe('8080808010')
  })

  test('any value', () => {
    fc.assert(
      fc.property(fc.maxSafeInteger(), fc.integer(), (long, short) => {
        const reader = written((writer) => {
          writer.varlong(long)
          writer.varint(short)
          writer.varlong(short)
        })
        expect([reader.varlong(), reader.varint(), reader.varlong()]).toEqual([long, short, short])
      }),
    )
  })

  test('that never end are refused', () => {
    const endless = Buffer.alloc(20, 0xff)
    expect(codeOf(() => new ByteReader(endless).uvarint())).toBe('BYTES_MALFORMED')
    expect(codeOf(() => new ByteReader(endless).varint())).toBe('BYTES_MALFORMED')
    expect(codeOf(() => new ByteReader(endless).varlong())).toBe('BYTES_MALFORMED')
    expect(codeOf(() => new ByteReader(endless.subarray(0, 3)).varlong())).toBe('BYTES_MALFORMED')
  })
})

describe('ByteWriter and ByteReader', () => {
  test('every fixed-size number', () => {
    const values = fc.record({
      int8: fc.nat(255),
      int16: fc.integer({ min: -(2 ** 15), max: 2 ** 15 - 1 }),
      int32: fc.integer(),
      uint32: fc.nat(2 ** 32 - 1),
      int64: fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n),
      f64: fc.double(),
    })
    const property = fc.property(values, ({ int8, int16, int32, uint32, int64, f64 }) => {
      const reader = written((writer) => {
        writer.uint8(int8)
        writer.int16(int16)
        writer.int32(int32)
        writer.uint32(uint32)
        writer.int64(int64)
        writer.f64(f64)
        writer.uint8(int8)
      })
      expect(reader.uint8()).toBe(int8)
      expect([reader.int16(), reader.int32(), reader.uint32()]).toEqual([int16, int32, uint32])
      expect(reader.int64()).toBe(int64)
      expect(reader.f64()).toBe(f64)
      expect(reader.int8()).toBe((int8 << 24) >> 24)
    })
    fc.assert(property)
  })

  test('bytes and text, whatever their kind, length and place in their source', () => {
    const property = fc.property(
      fc.uint8Array({ maxLength: 100 }),
      fc.string({ unit: 'grapheme', maxLength: 60 }),
      fc.nat(20),
      fc.boolean(),
      (array, text, start, asBuffer) => {
        const source = asBuffer ? Buffer.from(array) : array
        const from = Math.min(start, source.length)
        const reader = written((writer) => {
          writer.bytes(source, from)
          writer.lengthPrefixed(source)
          writer.utf8(text)
          writer.lengthPrefixedUtf8(text)
        })
        expect([...reader.bytes(source.length - from)]).toEqual([...array.subarray(from)])
        expect([...reader.lengthPrefixed()]).toEqual([...array])
        expect(reader.utf8(Buffer.byteLength(text))).toBe(text)
        expect(reader.lengthPrefixedUtf8()).toBe(text)
        expect(reader.remaining).toBe(0)
      },
    )
    fc.assert(property)
  })
})

describe('memory and bounds', () => {
  test('a copy survives the writer; a view and the reset memory are the writer’s', () => {
    const writer = new ByteWriter(8)
    writer.utf8('first')
    const copy = writer.copy()
    writer.reset()
    writer.utf8('other')
    expect(copy.toString()).toBe('first')
    expect(writer.view().toString()).toBe('other')
  })

  test('a reader of a part never sees what lies around it', () => {
    const buffer = Buffer.from('....text....')
    const reader = new ByteReader(buffer, 4, 8)
    expect(reader.utf8(4)).toBe('text')
    const reads: ((reader: ByteReader) => unknown)[] = [
      (each) => each.uint8(),
      (each) => each.int16(),
      (each) => each.int32(),
      (each) => each.uint32(),
      (each) => each.int64(),
      (each) => each.f64(),
      (each) => each.uvarint(),
      (each) => each.varlong(),
      (each) => each.bytes(1),
      (each) => each.bytes(-1),
      (each) => each.utf8(1),
      (each) => each.utf8(2 ** 32),
    ]
    for (const read of reads) expect(codeOf(() => read(reader))).toBe('BYTES_MALFORMED')
    expect(reader.bytes(0)).toHaveLength(0)
  })

  test('a count is believed only if the bytes could hold it', () => {
    const reader = new ByteReader(Buffer.alloc(10))
    expect(reader.count(5, 2)).toBe(5)
    expect(reader.count(0, 2)).toBe(0)
    for (const count of [6, -1, 2 ** 31, 2 ** 53]) expect(codeOf(() => reader.count(count, 2))).toBe('BYTES_MALFORMED')
  })
})

describe.each([true, false])('protocol primitives, flexible: %s', (flexible) => {
  const text = fc.string({ unit: 'grapheme', maxLength: 40 })
  const values = fc.record({
    string: text,
    nullable: fc.option(text),
    bytes: fc.option(fc.uint8Array({ maxLength: 200 })),
    array: fc.array(text, { maxLength: 10 }),
    boolean: fc.boolean(),
  })

  test('are read back, null and empty told apart', () => {
    const property = fc.property(values, ({ string, nullable, bytes, array, boolean }) => {
      const writer = new ProtocolWriter(1)
      writer.flexible = flexible
      writer.string(string)
      writer.nullableString(nullable)
      writer.data(bytes)
      writer.array(array, (each) => writer.string(each))
      writer.boolean(boolean)
      writer.tags()
      const reader = new ProtocolReader(writer.copy())
      reader.flexible = flexible
      expect(reader.string()).toBe(string)
      expect(reader.nullableString()).toBe(nullable)
      const data = reader.data()
      expect(data === null ? null : [...data]).toEqual(bytes === null ? null : [...bytes])
      expect(reader.array(() => reader.string())).toEqual(array)
      expect(reader.boolean()).toBe(boolean)
      reader.tags()
      expect(reader.remaining).toBe(0)
    })
    fc.assert(property)
  })

  test('a null array is an empty one to the reader', () => {
    const writer = new ProtocolWriter(1)
    writer.flexible = flexible
    writer.array(null, () => {})
    const reader = new ProtocolReader(writer.copy())
    reader.flexible = flexible
    expect(reader.array(() => reader.string())).toEqual([])
    expect(reader.remaining).toBe(0)
  })
})

test('tagged fields: the known ones are shown, the others are skipped, and none reads beyond its own bytes', () => {
  const writer = new ProtocolWriter(1)
  writer.flexible = true
  writer.uvarint(3)
  for (const [tag, body] of [
    [0, [0, 0, 0, 9]],
    [7, [1, 2, 3]],
    [8, [0, 0]],
  ] as const) {
    writer.uvarint(tag)
    writer.lengthPrefixed(Uint8Array.from(body))
  }
  writer.uint8(42)
  const reader = new ProtocolReader(writer.copy())
  reader.flexible = true
  const seen: number[] = []
  reader.tags((tag, inner) => {
    if (tag === 0) seen.push(inner.int32())
    if (tag === 8) expect(codeOf(() => inner.int32())).toBe('BYTES_MALFORMED')
  })
  expect(seen).toEqual([9])
  expect(reader.uint8()).toBe(42)
})
