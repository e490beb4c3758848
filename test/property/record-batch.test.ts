/**
 * Goal: what we write is what Kafka reads, and what Kafka writes is what we read. Method: random batches go through our
 * codec on one side and Kafka's own classes (MemoryRecords in a Java process) on the other; a raw copy from batch to
 * batch, as a sink does it, must not change a record either.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { JavaCodec, type JavaDataBatch, type JavaDecodedBatch } from '../../connectors/kafka/testing/java-codec.ts'
import { BatchBuilder, type SealOptions } from '../../connectors/kafka/wire/batch-builder.ts'
import type { Compression } from '../../connectors/kafka/wire/compression.ts'
import { type BatchHeader, controlType, decodeBatch, readBatches } from '../../connectors/kafka/wire/record-batch.ts'
import {
  BODY_AT,
  type ColumnarBatch,
  HEADERS_AT,
  KEY_AT,
  KEY_LENGTH,
  RECORD_END,
  STRIDE,
  VALUE_AT,
  VALUE_LENGTH,
} from '../../src/dataflow/batch.ts'
import {
  appendRecord,
  buildBatch,
  compressions,
  manyRecords,
  type PlainRecord,
  plainRecords,
  readable,
  recordArbitrary,
  recordsArbitrary,
  sealArbitrary,
} from '../support/batches.ts'

let java: JavaCodec
beforeAll(() => {
  java = new JavaCodec()
})
afterAll(() => java.close())

const plainSeal: SealOptions = {
  producerId: 12n,
  epoch: 3,
  baseSequence: 0,
  transactional: true,
  compression: 'none',
}

async function javaReads(bytes: Buffer): Promise<JavaDecodedBatch> {
  const { batches, trailingBytes } = await java.decode(bytes)
  expect(trailingBytes).toBe(0)
  expect(batches).toHaveLength(1)
  const batch = batches[0] as JavaDecodedBatch
  expect(batch).toMatchObject({ valid: true, magic: 2, control: false, timestampType: 'CreateTime' })
  expect(batch.error).toBeUndefined()
  return batch
}

function expectSame(batch: JavaDecodedBatch, records: readonly PlainRecord[], seal: SealOptions): void {
  expect(batch.compression).toBe(seal.compression)
  expect(batch.producerId).toBe(seal.producerId)
  expect(batch.producerEpoch).toBe(seal.epoch)
  expect(batch.baseSequence).toBe(seal.baseSequence)
  expect(batch.transactional).toBe(seal.transactional)
  expect(batch.maxTimestamp).toBe(Math.max(...records.map((record) => record.timestamp)))
  expect(batch.lastOffset).toBe(BigInt(records.length - 1))
  expect(batch.records.map((record) => record.offset)).toEqual(records.map((_, index) => BigInt(index)))
  // Kafka lets sequence numbers wrap to 0 behind 2^31 − 1.
  const sequences = records.map((_, index) => (seal.baseSequence + index) % 2 ** 31)
  expect(batch.records.map((record) => record.sequence)).toEqual(sequences)
  expect(readable(batch.records)).toEqual(readable(records))
}

describe('Kafka reads what we write', () => {
  test('every record, whatever its key, value, headers and timestamp, with every codec', async () => {
    const property = fc.asyncProperty(recordsArbitrary, sealArbitrary, async (records, seal) => {
      expectSame(await javaReads(buildBatch(records, seal)), records, seal)
    })
    await fc.assert(property, { numRuns: 400 })
  })

  test('a header name with what some readers take for a line end', async () => {
    const records = [{ timestamp: 0, key: null, value: null, headers: [['a\u2028b\u2029c\u0085\r\n', null] as const] }]
    expectSame(await javaReads(buildBatch(records, plainSeal)), records, plainSeal)
  })

  test.each(compressions)('a batch of five thousand records with %s', async (compression) => {
    const records = manyRecords(5000)
    const seal = { ...plainSeal, compression }
    expectSame(await javaReads(buildBatch(records, seal)), records, seal)
  })

  test('the batches of a builder that is used again carry nothing over', async () => {
    const rounds = fc.array(fc.tuple(recordsArbitrary, sealArbitrary), { minLength: 2, maxLength: 4 })
    const property = fc.asyncProperty(rounds, async (batches) => {
      const builder = new BatchBuilder(64)
      for (const [records, seal] of batches) {
        for (const record of records) appendRecord(builder, record)
        expect(builder.count).toBe(records.length)
        expectSame(await javaReads(builder.seal(seal)), records, seal)
        builder.reset()
      }
    })
    await fc.assert(property, { numRuns: 50 })
  })

  test('sealing is deterministic: a retry sends the same bytes (I8)', () => {
    const property = fc.property(recordsArbitrary, sealArbitrary, (records, seal) => {
      expect(buildBatch(records, seal).equals(buildBatch(records, seal))).toBe(true)
    })
    fc.assert(property, { numRuns: 50 })
  })

  test('an empty batch, and one without a producer, cannot be sealed (I8, I12)', () => {
    expect(() => buildBatch([], plainSeal)).toThrow('I8')
    expect(() => buildBatch(manyRecords(1), { ...plainSeal, producerId: -1n })).toThrow('I12')
    expect(() => buildBatch(manyRecords(1), { ...plainSeal, epoch: -1 })).toThrow('I12')
  })
})

interface JavaBatch {
  readonly records: readonly PlainRecord[]
  readonly gaps: readonly number[]
  readonly baseOffset: bigint
  readonly leaderEpoch: number
  readonly compression: Compression
  readonly producerId: bigint
  readonly producerEpoch: number
  readonly baseSequence: number
  readonly transactional: boolean
  readonly logAppendTime?: number
}

/** Offsets may have gaps, as compaction leaves them. */
const javaBatchArbitrary: fc.Arbitrary<JavaBatch> = fc.record(
  {
    records: recordsArbitrary,
    gaps: fc.array(fc.nat(3), { minLength: 30, maxLength: 30 }),
    baseOffset: fc.bigInt(0n, 2n ** 52n),
    leaderEpoch: fc.integer({ min: -1, max: 1000 }),
    compression: fc.constantFrom(...compressions),
    producerId: fc.bigInt(0n, 2n ** 53n - 1n),
    producerEpoch: fc.integer({ min: 0, max: 32_767 }),
    baseSequence: fc.nat(),
    transactional: fc.boolean(),
    logAppendTime: fc.integer({ min: 0, max: 2 ** 42 }),
  },
  {
    requiredKeys: [
      'records',
      'gaps',
      'baseOffset',
      'leaderEpoch',
      'compression',
      'producerId',
      'producerEpoch',
      'baseSequence',
      'transactional',
    ],
  },
)

const markerArbitrary = fc.record({
  control: fc.constantFrom<'commit' | 'abort'>('commit', 'abort'),
  baseOffset: fc.bigInt(0n, 2n ** 52n),
  producerId: fc.bigInt(0n, 2n ** 53n - 1n),
  producerEpoch: fc.integer({ min: 0, max: 32_767 }),
  leaderEpoch: fc.integer({ min: -1, max: 1000 }),
  timestamp: fc.integer({ min: 0, max: 2 ** 42 }),
  coordinatorEpoch: fc.nat(1000),
})

function offsetsOf(batch: JavaBatch): bigint[] {
  let offset = batch.baseOffset
  return batch.records.map((_, index) => {
    if (index > 0) offset += 1n + BigInt(batch.gaps[index] ?? 0)
    return offset
  })
}

function javaRequest(batch: JavaBatch): JavaDataBatch {
  const offsets = offsetsOf(batch)
  const records = batch.records.map((record, index) => ({ ...record, offset: offsets[index] ?? 0n }))
  return { ...batch, records }
}

function expectHeader(header: BatchHeader, batch: Omit<JavaBatch, 'records' | 'gaps' | 'compression'>): void {
  expect(header).toMatchObject({
    baseOffset: batch.baseOffset,
    leaderEpoch: batch.leaderEpoch,
    producerId: batch.producerId,
    producerEpoch: batch.producerEpoch,
    transactional: batch.transactional,
  })
}

function expectRead(buffer: Buffer, header: BatchHeader, batch: JavaBatch): void {
  const offsets = offsetsOf(batch)
  expectHeader(header, batch)
  expect(header).toMatchObject({ control: false, compression: batch.compression, baseSequence: batch.baseSequence })
  expect(header.appendTimestamp).toBe(batch.logAppendTime ?? null)
  expect(header.count).toBe(batch.records.length)
  expect(header.lastOffset).toBe(offsets.at(-1))
  const decoded = decodeBatch(buffer, header, 'topic', 4)
  expect(decoded).toMatchObject({ topic: 'topic', partition: 4, leaderEpoch: batch.leaderEpoch })
  expect(decoded.nextOffset).toBe(header.lastOffset + 1n)
  expect(offsets.map((_, index) => decoded.offsetOf(index))).toEqual(offsets)
  const { logAppendTime } = batch
  const expected =
    logAppendTime === undefined
      ? batch.records
      : batch.records.map((record) => ({ ...record, timestamp: logAppendTime }))
  expect(readable(plainRecords(decoded))).toEqual(readable(expected))
}

describe('we read what Kafka writes', () => {
  test('data batches and transaction markers, several in a row, with every codec', async () => {
    const item = fc.oneof({ arbitrary: javaBatchArbitrary, weight: 3 }, { arbitrary: markerArbitrary, weight: 1 })
    const rows = fc.array(item, { minLength: 1, maxLength: 4 })
    const property = fc.asyncProperty(rows, async (items) => {
      const requests = items.map((each) => ('control' in each ? each : javaRequest(each)))
      const buffer = await java.encode(...requests)
      const headers = [...readBatches(buffer, 'topic-4')]
      expect(headers).toHaveLength(items.length)
      for (const [index, each] of items.entries()) {
        const header = headers[index] as BatchHeader
        if ('control' in each) {
          expectHeader(header, { ...each, baseSequence: -1, transactional: true })
          expect(header.control).toBe(true)
          expect(header.lastOffset).toBe(each.baseOffset)
          expect(controlType(buffer, header)).toBe(each.control)
        } else expectRead(buffer, header, each)
      }
    })
    await fc.assert(property, { numRuns: 300 })
  })

  test.each(compressions)('a batch of five thousand records with %s', async (compression) => {
    const records = manyRecords(5000)
    const buffer = await java.encode({ records, compression })
    const [header] = [...readBatches(buffer, 'topic-0')] as [BatchHeader]
    const decoded = decodeBatch(buffer, header, 'topic', 0)
    expect(readable(plainRecords(decoded))).toEqual(readable(records))
  })

  test('a batch that lies behind other bytes, as in a fetch response', async () => {
    const property = fc.asyncProperty(javaBatchArbitrary, fc.uint8Array({ maxLength: 20 }), async (batch, before) => {
      const alone = await java.encode(javaRequest(batch))
      const response = Buffer.concat([before, alone, before])
      const buffer = response.subarray(before.length, before.length + alone.length)
      const [header] = [...readBatches(buffer, 'topic-4')] as [BatchHeader]
      expectRead(buffer, header, batch)
    })
    await fc.assert(property, { numRuns: 100 })
  })
})

/** As TopicSink writes an unchanged record: key, value and headers in one piece. */
function copyRecord(builder: BatchBuilder, { bytes, fields, timestamps }: ColumnarBatch, index: number): void {
  const field = (column: number) => fields[index * STRIDE + column] ?? Number.NaN
  builder.copy(timestamps[index] ?? Number.NaN, bytes, field(BODY_AT), field(RECORD_END))
}

/** As it writes one that has changed: each part from where it is. */
function appendParts(builder: BatchBuilder, batch: ColumnarBatch, index: number): void {
  const field = (column: number) => batch.fields[index * STRIDE + column] ?? Number.NaN
  const { bytes } = batch
  const headers = field(RECORD_END) - field(HEADERS_AT) > 1 ? bytes : null
  const timestamp = batch.timestamps[index] ?? Number.NaN
  const out = builder.begin(timestamp, bytes, field(KEY_AT), field(KEY_LENGTH))
  const length = field(VALUE_LENGTH)
  if (length >= 0) out.bytes(bytes, field(VALUE_AT), field(VALUE_AT) + length)
  builder.end(length >= 0 ? 'written' : 'null', headers, field(HEADERS_AT), field(RECORD_END))
}

describe('a record copied raw stays the same', () => {
  test.each([
    ['in one piece', copyRecord],
    ['part by part', appendParts],
  ])('from a batch of Kafka, through our columns and builder, back to Kafka, %s', async (_, write) => {
    const property = fc.asyncProperty(javaBatchArbitrary, sealArbitrary, async (batch, seal) => {
      const buffer = await java.encode(javaRequest({ ...batch, gaps: [] }))
      const [header] = [...readBatches(buffer, 'topic-0')] as [BatchHeader]
      const columns = decodeBatch(buffer, header, 'topic', 0)
      const builder = new BatchBuilder(64)
      for (let index = 0; index < columns.count; index++) write(builder, columns, index)
      expectSame(await javaReads(builder.seal(seal)), plainRecords(columns), seal)
      const { logAppendTime } = batch
      const stamped = batch.records.map((each) => ({ ...each, timestamp: logAppendTime ?? each.timestamp }))
      expect(readable(plainRecords(columns))).toEqual(readable(stamped))
    })
    await fc.assert(property, { numRuns: 200 })
  })

  test('timestamps a century apart, in both directions, survive', async () => {
    const times = fc.array(fc.integer({ min: 0, max: 100 * 366 * 86_400_000 }), { minLength: 2, maxLength: 20 })
    const property = fc.asyncProperty(times, recordArbitrary, async (timestamps, record) => {
      const records = timestamps.map((timestamp) => ({ ...record, timestamp }))
      expectSame(await javaReads(buildBatch(records, plainSeal)), records, plainSeal)
    })
    await fc.assert(property, { numRuns: 50 })
  })
})
