/**
 * Goal: what the pipeline needs of its topics is checked before anything runs, hops are made as they must be, and tasks
 * follow from partition counts; names of one pipeline are never taken for another's. Method: a cluster of plain Maps.
 */
import { describe, expect, test } from '@jest/globals'
import { kafkaSink, kafkaSource } from '../../connectors/kafka/index.ts'
import { silentLogger } from '../../src/base/log.ts'
import type { Cluster, TopicInfo } from '../../src/dataflow/ports.ts'
import { definePipeline, type PipelineBuilder, utf8 } from '../../src/index.ts'
import { type PipelineOptions, resolveSettings } from '../../src/plan/options.ts'
import { makePlan } from '../../src/plan/plan.ts'
import { names } from '../../src/worker/job.ts'
import { prepareTopology, type Topology, taskOf } from '../../src/worker/topology.ts'

interface FakeTopics {
  readonly [topic: string]: {
    readonly partitions: number
    readonly replication?: number
    readonly configs?: Record<string, string>
  }
}

class FakeCluster {
  readonly created: string[] = []
  readonly topicsNow: Map<string, FakeTopics[string]>
  readonly brokerCount: number
  readonly limits: Record<string, string>

  constructor(topics: FakeTopics, brokerCount = 1, limits: Record<string, string> = {}) {
    this.topicsNow = new Map(Object.entries(topics))
    this.brokerCount = brokerCount
    this.limits = limits
  }

  readonly topics = async (wanted: readonly string[]): Promise<Map<string, TopicInfo>> =>
    new Map(
      wanted.flatMap((name) => {
        const topic = this.topicsNow.get(name)
        if (!topic) return []
        return [
          [name, { name, id: `id of ${name}`, partitions: topic.partitions, replication: topic.replication ?? 3 }],
        ]
      }),
    )
  readonly topicConfigs = async (wanted: readonly string[]) =>
    new Map(wanted.map((name) => [name, new Map(Object.entries(this.topicsNow.get(name)?.configs ?? {}))]))
  readonly brokerConfigs = async () => new Map(Object.entries(this.limits))
  readonly createTopic = async (name: string, partitions: number, configs: ReadonlyMap<string, string>) => {
    this.created.push(`${name} ${partitions}`)
    this.topicsNow.set(name, { partitions, configs: Object.fromEntries(configs) })
  }
  readonly tryRights = async (): Promise<void> => undefined
}

const source = (p: PipelineBuilder, name = 'in') => p.from(name, kafkaSource({ topic: name, key: utf8, value: utf8 }))
const sink = kafkaSink({ topic: 'out', key: utf8, value: utf8 })
const copy = (p: PipelineBuilder): void => source(p).to('sink', sink)
const hop = (p: PipelineBuilder): void =>
  source(p)
    .keyBy('by', (text) => text)
    .to('sink', sink)
const wideHop = (p: PipelineBuilder): void =>
  source(p)
    .keyBy('by', (text) => text, { partitions: 7 })
    .to('sink', sink)
const keyedUnion = (p: PipelineBuilder): void =>
  source(p, 'left')
    .union(source(p, 'right'))
    .keyByRecordKey()
    .withState({})
    .map('m', (text) => text)
    .to('sink', sink)

function prepare(
  build: (p: PipelineBuilder) => void,
  cluster: FakeCluster,
  options: PipelineOptions = {},
): Promise<Topology> {
  const plan = makePlan(definePipeline('tested', build))
  const settings = resolveSettings('tested', options, { instance: 'host' }, plan.hops.length > 0)
  return prepareTopology(cluster as unknown as Cluster, plan, settings, silentLogger)
}

describe('tasks', () => {
  test('one per stage and partition; a hop is made as wide as its widest source', async () => {
    const cluster = new FakeCluster({ in: { partitions: 3 }, out: { partitions: 1 } })
    const topology = await prepare(hop, cluster)
    expect(cluster.created).toEqual(['millrace.tested.hop.by 3'])
    expect(topology.tasks.map((task) => task.id)).toEqual(['in/0', 'in/1', 'in/2', 'by/0', 'by/1', 'by/2'])
    expect(taskOf(topology).get('millrace.tested.hop.by-2')?.id).toBe('by/2')
    await prepare(hop, cluster)
    expect(cluster.created).toHaveLength(1)
  })

  test('topics of one stateless stage may differ in width: the wider one has tasks of its own', async () => {
    const union = (p: PipelineBuilder): void => source(p, 'left').union(source(p, 'right')).to('sink', sink)
    const topology = await prepare(
      union,
      new FakeCluster({ left: { partitions: 1 }, right: { partitions: 2 }, out: { partitions: 1 } }),
    )
    expect(topology.tasks.map((task) => task.inputs.map((input) => `${input.topic}-${input.partition}`))).toEqual([
      ['left-0', 'right-0'],
      ['right-1'],
    ])
  })
})

describe('what is refused', () => {
  const good = { in: { partitions: 2 }, out: { partitions: 2 } }
  const hopTopic = 'millrace.tested.hop.by'
  const weak = { in: { partitions: 1 }, out: { partitions: 1, replication: 1 } }
  const cases: readonly (readonly [
    string,
    string,
    RegExp,
    (p: PipelineBuilder) => void,
    FakeCluster,
    PipelineOptions?,
  ])[] = [
    ['missing topics, all of them', 'TOPIC_UNKNOWN', /'in' \(read\), 'out' \(written\)/, copy, new FakeCluster({})],
    [
      'keyed topics of different widths',
      'TOPIC_PARTITIONS_WRONG',
      /left \(1\), right \(2\)/,
      keyedUnion,
      new FakeCluster({ left: { partitions: 1 }, right: { partitions: 2 }, out: { partitions: 1 } }),
    ],
    [
      'a hop of another width than wanted',
      'TOPIC_PARTITIONS_WRONG',
      /has 3 partitions, the pipeline wants 7/,
      wideHop,
      new FakeCluster({ ...good, [hopTopic]: { partitions: 3 } }),
    ],
    [
      'a hop whose records would be deleted',
      'TOPIC_CONFIG_WRONG',
      /retention.ms=1000, needed is -1/,
      hop,
      new FakeCluster({ ...good, [hopTopic]: { partitions: 2, configs: { 'retention.ms': '1000' } } }),
    ],
    [
      'transactions longer than the brokers allow',
      'KAFKA_LIMIT',
      /60000 exceeds.*50000/,
      copy,
      new FakeCluster(good, 1, { 'transaction.max.timeout.ms': '50000' }),
    ],
    [
      'a session shorter than the brokers allow',
      'KAFKA_LIMIT',
      /outside the brokers' 20000/,
      copy,
      new FakeCluster(good, 1, { 'group.min.session.timeout.ms': '20000' }),
    ],
    [
      'single copies on a cluster that could do better',
      'TOPIC_CONFIG_WRONG',
      /out \(replication 1\)/,
      copy,
      new FakeCluster(weak, 3),
    ],
  ]

  test.each(cases)('%s', async (_, code, message, build, cluster, options = {}) => {
    await expect(prepare(build, cluster, options)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    })
  })

  test('but not where it does not matter', async () => {
    await prepare(copy, new FakeCluster(weak, 1))
    await prepare(copy, new FakeCluster(weak, 3), { acceptLowReplication: true })
    await prepare(copy, new FakeCluster(weak, 3), { checkpoint: { mode: 'at-least-once' } })
    const slow = new FakeCluster(good, 1, { 'transaction.max.timeout.ms': '50000' })
    await prepare(copy, slow, { checkpoint: { mode: 'at-least-once' } })
  })
})

test('a broker that has not heard of a new repartition topic yet is asked again', async () => {
  const cluster = new FakeCluster({ in: { partitions: 2 }, out: { partitions: 2 } })
  let behind = 3
  const topics = async (wanted: readonly string[]): Promise<Map<string, TopicInfo>> => {
    const known = await cluster.topics(wanted)
    if (cluster.created.length > 0 && behind-- > 0) known.delete('millrace.tested.hop.by')
    return known
  }
  const slow = Object.assign(Object.create(cluster), cluster, { topics }) as FakeCluster
  expect((await prepare(hop, slow)).topics.get('millrace.tested.hop.by')?.partitions).toBe(2)
  expect(behind).toBeLessThan(0)
})

test("Kafka's own topics are as durable as the brokers say", async () => {
  const topics = { in: { partitions: 1 }, out: { partitions: 1 }, __consumer_offsets: { partitions: 50 } }
  await prepare(copy, new FakeCluster(topics, 3))
  await prepare(copy, new FakeCluster(topics, 3, { 'min.insync.replicas': '2' }))
  await expect(prepare(copy, new FakeCluster(topics, 3, { 'min.insync.replicas': '1' }))).rejects.toMatchObject({
    code: 'TOPIC_CONFIG_WRONG',
    message: expect.stringMatching(/__consumer_offsets \(replication 3, min.insync.replicas 1\)\. Use/),
  })
})

describe('names', () => {
  test('of a pipeline are never taken for those of another whose name begins alike', () => {
    const [id = ''] = names.transactionalIds('bid-totals', 'host-0')
    expect(names.instanceOf('bid-totals', id)).toBe('host-0')
    expect(names.instanceOf('bid', id)).toBeUndefined()
    expect(id.startsWith(names.prefix('bid'))).toBe(false)
  })

  test.each(['millrace.p.host.2', 'millrace.p.host', 'millrace.p.host.0.1', 'xmillrace.p.host.0', 'millrace.p.Host.0'])(
    '%s is no transactional id',
    (id) => {
      expect(names.instanceOf('p', id)).toBeUndefined()
    },
  )
})
