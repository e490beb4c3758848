/**
 * Goal: state of an older version is read as what it is today, of every kind and on every backend, as often as a crash makes it necessary; what
 * cannot be read is refused before the first record. Method: a pipeline in memory that comes back as its next version.
 */
import { expect, test } from '@jest/globals'
import { kafkaSink, kafkaSource } from '../../connectors/kafka/index.ts'
import { PipelineTester } from '../../connectors/memory/index.ts'
import {
  aggregatingState,
  definePipeline,
  f64,
  json,
  listState,
  mapState,
  nullable,
  object,
  type Pipeline,
  reducingState,
  type StateDescriptors,
  utf8,
  valueState,
  withMigration,
  withTtl,
} from '../../src/index.ts'

interface Euros {
  readonly euros: number
}

/** What version 1 has: prices in euros. */
const euros = {
  last: valueState(f64),
  text: valueState(nullable(utf8)),
  all: listState(json<Euros>()),
  byItem: mapState(utf8, f64),
  sum: reducingState(f64, (sum, price) => sum + price),
  mean: aggregatingState(object({ sum: f64, count: f64 }), {
    create: () => ({ sum: 0, count: 0 }),
    add: ({ sum, count }, price: number) => ({ sum: sum + price, count: count + 1 }),
    result: ({ sum, count }) => sum / count,
  }),
}

const version1 = (states: StateDescriptors = euros): Pipeline =>
  definePipeline('prices', (pipeline) => {
    pipeline
      .from('prices', kafkaSource({ topic: 'prices', key: utf8, value: f64 }))
      .keyByRecordKey()
      .withState(states as typeof euros)
      .map('keep', (price, { state }) => {
        state.last.set(price)
        state.text.set(price > 5 ? null : `${price}`)
        state.all.add({ euros: price })
        state.byItem.set(`item-${price}`, price)
        state.sum.add(price)
        state.mean.add(price)
        return price
      })
      .to('out', kafkaSink({ topic: 'seen-by-1', key: utf8, value: f64 }))
  })

interface Cents {
  readonly cents: number
}

const centsOf = (price: number): Cents => ({ cents: Math.round(price * 100) })
/** How often a value was migrated. */
let calls = 0
const migrate = (price: number): Cents => {
  calls++
  return centsOf(price)
}

/** Version 2 has cents, in objects, and says how they come from euros. */
const cents = {
  last: withMigration(valueState(json<Cents>()), { version: 2, older: { 1: f64 }, migrate }),
  text: withMigration(valueState(json<{ text: string | null }>()), {
    version: 2,
    older: { 1: nullable(utf8) },
    migrate: (text) => ({ text }),
  }),
  all: withMigration(listState(json<Cents>()), {
    version: 2,
    older: { 1: json<Euros>() },
    migrate: (old) => centsOf(old.euros),
  }),
  byItem: withMigration(mapState(utf8, json<Cents>()), { version: 2, older: { 1: f64 }, migrate }),
  sum: withMigration(
    reducingState(json<Cents>(), (a, b) => ({ cents: a.cents + b.cents })),
    { version: 2, older: { 1: f64 }, migrate },
  ),
  mean: withMigration(
    aggregatingState(object({ cents: f64, count: f64 }), {
      create: () => ({ cents: 0, count: 0 }),
      add: (so, price: number) => ({ cents: so.cents + price * 100, count: so.count + 1 }),
      result: (so) => so.cents / so.count,
    }),
    {
      version: 2,
      older: { 1: object({ sum: f64, count: f64 }) },
      migrate: ({ sum, count }) => ({ cents: sum * 100, count }),
    },
  ),
}

interface Seen {
  readonly last: Cents | undefined
  readonly text: unknown
  readonly all: readonly Cents[]
  readonly byItem: readonly (readonly [string, Cents])[]
  readonly sum: Cents | undefined
  readonly mean: number | undefined
}

const version2 = (states: StateDescriptors = cents): Pipeline =>
  definePipeline('prices', (pipeline) => {
    pipeline
      .from('prices', kafkaSource({ topic: 'prices', key: utf8, value: f64 }))
      .keyByRecordKey()
      .withState(states as typeof cents)
      .map('keep', (price, { state }): Seen => {
        if (price > 0) state.all.add(centsOf(price))
        const { last, text, all, byItem, sum, mean } = state
        const pairs = [...byItem.entries()]
        return {
          ...{ last: last.get(), text: text.get(), all: all.get(), byItem: pairs },
          sum: sum.get(),
          mean: mean.get(),
        }
      })
      .to('out', kafkaSink({ topic: 'seen', key: utf8, value: json<Seen>() }))
  })

const each = test.each(['heap', 'leveldb'] as const)

async function seen(tester: PipelineTester, price: number): Promise<Seen> {
  tester.send('prices', { key: 'a', value: price })
  await tester.settle()
  return tester.output('seen').at(-1)?.value as Seen
}

async function withPrices(backend: 'heap' | 'leveldb', states?: StateDescriptors): Promise<PipelineTester> {
  const tester = await PipelineTester.start(version1(states), { backend })
  for (const price of [1, 2, 9]) {
    tester.send('prices', { key: 'a', value: price }, { key: 'b', value: price })
    await tester.settle()
  }
  return tester
}

const migrated: Seen = {
  last: { cents: 900 },
  text: { text: null },
  all: [{ cents: 100 }, { cents: 200 }, { cents: 900 }],
  byItem: [
    ['item-1', { cents: 100 }],
    ['item-2', { cents: 200 }],
    ['item-9', { cents: 900 }],
  ],
  sum: { cents: 1200 },
  mean: 400,
}

each('on %s, every kind of state is migrated, item by item and entry by entry', async (backend) => {
  await using tester = await withPrices(backend)
  await tester.crash({ pipeline: version2() })
  expect(await seen(tester, 0)).toEqual(migrated)
  expect(tester.state('keep', 'sum').find(({ key }) => key === 'b')?.value).toEqual({ cents: 1200 })
})

each('on %s, a migration that a crash breaks off happens again, on top of what was written since', async (backend) => {
  await using tester = await withPrices(backend)
  await tester.crash({ pipeline: version2() })
  await tester.crash()
  expect((await seen(tester, 3)).all.at(-1)).toEqual({ cents: 300 })
  calls = 0
  await tester.crash({ backend: backend === 'heap' ? 'leveldb' : 'heap' })
  // The old values are in the chain still: of value, sum and map of two keys.
  expect(calls).toBeGreaterThanOrEqual(2 * 3)
  expect(await seen(tester, 0)).toEqual({ ...migrated, all: [...migrated.all, { cents: 300 }] })
})

each('on %s, what is written anew is migrated no more', async (backend) => {
  await using tester = await withPrices(backend)
  await tester.crash({ pipeline: version2() })
  // Enough checkpoints for a new base.
  for (let n = 0; n < 40; n++) await seen(tester, 1)
  calls = 0
  await tester.crash()
  expect(calls).toBe(0)
  expect((await seen(tester, 0)).sum).toEqual({ cents: 1200 })
})

each('on %s, a time to live goes on through a migration, and may come with it', async (backend) => {
  const living = <T extends StateDescriptors>(states: T): T =>
    Object.fromEntries(Object.entries(states).map(([name, state]) => [name, withTtl(state, { ttlMs: 1_000 })])) as T
  await using tester = await withPrices(backend, living(euros))
  await tester.advance(999)
  await tester.crash({ pipeline: version2(living(cents)) })
  expect(await seen(tester, 0)).toEqual(migrated)
  await tester.advance(1)
  expect((await seen(tester, 0)).all).toEqual([])
  await using other = await withPrices(backend)
  await other.advance(5_000)
  await other.crash({ pipeline: version2(living(cents)) })
  expect(await seen(other, 0)).toEqual(migrated)
  await other.advance(1_000)
  expect((await seen(other, 0)).all).toEqual([])
})

each(
  'on %s, a version that is not listed, and code of before, are refused before the first record',
  async (backend) => {
    await using tester = await withPrices(backend)
    const later = {
      ...cents,
      last: withMigration(valueState(json<Cents>()), {
        version: 3,
        older: { 2: json<Cents>() },
        migrate: (old) => old,
      }),
    }
    await expect(tester.crash({ pipeline: version2(later) })).rejects.toMatchObject({
      code: 'STATE_INCOMPATIBLE',
      message: expect.stringContaining(
        "operator 'keep', state 'last': the checkpoint has value of f64, key utf8; the pipeline has it value of json v3",
      ),
    })
    await tester.crash({ pipeline: version2() })
    await seen(tester, 3)
    await expect(tester.crash({ pipeline: version1() })).rejects.toMatchObject({
      code: 'STATE_INCOMPATIBLE',
      message: expect.stringContaining('json v2'),
    })
  },
)

each('on %s, a migration that throws says of what, and changes nothing', async (backend) => {
  await using tester = await withPrices(backend)
  const broken = withMigration(valueState(json<Cents>()), {
    version: 2,
    older: { 1: f64 },
    migrate: () => {
      throw new Error('no rate for it')
    },
  })
  await expect(tester.crash({ pipeline: version2({ ...cents, last: broken }) })).rejects.toMatchObject({
    code: 'STATE_INCOMPATIBLE',
    message: expect.stringMatching(/operator 'keep', state 'last'.*version 1 \(f64\) to 2 \(json\).*no rate for it/),
  })
  await tester.crash({ pipeline: version2() })
  expect(await seen(tester, 0)).toEqual(migrated)
})

test('versions that make no sense are refused', () => {
  const older = { 1: f64 }
  for (const wrong of [
    { version: 1, older },
    { version: 2.5, older },
    { version: 2, older: { 2: f64 } },
    { version: 3, older: { 0: f64 } },
  ])
    expect(() => withMigration(valueState(f64), { ...wrong, migrate: (n: number) => n } as never)).toThrow(
      expect.objectContaining({ code: 'OPTION_INVALID' }),
    )
})
