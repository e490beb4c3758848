/** W2 and W3: count, sum and maximum per record key, one output for every input. Millrace's state is in its checkpoints; the loop's is a Map that a crash loses. */
import { definePipeline, f64, json, type Serde, utf8, valueState } from 'millrace'
import { kafkaSink, kafkaSource } from 'millrace/kafka'
import type { Bid } from '../bids.ts'
import { expectBytes, type PlainWork } from '../output-check.ts'
import type { Scenario } from './scenario.ts'

interface Totals {
  readonly auction: string
  readonly count: number
  readonly sum: number
  readonly max: number
}

function plain(): PlainWork {
  const totals = new Map<string, { count: number; sum: number; max: number }>()
  return (key, value) => {
    const auction = key.toString()
    const { price } = JSON.parse(value.toString()) as Bid
    let total = totals.get(auction)
    if (!total) {
      total = { count: 0, sum: 0, max: 0 }
      totals.set(auction, total)
    }
    total.count++
    total.sum += price
    total.max = Math.max(total.max, price)
    return JSON.stringify({ auction, count: total.count, sum: total.sum, max: total.max })
  }
}

/** `value`: a bid, or the part of it that is used. */
const pipelineOf =
  (value: Serde<Pick<Bid, 'price'>>): Scenario['pipeline'] =>
  ({ pipeline, input, output }, options) =>
    definePipeline(
      pipeline,
      (from) =>
        from
          .from('input', kafkaSource({ topic: input, key: utf8, value }))
          .keyByRecordKey()
          .withState({ count: valueState(f64, 0), sum: valueState(f64, 0), max: valueState(f64, 0) })
          .map('totals', ({ price }, { key, state }): Totals => {
            const count = state.count.get() + 1
            const sum = state.sum.get() + price
            const max = Math.max(state.max.get(), price)
            state.count.set(count)
            state.sum.set(sum)
            state.max.set(max)
            return { auction: key, count, sum, max }
          })
          .to('output', kafkaSink({ topic: output, key: utf8, value: json<Totals>() })),
      options,
    )

export const keyedAggregate: Scenario = {
  id: 'W2',
  name: 'keyed-aggregate',
  what: 'count, sum, max per record key',
  ratioMax: 1 / 5,
  pipeline: pipelineOf(json<Bid>()),
  fieldsNamed: pipelineOf(json<Bid>().only('price')),
  plain,
  expect: (reader, input) => expectBytes(reader, input, plain()),
}

/** W3: W2 with its state on disk, behind a cache. */
export const keyedAggregateOnDisk: Scenario = {
  id: 'W3',
  name: 'keyed-aggregate-on-disk',
  what: 'count, sum, max per record key, state on disk',
  onDisk: true,
  pipeline: keyedAggregate.pipeline,
  expect: keyedAggregate.expect,
}
