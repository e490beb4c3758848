/**
 * Goal: a pipeline in memory behaves as one on a cluster: what is written appears with its checkpoint, a crash takes everything since
 * away, and nothing is lost or there twice in the end. Method: small pipelines of every kind, driven by hand; crashes at random moments against a run without.
 */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { fileSink } from '../../connectors/file/index.ts'
import { kafkaSink, kafkaSource } from '../../connectors/kafka/index.ts'
import { MemoryLedger, memorySink, PipelineTester } from '../../connectors/memory/index.ts'
import {
  definePipeline,
  f64,
  json,
  listState,
  mapState,
  nullable,
  type Pipeline,
  utf8,
  valueState,
} from '../../src/index.ts'

interface Bid {
  readonly auction: string
  readonly price: number
}

interface Total {
  readonly auction: string
  readonly count: number
  readonly sum: number
}

/** Totals per auction, through a repartition topic. */
const totals = (ledger = new MemoryLedger()): Pipeline =>
  definePipeline('totals', (pipeline) => {
    const counted = pipeline
      .from('bids', kafkaSource({ topic: 'bids', key: nullable(utf8), value: json<Bid>() }))
      .keyBy('auction', (bid) => bid.auction, { partitions: 3 })
      .withState({ count: valueState(f64, 0), sum: valueState(f64, 0), prices: mapState(f64, f64) })
      .map('totals', ({ price }, { key, state }): Total => {
        state.count.set(state.count.get() + 1)
        state.sum.set(state.sum.get() + price)
        state.prices.set(price, (state.prices.get(price) ?? 0) + 1)
        return { auction: key, count: state.count.get(), sum: state.sum.get() }
      })
    counted.to('out', kafkaSink({ topic: 'totals', key: utf8, value: json<Total>() }))
    counted.to('ledger', memorySink(ledger))
  })

const bid = (auction: string, price: number): { value: Bid } => ({ value: { auction, price } })
const valuesOf = (tester: PipelineTester): unknown[] => tester.output('totals').map(({ value }) => value)

test('what is written is in its topic with its checkpoint, through a repartition topic', async () => {
  await using tester = await PipelineTester.start(totals(), { partitions: 2 })
  tester.send('bids', bid('a', 1), bid('b', 5), bid('a', 2))
  await tester.run()
  expect(valuesOf(tester)).toEqual([])
  // Into the repartition topic; then out of it; then into the topic behind.
  await tester.checkpoint()
  await tester.run()
  expect(valuesOf(tester)).toEqual([])
  await tester.settle()
  expect(valuesOf(tester)).toHaveLength(3)
  expect(tester.output('totals').filter(({ key }) => key === 'a')).toMatchObject([
    { value: { auction: 'a', count: 1, sum: 1 }, timestamp: 0 },
    { value: { auction: 'a', count: 2, sum: 3 } },
  ])
  expect(tester.state('totals', 'sum').sort((a, b) => String(a.key).localeCompare(String(b.key)))).toEqual([
    { key: 'a', value: 3 },
    { key: 'b', value: 5 },
  ])
  expect(tester.state('totals', 'prices').find(({ key }) => key === 'b')?.value).toEqual([[5, 1]])
})

test('a crash takes away what no checkpoint has, and it comes again', async () => {
  const ledger = new MemoryLedger()
  await using tester = await PipelineTester.start(totals(ledger))
  tester.send('bids', bid('a', 1))
  await tester.settle()
  tester.send('bids', bid('a', 2))
  await tester.run()
  await tester.crash()
  expect(tester.state('totals', 'count')).toEqual([{ key: 'a', value: 1 }])
  await tester.settle()
  await tester.crash('leveldb')
  tester.send('bids', bid('a', 3))
  await tester.settle()
  const wanted = [
    { auction: 'a', count: 1, sum: 1 },
    { auction: 'a', count: 2, sum: 3 },
    { auction: 'a', count: 3, sum: 6 },
  ]
  expect(valuesOf(tester)).toEqual(wanted)
  expect(ledger.visible).toEqual(wanted)
})

type Move =
  | readonly ['send', string, number]
  | readonly ['run' | 'checkpoint' | 'settle']
  | readonly ['crash', 'heap' | 'leveldb']

const move: fc.Arbitrary<Move> = fc.oneof(
  { weight: 6, arbitrary: fc.tuple(fc.constant('send' as const), fc.constantFrom('a', 'b', 'c'), fc.nat(9)) },
  { weight: 5, arbitrary: fc.tuple(fc.constantFrom('run' as const, 'checkpoint' as const, 'settle' as const)) },
  {
    weight: 2,
    arbitrary: fc.tuple(fc.constant('crash' as const), fc.constantFrom('heap' as const, 'leveldb' as const)),
  },
)

test('whenever it crashes, and whatever state it comes back to, each key’s output is that of a run without', async () => {
  const property = fc.asyncProperty(fc.array(move, { maxLength: 40 }), async (moves) => {
    const ledger = new MemoryLedger()
    await using tester = await PipelineTester.start(totals(ledger), { partitions: 2 })
    const sent = new Map<string, number[]>()
    for (const [what, first, second] of moves) {
      if (what === 'send') {
        tester.send('bids', bid(first as string, second as number))
        sent.set(first as string, [...(sent.get(first as string) ?? []), second as number])
      } else if (what === 'crash') await tester.crash(first as 'heap' | 'leveldb')
      else await tester[what as 'run' | 'checkpoint' | 'settle']()
    }
    await tester.settle()
    for (const [auction, prices] of sent) {
      const mine = valuesOf(tester).filter((value) => (value as Total).auction === auction)
      const wanted = prices.map((_, index) => ({
        ...{ auction, count: index + 1, sum: prices.slice(0, index + 1).reduce((a, b) => a + b, 0) },
      }))
      expect(mine).toEqual(wanted)
      expect(ledger.visible.filter((value) => (value as Total).auction === auction)).toEqual(wanted)
    }
  })
  await fc.assert(property, { numRuns: 200 })
})

describe('the clock', () => {
  const reminders = definePipeline('reminders', (pipeline) => {
    pipeline
      .from('orders', kafkaSource({ topic: 'orders', key: utf8, value: utf8 }))
      .keyByRecordKey()
      .withState({ state: valueState(utf8) })
      .process<string>('remind', {
        onRecord(order, { state, timers }) {
          state.state.set(order)
          if (order === 'placed') timers.set(timers.now() + 60_000)
        },
        onTimer(_time, { key, state, emit }) {
          if (state.state.get() === 'placed') emit(`pay ${key}`)
        },
      })
      .to('out', kafkaSink({ topic: 'reminders', key: utf8, value: utf8 }))
  })

  test('is the test’s: timers fire when it is moved on, also after a crash', async () => {
    await using tester = await PipelineTester.start(reminders, { nowMs: 1_000 })
    tester.send('orders', { key: 'a', value: 'placed' }, { key: 'b', value: 'placed' })
    await tester.settle()
    await tester.advance(30_000)
    tester.send('orders', { key: 'a', value: 'paid' })
    await tester.settle()
    await tester.crash()
    await tester.advance(30_000)
    await tester.settle()
    expect(tester.output('reminders')).toEqual([{ key: 'b', value: 'pay b', partition: 0, timestamp: 61_000 }])
    expect(tester.nowMs).toBe(61_000)
  })
})

test('asynchronous calls are waited for', async () => {
  const slow = definePipeline('slow', (pipeline) =>
    pipeline
      .from('in', kafkaSource({ topic: 'in', key: nullable(utf8), value: utf8 }))
      .asyncMap('call', async (text) => {
        await new Promise((resolve) => setTimeout(resolve, 3))
        return text.toUpperCase()
      })
      .to('out', kafkaSink({ topic: 'out', key: nullable(utf8), value: utf8 })),
  )
  await using tester = await PipelineTester.start(slow)
  tester.send('in', { value: 'a' }, { value: 'b' })
  await tester.settle()
  expect(tester.output('out').map(({ value }) => value)).toEqual(['A', 'B'])
})

test('a sink that takes no more for a while is waited for', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-tester-'))
  const archive = definePipeline('archive', (pipeline) =>
    pipeline
      .from('in', kafkaSource({ topic: 'in', key: nullable(utf8), value: utf8 }))
      .to('files', fileSink({ folder, value: json<string>() })),
  )
  await using tester = await PipelineTester.start(archive)
  // More than the sink lets wait for the disk, and more than a task reads without a look at it.
  const values = Array.from({ length: 160 }, (_, index) => `${index} ${'x'.repeat(2 ** 18)}`)
  for (const value of values) tester.send('in', { value })
  await tester.checkpoint()
  const [file = ''] = (await readdir(folder)).filter((name) => !name.startsWith('.'))
  expect((await readFile(join(folder, file), 'utf8')).trimEnd().split('\n')).toHaveLength(values.length)
  await rm(folder, { recursive: true })
})

test('what is wrong is said as a worker says it', async () => {
  await using tester = await PipelineTester.start(totals())
  expect(() => tester.send('offers', bid('a', 1))).toThrow(
    /TOPIC_UNKNOWN: the pipeline does not read 'offers'; it reads bids/,
  )
  expect(() => tester.output('offers')).toThrow(/TOPIC_UNKNOWN: topic 'offers' is not the pipeline's/)
  expect(() => tester.state('total', 'sum')).toThrow(/USAGE: no operator 'total' has state; those that have: totals/)
  tester.sendBytes('bids', null, Buffer.from('no json'))
  await expect(tester.run()).rejects.toThrow(/DECODE_FAILED: source 'bids': the value of bids-0@0 is not json/)
})

test('what is in state is frozen: a function that changes a value in place fails here, and not on a cluster', async () => {
  interface Cart {
    items: string[]
  }
  const changing = (change: (state: { cart: Cart; list: Cart; map: Cart }, given: Cart) => void): Pipeline =>
    definePipeline('carts', (pipeline) => {
      pipeline
        .from('in', kafkaSource({ topic: 'in', key: utf8, value: json<Cart>() }))
        .keyByRecordKey()
        .withState({
          cart: valueState(json<Cart>(), () => ({ items: [] })),
          list: listState(json<Cart>()),
          map: mapState(utf8, json<Cart>()),
        })
        .map('change', (given, { state }) => {
          state.cart.set(given)
          state.list.add(given)
          state.map.set('a', given)
          const [list] = state.list.get()
          change({ cart: state.cart.get() as Cart, list: list as Cart, map: state.map.get('a') as Cart }, given)
          return 'done'
        })
        .to('out', kafkaSink({ topic: 'out', key: utf8, value: utf8 }))
    })
  const wrong: Parameters<typeof changing>[0][] = [
    ({ cart }) => cart.items.push('one'),
    ({ list }) => list.items.push('one'),
    ({ map }) => {
      map.items = []
    },
    (_, given) => given.items.push('it is in state'),
  ]
  for (const change of wrong) {
    await using tester = await PipelineTester.start(changing(change))
    tester.send('in', { key: 'a', value: { items: ['given'] } })
    await expect(tester.run()).rejects.toMatchObject({ code: 'OPERATOR_FAILED' })
  }
  await using tester = await PipelineTester.start(changing(() => {}))
  tester.send('in', { key: 'a', value: { items: ['given'] } })
  await tester.settle()
  expect(tester.state('change', 'cart')).toEqual([{ key: 'a', value: { items: ['given'] } }])
})
