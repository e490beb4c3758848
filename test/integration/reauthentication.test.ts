// Goal: where SASL sessions have a lifetime, a run outlives many of them: no roll-back, no rebalance, nothing lost or
// doubled. Method: a broker that cuts a connection 4 s after its authentication; records all the time for more than two
// lifetimes; Kafka's own consumer reads the output.
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import {
  JavaAdmin,
  JavaProducer,
  javaClientConfig,
  javaConsume,
  startBroker,
  type TestBroker,
} from '../../connectors/kafka/testing/index.ts'
import { delay, monotonicMs } from '../../src/base/clock.ts'
import { Cli } from '../support/cli.ts'
import { clientOptions } from '../support/harness.ts'
import { CASES, newStore } from '../support/site.ts'
import { until } from '../support/test-worker.ts'

const LIFETIME_MS = 4_000
const LIFETIMES = 2.5

let broker: TestBroker
beforeAll(async () => {
  broker = await startBroker({
    kind: 'java',
    security: 'sasl-ssl',
    settings: { 'connections.max.reauth.ms': String(LIFETIME_MS), 'group.min.session.timeout.ms': '500' },
  })
})
afterAll(() => broker.close())

test('a run of more than two session lifetimes goes on without a roll-back', async () => {
  const client = { brokers: broker.brokers, config: javaClientConfig(broker) }
  await using admin = await JavaAdmin.start(client)
  await using producer = await JavaProducer.start(client)
  await using store = await newStore()
  for (const topic of ['in', 'out']) await admin.createTopic(topic, { partitions: 2 })
  const kafka = { brokers: broker.brokers, ...clientOptions(broker, 'admin') }
  await using cli = new Cli(['run', CASES, '--workers', '2'], {
    MILLRACE_STORE: store.folder,
    CASE: JSON.stringify({ name: 'long', shape: 'copy', inputs: ['in'], output: 'out', options: { kafka } }),
  })
  await cli.runs(2)
  const began = monotonicMs()
  const sent: string[] = []
  while (monotonicMs() - began < LIFETIME_MS * LIFETIMES) {
    sent.push(`record ${sent.length}`)
    await producer.send({ topic: 'in', key: `key ${sent.length % 7}`, value: sent.at(-1) ?? '' })
    await producer.flush()
    await delay(10)
  }
  const ends = async (topic: string): Promise<bigint[]> => (await admin.listOffsets(topic)).map(({ latest }) => latest)
  const inputs = await ends('in')
  const through = async (): Promise<boolean> => {
    const offsets = await admin.listGroupOffsets('millrace.long')
    return inputs.every((end, partition) => offsets.some((row) => row.partition === partition && row.offset >= end))
  }
  await until('the input is read to its end', through, 20_000, () => cli.output)
  expect(cli.events('roll-back')).toEqual([])
  expect(cli.events('worker-exited')).toEqual([])
  const generations = new Set(cli.events('worker-running').map(({ generation }) => generation))
  expect(Math.max(...[...generations].map(Number))).toBeLessThanOrEqual(3)
  expect((await cli.stop()).code).toBe(0)
  const { records } = await javaConsume({ ...client, topics: ['out'] })
  expect(records.map(({ value }) => String(value)).sort()).toEqual(sent.sort())
})
