/**
 * Goal: state with a time to live is there as long as it says and no longer, on every backend, through crashes, and it is cleaned up where no
 * record comes by. Method: a small pipeline with every kind of state, driven by the tester's clock or by the records' time.
 */
import { expect, test } from '@jest/globals'
import { kafkaSink, kafkaSource } from '../../connectors/kafka/index.ts'
import { PipelineTester } from '../../connectors/memory/index.ts'
import {
  aggregatingState,
  bytes,
  definePipeline,
  f64,
  json,
  listState,
  mapState,
  nullable,
  object,
  type Pipeline,
  reducingState,
  type TtlOptions,
  utf8,
  valueState,
  withTtl,
} from '../../src/index.ts'

/** `add`: writes to every state; `read`: only looks. */
type Command = 'add' | 'read'

interface Seen {
  readonly value: number
  readonly text: string | null | undefined
  readonly list: readonly number[]
  readonly map: Readonly<Record<string, number>>
  readonly size: number
  readonly sum: number | undefined
  readonly mean: number | undefined
}

const NOTHING: Seen = { value: 0, text: undefined, list: [], map: {}, size: 0, sum: undefined, mean: undefined }

function statesWith(ttl: TtlOptions | null) {
  const lasting = ttl ? <T>(state: T): T => withTtl(state as never, ttl) as T : <T>(state: T): T => state
  return {
    value: lasting(valueState(f64, 0)),
    text: lasting(valueState(nullable(utf8))),
    list: lasting(listState(f64)),
    map: lasting(mapState(utf8, f64)),
    sum: lasting(reducingState(f64, (sum, added) => sum + added)),
    mean: lasting(
      aggregatingState(object({ sum: f64, count: f64 }), {
        create: () => ({ sum: 0, count: 0 }),
        add: ({ sum, count }, added: number) => ({ sum: sum + added, count: count + 1 }),
        result: ({ sum, count }) => sum / count,
      }),
    ),
  }
}

/** A number of each key is put into each kind of state under its own name. */
const pipelineWith = (ttl: TtlOptions | null): Pipeline =>
  definePipeline('lives', (pipeline) => {
    pipeline
      .from('commands', kafkaSource({ topic: 'commands', key: utf8, value: json<{ command: Command; n: number }>() }))
      .keyByRecordKey()
      .withState(statesWith(ttl))
      .map('keep', ({ command, n }, { state }): Seen => {
        if (command === 'add') {
          state.value.set(n)
          state.text.set(n % 2 === 0 ? null : `${n}`)
          state.list.add(n)
          state.map.set(`m${n}`, n)
          state.sum.add(n)
          state.mean.add(n)
        }
        const { map } = state
        const size = map.size
        // With the other visibility the first look removes it.
        if (!ttl?.visibility)
          expect([...map.keys()].every((key) => map.has(key) && map.get(key) !== undefined)).toBe(true)
        return {
          ...{ value: state.value.get(), text: state.text.get(), list: state.list.get() },
          ...{ map: Object.fromEntries(map.entries()), size, sum: state.sum.get(), mean: state.mean.get() },
        }
      })
      .to('out', kafkaSink({ topic: 'seen', key: utf8, value: json<Seen>() }))
  })

const send = (tester: PipelineTester, command: Command, n = 0, at: { key?: string; timestamp?: number } = {}): void =>
  tester.send('commands', { key: 'a', value: { command, n }, ...at })

/** What the record sent last saw. */
async function seen(tester: PipelineTester): Promise<unknown> {
  await tester.settle()
  return tester.output('seen').at(-1)?.value
}

const after = (n: number): object =>
  JSON.parse(JSON.stringify({ value: n, text: `${n}`, list: [n], map: { [`m${n}`]: n }, size: 1, sum: n, mean: n }))
const nothing = JSON.parse(JSON.stringify(NOTHING))
const kinds = ['value', 'text', 'list', 'map', 'sum', 'mean']
const left = (tester: PipelineTester): unknown[] => kinds.flatMap((state) => tester.state('keep', state))

/** Every test of both backends. */
const each = test.each(['heap', 'leveldb'] as const)

const start = (backend: 'heap' | 'leveldb', ttl: TtlOptions | null): Promise<PipelineTester> =>
  PipelineTester.start(pipelineWith(ttl), { backend, nowMs: 1_000_000 })

each('on %s, an entry is there until its time is over, and never after it', async (backend) => {
  await using tester = await start(backend, { ttlMs: 1_000 })
  send(tester, 'add', 1)
  await tester.settle()
  await tester.advance(999)
  send(tester, 'read')
  expect(await seen(tester)).toEqual(after(1))
  await tester.advance(1)
  send(tester, 'read')
  expect(await seen(tester)).toEqual(nothing)
})

each('on %s, items of a list and entries of a map live by their own time', async (backend) => {
  await using tester = await start(backend, { ttlMs: 1_000 })
  send(tester, 'add', 1)
  await tester.settle()
  await tester.advance(600)
  send(tester, 'add', 3)
  await tester.settle()
  await tester.advance(600)
  send(tester, 'read')
  expect(await seen(tester)).toMatchObject({ list: [3], map: { m3: 3 }, size: 1, value: 3, sum: 4, mean: 2 })
})

each('on %s, reading does not prolong a life, unless that is asked for', async (backend) => {
  for (const update of ['on-write', 'on-read-and-write'] as const) {
    await using tester = await start(backend, { ttlMs: 1_000, update })
    send(tester, 'add', 5)
    await tester.settle()
    await tester.advance(700)
    send(tester, 'read')
    await tester.settle()
    await tester.advance(700)
    send(tester, 'read')
    expect(await seen(tester)).toEqual(update === 'on-write' ? nothing : after(5))
  }
})

each('on %s, its time goes on through a crash', async (backend) => {
  await using tester = await start(backend, { ttlMs: 1_000 })
  send(tester, 'add', 7)
  await tester.settle()
  await tester.advance(600)
  await tester.crash(backend === 'heap' ? 'leveldb' : 'heap')
  await tester.advance(399)
  send(tester, 'read')
  expect(await seen(tester)).toEqual(after(7))
  await tester.crash(backend)
  await tester.advance(1)
  send(tester, 'read')
  expect(await seen(tester)).toEqual(nothing)
})

each('on %s, what no record comes upon is removed in the background, and from checkpoints', async (backend) => {
  await using tester = await start(backend, { ttlMs: 1_000 })
  for (let n = 0; n < 700; n++) send(tester, 'add', n, { key: `k${n}` })
  await tester.settle()
  expect(left(tester)).toHaveLength(kinds.length * 700)
  for (let turns = 0; turns < 100 && left(tester).length > 0; turns++) {
    await tester.advance(1_000)
    await tester.settle()
  }
  expect(left(tester)).toEqual([])
  await tester.crash()
  expect(left(tester)).toEqual([])
})

each('on %s, by the time of records: the clock of the machine does not matter', async (backend) => {
  await using tester = await start(backend, { ttlMs: 1_000, clock: 'record-time' })
  send(tester, 'add', 1, { timestamp: 5_000 })
  await tester.settle()
  await tester.advance(1_000_000)
  send(tester, 'read', 0, { timestamp: 5_999 })
  expect(await seen(tester)).toEqual(after(1))
  // A late one.
  send(tester, 'read', 0, { timestamp: 4_000 })
  expect(await seen(tester)).toEqual(after(1))
  send(tester, 'read', 0, { timestamp: 6_000 })
  expect(await seen(tester)).toEqual(nothing)
})

each('on %s, what is expired may be seen until it is removed, where that is asked for', async (backend) => {
  await using tester = await start(backend, {
    ttlMs: 2_000_000,
    visibility: 'return-expired-if-not-cleaned-up',
    clock: 'record-time',
  })
  send(tester, 'add', 1, { timestamp: 0 })
  send(tester, 'read', 0, { timestamp: 5_000_000 })
  // The cleaner has not come by, and reading removes it.
  expect(await seen(tester)).toEqual(after(1))
  send(tester, 'read', 0, { timestamp: 5_000_000 })
  expect(await seen(tester)).toEqual(nothing)
})

each(
  'on %s, may be added to a state that is there, changed, and taken away: what was there lives from then on',
  async (backend) => {
    await using tester = await start(backend, null)
    send(tester, 'add', 9)
    await tester.settle()
    await tester.advance(1_000_000)
    await tester.crash({ pipeline: pipelineWith({ ttlMs: 1_000 }) })
    send(tester, 'read')
    expect(await seen(tester)).toEqual(after(9))
    await tester.advance(999)
    await tester.crash()
    send(tester, 'read')
    expect(await seen(tester)).toEqual(after(9))
    // By another clock: nobody knows since when by that one.
    await tester.crash({ pipeline: pipelineWith({ ttlMs: 1_000, clock: 'record-time' }) })
    send(tester, 'read', 0, { timestamp: 10_000 })
    send(tester, 'read', 0, { timestamp: 10_999 })
    expect(await seen(tester)).toEqual(after(9))
    await tester.crash({ pipeline: pipelineWith(null) })
    send(tester, 'read', 0, { timestamp: 20_000 })
    expect(await seen(tester)).toEqual(after(9))
  },
)

test('bytes that are kept with a time are the state’s own', async () => {
  const pipeline = definePipeline('bytes', (build) => {
    build
      .from('in', kafkaSource({ topic: 'in', key: utf8, value: bytes }))
      .keyByRecordKey()
      .withState({ last: withTtl(valueState(bytes), { ttlMs: 1_000 }) })
      .map('keep', (value, { state }) => {
        const before = state.last.get() ?? Buffer.from('-')
        state.last.set(value)
        return before
      })
      .to('out', kafkaSink({ topic: 'out', key: utf8, value: bytes }))
  })
  await using tester = await PipelineTester.start(pipeline)
  for (const text of ['one', 'two', 'three']) tester.send('in', { key: 'a', value: Buffer.from(text) })
  await tester.settle()
  expect(tester.output('out').map(({ value }) => String(value))).toEqual(['-', 'one', 'two'])
})

test('settings that make no sense are refused', () => {
  for (const wrong of [{ ttlMs: 0 }, { ttlMs: Number.NaN }, { ttlMs: '5' }, { ttlMs: 1, clock: 'sundial' }])
    expect(() => withTtl(valueState(f64), wrong as TtlOptions)).toThrow(
      expect.objectContaining({ code: 'OPTION_INVALID' }),
    )
})

test('by the time of records: a timer, which goes by the machine’s clock, ends nobody’s life', async () => {
  const pipeline = definePipeline('replayed', (build) => {
    build
      .from('in', kafkaSource({ topic: 'in', key: utf8, value: utf8 }))
      .keyByRecordKey()
      .withState({ last: withTtl(valueState(utf8, 'nothing'), { ttlMs: 10_000, clock: 'record-time' }) })
      .process<string>('keep', {
        onRecord(value, { key, state, timers, emit }) {
          emit(`${key}: ${state.last.get()}`)
          state.last.set(value)
          if (value === 'timer') timers.set(timers.now() + 1_000)
        },
        onTimer(_, { key, state, emit }) {
          emit(`timer of ${key}: ${state.last.get()}`)
        },
      })
      .to('out', kafkaSink({ topic: 'out', key: utf8, value: utf8 }))
  })
  // Records of long ago.
  await using tester = await PipelineTester.start(pipeline, { nowMs: 1_000_000_000 })
  tester.send('in', { key: 'a', value: 'one', timestamp: 5_000 }, { key: 'b', value: 'timer', timestamp: 5_000 })
  await tester.settle()
  await tester.advance(1_000)
  // The cleaner has its turns.
  for (let turns = 0; turns < 5; turns++) await tester.advance(2_000)
  tester.send('in', { key: 'a', value: 'two', timestamp: 6_000 })
  await tester.settle()
  const values = tester.output('out').map(({ value }) => value)
  expect(values).toEqual(['a: nothing', 'b: nothing', 'timer of b: timer', 'a: one'])
})
