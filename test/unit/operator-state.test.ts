/**
 * Goal: operator state belongs to its task, is there once after any crash, and a savepoint deals a list out among another number of tasks, or gives
 * all of it to each of them; keyed and broadcast state go with it. Method: pipelines in memory, crashed, and restored with other numbers of partitions.
 */
import { expect, test } from '@jest/globals'
import { kafkaSink, kafkaSource } from '../../connectors/kafka/index.ts'
import { PipelineTester } from '../../connectors/memory/index.ts'
import { carriedOver } from '../../connectors/memory/tester-savepoint.ts'
import { checkpointId, taskId } from '../../src/base/ids.ts'
import {
  definePipeline,
  f64,
  json,
  listState,
  mapState,
  type Pipeline,
  type PipelineBuilder,
  type Serde,
  type StateDescriptors,
  unionListState,
  utf8,
  valueState,
  withMigration,
  withTtl,
} from '../../src/index.ts'
import { makePlan } from '../../src/plan/plan.ts'
import { taskKey } from '../../src/state/broadcast.ts'
import { joinItems } from '../../src/state/collections.ts'
import { identityOf, Row, SegmentWriter } from '../../src/state/segment.ts'
import { stateRows } from '../../src/worker/state-rows.ts'
import type { TaskPlan } from '../../src/worker/topology.ts'

interface Seen {
  readonly own: readonly string[]
  readonly union: readonly string[]
}

const collecting = (states = { own: listState(utf8), union: unionListState(utf8) }): Pipeline =>
  definePipeline('collecting', (pipeline) => {
    pipeline
      .from('in', kafkaSource({ topic: 'in', key: utf8, value: utf8 }))
      .withOperatorState(states)
      .process<Seen>('collect', {
        onRecord(value, { state, emit, key, record }) {
          expect([key, record.topic]).toEqual(['k', 'in'])
          if (value !== 'look') {
            state.own.add(value)
            state.union.add(value)
          }
          emit({ own: state.own.get(), union: state.union.get() })
        },
      })
      .to('out', kafkaSink({ topic: 'out', key: utf8, value: json<Seen>() }))
  })

const give = (tester: PipelineTester, partition: number, ...values: readonly string[]): void => {
  for (const value of values) tester.send('in', { key: 'k', value, partition })
}

/** What each of so many tasks has. */
async function held(tester: PipelineTester, tasks: number): Promise<Seen[]> {
  const seen: Seen[] = []
  for (let partition = 0; partition < tasks; partition++) {
    give(tester, partition, 'look')
    await tester.settle()
    seen.push(tester.output('out').at(-1)?.value as Seen)
  }
  return seen
}

const each = test.each(['heap', 'leveldb'] as const)

each('on %s, a task has its own lists, and after a crash what the checkpoint had', async (backend) => {
  await using tester = await PipelineTester.start(collecting(), { partitions: { in: 2 }, backend })
  give(tester, 0, 'a', 'b')
  give(tester, 1, 'c')
  await tester.settle()
  give(tester, 1, 'd')
  await tester.run()
  await tester.crash(backend === 'heap' ? 'leveldb' : 'heap')
  // It comes again.
  await tester.settle()
  const [first, second] = await held(tester, 2)
  expect(first).toEqual({ own: ['a', 'b'], union: ['a', 'b'] })
  expect(second).toEqual({ own: ['c', 'd'], union: ['c', 'd'] })
  expect(tester.state('collect', 'own').map(({ value }) => value)).toEqual([
    ['a', 'b'],
    ['c', 'd'],
  ])
})

test('a savepoint with more tasks deals a list out, and gives all of a union list to each', async () => {
  await using tester = await PipelineTester.start(collecting(), { partitions: { in: 2 } })
  give(tester, 0, 'a', 'b', 'c')
  give(tester, 1, 'd', 'e')
  await tester.restore({ partitions: { in: 3 } })
  const all = ['a', 'b', 'c', 'd', 'e']
  const seen = await held(tester, 3)
  expect(seen.map(({ own }) => own)).toEqual([['a', 'd'], ['b', 'e'], ['c']])
  expect(seen.map(({ union }) => union)).toEqual([all, all, all])
  // With as many tasks, each list stays where it is.
  await tester.restore({ backend: 'leveldb' })
  const again = await held(tester, 3)
  expect(again.map(({ own }) => own)).toEqual([['a', 'd'], ['b', 'e'], ['c']])
  expect(again[1]?.union).toEqual([...all, ...all, ...all])
})

/** What the lists of a savepoint with as many tasks come to among `after` of them. */
async function dealt(lists: readonly (readonly string[])[], after: number): Promise<string[][]> {
  const plan = makePlan(collecting())
  const [stage] = plan.stages
  if (!stage) throw new Error('the plan has a stage')
  const tasksOf = (count: number): TaskPlan[] =>
    Array.from({ length: count }, (_, partition) => ({
      ...{ id: taskId(stage.id, partition), stage, partition, inputs: [], broadcasts: [] },
    }))
  const identity = identityOf('collect', 'own', taskKey as Serde<unknown>, listState(utf8))
  const saved = lists.map((items) => {
    const writer = new SegmentWriter()
    writer.register(identity)
    // What has no rows is left out of a chain.
    if (items.length > 0)
      writer.raw(0, Row.PUT, Buffer.alloc(0), null, joinItems(items.map((each) => Buffer.from(each))))
    const segment = writer.finish('drop-empty')
    const chain = segment ? [{ ref: 'one', mark: 'base-whole' as const, bytes: Buffer.concat(segment) }] : []
    return { positions: [], chain, handles: [] }
  })
  const before = { plan, tasks: tasksOf(lists.length) }
  const byTask = new Map(before.tasks.map(({ id }, index) => [id, saved[index] as (typeof saved)[number]]))
  const carried = await carriedOver(before, byTask, checkpointId(1), { plan, tasks: tasksOf(after) })
  return tasksOf(after).map(({ id }) => {
    const segments = (carried.get(id)?.chain ?? []).map(({ bytes }) => bytes)
    return stateRows(plan, segments, 'collect', 'own').flatMap(({ value }) => value as string[])
  })
}

test('fewer tasks, and tasks with nothing: no item is lost, none is there twice', async () => {
  expect(await dealt([[], [], ['a', 'b'], ['c']], 2)).toEqual([['a', 'c'], ['b']])
  expect(await dealt([[], ['a', 'b'], ['c', 'd']], 2)).toEqual([
    ['a', 'c'],
    ['b', 'd'],
  ])
  expect(await dealt([['a', 'b'], []], 2)).toEqual([['a', 'b'], []])
  expect(await dealt([['a', 'b', 'c', 'd']], 3)).toEqual([['a', 'd'], ['b'], ['c']])
  expect(await dealt([[], []], 3)).toEqual([[], [], []])
})

test('items of an older version and those with a time are dealt out as they are now', async () => {
  const living = { own: withTtl(listState(utf8), { ttlMs: 1_000 }), union: unionListState(utf8) }
  const older = { 1: utf8 }
  const migrate = (old: string): string => old.toUpperCase()
  const next = {
    own: withMigration(living.own, { version: 2, older, migrate }),
    union: withMigration(living.union, { version: 2, older, migrate }),
  }
  await using tester = await PipelineTester.start(collecting(living), { partitions: { in: 1 } })
  give(tester, 0, 'a')
  await tester.settle()
  await tester.advance(600)
  give(tester, 0, 'b')
  await tester.restore({ pipeline: collecting(next), partitions: { in: 2 } })
  expect(await held(tester, 2)).toEqual([
    { own: ['A'], union: ['A', 'B'] },
    { own: ['B'], union: ['A', 'B'] },
  ])
  await tester.advance(400)
  expect((await held(tester, 2)).map(({ own }) => own)).toEqual([[], ['B']])
})

/** Keyed state behind a repartition topic, and rules for all of its tasks. */
const counting = (partitions: number): Pipeline =>
  definePipeline('counting', (pipeline) => {
    const rules = pipeline.from('rules', kafkaSource({ topic: 'rules', key: utf8, value: f64 }))
    pipeline
      .from('in', kafkaSource({ topic: 'in', key: utf8, value: utf8 }))
      .keyBy('value', (value) => value, { partitions })
      .withState({ count: valueState(f64, 0) })
      .connectBroadcast(rules, { all: mapState(utf8, f64) })
      .process<string>('count', {
        onBroadcast: (rule, { broadcast, record }) => broadcast.all.set(record.key, rule),
        onRecord(value, { state: { count }, broadcast, emit }) {
          count.set(count.get() + 1)
          emit(`${value} ${count.get()} ${[...broadcast.all.values()].join('+')}`)
        },
      })
      .to('out', kafkaSink({ topic: 'out', key: utf8, value: utf8 }))
  })

test.each([
  [2, 5],
  [5, 2],
  [3, 3],
])(
  '%d partitions of a keyBy become %d: each key has its state, each task the broadcast state',
  async (before, after) => {
    await using tester = await PipelineTester.start(counting(before))
    const values = Array.from({ length: 40 }, (_, n) => `value-${n}`)
    const send = (): void => {
      for (const value of values) tester.send('in', { key: 'k', value })
    }
    tester.send('rules', { key: 'x', value: 1, partition: 0 }, { key: 'y', value: 2, partition: 0 })
    await tester.settle()
    send()
    await tester.restore({ pipeline: counting(after), backend: 'leveldb' })
    tester.send('rules', { key: 'y', value: 3, partition: 0 })
    await tester.settle()
    send()
    await tester.settle()
    const out = tester.output('out').map(({ value }) => value)
    expect(out.sort()).toEqual(
      [...values.map((value) => `${value} 1 1+2`), ...values.map((value) => `${value} 2 1+3`)].sort(),
    )
    expect(
      new Set(tester.state('count.broadcast', '$position').map(({ value }) => (value as { offset: string }).offset)),
    ).toEqual(new Set(['3']))
  },
)

test('a restore that is refused leaves everything as it was', async () => {
  await using tester = await PipelineTester.start(collecting())
  give(tester, 0, 'a')
  const other = { own: listState(json<string>()), union: unionListState(utf8) }
  await expect(tester.restore({ pipeline: collecting(other as never) })).rejects.toMatchObject({
    code: 'STATE_INCOMPATIBLE',
  })
  expect(await held(tester, 1)).toEqual([{ own: ['a'], union: ['a'] }])
})

test('operator state is lists, and a union list is operator state', () => {
  const refused = (text: RegExp, make: (pipeline: PipelineBuilder) => void): void =>
    expect(() => makePlan(definePipeline('wrong', make))).toThrow(text)
  const source = kafkaSource({ topic: 'in', key: utf8, value: utf8 })
  const sink = kafkaSink({ topic: 'out', key: utf8, value: utf8 })
  const wrong: StateDescriptors = { count: valueState(f64) }
  refused(/state 'count' of 'collect': operator state is listState or unionListState, not value/, (pipeline) =>
    pipeline
      .from('in', source)
      .withOperatorState(wrong as never)
      .process<string>('collect', { onRecord() {} })
      .to('out', sink),
  )
  refused(/state 'all' of 'keep': unionListState is for withOperatorState/, (pipeline) =>
    pipeline
      .from('in', source)
      .keyByRecordKey()
      .withState({ all: unionListState(utf8) })
      .map('keep', (value) => value)
      .to('out', sink),
  )
})

test('a serde of a user’s cannot pass for the key of operator state', () => {
  const own = { ...utf8, id: '$task' }
  const pipeline = definePipeline('keys', (build) =>
    build
      .from('in', kafkaSource({ topic: 'in', key: own, value: utf8 }))
      .keyByRecordKey()
      .withState({ count: valueState(f64) })
      .map('count', (value) => value)
      .to('out', kafkaSink({ topic: 'out', key: own, value: utf8 })),
  )
  expect(() => makePlan(pipeline)).toThrow(/the key of 'count' has serde '\$task': ids that begin with \$/)
})
