/**
 * The job that the fault tests run: what the checker's `keyedCountModel` expects, with every kind of state involved in
 * the result. Everything comes from the environment, so that each test has a pipeline, topics and a store of its own:
 *
 *  - REF_PIPELINE, REF_INPUT, REF_OUTPUT: names
 *  - REF_KEY: `hop` (keyBy through a repartition topic) or `record` (the record's own key, one stage)
 *  - REF_PARTICIPANT: port of a two-phase participant that gets a copy of every output (see participant.ts)
 *  - REF_KAFKA: JSON, TLS and SASL settings
 *  - REF_HOP_PARTITIONS: of the repartition topic
 *  - REF_CODE: `changed`: an operator and a state more, in front of the counting
 *  - REF_ROUTE: JSON `{"host:port": "host:port"}`: brokers are reached over a proxy
 */
import {
  definePipeline,
  f64,
  json,
  listState,
  mapState,
  nullable,
  type Pipeline,
  type PipelineOptions,
  type Stream,
  utf8,
  valueState,
} from 'millrace'
import { kafkaSink, kafkaSource } from 'millrace/kafka'
import { participantSink } from './participant.ts'

interface Numbered {
  readonly k?: string
  readonly n: number
}

interface Located {
  readonly k: string
  readonly n: number
  readonly partition: number
  readonly offset: string
}

export interface Counted extends Located {
  readonly h: number
  readonly count: number
}

const HASH_START = 2166136261
const HASH_PRIME = 16777619
const LAST_MAX = 5
const environment = process.env

/** What it adds changes nothing but the code. */
function seenTwice(located: Stream<Located, string>): Stream<Located, string> {
  if (environment.REF_CODE !== 'changed') return located
  return located
    .keyByRecordKey()
    .withState({ seen: valueState(f64, 0) })
    .map('seen', (value, { state }) => {
      state.seen.set(state.seen.get() + 1)
      return value
    })
}
const route = environment.REF_ROUTE ? (JSON.parse(environment.REF_ROUTE) as Record<string, string>) : undefined

const reference: Pipeline = definePipeline(
  environment.REF_PIPELINE ?? 'reference',
  (pipeline) => {
    const located = pipeline
      .from(
        'numbers',
        kafkaSource({ topic: environment.REF_INPUT ?? 'numbers', key: utf8, value: nullable(json<Numbered>()) }),
      )
      .flatMap((value, { partition, offset }): Located[] =>
        value?.k === undefined ? [] : [{ k: value.k, n: value.n, partition, offset: String(offset) }],
      )
    const partitions = Number(environment.REF_HOP_PARTITIONS)
    const hop = partitions > 0 ? { partitions } : {}
    const keyed =
      environment.REF_KEY === 'hop' ? seenTwice(located).keyBy('key', ({ k }) => k, hop) : located.keyByRecordKey()
    const counted = keyed
      .withState({
        count: valueState(f64, 0),
        hash: valueState(f64, HASH_START),
        last: listState(json<number>()),
        byRemainder: mapState(f64, f64),
      })
      .process<Counted>('count', {
        onRecord({ k, n, partition, offset }, { state, emit }) {
          const count = state.count.get() + 1
          const h = (Math.imul(state.hash.get(), HASH_PRIME) ^ n) >>> 0
          state.count.set(count)
          state.hash.set(h)
          state.byRemainder.set(n % 3, (state.byRemainder.get(n % 3) ?? 0) + 1)
          state.last.set([...state.last.get(), count].slice(-LAST_MAX))
          // List and map tell the same story as the value, or the output says so.
          const inMap = [...state.byRemainder.values()].reduce((sum, each) => sum + each, 0)
          const inList = state.last.get().every((each, index, all) => each === count - all.length + 1 + index)
          emit({ k, n, h, count: inMap === count && inList ? count : -1, partition, offset })
        },
      })
    counted.to('output', kafkaSink({ topic: environment.REF_OUTPUT ?? 'counts', key: utf8, value: json<Counted>() }))
    if (environment.REF_PARTICIPANT) counted.to('copy', participantSink(Number(environment.REF_PARTICIPANT)))
  },
  {
    kafka: {
      ...(JSON.parse(environment.REF_KAFKA ?? '{}') as PipelineOptions['kafka']),
      ...(route ? { translateAddress: (address: string) => route[address] ?? address } : {}),
    },
    acceptLowReplication: environment.REF_LOW_REPLICATION === 'accept',
  },
)

export default reference
