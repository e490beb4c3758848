/** W4: count, sum and maximum per bidder, which is not the record's key: records move between partitions first. One output for every input. */
import { definePipeline, f64, int32, json, object, type Serde, utf8, valueState } from 'millrace'
import { kafkaSink, kafkaSource } from 'millrace/kafka'
import type { Bid } from '../bids.ts'
import { expectTotals } from '../totals-check.ts'
import type { Scenario } from './scenario.ts'

interface Totals {
  readonly bidder: string
  readonly count: number
  readonly sum: number
  readonly max: number
}

/** What crosses the repartition topic. The peers' crosses it in their own formats, too. */
const offer = object({ bidder: int32, price: int32 })

/** `value`: a bid, or the part of it that is used. */
const pipelineOf =
  (value: Serde<Pick<Bid, 'bidder' | 'price'>>): Scenario['pipeline'] =>
  ({ pipeline, input, output }, options) =>
    definePipeline(
      pipeline,
      (from) =>
        from
          .from('input', kafkaSource({ topic: input, key: utf8, value }))
          .map(({ bidder, price }) => ({ bidder, price }))
          .keyBy('bidder', ({ bidder }) => String(bidder), { value: offer })
          .withState({ count: valueState(f64, 0), sum: valueState(f64, 0), max: valueState(f64, 0) })
          .map('totals', ({ price }, { key, state }): Totals => {
            const count = state.count.get() + 1
            const sum = state.sum.get() + price
            const max = Math.max(state.max.get(), price)
            state.count.set(count)
            state.sum.set(sum)
            state.max.set(max)
            return { bidder: key, count, sum, max }
          })
          .to('output', kafkaSink({ topic: output, key: utf8, value: json<Totals>() })),
      options,
    )

export const rekeyedAggregate: Scenario = {
  id: 'W4',
  name: 'rekeyed-aggregate',
  what: 'count, sum, max per bidder, by another key',
  pipeline: pipelineOf(json<Bid>()),
  fieldsNamed: pipelineOf(json<Bid>().only('bidder', 'price')),
  expect: (reader, input) =>
    expectTotals(reader, input, {
      keyOf: ({ bidder }) => String(bidder),
      textOf: (bidder, { count, sum, max }) => JSON.stringify({ bidder, count, sum, max }),
    }),
}
