/** The command line of `npm run bench`. */
import { parseArgs } from 'node:util'

export interface BenchOptions {
  readonly records: number
  readonly runs: number
  readonly workloads: readonly string[]
  readonly latencySeconds: number
  readonly latencyRate: number
  /** Cores that others may use in a run's window before it is repeated. */
  readonly foreignCoresMax: number
  /** How often at most. */
  readonly repeats: number
  readonly profile: boolean
  readonly quick: boolean
}

export const help = `npm run bench -- [options]
  --records N        records of the input (default 4,000,000, the loop reads a quarter; with --quick 800,000)
  --runs N           runs of each system and workload (default 3; with --quick 1)
  --workloads W0,W1  default W0,W1,W2
  --latency-s N      seconds of each latency run (default 14; 0: none)
  --latency-rate N   records per second of a latency run (default 10,000)
  --foreign N        cores that other processes may use before a run is repeated (default 0.2)
  --repeats N        how often at most (default 1)
  --profile          only profiles Millrace and writes bench/PROFILE.md
  --quick            a look in a few minutes; writes nothing into the repository
`

/** @throws TypeError */
export function parseBenchOptions(argv: readonly string[]): BenchOptions {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      records: { type: 'string' },
      runs: { type: 'string' },
      workloads: { type: 'string', default: 'W0,W1,W2' },
      'latency-s': { type: 'string' },
      'latency-rate': { type: 'string', default: '10000' },
      foreign: { type: 'string', default: '0.2' },
      repeats: { type: 'string', default: '1' },
      profile: { type: 'boolean', default: false },
      quick: { type: 'boolean', default: false },
    },
  })
  const { quick, profile } = values
  return {
    records: number('records', values.records ?? (quick ? '800000' : '4000000'), 10_000),
    runs: number('runs', values.runs ?? (quick ? '1' : '3'), 1),
    workloads: values.workloads.split(','),
    latencySeconds: number('latency-s', values['latency-s'] ?? (quick ? '8' : '14'), 0),
    latencyRate: number('latency-rate', values['latency-rate'], 1),
    foreignCoresMax: number('foreign', values.foreign, 0),
    repeats: number('repeats', values.repeats, 0),
    profile,
    quick,
  }
}

function number(name: string, text: string, minimum: number): number {
  const value = Number(text)
  if (Number.isFinite(value) && value >= minimum) return value
  throw new TypeError(`--${name} ${text}: a number from ${minimum} up is expected`)
}
