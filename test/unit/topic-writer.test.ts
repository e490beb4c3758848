// Goal: what a sink writes goes into batches that the topic takes, each record once, in order and counted once. Method: a writer
// with small batches over a transaction without a broker; its batches are sealed and decoded.
import { expect, test } from '@jest/globals'
import { kafkaSink, kafkaSource } from '../../connectors/kafka/index.ts'
import { BuilderPool, type OutputPartition, Transaction } from '../../connectors/kafka/output.ts'
import { TopicWriter } from '../../connectors/kafka/topic-writer.ts'
import { BATCH_HEADER_BYTES, decodeBatch, readBatches } from '../../connectors/kafka/wire/record-batch.ts'
import { checkpointId } from '../../src/base/ids.ts'
import { json, type MillraceError, type Serde, utf8 } from '../../src/index.ts'
import { plainRecords } from '../support/batches.ts'
import { TaskRunner } from '../support/task-runner.ts'

const batchBytesMax = 1_000
const none = Buffer.alloc(0)

interface Opened {
  readonly pool: BuilderPool
  readonly transaction: Transaction
  /** Behind the barrier. */
  readonly next: Transaction
  readonly writer: TopicWriter
  readonly other: TopicWriter
}

function transactionOf(slot: 0 | 1): Transaction {
  const transaction = new Transaction(slot, false, new Map())
  transaction.identity = { transactionalId: 'id', producerId: 1n, epoch: 0 }
  return transaction
}

function opened(): Opened {
  const pool = new BuilderPool()
  const transaction = transactionOf(0)
  const next = transactionOf(1)
  const behind = (): Transaction => next
  const options = {
    topic: 'out',
    partitions: 1,
    compression: 'none',
    batchBytesMax,
    pool,
    transaction,
    behind,
  } as const
  return { pool, transaction, next, writer: new TopicWriter(options), other: new TopicWriter(options) }
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

test('two writers fill the same batch; each goes over to the transaction behind the barrier when it passes it', () => {
  const { pool, transaction, next, writer, other } = opened()
  write(writer, 'v'.repeat(800))
  write(other, 'v'.repeat(200))
  writer.barrier(checkpointId(1))
  write(writer, 'v'.repeat(30))
  write(other, 'v'.repeat(201))
  other.barrier(checkpointId(1))
  write(other, 'v'.repeat(31))
  expect(sent(pool, transaction).values).toEqual([[800], [200, 201]])
  expect(sent(pool, next).values).toEqual([[30, 31]])
  expect(pool.bufferedBytes).toBe(0)
})

test('a record inside another is refused, and what is undone twice was not there the second time', () => {
  const { pool, transaction, writer } = opened()
  writer.begin(0, 1, none, 0, -1).utf8('outer')
  expect(() => writer.begin(1, 1, none, 0, -1)).toThrow('I8')
  writer.undo()
  writer.undo()
  write(writer, 'whole')
  writer.undo()
  expect(() => writer.end('written', null, 0, 0)).toThrow('I8')
  expect(sent(pool, transaction).values).toEqual([[5]])
})

test('what a serde could not write and the user caught leaves no trace; one that does not only append has its own memory', async () => {
  const { pool, transaction, writer } = opened()
  const picky: Serde<string> = {
    ...utf8,
    appends: false,
    encode: (text, out) => {
      if (text === 'late') throw new TypeError('not this one')
      out.position = 2
      out.buffer.writeInt16BE(7, 0)
      out.utf8(text)
    },
  }
  const caught: unknown[] = []
  const runner = new TaskRunner(
    (pipeline) => {
      const input = pipeline.from('in', kafkaSource({ topic: 'in', key: utf8, value: json<string>() })).keyByRecordKey()
      const parts = input.withState({}).process<string>('parts', {
        onRecord(text, { emit }) {
          for (const part of text.split(' ')) {
            try {
              emit(part)
            } catch (error) {
              caught.push(error)
            }
          }
        },
      })
      parts.to('out', kafkaSink({ topic: 'out', key: utf8, value: picky }))
    },
    { writer: () => writer },
  )
  await runner.start()
  runner.feed('in', '"one late two"', '"late"', '"three"')
  runner.run()
  expect(runner.failures).toEqual([])
  expect(caught.map((error) => (error as MillraceError).code)).toEqual(['SERIALIZE_FAILED', 'SERIALIZE_FAILED'])
  expect(sent(pool, transaction).values).toEqual([[5, 5, 7]])
})
