/**
 * Goal: whatever bytes come from a log, the codec returns or throws a coded error, in bounded time and memory; a batch
 * that a response cut off is left out and nothing else. Method: real batches are cut at every byte and damaged at random,
 * outside and inside the compression, with the checksum made right again; lengths and counts are forged one by one.
 */
import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { type Compression, compress, prebuilt } from '../../connectors/kafka/wire/compression.ts'
import {
  BATCH_HEADER_BYTES,
  type BatchHeader,
  controlType,
  decodeBatch,
  endOfBatches,
  readBatches,
} from '../../connectors/kafka/wire/record-batch.ts'
import { ByteWriter } from '../../src/base/byte-writer.ts'
import { MillraceError } from '../../src/base/errors.ts'
import { STRIDE } from '../../src/dataflow/batch.ts'
import {
  buildBatch,
  compressions,
  encodeHeaders,
  type Forgery,
  forgeBatch,
  manyRecords,
  plainRecords,
  readable,
  recordArbitrary,
  reseal,
  sealArbitrary,
} from '../support/batches.ts'
import { codedOrValue, codeOf, damageArbitrary, damaged } from '../support/hostile.ts'

const smallBatchArbitrary = fc
  .tuple(fc.array(recordArbitrary, { minLength: 1, maxLength: 6 }), sealArbitrary)
  .map(([records, seal]) => ({ records, seal, bytes: buildBatch(records, seal) }))
  .filter(({ bytes }) => bytes.length < 1500)

/** Reads everything that a reader would read of a response, and holds the result to what every batch promises. */
function readAll(buffer: Buffer): void {
  codedOrValue(() => endOfBatches(buffer, 'topic-0'))
  for (const header of readBatches(buffer, 'topic-0')) {
    codedOrValue(() => {
      const batch = decodeBatch(buffer, header, 'topic', 0)
      expect(batch.fields).toHaveLength(batch.count * STRIDE)
      for (const [index, record] of plainRecords(batch).entries()) {
        expect(batch.offsetOf(index)).toBeGreaterThanOrEqual(header.baseOffset)
        expect(Number.isFinite(record.timestamp)).toBe(true)
        expect(batch.fields[index * STRIDE + 6]).toBeLessThanOrEqual(batch.bytes.length)
      }
    })
    codedOrValue(() => controlType(buffer, header))
  }
}

function decodeOnly(bytes: Buffer): readonly unknown[] {
  const [header] = [...readBatches(bytes, 'topic-0')] as [BatchHeader]
  return readable(plainRecords(decodeBatch(bytes, header, 'topic', 0)))
}

describe('a response that ends inside a batch', () => {
  test('gives the whole batches and leaves the cut one out, at every byte', () => {
    const property = fc.property(fc.array(smallBatchArbitrary, { minLength: 1, maxLength: 3 }), (batches) => {
      let offset = 0n
      for (const { bytes, records } of batches) {
        bytes.writeBigInt64BE(offset, 0)
        offset += BigInt(records.length)
      }
      const whole = Buffer.concat(batches.map((each) => each.bytes))
      let end = 0
      const ends = batches.map((each) => (end += each.bytes.length))
      for (let cut = 0; cut <= whole.length; cut++) {
        const headers = [...readBatches(whole.subarray(0, cut), 'topic-0')]
        expect(headers.map((header) => header.end)).toEqual(ends.filter((each) => each <= cut))
        const last = headers.at(-1)
        const end = last && { nextOffset: last.lastOffset + 1n, leaderEpoch: last.leaderEpoch }
        expect(endOfBatches(whole.subarray(0, cut), 'topic-0')).toEqual(end)
      }
      const decoded = [...readBatches(whole, 'topic-0')].map((header) => decodeBatch(whole, header, 'topic', 0))
      expect(decoded.map((batch) => readable(plainRecords(batch)))).toEqual(batches.map((b) => readable(b.records)))
    })
    fc.assert(property, { numRuns: 40 })
  })

  test.each(compressions)(
    'a batch with %s whose body is cut, checksum right again, is refused at every byte',
    (codec) => {
      const records = manyRecords(12)
      const whole = buildBatch(records, { ...seal, compression: codec })
      for (let cut = BATCH_HEADER_BYTES; cut < whole.length; cut++) {
        const bytes = reseal(Buffer.from(whole.subarray(0, cut)))
        const outcome = codedOrValue(() => decodeOnly(bytes))
        // A codec's own trailer (zstd's checksum, lz4's end mark) may be missing: then the records must be complete.
        if (outcome instanceof MillraceError) expect(outcome.code).toBe('BATCH_CORRUPT')
        else expect(outcome).toEqual(readable(records))
      }
    },
  )
})

const seal = { producerId: 1n, epoch: 0, baseSequence: 0, transactional: true } as const

describe('hostile bytes', () => {
  test('damage anywhere in a response ends in a coded error or a value', () => {
    const property = fc.property(
      fc.array(smallBatchArbitrary, { minLength: 1, maxLength: 3 }),
      damageArbitrary,
      (batches, damage) => {
        const bytes = damaged(Buffer.concat(batches.map((each) => each.bytes)), damage)
        codedOrValue(() => readAll(bytes))
      },
    )
    fc.assert(property, { numRuns: 2000 })
  })

  test('a changed bit behind the checksum is always noticed', () => {
    const property = fc.property(smallBatchArbitrary, fc.nat(), fc.nat(7), ({ bytes }, where, bit) => {
      const at = 17 + (where % (bytes.length - 17))
      bytes[at] = (bytes[at] ?? 0) ^ (1 << bit)
      expect(codeOf(() => [...readBatches(bytes, 'topic-0')])).toBe('BATCH_CORRUPT')
    })
    fc.assert(property, { numRuns: 1000 })
  })

  test('damage behind a right checksum: header and packed body', () => {
    const property = fc.property(smallBatchArbitrary, damageArbitrary, ({ bytes }, damage) => {
      const tail = damaged(bytes.subarray(21), damage)
      const forged = Buffer.concat([bytes.subarray(0, 21), tail])
      codedOrValue(() => readAll(reseal(forged)))
    })
    fc.assert(property, { numRuns: 4000 })
  })

  test.each(compressions)('damage to the records themselves, packed with %s behind a right checksum', (compression) => {
    const property = fc.property(smallBatchArbitrary, damageArbitrary, fc.integer({ min: -2, max: 2 }), (...drawn) => {
      const [{ records }, damage, miscount] = drawn
      const plain = buildBatch(records, { ...seal, compression: 'none' }).subarray(BATCH_HEADER_BYTES)
      const body = damaged(plain, damage)
      codedOrValue(() => readAll(forgeBatch({ body, compression, count: records.length + miscount })))
    })
    fc.assert(property, { numRuns: 1500 })
  })

  test.each(compressions)('random bytes as records, and as what the codec %s unpacks', (compression) => {
    const property = fc.property(
      fc.uint8Array({ maxLength: 300 }),
      fc.nat(40),
      fc.boolean(),
      (bytes, count, packed) => {
        codedOrValue(() => readAll(forgeBatch({ body: Buffer.from(bytes), count, compression, packed })))
      },
    )
    fc.assert(property, { numRuns: 1500 })
  })

  test('a codec that has no build for this machine is named', () => {
    expect(prebuilt('no-such-codec')).toThrow(/'no-such-codec' cannot be loaded here/)
  })

  test('an unknown codec is named', () => {
    const bytes = forgeBatch({ body: Buffer.alloc(7), count: 1, attributes: 5 })
    expect(codeOf(() => [...readBatches(bytes, 'topic-0')])).toBe('CODEC_UNKNOWN')
  })

  test('formats 0 and 1 are refused, not misread', () => {
    for (const magic of [0, 1, 3, 255]) {
      const bytes = forgeBatch({ body: Buffer.alloc(7), count: 1 })
      bytes[16] = magic
      expect(codeOf(() => [...readBatches(bytes, 'topic-0')])).toBe('BATCH_CORRUPT')
    }
  })
})

interface RecordForgery {
  readonly length?: number
  readonly offsetDelta?: number
  readonly keyLength?: number
  readonly valueLength?: number
  readonly headerCount?: number
  readonly headers?: (writer: ByteWriter) => void
}

/** One record with the fields as they are claimed; key and value are four bytes. */
function forgeRecord(forgery: RecordForgery): Buffer {
  const inner = new ByteWriter(64)
  inner.uint8(0)
  inner.varlong(0)
  inner.varint(forgery.offsetDelta ?? 0)
  inner.varint(forgery.keyLength ?? 4)
  inner.bytes(Buffer.from('keys'))
  inner.varint(forgery.valueLength ?? 4)
  inner.bytes(Buffer.from('data'))
  inner.varint(forgery.headerCount ?? 0)
  forgery.headers?.(inner)
  const outer = new ByteWriter(64)
  outer.varint(forgery.length ?? inner.position)
  outer.bytes(inner.view())
  return outer.copy()
}

const lies = [-2, -(2 ** 31), 5, 8, 1000, 2 ** 30, 2 ** 31 - 1]

describe('forged lengths and counts', () => {
  const refused = (forgery: Forgery): void => {
    for (const compression of compressions) {
      const bytes = forgeBatch({ ...forgery, compression })
      expect(codeOf(() => decodeOnly(bytes))).toBe('BATCH_CORRUPT')
    }
  }

  test('the honest record is read', () => {
    expect(decodeOnly(forgeBatch({ body: forgeRecord({}), count: 1 }))).toHaveLength(1)
  })

  test.each(lies)('a record, key, value or header that claims %d bytes is refused', (lie) => {
    refused({ body: forgeRecord({ length: lie }), count: 1 })
    refused({ body: forgeRecord({ keyLength: lie }), count: 1 })
    refused({ body: forgeRecord({ valueLength: lie }), count: 1 })
    refused({ body: forgeRecord({ headerCount: lie }), count: 1 })
    refused({ body: forgeRecord({ headerCount: 1, headers: (writer) => writer.varint(lie) }), count: 1 })
    const named = (writer: ByteWriter): void => {
      writer.varint(0)
      writer.varint(lie)
    }
    refused({ body: forgeRecord({ headerCount: 1, headers: named }), count: 1 })
  })

  test('a header with null as its name is refused; null as its value is not', () => {
    const header = (name: number, value: number) => (writer: ByteWriter) => {
      writer.varint(name)
      writer.varint(value)
    }
    refused({ body: forgeRecord({ headerCount: 1, headers: header(-1, 0) }), count: 1 })
    const fine = forgeBatch({ body: forgeRecord({ headerCount: 1, headers: header(0, -1) }), count: 1 })
    expect(decodeOnly(fine)).toMatchObject([{ headers: [['', null]] }])
  })

  test.each([2, 3, 1000, 2 ** 20, 2 ** 31 - 1])('a batch of one record that claims %d is refused', (count) => {
    refused({ body: forgeRecord({}), count, lastOffsetDelta: count - 1 })
  })

  test('fewer records than the bytes hold, and a negative count, are refused', () => {
    refused({ body: Buffer.concat([forgeRecord({}), forgeRecord({ offsetDelta: 1 })]), count: 1, lastOffsetDelta: 1 })
    for (const count of [-1, -(2 ** 31)]) refused({ body: forgeRecord({}), count, lastOffsetDelta: 0 })
  })

  test('record offsets outside of what the batch claims are refused: they would be read twice or never (I10)', () => {
    refused({ body: forgeRecord({ offsetDelta: -1 }), count: 1 })
    refused({ body: forgeRecord({ offsetDelta: 1 }), count: 1, lastOffsetDelta: 0 })
    const second = Buffer.concat([forgeRecord({ offsetDelta: 0 }), forgeRecord({ offsetDelta: 9 })])
    refused({ body: second, count: 2, lastOffsetDelta: 8 })
  })

  test('a negative base offset is refused: the checksum does not cover it', () => {
    refused({ body: forgeRecord({}), count: 1, baseOffset: -5n })
  })

  test('a header count that only the bytes of the next batch could hold stays inside its record', () => {
    const first = forgeBatch({ body: forgeRecord({ headerCount: 20 }), count: 1 })
    const second = buildBatch(manyRecords(50), { ...seal, compression: 'none' })
    const bytes = Buffer.concat([first, second])
    const [header] = [...readBatches(bytes, 'topic-0')] as [BatchHeader]
    expect(codeOf(() => decodeBatch(bytes, header, 'topic', 0))).toBe('BATCH_CORRUPT')
  })
})

describe('a batch emptied by compaction', () => {
  test.each(compressions)('moves the position and carries no record, whatever codec its header names (%s)', (codec) => {
    const bytes = forgeBatch({ body: Buffer.alloc(0), packed: true, count: 0, lastOffsetDelta: 9, compression: codec })
    const [header] = [...readBatches(bytes, 'topic-0')] as [BatchHeader]
    const batch = decodeBatch(bytes, header, 'topic', 0)
    expect(batch).toMatchObject({ count: 0, baseOffset: 0n, nextOffset: 10n })
  })

  test('a marker without its record is no decision', () => {
    const bytes = forgeBatch({ body: Buffer.alloc(0), count: 0, lastOffsetDelta: 0, attributes: 0x30 })
    const [header] = [...readBatches(bytes, 'topic-0')] as [BatchHeader]
    expect(header.control).toBe(true)
    expect(controlType(bytes, header)).toBeUndefined()
  })
})

describe('timestamps beyond what a number holds', () => {
  test('are read and written without an exception', () => {
    for (const baseTimestamp of [2n ** 63n - 1n, -(2n ** 63n), 2n ** 53n + 1n]) {
      const bytes = forgeBatch({ body: forgeRecord({}), count: 1, baseTimestamp })
      const [header] = [...readBatches(bytes, 'topic-0')] as [BatchHeader]
      const [record] = plainRecords(decodeBatch(bytes, header, 'topic', 0))
      expect(record?.timestamp).toBe(Number(baseTimestamp))
      const again = buildBatch(record ? [record, { ...record, timestamp: 0 }] : [], { ...seal, compression: 'none' })
      expect([...readBatches(again, 'topic-0')]).toHaveLength(1)
    }
  })
})

const MiB = 1024 * 1024

/** Peak memory of the process so far. */
function peakBytes(): number {
  return process.resourceUsage().maxRSS * 1024
}

/** A small body that unpacks to at least `bytes`; made by repeating what unpacks to one MiB of zeros, or packed whole. */
function bomb(compression: Compression, bytes: number): Buffer {
  const block = compress(compression, Buffer.alloc(4 * MiB))
  const repeats = Math.ceil(bytes / (4 * MiB))
  if (compression === 'gzip') return Buffer.concat(Array.from({ length: repeats }, () => block))
  if (compression === 'snappy') return xerial(Array.from({ length: repeats }, () => block))
  if (compression === 'lz4') return lz4Frame(Array.from({ length: repeats }, () => lz4Blocks(block)[0] ?? block))
  return compress(compression, Buffer.alloc(bytes))
}

function xerial(blocks: readonly Buffer[]): Buffer {
  const writer = new ByteWriter(1024)
  writer.bytes(Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0, 0, 0, 0, 1, 0, 0, 0, 1]))
  for (const block of blocks) {
    writer.int32(block.length)
    writer.bytes(block)
  }
  return writer.copy()
}

/** The blocks of a frame as compress() makes it: a header of 7 bytes, then blocks with their length before them. */
function lz4Blocks(frame: Buffer): Buffer[] {
  const blocks: Buffer[] = []
  let at = 7
  for (;;) {
    const size = frame.readUInt32LE(at) & 0x7fffffff
    if (size === 0) return blocks
    blocks.push(frame.subarray(at, at + 4 + size))
    at += 4 + size
  }
}

/** A frame whose blocks may have 4 MiB each, whatever they hold. */
function lz4Frame(blocks: readonly Buffer[]): Buffer {
  const header = compress('lz4', Buffer.alloc(5 * MiB)).subarray(0, 7)
  return Buffer.concat([header, ...blocks, Buffer.alloc(4)])
}

describe('a small batch that unpacks to a huge one', () => {
  test.each(compressions.filter((each) => each !== 'none'))('is refused before it takes the memory (%s)', (codec) => {
    const body = bomb(codec, 1024 * MiB)
    expect(body.length).toBeLessThan(64 * MiB)
    const bytes = forgeBatch({ body, packed: true, count: 1, compression: codec })
    const [header] = [...readBatches(bytes, 'topic-0')] as [BatchHeader]
    const before = peakBytes()
    expect(codeOf(() => decodeBatch(bytes, header, 'topic', 0))).toBe('BATCH_CORRUPT')
    expect(peakBytes() - before).toBeLessThan(700 * MiB)
  })

  test('lz4: many small blocks in a frame of large ones are no bomb', () => {
    const value = Buffer.from(Array.from({ length: 3000 }, (_, index) => (index * index * 31) & 63))
    const body = new ByteWriter(4 * MiB)
    const parts: Buffer[] = []
    for (let index = 0; index < 700; index++) {
      const record = forgeRecord({
        offsetDelta: index,
        headerCount: 1,
        headers: (writer) => writeHeader(writer, value),
      })
      body.bytes(record)
      parts.push(...lz4Blocks(compress('lz4', record)))
    }
    const frame = lz4Frame(parts)
    const forged = forgeBatch({ body: frame, packed: true, count: 700, compression: 'lz4' })
    expect(decodeOnly(forged)).toEqual(decodeOnly(forgeBatch({ body: body.copy(), count: 700 })))
  })

  test('lz4: a frame that claims a content size is not believed', () => {
    const frame = compress('lz4', Buffer.from('data'))
    const claimed = Buffer.concat([frame.subarray(0, 6), Buffer.alloc(9, 0x7f), frame.subarray(7)])
    claimed[4] = (claimed[4] ?? 0) | 8
    const bytes = forgeBatch({ body: claimed, packed: true, count: 1, compression: 'lz4' })
    const before = peakBytes()
    expect(codeOf(() => decodeOnly(bytes))).toBe('BATCH_CORRUPT')
    expect(peakBytes() - before).toBeLessThan(64 * MiB)
  })

  test('snappy: a length that no such input can unpack to is refused', () => {
    const body = Buffer.from([0xff, 0xff, 0xff, 0x7f, 0, 0])
    for (const each of [body, xerial([body])]) {
      const bytes = forgeBatch({ body: each, packed: true, count: 1, compression: 'snappy' })
      expect(codeOf(() => decodeOnly(bytes))).toBe('BATCH_CORRUPT')
    }
  })
})

function writeHeader(writer: ByteWriter, value: Buffer): void {
  const packed = encodeHeaders([['h', value]])
  writer.bytes(packed, 1)
}
