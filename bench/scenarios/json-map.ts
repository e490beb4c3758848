/** W1: parse the JSON value, add a field, write it. */
import { definePipeline, json, type Stream, utf8 } from 'millrace'
import { kafkaSink, kafkaSource } from 'millrace/kafka'
import type { Bid } from '../bids.ts'
import { expectBytes, type PlainWork } from '../output-check.ts'
import type { Scenario } from './scenario.ts'

const plain = (): PlainWork => (_key, value) => {
  const bid = JSON.parse(value.toString()) as Bid
  return JSON.stringify({ ...bid, fee: Math.round(bid.price / 40) })
}

const fee = ({ price }: Pick<Bid, 'price'>): { fee: number } => ({ fee: Math.round(price / 40) })

type Bids = Stream<Bid, string>

/** From JSON to JSON by way of `step`. */
const pipelineOf =
  (step: (bids: Bids) => Stream<Bid & { fee: number }, string>): Scenario['pipeline'] =>
  ({ pipeline, input, output }, options) =>
    definePipeline(
      pipeline,
      (from) =>
        step(from.from('input', kafkaSource({ topic: input, key: utf8, value: json<Bid>() }))).to(
          'output',
          kafkaSink({ topic: output, key: utf8, value: json() }),
        ),
      options,
    )

export const jsonMap: Scenario = {
  id: 'W1',
  name: 'json-map',
  what: 'JSON: parse, add a field, write',
  ratioMax: 1 / 5,
  pipeline: pipelineOf((bids) => bids.map((bid) => ({ ...bid, fee: Math.round(bid.price / 40) }))),
  fieldsNamed: pipelineOf((bids) => bids.patch(['price'], fee)),
  plain,
  expect: (reader, input) => expectBytes(reader, input, plain()),
}
