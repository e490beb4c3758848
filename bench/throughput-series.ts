/** All runs at full speed of some candidates on some workloads: in which order, on which input, and repeated when. */
import { Random } from '../pipelines/nexmark/generator.ts'
import { type Candidate, canRun } from './candidates.ts'
import { type Input, prepareInput } from './input.ts'
import type { Progress } from './progress.ts'
import type { Scenario } from './scenarios/scenario.ts'
import type { Stage } from './stage.ts'
import { disturbedCores } from './tables.ts'
import { measureThroughput, type ThroughputRun } from './throughput.ts'

export interface SeriesOptions {
  readonly records: number
  readonly runs: number
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
  const inputs = await prepareInputs(order)
  const throughputRuns: ThroughputRun[] = []
  const failures: string[] = []
  await progress.series(planned(order), async (next) => {
    const input = inputs.get(next.candidate.inputShare)
    if (!input) throw new RangeError('no input of that size')
    try {
      throughputRuns.push(...(await measureQuietly(order, next, input)))
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

/** One input for each size that a candidate reads. */
async function prepareInputs(order: SeriesOrder): Promise<ReadonlyMap<number, Input>> {
  const { options, workloads, candidates } = order
  const inputs = new Map<number, Input>()
  for (const share of new Set(candidates.map((candidate) => candidate.inputShare))) {
    const readers = candidates.filter((candidate) => candidate.inputShare === share)
    const read = workloads.filter((scenario) => readers.some((candidate) => canRun(candidate, scenario)))
    const name = share === 1 ? 'input' : `input-${share}th`
    inputs.set(share, await prepareInput(order, name, { records: Math.ceil(options.records / share) }, read))
  }
  return inputs
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
