// Goal: Kafka's reader keeps the contract that the engine counts on, on a real broker. Method: the contract suite, with topics
// that Kafka's own transactional producer writes: commit markers take offsets and aborted records stand between committed ones.
import { afterAll, beforeAll, describe, test } from '@jest/globals'
import { kafkaSource } from '../../connectors/kafka/index.ts'
import { JavaAdmin, JavaProducer, startBroker, type TestBroker } from '../../connectors/kafka/testing/index.ts'
import { silentLogger } from '../../src/base/log.ts'
import type { Cluster } from '../../src/dataflow/ports.ts'
import { bytes } from '../../src/index.ts'
import { type PartitionReaderHarness, partitionReaderContract } from '../contract/index.ts'

let broker: TestBroker
let admin: JavaAdmin
let producer: JavaProducer
let cluster: Cluster

beforeAll(async () => {
  broker = await startBroker({ kind: 'java' })
  const { brokers } = broker
  admin = await JavaAdmin.start({ brokers })
  // Records of one transaction go as one batch: nothing is sent before the commit flushes.
  const config = { 'linger.ms': '60000', 'delivery.timeout.ms': '120000' }
  producer = await JavaProducer.start({ brokers, transactionalId: 'contract', config })
  const { factory } = kafkaSource({ topic: 'any', key: bytes, value: bytes })
  cluster = await factory.connect({ brokers }, 'contract', silentLogger)
})

afterAll(async () => {
  await cluster[Symbol.asyncDispose]()
  await producer.close()
  await admin.close()
  await broker.close()
})

let topics = 0

const create: PartitionReaderHarness['create'] = async () => {
  const topic = `contract-${topics++}`
  await admin.createTopic(topic, { partitions: 2 })
  const ends = new Map<number, bigint>()
  const write = async (partition: number, values: readonly string[], end: () => Promise<void>): Promise<bigint> => {
    await producer.begin()
    for (const value of values) await producer.send({ topic, partition, value })
    await producer.flush()
    await end()
    // The marker takes the offset behind the records.
    const next = (ends.get(partition) ?? 0n) + BigInt(values.length) + 1n
    ends.set(partition, next)
    return next
  }
  return {
    topic,
    append: (partition, values) => write(partition, values, () => producer.commit()),
    appendAborted: (partition, values) => write(partition, values, () => producer.abort()),
    open: (onReady, onError) => cluster.reader(onReady, onError),
    remove: async () => undefined,
  }
}

describe('the reader of Kafka keeps the contract of partition readers', () => {
  test.each(partitionReaderContract({ create }))('$name', ({ run }) => run())
})
