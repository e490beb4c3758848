// For tests of how JSON values are read: {"n":7} from topic `input` becomes {"twice":14} in topic `output`.
import { kafkaSink, kafkaSource } from '../../connectors/kafka/index.ts'
import { json, type PipelineBuilder, utf8 } from '../../src/index.ts'

export const twicePipeline =
  (onDecodeError: 'fail' | 'skip') =>
  (pipeline: PipelineBuilder): void => {
    const source = kafkaSource({ topic: 'input', key: utf8, value: json<{ n: number }>(), onDecodeError })
    const sink = kafkaSink({ topic: 'output', key: utf8, value: json<unknown>() })
    pipeline
      .from('in', source)
      .map(({ n }) => ({ twice: 2 * n }))
      .to('out', sink)
  }
