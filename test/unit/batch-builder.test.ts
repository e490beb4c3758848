// Goal: a record gets into a batch byte for byte, whatever its length and wherever its bytes stand, and leaves it without a trace.
import { describe, expect, test } from '@jest/globals'
import { BatchBuilder } from '../../connectors/kafka/wire/batch-builder.ts'
import { decodeBatch, readBatches } from '../../connectors/kafka/wire/record-batch.ts'
import { plainRecords } from '../support/batches.ts'

/** What a batch says of itself, and its records. */
function read(builder: BatchBuilder): { maxTimestamp: bigint; records: (string | null)[][] } {
  const bytes = Buffer.from(builder.seal(seal))
  const [header] = [...readBatches(bytes, 'topic-0')]
  if (!header) throw new Error('no batch')
  const records = plainRecords(decodeBatch(bytes, header, 'topic', 0))
  return {
    maxTimestamp: bytes.readBigInt64BE(35),
    records: records.map(({ timestamp, key, value }) => [String(timestamp), text(key), text(value)]),
  }
}

const text = (bytes: Buffer | null): string | null => (bytes === null ? null : bytes.toString('latin1'))
const none = Buffer.alloc(0)

function write(builder: BatchBuilder, timestamp: number, value: string | null): void {
  const out = builder.begin(timestamp, none, 0, -1)
  if (value !== null) out.utf8(value)
  builder.end(value === null ? 'null' : 'written', null, 0, 0)
}

const seal = { producerId: 7n, epoch: 0, baseSequence: 0, transactional: true, compression: 'none' } as const

test('keys and values of 0 to 600 bytes, from every alignment', () => {
  const source = Buffer.from(Array.from({ length: 1_000 }, (_, index) => (index * 31) % 251))
  const lengths = Array.from({ length: 601 }, (_, length) => length)
  const builder = new BatchBuilder()
  for (const length of lengths) {
    builder.begin(0, source, length % 8, 600 - length).bytes(source, length % 13, (length % 13) + length)
    builder.end('written', null, 0, 0)
  }
  const piece = (from: number, length: number): string => source.toString('latin1', from, from + length)
  expect(read(builder).records).toEqual(
    lengths.map((length) => ['0', piece(length % 8, 600 - length), piece(length % 13, length)]),
  )
})

test('lengths that take more or fewer bytes than those of the record before', () => {
  const values = [0, 1, 63, 64, 8_191, 8_192, 3, 2_000_000, 63, 100, 0].map((length) => 'v'.repeat(length))
  const builder = new BatchBuilder(64)
  for (const value of values) write(builder, 5, value)
  write(builder, 5, null)
  expect(read(builder).records).toEqual([...values, null].map((value) => ['5', null, value]))
})

describe('a record that was begun', () => {
  const oneAndTwo = {
    maxTimestamp: 8n,
    records: [
      ['7', null, 'one'],
      ['8', null, 'two'],
    ],
  }

  test('leaves nothing behind when it is undone', () => {
    const builder = new BatchBuilder(64)
    builder.begin(99, none, 0, -1).utf8('first, undone')
    builder.undo()
    write(builder, 7, 'one')
    builder.begin(99, Buffer.from('key'), 0, 3).utf8('x'.repeat(500))
    builder.undo()
    write(builder, 8, 'two')
    expect(read(builder)).toEqual(oneAndTwo)
  })

  test('moves to another batch, with its timestamp and without a trace in its own', () => {
    const builder = new BatchBuilder(64)
    write(builder, 7, 'one')
    builder.begin(3_000_000_000, Buffer.from('key'), 0, 3).utf8('x'.repeat(9_000))
    builder.end('written', Buffer.from([2, 2, 0x68, 2, 0x76]), 0, 5)
    const other = new BatchBuilder(64)
    builder.moveLastTo(other)
    write(other, 4, 'behind it')
    write(builder, 8, 'two')
    expect(read(builder)).toEqual(oneAndTwo)
    expect(read(other)).toEqual({
      maxTimestamp: 3_000_000_000n,
      records: [
        ['3000000000', 'key', 'x'.repeat(9_000)],
        ['4', null, 'behind it'],
      ],
    })
  })
})

describe('a record is whole or not there', () => {
  test('none begins inside it, none ends twice, and no half of one is sent', () => {
    const builder = new BatchBuilder()
    write(builder, 1, 'whole')
    builder.begin(1, none, 0, -1)
    expect(() => builder.begin(1, none, 0, -1)).toThrow('I8')
    expect(() => builder.copy(1, none, 0, 0)).toThrow('I8')
    expect(() => builder.seal(seal)).toThrow('I8')
    builder.end('written', null, 0, 0)
    expect(() => builder.end('written', null, 0, 0)).toThrow('I8')
  })
  test('has all that was written by the time it ends: what comes later is told, not sent', () => {
    const builder = new BatchBuilder()
    const out = builder.begin(1, none, 0, -1)
    builder.end('written', null, 0, 0)
    out.utf8('late')
    expect(() => builder.begin(1, none, 0, -1)).toThrow('after its record had ended')
    expect(() => builder.copy(1, none, 0, 0)).toThrow('after its record had ended')
    expect(() => builder.seal(seal)).toThrow('after its record had ended')
  })

  test('is not made of what stands in front of it, and null is nothing, whatever was written', () => {
    const builder = new BatchBuilder()
    const out = builder.begin(1, Buffer.from('key'), 0, 3)
    out.position--
    expect(() => builder.end('written', null, 0, 0)).toThrow('took back')
    builder.undo()
    builder.begin(1, none, 0, -1).utf8('begun')
    builder.end('null', null, 0, 0)
    write(builder, 2, '')
    expect(read(builder).records).toEqual([
      ['1', null, null],
      ['2', null, ''],
    ])
  })

  test('moves only when it has just ended, and into an empty batch', () => {
    const builder = new BatchBuilder()
    write(builder, 1, 'one')
    const used = new BatchBuilder()
    write(used, 1, 'two')
    expect(() => builder.moveLastTo(used)).toThrow('I8')
    builder.moveLastTo(new BatchBuilder())
    expect(() => builder.moveLastTo(new BatchBuilder())).toThrow('I8')
    builder.copy(1, Buffer.from([1, 2, 0x76, 0]), 0, 4)
    expect(() => builder.moveLastTo(new BatchBuilder())).toThrow('I8')
    expect(() => builder.undo()).toThrow('I8')
  })
})
