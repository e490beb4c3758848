/** W1: parse the JSON value, add a field, write it. */
import { definePipeline, json, utf8 } from 'millrace'
import { kafkaSink, kafkaSource } from 'millrace/kafka'
import type { Bid } from '../bids.ts'
import { expectBytes, type PlainWork } from '../output-check.ts'
import type { Scenario } from './scenario.ts'

const plain = (): PlainWork => (_key, value) => {
  const bid = JSON.parse(value.toString()) as Bid
  return JSON.stringify({ ...bid, fee: Math.round(bid.price / 40) })
}

export const jsonMap: Scenario = {
  id: 'W1',
  name: 'json-map',
  what: 'JSON: parse, add a field, write',
  ratioMax: 1 / 5,
  pipeline: ({ pipeline, input, output }, options) =>
    definePipeline(
      pipeline,
      (from) =>
        from
          .from('input', kafkaSource({ topic: input, key: utf8, value: json<Bid>() }))
          .map((bid) => ({ ...bid, fee: Math.round(bid.price / 40) }))
          .to('output', kafkaSink({ topic: output, key: utf8, value: json() })),
      options,
    ),
  plain,
  expect: (reader, input) => expectBytes(reader, input, plain()),
}
