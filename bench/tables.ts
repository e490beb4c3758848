/** How measured values become cells and tables of Markdown; the same on every results page. */
import type { Candidate } from './candidates.ts'
import { scenarios } from './scenarios/all.ts'
import type { Scenario } from './scenarios/scenario.ts'
import { median } from './statistics.ts'
import type { ThroughputRun } from './throughput.ts'
import type { Series } from './throughput-series.ts'

/** What a series was measured with. */
export interface SeriesSettings {
  readonly records: number
  readonly runs: number
  readonly partitions: number
  readonly broker: string
  readonly brokerHeapMb: number
  /** Undefined in results of before: it did not matter. */
  readonly windowMsMin?: number
  readonly foreignCoresMax: number
  readonly repeats: number
}

/** What every results page is made from. */
export interface SeriesResults extends Series {
  readonly settings: SeriesSettings
}

/** Cores that were not there for the system, the broker and the bench: other processes' and, on a virtual machine, other guests'. */
export const disturbedCores = ({ foreignCores, stolenCores }: ThroughputRun): number => foreignCores + stolenCores

/** The runs that count: of each the first quiet attempt. Where a system had no quiet one at all, its least disturbed attempt. */
export function counted(results: SeriesResults, scenario: Scenario, candidate: Candidate): ThroughputRun[] {
  const mine = results.throughputRuns.filter((run) => run.scenario === scenario.id && run.candidate === candidate.id)
  const isQuiet = (run: ThroughputRun): boolean => disturbedCores(run) <= results.settings.foreignCoresMax
  const quiet = [...Map.groupBy(mine, (run) => run.run).values()].flatMap((attempts) => attempts.find(isQuiet) ?? [])
  return quiet.length > 0 ? quiet : mine.toSorted((a, b) => disturbedCores(a) - disturbedCores(b)).slice(0, 1)
}

/** The workloads that were run. */
export function workloadsOf(results: SeriesResults): Scenario[] {
  return scenarios.filter((scenario) => results.throughputRuns.some((run) => run.scenario === scenario.id))
}

export function figure(value: number | null | undefined, digits: number): string {
  return value === null || value === undefined || Number.isNaN(value) ? '–' : value.toFixed(digits)
}

export function medianOf(
  runs: readonly ThroughputRun[],
  pick: (run: ThroughputRun) => number | null,
): number | undefined {
  return median(runs.flatMap((run) => pick(run) ?? []))
}

/** Median [smallest–largest]. */
export function ranged(values: readonly number[], digits: number): string {
  if (values.length < 2) return figure(values[0], digits)
  return `${figure(median(values), digits)} [${figure(Math.min(...values), digits)}–${figure(Math.max(...values), digits)}]`
}

/** The same of what the runs have of something. */
export function spread(runs: readonly ThroughputRun[], pick: (run: ThroughputRun) => number, digits: number): string {
  return ranged(runs.map(pick), digits)
}

export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  return [line(head), line(head.map((_, index) => (index === 0 ? '---' : '---:'))), ...rows.map(line)].join('\n')
}

const head = [
  'system',
  'CPU µs/record',
  'late half',
  'k records/s',
  'broker µs/record',
  'peak RSS MB',
  'M records',
  'window s',
  'others, cores',
  'exact',
]

/** One row for each candidate that ran the workload. */
export function throughputTable(results: SeriesResults, scenario: Scenario, candidates: readonly Candidate[]): string {
  const rows = candidates.flatMap((candidate) => {
    const runs = counted(results, scenario, candidate)
    if (runs.length === 0) return []
    const middle = (pick: (run: ThroughputRun) => number | null, digits: number): string =>
      figure(medianOf(runs, pick), digits)
    const row = [
      candidate.title,
      spread(runs, (run) => run.cpuUsPerRecord, 2),
      middle((run) => run.cpuUsPerRecordLate, 2),
      middle((run) => run.recordsPerSecond / 1_000, 0),
      middle((run) => run.brokerUsPerRecord, 2),
      middle((run) => run.peakRssMb, 0),
      middle((run) => run.records / 1e6, 0),
      middle((run) => run.windowMs / 1_000, 0),
      spread(runs, disturbedCores, 2),
      `${runs.filter((run) => run.exact).length} of ${runs.length}`,
    ]
    return [row]
  })
  return table(head, rows)
}

/** On why runs are of different lengths. */
export function lengthening({ windowMsMin = 0 }: SeriesSettings): string {
  if (windowMsMin === 0) return ''
  return ` Where the window of a first run was shorter than ${windowMsMin / 1_000} s, it and all that followed were made with 2, 4 or 8 times as many, the same ones again: *M records*.`
}

/** On runs that others disturbed, and on those that failed. */
export function disturbance({ throughputRuns, failures, settings }: SeriesResults): string {
  const disturbed = throughputRuns.filter((run) => disturbedCores(run) > settings.foreignCoresMax).length
  const failed = failures.length === 0 ? '' : ` Not as planned: ${failures.join('; ')}.`
  return (
    `*Others*: cores that other processes, or other guests of the machine, used in the window. Above ${settings.foreignCoresMax} a run does not count and is ` +
    `repeated, here at most ${settings.repeats} times; only where a system had no quiet run the least disturbed one counts. Of ${throughputRuns.length} runs ` +
    `${disturbed} were above it.${failed}`
  )
}
