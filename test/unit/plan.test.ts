/**
 * Goal: the plan cuts stages at repartition topics, derives names and serdes, and reports every mistake of a pipeline at once,
 * before anything connects. Method: small pipelines, and graphs written by hand where the API cannot make the mistake.
 */
import { describe, expect, test } from '@jest/globals'
import { kafkaSink, kafkaSource } from '../../connectors/kafka/index.ts'
import { operatorId } from '../../src/base/ids.ts'
import type { PlanNode } from '../../src/dataflow/graph.ts'
import {
  bytes,
  definePipeline,
  f64,
  json,
  type PipelineBuilder,
  type Stream,
  utf8,
  valueState,
} from '../../src/index.ts'
import { describePlan, planMermaid } from '../../src/plan/describe.ts'
import { resolveSettings } from '../../src/plan/options.ts'
import { makePlan } from '../../src/plan/plan.ts'
import type { Plan } from '../../src/worker/job.ts'

interface Bid {
  readonly auction: string
  readonly price: number
}

const bids = (pipeline: PipelineBuilder, topic = 'bids'): Stream<Bid, string> =>
  pipeline.from(topic, kafkaSource({ topic, key: utf8, value: json<Bid>() }))
const sink = (topic = 'out') => kafkaSink({ topic, key: utf8, value: json<Bid>() })
const planOf = (build: (pipeline: PipelineBuilder) => void, name = 'tested'): Plan =>
  makePlan(definePipeline(name, build))

describe('stages', () => {
  test('without a hop there is one', () => {
    const plan = planOf((p) =>
      bids(p)
        .filter((bid) => bid.price > 0)
        .to('out', sink()),
    )
    expect(plan.stages).toMatchObject([{ id: 'bids', keyed: false }])
    expect(plan).toMatchObject({ group: 'millrace.tested', sourceTopics: ['bids'], hops: [] })
  })

  test('are cut at keyBy, upstream first; the hop is written by one and read by the other', () => {
    const plan = planOf((p) =>
      bids(p)
        .keyBy('by-auction', (bid) => bid.auction)
        .withState({ last: valueState(f64) })
        .map('last', (bid) => bid)
        .keyBy('again', (bid) => bid.auction, { partitions: 3 })
        .to('out', sink()),
    )
    expect(plan.stages.map(({ id, keyed }) => [id, keyed])).toEqual([
      ['bids', false],
      ['by-auction', true],
      ['again', true],
    ])
    expect(plan.stages.map((stage) => stage.nodes.map((node) => node.id))).toEqual([
      ['by-auction'],
      ['last', 'again'],
      ['out'],
    ])
    expect(plan.hops).toMatchObject([
      { topic: 'millrace.tested.hop.by-auction', from: 'bids', partitions: undefined },
      { topic: 'millrace.tested.hop.again', from: 'by-auction', partitions: 3 },
    ])
    expect(Object.fromEntries(plan.hops[0]?.configs ?? [])).toEqual({
      'cleanup.policy': 'delete',
      'retention.ms': '-1',
      'retention.bytes': '-1',
      'message.timestamp.type': 'CreateTime',
    })
  })

  test('streams that meet are one stage, streams that do not are two', () => {
    const plan = planOf((p) => {
      bids(p, 'left').union(bids(p, 'right')).to('out', sink())
      bids(p, 'other').to('other-out', sink('other-out'))
    })
    expect(plan.stages.map((stage) => stage.id)).toEqual(['left+right', 'other'])
  })

  test('a hop that branches off and one that goes on are of the same stage', () => {
    const plan = planOf((p) => {
      const stream = bids(p)
      stream.to('copy', sink('copy'))
      stream.keyBy('by', (bid) => bid.auction).to('out', sink())
    })
    expect(plan.stages.map((stage) => [stage.id, stage.nodes.map((node) => node.id)])).toEqual([
      ['bids', ['copy', 'by']],
      ['by', ['out']],
    ])
  })

  test('keyByRecordKey is keyed without a hop', () => {
    const plan = planOf((p) =>
      bids(p)
        .keyByRecordKey()
        .withState({ last: valueState(f64) })
        .map('last', (bid) => bid)
        .to('out', sink()),
    )
    expect(plan.stages).toMatchObject([{ id: 'bids', keyed: true }])
    expect(plan.hops).toEqual([])
  })
})

describe('the value’s serde in a hop', () => {
  const valueSerde = (build: (stream: Stream<string, string>) => Stream<string, string>): string | undefined => {
    const plan = planOf((p) => {
      const stream = p.from('in', kafkaSource({ topic: 'in', key: utf8, value: utf8 }))
      build(stream)
        .keyBy('hop', (text) => text)
        .to('out', kafkaSink({ topic: 'out', key: utf8, value: utf8 }))
    })
    return plan.hopTargets.get(operatorId('hop'))?.value.id
  }

  test('is the source’s while the value is unchanged', () => {
    expect(valueSerde((stream) => stream)).toBe('utf8')
    expect(valueSerde((stream) => stream.filter((text) => text !== '').filter(Boolean))).toBe('utf8')
    expect(valueSerde((stream) => stream.keyByRecordKey())).toBe('utf8')
    expect(valueSerde((stream) => stream.keyBy('first', (text) => text).filter(Boolean))).toBe('utf8')
  })

  test('is JSON behind whatever may change it', () => {
    expect(valueSerde((stream) => stream.map((text) => text))).toBe('json')
    expect(valueSerde((stream) => stream.flatMap((text) => [text]))).toBe('json')
    expect(valueSerde((stream) => stream.map((text) => text).filter(Boolean))).toBe('json')
    expect(valueSerde((stream) => stream.asyncMap('look-up', async (text) => text))).toBe('json')
    expect(valueSerde((stream) => stream.union(stream.filter(Boolean)))).toBe('json')
  })

  test('is the one that is given', () => {
    const plan = planOf((p) => {
      const stream = p.from('in', kafkaSource({ topic: 'in', key: utf8, value: utf8 })).map((text) => Buffer.from(text))
      stream
        .keyBy('hop', (text) => text.length, { value: bytes })
        .to('out', kafkaSink({ topic: 'out', key: f64, value: bytes }))
    })
    expect(plan.hopTargets.get(operatorId('hop'))?.value.id).toBe('bytes')
  })
})

test('the picture joins each topic to the operator that reads or writes it', () => {
  const plan = planOf((p) => {
    const both = bids(p, 'left').union(bids(p, 'right'))
    both.filter(() => true).to('one', sink('first'))
    both.keyBy('auction', ({ auction }) => auction).to('two', sink('second'))
  })
  const settings = resolveSettings('tested', {}, { brokers: 'none:1', instance: 'here' }, true)
  const edges = planMermaid(describePlan(plan, settings))
    .split('\n')
    .filter((line) => line.includes('[("'))
    .map((line) => line.trim().replace(/topic_\w+\[\("(.+?)"\)\]/, '<$1>'))
  const [stage = '', other = ''] = plan.stages.map(({ id }) => id.replaceAll('+', '_'))
  expect(edges.sort()).toEqual(
    [
      `<left> --> ${stage}_left`,
      `<right> --> ${stage}_right`,
      `${stage}_one --> <first>`,
      `${stage}_auction --> <millrace.tested.hop.auction>`,
      `<millrace.tested.hop.auction> --> ${other}_auction`,
      `${other}_two --> <second>`,
    ].sort(),
  )
})

describe('operator ids and the plan’s hash', () => {
  const build = (p: PipelineBuilder): void =>
    bids(p)
      .map((bid) => bid)
      .filter(() => true)
      .to('out', sink())

  test('are stable across starts', () => {
    expect(planOf(build).graph.nodes.map((node) => node.id)).toEqual([
      'bids',
      'bids.map-1',
      'bids.map-1.filter-1',
      'out',
    ])
    expect(planOf(build).hash).toBe(planOf(build).hash)
  })

  test('the hash changes with topics, serdes, states and shape', () => {
    const others: readonly ((p: PipelineBuilder) => void)[] = [
      (p) =>
        bids(p)
          .filter(() => true)
          .to('out', sink()),
      (p) =>
        bids(p)
          .map((bid) => bid)
          .filter(() => true)
          .to('out', sink('elsewhere')),
      (p) =>
        bids(p)
          .map((bid) => JSON.stringify(bid))
          .filter(() => true)
          .to('out', kafkaSink({ topic: 'out', key: utf8, value: utf8 })),
      (p) =>
        bids(p, 'others')
          .map((bid) => bid)
          .filter(() => true)
          .to('out', sink()),
      (p) =>
        bids(p)
          .keyByRecordKey()
          .withState({ a: valueState(f64) })
          .map('m', (bid) => bid)
          .to('out', sink()),
      (p) =>
        bids(p)
          .keyByRecordKey()
          .withState({ a: valueState(utf8) })
          .map('m', (bid) => bid)
          .to('out', sink()),
      (p) =>
        bids(p)
          .keyByRecordKey()
          .withState({ b: valueState(utf8) })
          .map('m', (bid) => bid)
          .to('out', sink()),
    ]
    const hashes = [build, ...others].map((each) => planOf(each).hash)
    expect(new Set(hashes).size).toBe(hashes.length)
  })
})

const shared = valueState(f64)
const mistakes: Readonly<Record<string, readonly [expected: RegExp, (pipeline: PipelineBuilder) => void]>> = {
  'no source and no sink': [/no source[\s\S]*no sink/, () => undefined],
  'a name twice': [/'bids' is used by a source and a sink/, (p) => bids(p).to('bids', sink())],
  'a name that is no address': [/'my sink': use letters/, (p) => bids(p).to('my sink', sink())],
  'a hop’s name that is no topic’s': [
    /keyBy 'ByAuction'/,
    (p) =>
      bids(p)
        .keyBy('ByAuction', (b) => b.auction)
        .to('out', sink()),
  ],
  'a stream that ends nowhere': [
    /nothing follows 'bids.map-1'/,
    (p) => {
      const stream = bids(p)
      stream.map((bid) => bid)
      stream.to('out', sink())
    },
  ],
  'a state that two operators declare': [
    /same declaration as a state of 'one'/,
    (p) =>
      bids(p)
        .keyByRecordKey()
        .withState({ a: shared })
        .map('one', (bid) => bid)
        .keyByRecordKey()
        .withState({ a: shared })
        .map('two', (bid) => bid)
        .to('out', sink()),
  ],
  'a topic that is read and written': [
    /writes 'bids', which source 'bids' reads/,
    (p) => bids(p).to('out', sink('bids')),
  ],
  'a topic that is read twice': [
    /read by sources 'a' and 'b'/,
    (p) => {
      const source = kafkaSource({ topic: 'bids', key: utf8, value: json<Bid>() })
      p.from('a', source).union(p.from('b', source)).to('out', sink())
    },
  ],
  'a source without topics': [
    /names no topic/,
    (p) => p.from('in', kafkaSource({ topic: [], key: utf8, value: json<Bid>() })).to('out', sink()),
  ],
  'an internal topic as source': [/are internal/, (p) => bids(p, 'millrace.other.hop.x').to('out', sink())],
  'an internal topic as sink': [/this name is internal/, (p) => bids(p).to('out', sink('millrace.tested.hop.x'))],
  'two clusters': [
    /one cluster/,
    (p) =>
      p
        .from('in', kafkaSource({ topic: 'in', key: utf8, value: json<Bid>(), brokers: ['a:9092'] }))
        .to('out', kafkaSink({ topic: 'out', key: utf8, value: json<Bid>(), brokers: ['b:9092'] })),
  ],
}

describe('mistakes', () => {
  test.each(Object.entries(mistakes))('%s', (_, [expected, build]) => {
    expect(() => planOf(build)).toThrow(
      expect.objectContaining({ code: 'PLAN_INVALID', message: expect.stringMatching(expected) }),
    )
  })

  test('a pipeline name that is no part of ids', () => {
    expect(() => planOf((p) => bids(p).to('out', sink()), 'My Pipeline')).toThrow(/'My Pipeline': use lower-case/)
  })

  test('the same cluster, written in another order, is none', () => {
    const build = (p: PipelineBuilder): void =>
      p
        .from('in', kafkaSource({ topic: 'in', key: utf8, value: json<Bid>(), brokers: ['a:9092', 'b:9092'] }))
        .to('out', kafkaSink({ topic: 'out', key: utf8, value: json<Bid>(), brokers: ['b:9092', 'a:9092'] }))
    expect(planOf(build).stages).toHaveLength(1)
  })

  test('streams of another pipeline, and cycles', () => {
    let foreign: Stream<Bid, string> | undefined
    definePipeline('other', (p) => {
      foreign = bids(p, 'foreign').map((bid) => bid)
    })
    expect(() =>
      planOf((p) =>
        bids(p)
          .union(foreign as Stream<Bid, string>)
          .to('out', sink()),
      ),
    ).toThrow(/not part of this pipeline/)
    const node = (id: string, input: string): PlanNode => ({
      kind: 'map',
      id: operatorId(id),
      inputs: [operatorId(input)],
      fn: (value) => value,
    })
    const pipeline = definePipeline('tested', (p) => bids(p).to('out', sink()))
    const graph = { nodes: [...pipeline.graph.nodes, node('a', 'b'), node('b', 'a')] }
    expect(() => makePlan({ ...pipeline, graph })).toThrow(/'a' → 'b' → 'a' form a cycle/)
  })

  test('all are reported at once', () => {
    const build = (p: PipelineBuilder): void => {
      bids(p).to('bad name', sink('bids'))
      bids(p, 'lost').map((bid) => bid)
    }
    const all =
      /has 4 mistakes:[\s\S]*Bad[\s\S]*'bad name': use letters[\s\S]*nothing follows 'lost.map-1'[\s\S]*which source 'bids' reads/
    expect(() => planOf(build, 'Bad')).toThrow(all)
  })
})
