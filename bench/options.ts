/** The command line of `npm run bench`. */
import { parseArgs } from 'node:util'
import type { Load } from './fixed-rate.ts'
import type { SeriesOptions } from './throughput-series.ts'

export interface BenchOptions extends SeriesOptions {
  readonly workloads: readonly string[]
  readonly latencySeconds: number
  readonly latencyRate: number
  readonly profile: boolean
  readonly quick: boolean
}

export const peersParts = ['throughput', 'latency', 'recovery'] as const
export type PeersPart = (typeof peersParts)[number]

export interface PeersOptions extends SeriesOptions {
  /** A part that is not measured keeps its last figures. */
  readonly parts: readonly PeersPart[]
  readonly workloads: readonly string[]
  /** Ids; undefined: all. */
  readonly systems: readonly string[] | undefined
  /** Of latency and recovery runs. */
  readonly load: Load
  readonly quick: boolean
}

export interface ScaleOptions extends SeriesOptions {
  readonly quick: boolean
}

/** Of Millrace beside a kafkajs loop. */
export const workloadsDefault: readonly string[] = ['W0', 'W1', 'W2']
/** Of a profile, and beside the peers. */
const workloadsAll: readonly string[] = [...workloadsDefault, 'W3', 'W4']

/** To begin with: compilers are at work during the first millions, ours and the JVMs'. */
const recordsDefault = 4_000_000

export const help = `npm run bench -- [options]: Millrace beside a kafkajs loop
  --records N        records of the input (default 4,000,000, the loop reads a quarter; with --quick 800,000)
  --window-s N       where 80 % of a run take less, it is made again with up to 8 times as many records (default 20; with --quick 0)
  --runs N           runs of each system and workload (default 3; with --quick 1)
  --workloads W0,W1  default W0,W1,W2, for a profile W3 and W4, too; of some only, or without latencies, nothing is written into the repository
  --latency-s N      seconds of each latency run (default 14; 0: none)
  --latency-rate N   records per second of a latency run (default 10,000)
  --foreign N        cores that other processes may use before a run is repeated (default 0.2)
  --repeats N        how often at most (default 1)
  --profile          only profiles Millrace, in each of its variants, and writes bench/PROFILE.md
  --quick            a look in a few minutes; writes nothing into the repository

npm run bench -- peers [options]: Millrace beside Kafka Streams, Flink and two loops; needs a JDK and Maven
  --parts A,B        default throughput,latency,recovery; the others keep the figures of their last run
  --records N        as above; the loops read a quarter, W3 with a tenth in memory a half
  --runs, --window-s, --foreign, --repeats, --quick   as above
  --rate N, --seconds N   records per second and length of a latency or recovery run, as many as --runs (default 10,000 and 24)
  --workloads W0,W1  default W0,W1,W2,W3,W4; the others keep their last figures if these are of as many records and runs
  --systems A,B      of some only nothing is written into the repository; default all: millrace, millrace-fields, millrace-tenth, kafka-streams, kafka-streams-tuned, flink, flink-tuned, kafkajs, platformatic

npm run bench -- scale [options]: partitions, tasks, sizes of values, workers; an idle deployment and the start of one; writes bench/SCALE.md
  --records, --runs, --foreign, --repeats, --quick   as above

npm run bench -- state [--large]: keyed state on the heap and on disk, by number of keys; writes bench/STATE.md

npm run bench -- pause: how long records stand still for a checkpoint of a million keys; writes bench/PAUSE.md
`

/** What every series of runs can be told. */
const seriesFlags = {
  records: { type: 'string' },
  runs: { type: 'string' },
  'window-s': { type: 'string' },
  foreign: { type: 'string', default: '0.2' },
  repeats: { type: 'string', default: '1' },
  quick: { type: 'boolean', default: false },
} as const

interface SeriesValues {
  readonly records?: string
  readonly runs?: string
  readonly 'window-s'?: string
  readonly foreign: string
  readonly repeats: string
  readonly quick: boolean
}

/** @throws TypeError */
export function parseBenchOptions(argv: readonly string[]): BenchOptions {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      ...seriesFlags,
      workloads: { type: 'string' },
      'latency-s': { type: 'string' },
      'latency-rate': { type: 'string', default: '10000' },
      profile: { type: 'boolean', default: false },
    },
  })
  const { quick, profile } = values
  return {
    ...series(values),
    workloads: values.workloads?.split(',') ?? (profile ? workloadsAll : workloadsDefault),
    latencySeconds: number('latency-s', values['latency-s'] ?? (quick ? '8' : '14'), 0),
    latencyRate: number('latency-rate', values['latency-rate'], 1),
    profile,
    quick,
  }
}

/** @throws TypeError */
export function parsePeersOptions(argv: readonly string[]): PeersOptions {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      ...seriesFlags,
      parts: { type: 'string', default: peersParts.join(',') },
      workloads: { type: 'string', default: workloadsAll.join(',') },
      systems: { type: 'string' },
      rate: { type: 'string', default: '10000' },
      seconds: { type: 'string' },
    },
  })
  const seconds = values.seconds ?? (values.quick ? '12' : '24')
  return {
    ...series(values),
    parts: values.parts.split(',').map(partOf),
    workloads: values.workloads.split(','),
    systems: values.systems?.split(','),
    load: { recordsPerSecond: number('rate', values.rate, 1), seconds: number('seconds', seconds, 10) },
    quick: values.quick,
  }
}

/** @throws TypeError */
export function parseScaleOptions(argv: readonly string[]): ScaleOptions {
  const { values } = parseArgs({ args: [...argv], options: seriesFlags })
  return { ...series(values), quick: values.quick }
}

function partOf(text: string): PeersPart {
  const part = peersParts.find((each) => each === text)
  if (part) return part
  throw new TypeError(`--parts ${text}: there are ${peersParts.join(', ')}`)
}

function series(values: SeriesValues): SeriesOptions {
  const { records, runs, foreign, repeats, quick } = values
  return {
    records: number('records', records ?? String(quick ? 800_000 : recordsDefault), 10_000),
    runs: number('runs', runs ?? (quick ? '1' : '3'), 1),
    windowMsMin: number('window-s', values['window-s'] ?? (quick ? '0' : '20'), 0) * 1_000,
    foreignCoresMax: number('foreign', foreign, 0),
    repeats: number('repeats', repeats, 0),
  }
}

function number(name: string, text: string, minimum: number): number {
  const value = Number(text)
  if (Number.isFinite(value) && value >= minimum) return value
  throw new TypeError(`--${name} ${text}: a number from ${minimum} up is expected`)
}
