/**
 * Pipelines for the tests that act as users do: one module, its shape and settings from the environment.
 *
 *  - CASE: JSON, see {@link Case}
 */
import {
  bytes,
  definePipeline,
  f64,
  int32,
  json,
  nullable,
  type Pipeline,
  type PipelineBuilder,
  type PipelineOptions,
  type Serde,
  type Stream,
  utf8,
  valueState,
} from 'millrace'
import { type KafkaSourceOptions, kafkaSink, kafkaSource } from 'millrace/kafka'

export type Shape =
  | 'copy'
  | 'int32'
  | 'bytes'
  | 'count'
  | 'count-and-more'
  | 'numbers'
  | 'hop'
  | 'union'
  | 'map-throws'
  | 'async-throws'
  | 'async-hangs'
  | 'large'
  | 'partitioner'
  | 'key-nan'

export interface Case {
  readonly name: string
  readonly shape: Shape
  readonly inputs: readonly string[]
  readonly output: string
  readonly options?: PipelineOptions
  readonly source?: Pick<KafkaSourceOptions<never, never>, 'start' | 'onDecodeError'>
  readonly hopPartitions?: number
}

interface Counted {
  readonly value: string
  readonly count: number
}

export interface Numbers {
  readonly count: number
  readonly sum: number
  readonly before: number
  readonly value: string
}

const given = JSON.parse(process.env.CASE ?? '{}') as Case

function read<V>(
  pipeline: PipelineBuilder,
  value: Serde<V>,
  topics = given.inputs,
  name = 'in',
): Stream<V, string | null> {
  return pipeline.from(name, kafkaSource({ topic: topics, key: nullable(utf8), value, ...given.source }))
}

function write(stream: Stream<string, string | null>): void {
  stream.to('out', kafkaSink({ topic: given.output, key: nullable(utf8), value: utf8 }))
}

/** Counts per key; the output says which value was the how manieth. */
function counted<K extends string | null>(stream: Stream<string, K>): Stream<Counted, K> {
  return stream
    .keyByRecordKey()
    .withState({ count: valueState(f64, 0) })
    .map('count', (value, { state }) => {
      const count = state.count.get() + 1
      state.count.set(count)
      return { value, count }
    })
}

const never = (): Promise<never> => new Promise(() => {})

/** `trap` in a value is where a function of the user goes wrong. */
const trapped = (value: string): boolean => value.includes('trap')

const shapes: Readonly<Record<Shape, (pipeline: PipelineBuilder) => void>> = {
  copy: (pipeline: PipelineBuilder) => write(read(pipeline, utf8)),

  /** Numbers of four bytes as text: other lengths are undecodable. */
  int32: (pipeline: PipelineBuilder) => write(read(pipeline, int32).map((value) => String(value))),

  bytes: (pipeline: PipelineBuilder) =>
    read(pipeline, nullable(bytes)).to(
      'out',
      kafkaSink({ topic: given.output, key: nullable(utf8), value: nullable(bytes) }),
    ),

  count: (pipeline: PipelineBuilder) =>
    counted(read(pipeline, utf8)).to(
      'out',
      kafkaSink({ topic: given.output, key: nullable(utf8), value: json<Counted>() }),
    ),

  /** The same count, another plan. */
  'count-and-more': (pipeline: PipelineBuilder) =>
    counted(read(pipeline, utf8).filter(() => true)).to(
      'out',
      kafkaSink({ topic: given.output, key: nullable(utf8), value: json<Counted>() }),
    ),

  /** Three numbers per key: how many values, their length in all, and that of the one before. */
  numbers: (pipeline: PipelineBuilder) =>
    pipeline
      .from('in', kafkaSource({ topic: given.inputs, key: utf8, value: utf8, ...given.source }))
      .keyByRecordKey()
      .withState({ count: valueState(f64, 0), sum: valueState(f64, 0), before: valueState(f64, -1) })
      .map('numbers', (value, { state }): Numbers => {
        const numbers = {
          count: state.count.get() + 1,
          sum: state.sum.get() + value.length,
          before: state.before.get(),
          value,
        }
        state.count.set(numbers.count)
        state.sum.set(numbers.sum)
        state.before.set(value.length)
        return numbers
      })
      .to('out', kafkaSink({ topic: given.output, key: utf8, value: json<Numbers>() })),

  hop: (pipeline: PipelineBuilder) => {
    const partitions = given.hopPartitions === undefined ? {} : { partitions: given.hopPartitions }
    const keyed = read(pipeline, utf8).keyBy('first', (value) => value[0] ?? '', partitions)
    counted<string>(keyed).to('out', kafkaSink({ topic: given.output, key: utf8, value: json<Counted>() }))
  },

  /** Two sources that meet in one keyed stage. */
  union: (pipeline: PipelineBuilder) => {
    const [first = '', second = ''] = given.inputs
    const both = read(pipeline, utf8, [first], 'one').union(read(pipeline, utf8, [second], 'two'))
    counted(both).to('out', kafkaSink({ topic: given.output, key: nullable(utf8), value: json<Counted>() }))
  },

  'map-throws': (pipeline: PipelineBuilder) =>
    write(
      read(pipeline, utf8).map((value) => {
        if (trapped(value)) throw new RangeError('no such thing')
        return value
      }),
    ),

  'async-throws': (pipeline: PipelineBuilder) =>
    write(
      read(pipeline, utf8).asyncMap(
        'look-up',
        async (value) => {
          if (trapped(value)) throw new RangeError('no such thing')
          return value
        },
        { retry: { attempts: 1, delayMs: 1 } },
      ),
    ),

  'async-hangs': (pipeline: PipelineBuilder) =>
    write(
      read(pipeline, utf8).asyncMap('look-up', (value) => (trapped(value) ? never() : Promise.resolve(value)), {
        timeoutMs: 50,
      }),
    ),

  large: (pipeline: PipelineBuilder) =>
    write(read(pipeline, utf8).map((value) => (trapped(value) ? value.repeat(200_000) : value))),

  partitioner: (pipeline: PipelineBuilder) =>
    read(pipeline, utf8).to(
      'out',
      kafkaSink({
        topic: given.output,
        key: nullable(utf8),
        value: utf8,
        partitioner: (_, value, partitions) => (trapped(value) ? partitions : 0),
      }),
    ),

  'key-nan': (pipeline: PipelineBuilder) => {
    const keyed = read(pipeline, utf8).keyBy('number', (value) => Number(value))
    keyed.map((value) => value).to('out', kafkaSink({ topic: given.output, key: f64, value: utf8 }))
  },
}

const pipeline: Pipeline = definePipeline(given.name, shapes[given.shape], given.options)

export default pipeline
