// Goal: a record gets into a batch byte for byte, whatever its length and wherever its bytes stand.
import { expect, test } from '@jest/globals'
import { BatchBuilder } from '../../connectors/kafka/wire/batch-builder.ts'
import { decodeBatch, readBatches } from '../../connectors/kafka/wire/record-batch.ts'
import { plainRecords } from '../support/batches.ts'

const seal = { producerId: 7n, epoch: 0, baseSequence: 0, transactional: true, compression: 'none' } as const

test('keys and values of 0 to 600 bytes, from every alignment', () => {
  const source = Buffer.from(Array.from({ length: 1_000 }, (_, index) => (index * 31) % 251))
  const lengths = Array.from({ length: 601 }, (_, length) => length)
  const builder = new BatchBuilder()
  for (const length of lengths) {
    builder.append(0, source, length % 8, 600 - length, source, length % 13, length, null, 0, 0)
  }
  const bytes = Buffer.from(builder.seal(seal))
  const [header] = [...readBatches(bytes, 'topic-0')]
  if (!header) throw new Error('no batch')
  const read = plainRecords(decodeBatch(bytes, header, 'topic', 0))
  const text = (from: number, length: number): string => source.toString('hex', from, from + length)
  expect(read.map(({ key, value }) => [key?.toString('hex'), value?.toString('hex')])).toEqual(
    lengths.map((length) => [text(length % 8, 600 - length), text(length % 13, length)]),
  )
})
