/**
 * Pipelines that use what a user may use, one shape for each group of features. As in case-pipeline.ts, the shape, the
 * topics and the settings come from CASE.
 */
import { appendFileSync, existsSync, statSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import {
  boolean,
  bytes,
  type ConnectedFunction,
  definePipeline,
  f64,
  int64,
  json,
  listState,
  mapState,
  nullable,
  type Pipeline,
  type PipelineBuilder,
  type PipelineOptions,
  type Stream,
  utf8,
  valueState,
  withMigration,
} from 'millrace'
import { fileSink } from 'millrace/file'
import { kafkaSink, kafkaSource } from 'millrace/kafka'
import { hashOf } from './rules.ts'

export type FeatureShape =
  | 'routes'
  | 'codecs'
  | 'mixed'
  | 'async'
  | 'async-between'
  | 'keys'
  | 'hooks'
  | 'slow-hop'
  | 'files-hop'
  | 'broadcast'
  | 'broadcast-hop'
  | 'alarms'
  | 'files'
  | 'counts'
  | 'counts-changed'
  | 'counts-migrated'

export interface Feature {
  readonly name: string
  readonly shape: FeatureShape
  readonly inputs: readonly string[]
  readonly output: string
  readonly options?: PipelineOptions
  /** For `async`. */
  readonly order?: 'ordered' | 'unordered'
  /** For `hooks`: where they leave their traces; for `counts-migrated`: where each life does that ends in the middle. */
  readonly file?: string
}

const CODECS = ['gzip', 'snappy', 'lz4', 'zstd'] as const

/** What `keys` counts by: one field for each type that a key may have. */
export interface Keys {
  readonly text: string
  readonly number: number
  readonly bigint: string
  readonly flag: boolean
}

/** What `async-between` writes. */
export interface Between {
  readonly value: string
  readonly before: number
  readonly after: number
  readonly sum: number
}

/** What `broadcast` writes: how many rules the task had when the record came, and what they come to in their order. */
export interface Ruled {
  readonly value: string
  readonly count: number
  readonly rules: number
  readonly hash: number
}

const given = JSON.parse(process.env.CASE ?? '{}') as Feature
const textSink = kafkaSink({ topic: given.output, key: nullable(utf8), value: utf8 })

function texts(pipeline: PipelineBuilder, name = 'in', topics = given.inputs): Stream<string, string | null> {
  return pipeline.from(name, kafkaSource({ topic: topics, key: nullable(utf8), value: utf8 }))
}

const COUNT = { count: valueState(f64, 0) }
const RULES = { rules: valueState(f64, 0), hash: valueState(f64, 0) }

const rulesOf = (pipeline: PipelineBuilder): Stream<string, string | null> =>
  pipeline.from('rules', kafkaSource({ topic: `${given.output}-rules`, key: nullable(utf8), value: utf8 }))

const ruling: ConnectedFunction<string, unknown, typeof COUNT, Ruled, string, unknown, typeof RULES> = {
  onBroadcast(rule, { broadcast: { rules, hash } }) {
    rules.set(rules.get() + 1)
    hash.set(hashOf(hash.get(), rule))
  },
  onRecord(value, { state: { count }, broadcast: { rules, hash }, emit }) {
    count.set(count.get() + 1)
    emit({ value, count: count.get(), rules: rules.get(), hash: hash.get() })
  },
}

/** Longer than a worker takes to be killed and to come back. */
const ALARM_MS = 1_500

/** In as many lives a migration does not come to its end. */
const DEATHS = 2
const MIGRATED_PER_LIFE = 10
let migrated = 0

/** Each life migrates some more values than the one before, and dies of it, but for the last. */
function migrateAndDie<T>(value: T): T {
  const file = given.file ?? ''
  const deaths = existsSync(file) ? statSync(file).size : 0
  if (++migrated > MIGRATED_PER_LIFE * (deaths + 1) && deaths < DEATHS) {
    appendFileSync(file, 'x')
    process.kill(process.pid, 'SIGKILL')
  }
  return value
}

/** A few milliseconds that depend on the value only: the same in every life. */
async function slow(value: string): Promise<string> {
  const sum = [...value].reduce((all, letter) => all + letter.charCodeAt(0), 0)
  await pause(sum % 7)
  return value
}

const shapes: Readonly<Record<FeatureShape, (pipeline: PipelineBuilder) => void>> = {
  /** `topic|key|partition|header` says where a value goes. */
  routes: (pipeline) =>
    texts(pipeline).to(
      'out',
      kafkaSink({
        topic: [given.output, `${given.output}-2`],
        key: nullable(utf8),
        value: utf8,
        topicOf: (value) => (value.startsWith('2|') ? `${given.output}-2` : given.output),
        keyOf: (value) => value.split('|')[1] ?? '',
        partitioner: (_, value, partitions) => Number(value.split('|')[2]) % partitions,
        headers: (value, { topic, partition, offset }) => [
          ['header', value.split('|')[3] ?? null],
          ['nothing', null],
          ['from', Buffer.from(`${topic}-${partition}@${offset}`)],
        ],
      }),
    ),

  codecs: (pipeline) => {
    for (const codec of CODECS) {
      const source = { topic: `${given.name}-in-${codec}`, key: nullable(bytes), value: nullable(bytes) }
      const sink = {
        topic: `${given.name}-out-${codec}`,
        key: nullable(bytes),
        value: nullable(bytes),
        compression: codec,
      }
      pipeline.from(`in-${codec}`, kafkaSource(source)).to(`out-${codec}`, kafkaSink(sink))
    }
  },

  /** Of the first topic only even numbers, each twice; of the second all; in one stream. */
  mixed: (pipeline) => {
    const [first = '', second = ''] = given.inputs
    texts(pipeline, 'one', [first])
      .filter((value) => Number(value) % 2 === 0)
      .flatMap((value) => [`one:${value}:a`, `one:${value}:b`])
      .union(texts(pipeline, 'two', [second]).map((value) => `two:${value}`))
      .to('out', textSink)
  },

  async: (pipeline) =>
    texts(pipeline)
      .asyncMap('slow', slow, { order: given.order ?? 'ordered', capacity: 20 })
      .to('out', textSink),

  /** Two counts of the same with calls under way between them: they must agree for ever. */
  'async-between': (pipeline) =>
    texts(pipeline)
      .keyByRecordKey()
      .withState({ before: valueState(f64, 0) })
      .map('before', (value, { state }) => {
        state.before.set(state.before.get() + 1)
        return { value, before: state.before.get() }
      })
      .asyncMap('slow', async (counted) => ({ ...counted, value: await slow(counted.value) }), { capacity: 20 })
      .keyByRecordKey()
      .withState({ after: valueState(f64, 0), sum: valueState(f64, 0) })
      .map('after', (counted, { state }) => {
        state.after.set(state.after.get() + 1)
        state.sum.set(state.sum.get() + counted.before)
        return { ...counted, after: state.after.get(), sum: state.sum.get() }
      })
      .to('out', kafkaSink({ topic: given.output, key: nullable(utf8), value: json<Between>() })),

  /** Each value comes out when its timer fires, a while later; several of a key are pending at a time. */
  alarms: (pipeline) =>
    texts(pipeline)
      .keyByRecordKey()
      .withState({ owed: mapState(f64, utf8), paid: valueState(f64, 0) })
      .process<string>('alarm', {
        onRecord(value, { state, timers }) {
          // Values rise, so no two times are the same.
          const time = timers.now() + ALARM_MS + Number(value)
          state.owed.set(time, value)
          timers.set(time)
        },
        onTimer(time, { state, emit }) {
          state.paid.set(state.paid.get() + 1)
          emit(`${state.owed.get(time) ?? 'nothing'} ${state.paid.get()}`)
          state.owed.delete(time)
        },
      })
      .to('out', textSink),

  counts: (pipeline) =>
    texts(pipeline)
      .keyByRecordKey()
      .withState({ count: valueState(f64, 0) })
      .map('count', (value, { state: { count } }) => {
        count.set(count.get() + 1)
        return `${value} ${count.get()}`
      })
      .to('out', textSink),

  /** The same, its numbers now texts, and nothing that says how the one becomes the other. */
  'counts-changed': (pipeline) =>
    texts(pipeline)
      .keyByRecordKey()
      .withState({ count: valueState(utf8, '') })
      .map('count', (value, { state: { count } }) => {
        count.set(`${count.get()}|`)
        return `${value} ${count.get()?.length}`
      })
      .to('out', textSink),

  /** The same, its numbers now objects. */
  'counts-migrated': (pipeline) =>
    texts(pipeline)
      .keyByRecordKey()
      .withState({
        count: withMigration(valueState(json<{ count: number; was: number }>()), {
          version: 2,
          older: { 1: f64 },
          migrate: (was) => migrateAndDie({ count: was, was }),
        }),
      })
      .map('count', (value, { state }) => {
        const { count, was } = state.count.get() ?? { count: 0, was: 0 }
        state.count.set({ count: count + 1, was })
        return `${value} ${count + 1} after ${was}`
      })
      .to('out', textSink),

  /** Into files and a topic: they must agree. */
  files: (pipeline) => {
    const stream = texts(pipeline)
    stream.to('archive', fileSink({ folder: given.file ?? '', value: json<string>() }))
    stream.to('out', textSink)
  },

  /** Rules from a topic of their own, to every task. */
  broadcast: (pipeline) => {
    texts(pipeline)
      .keyByRecordKey()
      .withState(COUNT)
      .connectBroadcast(rulesOf(pipeline), RULES)
      .process<Ruled>('rule', ruling)
      .withOperatorState({ nth: listState(f64) })
      .process<Ruled & { readonly nth: number }>('number', {
        onRecord(ruled, { state, emit }) {
          const nth = (state.nth.get()[0] ?? 0) + 1
          state.nth.set([nth])
          emit({ ...ruled, nth })
        },
      })
      .to('out', kafkaSink({ topic: given.output, key: nullable(utf8), value: json<Ruled & { nth: number }>() }))
  },

  /** Its rules meet what comes out of a repartition topic, a record each ten milliseconds. */
  'broadcast-hop': (pipeline) => {
    texts(pipeline)
      .keyBy('key', (_, { key }) => String(key), { partitions: 2 })
      .asyncMap('slow', (value) => pause(10, value), { capacity: 1 })
      .keyByRecordKey()
      .withState(COUNT)
      .connectBroadcast(rulesOf(pipeline), RULES)
      .process<Ruled>('rule', ruling)
      .to('out', kafkaSink({ topic: given.output, key: utf8, value: json<Ruled>() }))
  },

  /** Its second stage takes ten milliseconds for a value. */
  'slow-hop': (pipeline) =>
    texts(pipeline)
      .keyBy('one', (): string => 'all', { partitions: 1 })
      .asyncMap('slow', (value) => pause(10, value), { capacity: 1 })
      .to('out', kafkaSink({ topic: given.output, key: utf8, value: utf8 })),

  /** The same hop, also into files. */
  'files-hop': (pipeline) => {
    const stream = texts(pipeline).keyBy('one', (): string => 'all', { partitions: 1 })
    stream.to('archive', fileSink({ folder: given.file ?? '', value: json<string>() }))
    stream.to('out', kafkaSink({ topic: given.output, key: utf8, value: utf8 }))
  },

  keys: (pipeline) => {
    const source = pipeline.from('in', kafkaSource({ topic: given.inputs, key: nullable(utf8), value: json<Keys>() }))
    const sink = { topic: given.output, value: utf8 }
    const state = () => ({ count: valueState(f64, 0) })
    const add = (key: string, count: { get(): number; set(value: number): void }): string => {
      count.set(count.get() + 1)
      return `${key}=${count.get()}`
    }
    source
      .keyBy('text', ({ text }) => text)
      .withState(state())
      .map('by-text', (_, { key, state: { count } }) => add(`text ${key satisfies string}`, count))
      .to('out-text', kafkaSink({ ...sink, key: utf8 }))
    source
      .keyBy('number', ({ number }) => number)
      .withState(state())
      .map('by-number', (_, { key, state: { count } }) => add(`number ${key satisfies number}`, count))
      .to('out-number', kafkaSink({ ...sink, key: f64 }))
    source
      .keyBy('bigint', ({ bigint }) => BigInt(bigint))
      .withState(state())
      .map('by-bigint', (_, { key, state: { count } }) => add(`bigint ${key satisfies bigint}`, count))
      .to('out-bigint', kafkaSink({ ...sink, key: int64 }))
    source
      .keyBy('flag', ({ flag }) => flag)
      .withState(state())
      .map('by-flag', (_, { key, state: { count } }) => add(`flag ${key satisfies boolean}`, count))
      .to('out-flag', kafkaSink({ ...sink, key: boolean }))
  },

  hooks: (pipeline) => {
    const trace = (what: string): void => appendFileSync(given.file ?? '', `${what}\n`)
    texts(pipeline)
      .keyByRecordKey()
      .withState({ seen: valueState(f64, 0) })
      .process<string>('hooked', {
        open: () => trace('open'),
        onRecord(value, { emit }) {
          trace(value)
          emit(value)
        },
        close: () => trace('close'),
      })
      .to('out', textSink)
  },
}

const pipeline: Pipeline = definePipeline(given.name, shapes[given.shape], given.options)

export default pipeline
