/** Goal: numbers on disk come back to the bit, and stand there in ASCII. Method: any words and doubles, side by side. */
import { expect, test } from '@jest/globals'
import fc from 'fast-check'
import { DOUBLE_CHARS, doubleAt, WORD_CHARS, wordAt, writeDouble, writeWord } from '../../src/state/leveldb/ascii.ts'

const bytes = Buffer.alloc(2 * WORD_CHARS + 2 * DOUBLE_CHARS)

test('words and doubles come back as they were, and every byte of them is ASCII', () => {
  const property = fc.property(fc.integer(), fc.integer(), fc.double(), fc.double(), (a, b, x, y) => {
    writeWord(bytes, 0, a)
    writeWord(bytes, WORD_CHARS, b >>> 0)
    writeDouble(bytes, 2 * WORD_CHARS, x)
    writeDouble(bytes, 2 * WORD_CHARS + DOUBLE_CHARS, y)
    expect([wordAt(bytes, 0), wordAt(bytes, WORD_CHARS)]).toEqual([a, b])
    expect(doubleAt(bytes, 2 * WORD_CHARS)).toBe(x)
    expect(doubleAt(bytes, 2 * WORD_CHARS + DOUBLE_CHARS)).toBe(y)
    expect(bytes.every((byte) => byte < 128)).toBe(true)
  })
  fc.assert(property, {
    numRuns: 2_000,
    examples: [
      [-1, 0x7fffffff, -0, Number.NaN],
      [-0x80000000, 0, Number.NEGATIVE_INFINITY, Number.MIN_VALUE],
    ],
  })
})
