// Goal: a topic of the pipeline's cluster is a checkpoint store like any other. Method: the contract suite on a real broker, a
// topic for each case.
import { afterAll, beforeAll, describe, test } from '@jest/globals'
import { kafkaSource } from '../../connectors/kafka/index.ts'
import { startBroker, type TestBroker } from '../../connectors/kafka/testing/index.ts'
import { silentLogger } from '../../src/base/log.ts'
import type { Cluster } from '../../src/dataflow/ports.ts'
import { bytes } from '../../src/index.ts'
import { STORE_CONFIGS } from '../../src/worker/store.ts'
import { checkpointStoreContract } from '../contract/checkpoint-store.ts'

let broker: TestBroker
let cluster: Cluster

beforeAll(async () => {
  broker = await startBroker({ kind: 'java' })
  const { factory } = kafkaSource({ topic: 'any', key: bytes, value: bytes })
  cluster = await factory.connect({ brokers: broker.brokers }, 'here-0', silentLogger)
})

afterAll(async () => {
  await cluster[Symbol.asyncDispose]()
  await broker.close()
})

let topics = 0

describe('a topic keeps the contract of checkpoint stores', () => {
  const create = async () => {
    const topic = `contract-${topics++}`
    const open = () => cluster.checkpointStore({ topic, partitions: async () => 3, configs: STORE_CONFIGS })
    return { open, remove: async () => undefined }
  }
  test.each(checkpointStoreContract({ create }))('$name', ({ run }) => run())
})
