// Goal: state handles have the types of their declarations, values in state cannot be changed in place, and what a keyed
// function gives is the next stream's type. Method: nothing here runs; tsc checks that each expected error is one.
import {
  type AggregatingState,
  aggregatingState,
  type DeepReadonly,
  f64,
  json,
  type ListState,
  listState,
  type MapState,
  mapState,
  nullable,
  type PipelineBuilder,
  type ReducingState,
  reducingState,
  type Stream,
  utf8,
  type ValueState,
  valueState,
  withMigration,
  withTtl,
} from 'millrace'
import { kafkaSource } from 'millrace/kafka'
import { some, type } from './equal.ts'

interface Cart {
  items: { name: string; amount: number }[]
}

const source = kafkaSource({ topic: 'bids', key: utf8, value: json<{ readonly price: number }>() })
const keyed = some<PipelineBuilder>().from('bids', source).keyByRecordKey()

// Handles by declaration: with an initial value `get` never gives undefined.
const stateful = keyed.withState({
  count: valueState(f64, 0),
  last: valueState(f64),
  cart: valueState(json<Cart>(), () => ({ items: [] })),
  prices: listState(f64),
  byName: mapState(utf8, json<Cart>()),
  maybe: valueState(nullable(utf8), 'none'),
  sum: reducingState(f64, (sum, price) => sum + price),
  mean: aggregatingState(json<{ sum: number; count: number }>(), {
    create: () => ({ sum: 0, count: 0 }),
    add: ({ sum, count }, price: number) => ({ sum: sum + price, count: count + 1 }),
    result: ({ sum, count }) => String(sum / count),
  }),
})
stateful.map('handles', (_, { key, state, record }) => {
  type(key).is<string>()
  type(record.offset).is<bigint>()
  type(state.count).is<ValueState<number, never>>()
  type(state.count.get()).is<number>()
  type(state.last.get()).is<number | undefined>()
  type(state.prices).is<ListState<number>>()
  type(state.byName).is<MapState<string, Cart>>()
  type(state.byName.get('a')).is<DeepReadonly<Cart> | undefined>()
  type(state.maybe.get()).is<string | null>()
  type(state.sum).is<ReducingState<number>>()
  type(state.sum.get()).is<number | undefined>()
  type(state.mean).is<AggregatingState<number, string>>()
  type(state.mean.get()).is<string | undefined>()
  // @ts-expect-error: what is added is a number
  state.mean.add('one')
  // @ts-expect-error: nothing sets a reducing state but add
  state.sum.set(1)
  // @ts-expect-error: a number is expected
  state.count.set('one')
  // @ts-expect-error: a number is expected
  state.prices.add('one')
  // @ts-expect-error: the map's keys are strings
  state.byName.get(1)
  // @ts-expect-error: no such state
  state.total.get()
  // @ts-expect-error: values in state cannot be changed in place
  state.cart.get().items.push({ name: 'a', amount: 1 })
  // @ts-expect-error: nor deeper
  state.cart.get().items[0].amount = 2
  // @ts-expect-error: a list is read, not changed
  state.prices.get().push(1)
  return 0
})

// An object as initial value would be shared by all keys.
// @ts-expect-error: a function that makes it is expected
valueState(json<Cart>(), { items: [] })
// @ts-expect-error: another type than the serde's
valueState(f64, 'zero')
// @ts-expect-error: values without a serde
valueState(0)

// Outputs.
type(stateful.map('m', (bid) => bid.price)).is<Stream<number, string>>()
type(stateful.flatMap('f', (bid) => [bid.price, null])).is<Stream<number | null, string>>()
type(
  stateful.process<{ total: number }>('p', {
    onRecord(bid, { emit }) {
      emit({ total: bid.price })
      // @ts-expect-error: another type than declared
      emit({ total: 'much' })
    },
  }),
).is<Stream<{ total: number }, string>>()
// @ts-expect-error: a name is needed: it is the address of the state
stateful.map((bid) => bid.price)
const unkeyed = some<PipelineBuilder>().from('bids', source)
// @ts-expect-error: state needs a keyed stream
unkeyed.withState({ count: valueState(f64, 0) })
// @ts-expect-error: a result stream is keyed again only by keyBy or keyByRecordKey
stateful.map('m2', (bid) => bid.price).withState({ count: valueState(f64, 0) })

// A time to live and a migration leave the handle's type alone; `migrate` gets what the older serdes read, and gives a value of today.
const lasting = keyed.withState({
  count: withTtl(valueState(f64, 0), { ttlMs: 1 }),
  carts: withTtl(mapState(utf8, json<Cart>()), { ttlMs: 1, clock: 'record-time' }),
  price: withMigration(valueState(json<{ cents: number }>()), {
    version: 3,
    older: { 1: f64, 2: utf8 },
    migrate: (old, from) => {
      type(old).is<number | string>()
      type(from).is<number>()
      return { cents: Number(old) }
    },
  }),
})
lasting.map('lasting', (_, { state }) => {
  type(state.count).is<ValueState<number, never>>()
  type(state.carts).is<MapState<string, Cart>>()
  type(state.price.get()).is<{ readonly cents: number } | undefined>()
})
withMigration(valueState(utf8), {
  version: 2,
  older: { 1: f64 },
  // @ts-expect-error: a string is to be made
  migrate: (old) => old,
})
withMigration(listState(utf8), {
  version: 2,
  older: { 1: f64 },
  // @ts-expect-error: an item is a string
  migrate: (old) => [String(old)],
})
withMigration(mapState(utf8, utf8), {
  version: 2,
  older: { 1: f64 },
  // @ts-expect-error: an entry's value is a string
  migrate: (old) => old,
})
