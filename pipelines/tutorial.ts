// What each customer spends: the end of the README's "State, step by step". Each state came with one step: a value, a map that forgets,
// a maximum, and a list for a receipt that a timer writes. State is on disk, and the list has a second format: its
// items were numbers once.
import {
  definePipeline,
  f64,
  json,
  listState,
  mapState,
  type Pipeline,
  reducingState,
  utf8,
  valueState,
  withMigration,
  withTtl,
} from 'millrace'
import { kafkaSink, kafkaSource } from 'millrace/kafka'

interface Payment {
  readonly shop: string
  readonly cents: number
}

const AN_HOUR_MS = 3_600_000

const spending: Pipeline = definePipeline(
  'spending',
  (pipeline) => {
    pipeline
      .from('payments', kafkaSource({ topic: 'payments', key: utf8, value: json<Payment>() }))
      .keyByRecordKey()
      .withState({
        total: valueState(f64, 0),
        shops: withTtl(mapState(utf8, f64), { ttlMs: 30 * 24 * AN_HOUR_MS, clock: 'record-time' }),
        largest: reducingState(f64, Math.max),
        receipt: withMigration(listState(json<Payment>()), {
          version: 2,
          older: { 1: f64 },
          migrate: (cents) => ({ shop: 'a shop', cents }),
        }),
      })
      .process<string>('watch', {
        onRecord({ shop, cents }, { key, state, timers, emit }) {
          const total = state.total.get() + cents
          state.total.set(total)
          emit(`${key}: ${cents} at ${shop}, ${total} in all`)
          if (!state.shops.has(shop)) emit(`${key}: first payment at ${shop}`)
          state.shops.set(shop, (state.shops.get(shop) ?? 0) + cents)
          if (cents > (state.largest.get() ?? cents)) emit(`${key}: ${cents} is the most so far`)
          state.largest.add(cents)
          state.receipt.add({ shop, cents })
          timers.set((Math.floor(timers.now() / AN_HOUR_MS) + 1) * AN_HOUR_MS)
        },
        onTimer(_time, { key, state, emit }) {
          const lines = state.receipt.get().map(({ shop, cents }) => `${cents} at ${shop}`)
          emit(`${key}: receipt: ${lines.join(', ')}`)
          state.receipt.clear()
        },
      })
      .to('notes', kafkaSink({ topic: 'notes', key: utf8, value: utf8 }))
  },
  { state: { backend: 'leveldb', folder: './.millrace-state', cacheBytesMax: 512 * 1024 * 1024 } },
)

export default spending
