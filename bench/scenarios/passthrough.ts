/** W0: the bytes of every record, unchanged. What reading, writing and the protocol cost by themselves. */
import { bytes, definePipeline } from 'millrace'
import { kafkaSink, kafkaSource } from 'millrace/kafka'
import { expectBytes, type PlainWork } from '../output-check.ts'
import type { Scenario } from './scenario.ts'

const plain = (): PlainWork => (_key, value) => value

export const passthrough: Scenario = {
  id: 'W0',
  name: 'passthrough',
  what: 'bytes through',
  ratioMax: 1 / 20,
  pipeline: ({ pipeline, input, output }, options) =>
    definePipeline(
      pipeline,
      (from) =>
        from
          .from('input', kafkaSource({ topic: input, key: bytes, value: bytes }))
          .to('output', kafkaSink({ topic: output, key: bytes, value: bytes })),
      options,
    ),
  plain,
  expect: (reader, input) => expectBytes(reader, input, plain()),
}
