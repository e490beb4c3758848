/**
 * Goal: a running worker notices what becomes of its topics, and a stage whose repartition topic lags is held back and let go.
 * Method: a cluster of plain values that change under a running upkeep, with a clock of the test's own.
 */
import { afterEach, beforeEach, expect, jest, test } from '@jest/globals'
import { kafkaSink, kafkaSource } from '../../connectors/kafka/index.ts'
import { silentLogger } from '../../src/base/log.ts'
import type { Cluster, TopicInfo } from '../../src/dataflow/ports.ts'
import { definePipeline, utf8 } from '../../src/index.ts'
import { makePlan } from '../../src/plan/plan.ts'
import type { Topology } from '../../src/worker/topology.ts'
import { Upkeep } from '../../src/worker/upkeep.ts'

const plan = makePlan(
  definePipeline('tested', (p) => {
    const source = kafkaSource({ topic: 'in', key: utf8, value: utf8 })
    const sink = kafkaSink({ topic: 'out', key: utf8, value: utf8 })
    p.from('in', source)
      .keyBy('by', (text) => text)
      .to('out', sink)
  }),
)
const hop = plan.hops[0]?.topic ?? ''
const from = plan.hops[0]?.from ?? ''
const info = (name: string): TopicInfo => ({ name, id: `id of ${name}`, partitions: 1, replication: 3 })

class Setting {
  topics = new Map(['in', 'out', hop].map((name) => [name, info(name)]))
  range = { start: 0n, end: 0n }
  committed = -1n
  held: readonly string[] = []
  readonly failures: string[] = []
  readonly upkeep: Upkeep

  constructor() {
    const cluster: Partial<Cluster> = {
      topics: async () => new Map(this.topics),
      logRange: async () => this.range,
      committedOffsets: async () => [
        { topic: hop, partition: 0, offset: this.committed, leaderEpoch: -1, metadata: '' },
      ],
    }
    this.upkeep = new Upkeep({
      cluster: cluster as Cluster,
      plan,
      topology: { tasks: [], topics: new Map(this.topics), batchBytesMax: new Map() } as Topology,
      log: silentLogger,
      everyMs: 30_000,
      hopLagRecordsMax: 10,
      onHeldBack: (stages) => {
        this.held = [...stages]
      },
      onFailure: (error) => this.failures.push((error as { code?: string }).code ?? String(error)),
    })
  }
}

let setting: Setting
beforeEach(() => {
  jest.useFakeTimers()
  setting = new Setting()
})
afterEach(() => {
  setting.upkeep.stop()
  jest.useRealTimers()
})

test('a stage is held back while its repartition topic lags, also before the reader has committed anything', async () => {
  setting.range = { start: 5n, end: 16n }
  await jest.advanceTimersByTimeAsync(1_000)
  expect(setting.held).toEqual([from])
  setting.committed = 6n
  await jest.advanceTimersByTimeAsync(1_000)
  expect(setting.held).toEqual([])
  setting.range = { start: 5n, end: 17n }
  await jest.advanceTimersByTimeAsync(1_000)
  expect(setting.held).toEqual([from])
})

test('a topic that one broker does not know is asked for again; one that is gone stops the worker', async () => {
  setting.topics.delete('out')
  await jest.advanceTimersByTimeAsync(30_000)
  setting.topics.set('out', info('out'))
  await jest.advanceTimersByTimeAsync(30_000)
  expect(setting.failures).toEqual([])
  setting.topics.delete('out')
  await jest.advanceTimersByTimeAsync(60_000)
  expect(setting.failures).toEqual(['TOPIC_UNKNOWN'])
})

test('a topic that has grown restarts the worker', async () => {
  setting.topics.set('in', { ...info('in'), partitions: 2 })
  await jest.advanceTimersByTimeAsync(30_000)
  expect(setting.failures).toEqual(['TOPIC_PARTITIONS_GREW'])
})
