/**
 * Goal: the reader in memory keeps the contract of partition readers (Kafka's runs the same suite on a real broker, in
 * test/integration). Method: the suite.
 */
import { describe, expect, test } from '@jest/globals'
import { MemoryLog, MemoryReader } from '../../connectors/memory/index.ts'
import { partitionReaderContract } from './partition-reader.ts'

async function create() {
  const log = new MemoryLog('input', 2)
  const records = (values: readonly string[]) => values.map((value) => ({ key: null, value: Buffer.from(value) }))
  return {
    topic: 'input',
    append: async (partition: number, values: readonly string[]) => {
      log.append(partition, records(values))
      log.appendInvisible(partition, 1)
      return log.end(partition)
    },
    appendAborted: async (partition: number, values: readonly string[]) => {
      log.appendInvisible(partition, values.length)
      log.appendInvisible(partition, 1)
      return log.end(partition)
    },
    open: (onReady: () => void, onError: (error: Error) => void) => new MemoryReader([log], onReady, onError),
    remove: async () => undefined,
  }
}

describe('a reader in memory keeps the contract', () => {
  test.each(partitionReaderContract({ create }))('$name', ({ run }) => run())
})

test('an offset behind the end, and a topic that is not there, are errors', async () => {
  const log = new MemoryLog('input', 1)
  for (const position of [
    { topic: 'input', partition: 0, offset: 1n, leaderEpoch: -1 },
    { topic: 'other', partition: 0, offset: 0n, leaderEpoch: -1 },
  ]) {
    const error = await new Promise<Error>((resolve) => {
      new MemoryReader([log], () => {}, resolve).assign([position])
    })
    expect(error).toMatchObject({ code: position.topic === 'other' ? 'TOPIC_UNKNOWN' : 'OFFSET_OUT_OF_RANGE' })
  }
})
