/** A module that never gets to the end of its loading, in the process that SLOW names: `supervisor` or `worker`. */
import { definePipeline, type Pipeline, utf8 } from 'millrace'
import { kafkaSink, kafkaSource } from 'millrace/kafka'

const here = process.send ? 'worker' : 'supervisor'
if (process.env.SLOW === here) {
  process.stdout.write(`the module loads in the ${here}\n`)
  await new Promise(() => setInterval(() => {}, 1_000))
}

const pipeline: Pipeline = definePipeline('slow', (builder) => {
  const topic = kafkaSource({ topic: 'slow-in', key: utf8, value: utf8 })
  builder.from('in', topic).to('out', kafkaSink({ topic: 'slow-out', key: utf8, value: utf8 }))
})

export default pipeline
