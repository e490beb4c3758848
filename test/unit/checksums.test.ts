/**
 * Goal: our checksum and our key hash are those of Kafka, on every platform. Method: known vectors, and the portable
 * CRC32C against the native one at every alignment, length and split.
 */
import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { crc32c, crc32cPortable, crcHex } from '../../src/base/crc32c.ts'
import { murmur2, partitionOf } from '../../src/base/murmur2.ts'

describe('CRC32C', () => {
  const vectors: readonly (readonly [string, Buffer, string])[] = [
    ['nothing', Buffer.alloc(0), '00000000'],
    ['the digits', Buffer.from('123456789'), 'e3069283'],
    ['32 zeros (RFC 3720)', Buffer.alloc(32), '8a9136aa'],
    ['32 ones (RFC 3720)', Buffer.alloc(32, 0xff), '62a8ab43'],
    ['32 rising bytes (RFC 3720)', Buffer.from(Array.from({ length: 32 }, (_, i) => i)), '46dd794e'],
  ]

  test.each(vectors)('of %s is the published one', (_, bytes, hex) => {
    expect(crcHex(crc32c(bytes))).toBe(hex)
    expect(crcHex(crc32cPortable(bytes))).toBe(hex)
  })

  test('the portable version equals the native one, at every alignment', () => {
    const property = fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(9), (bytes, start) => {
      const part = bytes.subarray(start)
      expect(crc32cPortable(part)).toBe(crc32c(part))
    })
    fc.assert(property, { numRuns: 1000 })
  })

  test('goes on from a previous result', () => {
    const property = fc.property(fc.uint8Array({ maxLength: 100 }), fc.nat(100), (bytes, at) => {
      const [head, tail] = [bytes.subarray(0, at), bytes.subarray(at)]
      expect(crc32c(tail, crc32c(head))).toBe(crc32c(bytes))
      expect(crc32cPortable(tail, crc32cPortable(head))).toBe(crc32c(bytes))
    })
    fc.assert(property)
  })
})

describe('murmur2', () => {
  test.each([
    ['21', -973932308],
    ['foobar', -790332482],
    ['a-little-bit-long-string', -985981536],
    ['a-little-bit-longer-string', -1486304829],
    ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
    ['abc', 479470107],
  ])("of '%s' is what Kafka's own test expects", (text, hash) => {
    const bytes = Buffer.from(text)
    expect(murmur2(bytes, 0, bytes.length)).toBe(hash)
  })

  test('a partition is always one that exists', () => {
    const property = fc.property(fc.uint8Array({ maxLength: 40 }), fc.integer({ min: 1, max: 5000 }), (key, count) => {
      const partition = partitionOf(key, 0, key.length, count)
      expect(Number.isInteger(partition) && partition >= 0 && partition < count).toBe(true)
    })
    fc.assert(property)
  })
})
