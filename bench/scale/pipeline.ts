/** What idles and starts in `npm run bench -- scale`: counts per key, its topics from the environment. */
import { definePipeline, f64, json, type Pipeline, utf8, valueState } from 'millrace'
import { kafkaSink, kafkaSource } from 'millrace/kafka'

const { BENCH_PIPELINE = 'bench', BENCH_INPUT = 'input', BENCH_OUTPUT = 'output' } = process.env

const counts: Pipeline = definePipeline(BENCH_PIPELINE, (pipeline) => {
  pipeline
    .from('input', kafkaSource({ topic: BENCH_INPUT, key: utf8, value: json<unknown>() }))
    .keyByRecordKey()
    .withState({ count: valueState(f64, 0) })
    .map('counts', (_, { state }) => {
      const count = state.count.get() + 1
      state.count.set(count)
      return { count }
    })
    .to('output', kafkaSink({ topic: BENCH_OUTPUT, key: utf8, value: json<{ count: number }>() }))
})

export default counts
