// The entry of a user's module.
import type { PipelineOptions } from '../plan/options.ts'
import type { Pipeline } from '../plan/plan.ts'
import { PipelineBuilder } from './stream.ts'

/**
 * Defines a pipeline; make it the module's default export. `build` runs once per process and only describes: nothing
 * connects before the plan is checked. `name` (`[a-z0-9-]+`) is the pipeline's identity: group, internal topics,
 * transactional ids and the checkpoint folder derive from it.
 *
 * @example
 * export default definePipeline('upper', (pipeline) => {
 *   pipeline.from('lines', kafkaSource({ topic: 'lines', key: nullable(utf8), value: utf8 }))
 *     .map((line) => line.toUpperCase())
 *     .to('shouted', kafkaSink({ topic: 'shouted', key: nullable(utf8), value: utf8 }))
 * })
 */
export function definePipeline(
  name: string,
  build: (pipeline: PipelineBuilder) => void,
  options: PipelineOptions = {},
): Pipeline {
  const builder = new PipelineBuilder()
  build(builder)
  return { kind: 'millrace-pipeline', name, graph: builder.graph(), options }
}
