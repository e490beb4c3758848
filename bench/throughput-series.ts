/** All runs at full speed of some candidates on some workloads: in which order, on which input, and repeated when. */
import { Random } from '../pipelines/nexmark/generator.ts'
import { type Candidate, canRun } from './candidates.ts'
import type { Input } from './input.ts'
import { Inputs } from './inputs.ts'
import type { Progress } from './progress.ts'
import type { Scenario } from './scenarios/scenario.ts'
import type { Stage } from './stage.ts'
import { disturbedCores } from './tables.ts'
import { measureThroughput, type ThroughputRun } from './throughput.ts'

/** Times the first input: with what is written of it the page cache of a small machine is full then. */
const lengthsMax = 8
/** One run is quicker than another. */
const spareLength = 1.15

export interface SeriesOptions {
  readonly records: number
  readonly runs: number
  /** Where a window is shorter, more records are read; 0: it does not matter. */
  readonly windowMsMin: number
  /** Cores that others may use in a run's window before it is repeated. */
  readonly foreignCoresMax: number
  /** How often at most. */
  readonly repeats: number
}

export interface SeriesOrder {
  readonly stage: Stage
  readonly progress: Progress
  readonly options: SeriesOptions
  readonly workloads: readonly Scenario[]
  readonly candidates: readonly Candidate[]
}

export interface Series {
  readonly throughputRuns: readonly ThroughputRun[]
  /** Runs that gave no figures, and why. */
  readonly failures: readonly string[]
}

/** One run that is to be made. */
export interface Planned {
  readonly run: number
  readonly scenario: Scenario
  readonly candidate: Candidate
}

/** A system that fails ends its run, not the series: what the others did is kept. */
export async function measureSeries(order: SeriesOrder): Promise<Series> {
  const { progress } = order
  const lengths: Lengths = { inputs: new Inputs(order), factors: new Map() }
  const throughputRuns: ThroughputRun[] = []
  const failures: string[] = []
  await progress.series(planned(order), async (next) => {
    try {
      throughputRuns.push(...(await measureLongEnough(order, next, lengths)))
    } catch (error) {
      if (progress.interrupted) return
      const failure = `${labelOf(next)}: ${error instanceof Error ? error.message : error}`
      progress.say(failure)
      failures.push(failure)
    }
  })
  if (progress.interrupted) failures.push('ended by hand before all runs were made')
  return { throughputRuns, failures }
}

/** What a window of `windowMs` says of how many times the first input is needed: a power of two, so that inputs are few. */
export function lengthened(factor: number, windowMs: number, windowMsMin: number): number {
  if (windowMs >= windowMsMin) return factor
  const wanted = 2 ** Math.ceil(Math.log2((windowMsMin * spareLength) / windowMs))
  return Math.min(lengthsMax, factor * Math.max(2, wanted))
}

interface Lengths {
  readonly inputs: Inputs
  /** How many times its first input a candidate reads of a workload: found with its first run, and the same for all that follow. */
  readonly factors: Map<string, number>
}

/** A first run whose window is too short tells how much is needed, and does not count. */
async function measureLongEnough(
  order: SeriesOrder,
  next: Planned,
  { inputs, factors }: Lengths,
): Promise<readonly ThroughputRun[]> {
  const { records, windowMsMin } = order.options
  const known = factors.get(titleOf(next))
  for (let factor = known ?? 1; ; ) {
    const input = await inputs.of(Math.ceil((records * factor) / next.candidate.inputShare), next.scenario)
    const runs = await measureQuietly(order, next, input)
    const last = runs.at(-1)
    // What is wrong is never left out.
    if (!last || known !== undefined || !runs.every(({ exact }) => exact)) return runs
    const longer = lengthened(factor, last.windowMs, windowMsMin)
    factors.set(titleOf(next), longer)
    if (longer === factor) return runs
    factor = longer
    const seconds = (last.windowMs / 1_000).toFixed(1)
    order.progress.say(
      `${labelOf(next)} · a window of ${seconds} s is too short · from here on ${factor} times as many records`,
    )
  }
}

/** Another order in each run: none has the quiet start, the full page cache, or what another one left behind, every time. */
function planned({ options, workloads, candidates }: SeriesOrder): Planned[] {
  const numbers = Array.from({ length: options.runs }, (_, index) => index + 1)
  const random = new Random(1)
  return numbers.flatMap((run) =>
    workloads.flatMap((scenario) =>
      candidates
        .filter((candidate) => canRun(candidate, scenario))
        .map((candidate) => ({ at: random.next(), run, scenario, candidate }))
        .toSorted((a, b) => a.at - b.at),
    ),
  )
}

/** Of what is run several times. */
const titleOf = ({ scenario, candidate }: Planned): string => `${scenario.id} ${candidate.title}`
const labelOf = ({ run, scenario, candidate }: Planned): string => `${scenario.id} run ${run} · ${candidate.title}`

/** Whether every run came to its end with an exact output. */
export function allExact({ throughputRuns, failures }: Series): boolean {
  return failures.length === 0 && throughputRuns.every((run) => run.exact)
}

/** Repeats a run that others disturbed; all attempts are kept. */
export async function measureQuietly(
  { stage, progress, options }: Pick<SeriesOrder, 'stage' | 'progress' | 'options'>,
  next: Planned,
  input: Input,
): Promise<ThroughputRun[]> {
  const label = labelOf(next)
  const tried: ThroughputRun[] = []
  for (let attempt = 1; attempt <= 1 + options.repeats; attempt++) {
    const onProgress = (written: number): void =>
      progress.live(`${label} · ${Math.round((written / input.records) * 100)} %`)
    const result = await measureThroughput({ ...next, stage, attempt, input, onProgress })
    tried.push(result)
    const figures = `${result.cpuUsPerRecord.toFixed(2)} µs · ${Math.round(result.recordsPerSecond / 1_000)} k/s`
    const load = `others ${disturbedCores(result).toFixed(2)} cores`
    const rolledBack = result.rollBacks > 0 ? ` · ${result.rollBacks} roll-backs` : ''
    const verdict = result.exact ? 'exact' : `NOT EXACT: ${result.recordsOut} out`
    progress.say(`${label} · ${figures} · ${load} · ${verdict}${rolledBack}`)
    if (disturbedCores(result) <= options.foreignCoresMax) break
  }
  return tried
}
