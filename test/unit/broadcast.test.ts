/**
 * Goal: every task has all records of a broadcast stream, in the order of its topic, once, before the records that come behind them; state and
 * position fit together in every checkpoint. Method: a pipeline with several tasks in memory, and the hub that shares a topic
 * among tasks, driven by hand against logs in memory.
 */
import { expect, test } from '@jest/globals'
import fc from 'fast-check'
import { kafkaSink, kafkaSource } from '../../connectors/kafka/index.ts'
import { PipelineTester } from '../../connectors/memory/index.ts'
import { MemoryLog } from '../../connectors/memory/log.ts'
import { MemoryReader } from '../../connectors/memory/reader.ts'
import { BroadcastHub, type Subscription } from '../../src/dataflow/broadcast-hub.ts'
import {
  definePipeline,
  f64,
  json,
  listState,
  MillraceError,
  mapState,
  type Pipeline,
  type PipelineBuilder,
  type Stream,
  unionListState,
  utf8,
  valueState,
  withTtl,
} from '../../src/index.ts'
import { makePlan } from '../../src/plan/plan.ts'
import { plainRecords } from '../support/batches.ts'

const PARTITIONS = 3

interface Seen {
  readonly rules: readonly (readonly [string, number])[]
  readonly history: readonly string[]
  readonly count: number
}

const seeing = (build?: (pipeline: PipelineBuilder) => void): Pipeline =>
  definePipeline('seeing', (pipeline) => {
    const rules = pipeline
      .from('rules', kafkaSource({ topic: 'rules', key: utf8, value: f64 }))
      .filter((value) => value >= 0)
      .map((value) => value * 10)
    pipeline
      .from('in', kafkaSource({ topic: 'in', key: utf8, value: utf8 }))
      .keyByRecordKey()
      .withState({ count: valueState(f64, 0) })
      .connectBroadcast(rules, { byName: mapState(utf8, f64), history: listState(utf8), last: valueState(f64) })
      .process<Seen>('see', {
        onBroadcast(value, { broadcast, record }) {
          broadcast.byName.set(record.key, value)
          broadcast.history.add(`${record.key}=${value}`)
          broadcast.last.set(value)
        },
        onRecord(_, { state, broadcast, emit }) {
          state.count.set(state.count.get() + 1)
          expect(broadcast.last.get() === undefined).toBe(broadcast.byName.size === 0)
          emit({ rules: [...broadcast.byName.entries()], history: broadcast.history.get(), count: state.count.get() })
        },
      })
      .to('out', kafkaSink({ topic: 'out', key: utf8, value: json<Seen>() }))
    build?.(pipeline)
  })

const toAll = (tester: PipelineTester): void => {
  for (let partition = 0; partition < PARTITIONS; partition++)
    tester.send('in', { key: `key-${partition}`, value: '', partition })
}
const rule = (tester: PipelineTester, key: string, value: number): void =>
  tester.send('rules', { key, value, partition: 0 })

/** What the newest record of each task saw. */
async function seen(tester: PipelineTester): Promise<Seen[]> {
  toAll(tester)
  await tester.settle()
  const newest = new Map(tester.output('out').map(({ key, value }) => [key, value as Seen]))
  return [...newest.keys()].sort().map((key) => newest.get(key) as Seen)
}

test.each(['heap', 'leveldb'] as const)(
  'on %s, every task has all of it, in order, and after a crash once',
  async (backend) => {
    await using tester = await PipelineTester.start(seeing(), { partitions: PARTITIONS, backend })
    rule(tester, 'a', 1)
    rule(tester, 'b', -5)
    rule(tester, 'b', 2)
    rule(tester, 'a', 3)
    const history = ['a=10', 'b=20', 'a=30']
    for (const each of await seen(tester))
      expect(each).toEqual({
        rules: [
          ['a', 30],
          ['b', 20],
        ],
        history,
        count: 1,
      })
    rule(tester, 'c', 4)
    // Processed, and lost with the crash: it comes again.
    await tester.run()
    await tester.crash(backend === 'heap' ? 'leveldb' : 'heap')
    for (const each of await seen(tester)) expect(each.history).toEqual([...history, 'c=40'])
    await tester.crash()
    for (const each of await seen(tester)) expect(each).toMatchObject({ history: [...history, 'c=40'], count: 3 })
  },
)

test('at a start, what is in the topic comes before the first record', async () => {
  await using tester = await PipelineTester.start(seeing(), { partitions: PARTITIONS })
  toAll(tester)
  await tester.settle()
  // While the tasks are gone both topics grow.
  const crashed = tester.crash()
  for (let n = 0; n < 500; n++) rule(tester, `rule-${n % 7}`, n)
  await crashed
  for (const each of await seen(tester)) expect(each.history).toHaveLength(500)
})

test('state of the operator and of the stream are shown apart', async () => {
  await using tester = await PipelineTester.start(seeing(), { partitions: PARTITIONS })
  rule(tester, 'a', 1)
  await seen(tester)
  expect(tester.state('see', 'count').map(({ value }) => value)).toEqual([1, 1, 1])
  expect(tester.state('see.broadcast', 'byName').map(({ value }) => value)).toEqual(Array(3).fill([['a', 10]]))
  expect(tester.state('see.broadcast', '$position')[0]?.value).toMatchObject({ offset: '1' })
})

test('the side that reads cannot change it', async () => {
  const pipeline = definePipeline('changing', (build) => {
    const rules = build.from('rules', kafkaSource({ topic: 'rules', key: utf8, value: f64 }))
    build
      .from('in', kafkaSource({ topic: 'in', key: utf8, value: utf8 }))
      .keyByRecordKey()
      .withState({})
      .connectBroadcast(rules, { byName: mapState(utf8, f64) })
      .process<string>('change', {
        onBroadcast() {},
        onRecord(value, { broadcast, emit }) {
          emit(Object.keys(broadcast.byName).sort().join())
          ;(broadcast.byName as unknown as { set(key: string, value: number): void }).set(value, 1)
        },
      })
      .to('out', kafkaSink({ topic: 'out', key: utf8, value: utf8 }))
  })
  await using tester = await PipelineTester.start(pipeline)
  tester.send('in', { key: 'a', value: 'x' })
  await expect(tester.run()).rejects.toThrow(
    /OPERATOR_FAILED: operator 'change' failed at in-0@0: .*set is not a function/,
  )
})

test('a stream may be connected to several operators: each has all of it', async () => {
  const pipeline = definePipeline('twice', (build) => {
    const rules = build.from('rules', kafkaSource({ topic: 'rules', key: utf8, value: utf8 }))
    const stream = build.from('in', kafkaSource({ topic: 'in', key: utf8, value: utf8 })).keyByRecordKey()
    for (const name of ['one', 'two'])
      stream
        .withState({})
        .connectBroadcast(rules, { all: listState(utf8) })
        .process<string>(name, {
          onBroadcast: (rule, { broadcast }) => broadcast.all.add(rule),
          onRecord: (_, { broadcast, emit }) => emit(`${name}:${broadcast.all.get().join('')}`),
        })
        .to(`${name}-out`, kafkaSink({ topic: `out-${name}`, key: utf8, value: utf8 }))
  })
  await using tester = await PipelineTester.start(pipeline)
  for (const value of 'abc') tester.send('rules', { key: 'k', value })
  await tester.settle()
  tester.send('in', { key: 'k', value: '' })
  await tester.settle()
  expect(['one', 'two'].flatMap((name) => tester.output(`out-${name}`).map(({ value }) => value))).toEqual([
    'one:abc',
    'two:abc',
  ])
})

test('what cannot be broadcast is a mistake of the plan', () => {
  const refused = (text: RegExp, make: (pipeline: PipelineBuilder) => void): void => {
    const pipeline = definePipeline('wrong', make)
    expect(() => makePlan(pipeline)).toThrow(MillraceError)
    expect(() => makePlan(pipeline)).toThrow(text)
  }
  const values = kafkaSource({ topic: 'in', key: utf8, value: utf8 })
  const rules = kafkaSource({ topic: 'rules', key: utf8, value: utf8 })
  const connect = (pipeline: PipelineBuilder, stream: Stream<string, string>, all = listState(utf8)): void =>
    pipeline
      .from('in', values)
      .keyByRecordKey()
      .withState({})
      .connectBroadcast(stream, { all })
      .process<string>('see', { onRecord() {}, onBroadcast() {} })
      .to('out', kafkaSink({ topic: 'out', key: utf8, value: utf8 }))
  refused(/broadcast stream of 'see' comes from 'slow': a source with map, filter/, (pipeline) =>
    connect(
      pipeline,
      pipeline.from('rules', rules).asyncMap('slow', async (value) => value),
    ),
  )
  refused(/begins at '"latest"'; every task needs all of it/, (pipeline) =>
    connect(pipeline, pipeline.from('rules', kafkaSource({ topic: 'rules', key: utf8, value: utf8, start: 'latest' }))),
  )
  refused(/source 'rules' is broadcast to 'see' and also goes to 'copy'/, (pipeline) => {
    const stream = pipeline.from('rules', rules)
    connect(pipeline, stream)
    stream.to('copy', kafkaSink({ topic: 'copy', key: utf8, value: utf8 }))
  })
  refused(/broadcast state 'all' of 'see': no time to live/, (pipeline) =>
    connect(pipeline, pipeline.from('rules', rules), withTtl(listState(utf8), { ttlMs: 1 })),
  )
  refused(/broadcast state 'all' of 'see': unionListState is for withOperatorState/, (pipeline) =>
    connect(pipeline, pipeline.from('rules', rules), unionListState(utf8)),
  )
  let strange: Stream<string, string> | undefined
  definePipeline('other', (pipeline) => {
    strange = pipeline.from('rules', rules)
  })
  expect(() => definePipeline('wrong', (pipeline) => connect(pipeline, strange as Stream<string, string>))).toThrow(
    /PLAN_INVALID: stream 'rules' belongs to another pipeline/,
  )
  refused(/reads 2 topics; with more than one/, (pipeline) =>
    connect(pipeline, pipeline.from('rules', kafkaSource({ topic: ['rules', 'more'], key: utf8, value: utf8 }))),
  )
})

/** A way through a topic, as a task takes it. */
interface Way {
  readonly subscription: Subscription
  readonly from: number
  next: bigint
  readonly got: string[]
}

test('the hub gives every task each record once, in order, wherever they begin, whoever leaves, whatever was aborted between them', () => {
  const steps = fc.array(
    fc.oneof(
      fc.record({ do: fc.constant('join' as const), at: fc.nat(30) }),
      fc.record({ do: fc.constantFrom('poll' as const, 'leave' as const), at: fc.nat(5) }),
      fc.record({ do: fc.constantFrom('append' as const, 'abort' as const), at: fc.integer({ min: 1, max: 400 }) }),
    ),
    { maxLength: 60 },
  )
  const property = fc.property(steps, (sequence) => {
    const log = new MemoryLog('rules', 1)
    const reader = new MemoryReader(
      [log],
      () => {},
      (error) => {
        throw error
      },
    )
    const hub = new BroadcastHub(reader)
    const ways: Way[] = []
    /** By offset; null: aborted, or a marker. */
    const written: (string | null)[] = []
    for (const { do: what, at } of sequence) {
      const way = ways[at % Math.max(1, ways.length)]
      if (what === 'append')
        for (let n = 0; n < at; n++) {
          const value = String(written.length)
          written.push(value)
          log.append(0, [{ key: null, value: Buffer.from(value) }])
        }
      else if (what === 'abort') {
        for (let n = 0; n < at; n++) written.push(null)
        log.appendInvisible(0, at)
      } else if (what === 'join' && ways.length < 5) {
        const from = Math.min(at, written.length)
        ways.push({
          subscription: hub.join('rules', { offset: BigInt(from), leaderEpoch: -1 }),
          from,
          next: BigInt(from),
          got: [],
        })
      } else if (what === 'poll' && way) take(way)
      else if (what === 'leave' && way) {
        way.subscription.leave()
        ways.splice(ways.indexOf(way), 1)
      }
    }
    // Nobody is stuck: in turn, all of them come to the end.
    for (let more = true; more; ) more = ways.map(take).some(Boolean)
    for (const { from, got } of ways) expect(got).toEqual(written.slice(from).filter((value) => value !== null))
  })
  fc.assert(property, { numRuns: 500 })
})

function take(way: Way): boolean {
  const element = way.subscription.poll(way.next)
  if (!element) return false
  if (element.kind === 'progress') {
    way.next = element.nextOffset
    return true
  }
  const { batch } = element
  for (const [index, { value }] of plainRecords(batch).entries())
    if (batch.offsetOf(index) >= way.next) way.got.push(String(value))
  way.next = batch.nextOffset
  return true
}
