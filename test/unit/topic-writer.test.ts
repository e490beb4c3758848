// Goal: what a sink writes goes into batches that the topic takes, each record once, in order and counted once. Method: a writer
// with small batches over a transaction without a broker; its batches are sealed and decoded.
import { expect, test } from '@jest/globals'
import { BuilderPool, type OutputPartition, Transaction } from '../../connectors/kafka/output.ts'
import { TopicWriter } from '../../connectors/kafka/topic-writer.ts'
import { BATCH_HEADER_BYTES, decodeBatch, readBatches } from '../../connectors/kafka/wire/record-batch.ts'
import { plainRecords } from '../support/batches.ts'

const batchBytesMax = 1_000
const none = Buffer.alloc(0)

function opened(): { pool: BuilderPool; transaction: Transaction; writer: TopicWriter } {
  const pool = new BuilderPool()
  const transaction = new Transaction(0, false, new Map())
  transaction.identity = { transactionalId: 'id', producerId: 1n, epoch: 0 }
  const behind = (): Transaction => transaction
  const options = {
    topic: 'out',
    partitions: 2,
    compression: 'none',
    batchBytesMax,
    pool,
    transaction,
    behind,
  } as const
  return { pool, transaction, writer: new TopicWriter(options) }
}

function write(writer: TopicWriter, value: string): void {
  writer.begin(0, 1, none, 0, -1).utf8(value)
  writer.end('written', null, 0, 0)
}

/** Takes all batches as the producer would, acknowledged at once: their sizes, and the lengths of their values. */
function sent(pool: BuilderPool, transaction: Transaction): { bytes: number[]; values: number[][] } {
  const output = transaction.partitions.get('out-0') as OutputPartition
  transaction.sealed = true
  transaction.close(output, 'ripe')
  const batches = { bytes: [] as number[], values: [] as number[][] }
  for (let batch = transaction.take(output); batch; batch = transaction.take(output)) {
    const bytes = Buffer.from(batch.bytes)
    const [header] = [...readBatches(bytes, 'out-0')]
    if (!header) throw new Error('no batch')
    batches.bytes.push(bytes.length)
    batches.values.push(plainRecords(decodeBatch(bytes, header, 'out', 0)).map(({ value }) => value?.length ?? -1))
    output.inFlight = undefined
    output.acked += batch.records
    pool.give(batch.builder)
  }
  expect(output.acked).toBe(output.appended)
  return batches
}

test('a record that makes its batch too large begins the next one, however large it turned out to be', () => {
  const { pool, transaction, writer } = opened()
  const lengths = [100, 700, 300, 5_000, 10, 930, 900]
  for (const length of lengths) write(writer, 'v'.repeat(length))
  const { bytes, values } = sent(pool, transaction)
  expect(values).toEqual([[100, 700], [300], [5_000], [10], [930], [900]])
  // One that no batch takes goes alone: the broker says so.
  expect(bytes.filter((size) => size > batchBytesMax)).toEqual([5_000 + BATCH_HEADER_BYTES + 9])
})

test('what is buffered is counted until it is acknowledged, to the byte', () => {
  const { pool, transaction, writer } = opened()
  for (let length = 0; length < 3_000; length += 37) write(writer, 'v'.repeat(length))
  writer.begin(0, 1, none, 0, -1).utf8('x'.repeat(500))
  writer.undo()
  writer.copy(0, 1, Buffer.from([1, 2, 0x76, 0]), 0, 4)
  const waiting = (transaction.partitions.get('out-0') as OutputPartition).waiting
  const filling = (transaction.partitions.get('out-0') as OutputPartition).filling?.bytes ?? 0
  expect(pool.bufferedBytes).toBe(waiting.reduce((sum, builder) => sum + builder.bytes, filling))
  sent(pool, transaction)
  expect(pool.bufferedBytes).toBe(0)
})
