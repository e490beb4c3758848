/** The result of a check, in words for people and in one line for machines. */
import { type AnomalyKind, anomalyKinds, type Findings } from './anomalies.ts'
import type { ReplayCounts } from './replay.ts'

export interface Verdict {
  readonly model: string
  readonly reader: 'java' | 'raw'
  readonly counts: ReplayCounts
  readonly findings: Findings
  /** True if something was read and no anomaly found. */
  readonly ok: boolean
}

/** What only the one who ran the pipeline knows; a missing figure is printed as `-`. */
export interface Measurements {
  readonly kills?: number | undefined
  readonly recoveryMsMedian?: number | undefined
  readonly recoveryMsMax?: number | undefined
  readonly recordsPerSecond?: number | undefined
}

export function verdictOf(model: string, reader: 'java' | 'raw', counts: ReplayCounts, findings: Findings): Verdict {
  const ok = counts.in > 0 && anomalyKinds.every((kind) => findings[kind].count === 0)
  return { model, reader, counts, findings, ok }
}

/**
 * The machine line. An output of an aborted record is one too many, so aborted-read counts as duplicated; with stale
 * state the expected result is missing, so stale-state counts as lost.
 */
export function verdictLine(verdict: Verdict, measured: Measurements = {}): string {
  const { counts, findings } = verdict
  const sum = (...kinds: AnomalyKind[]) => kinds.reduce((total, kind) => total + findings[kind].count, 0)
  return [
    'verdict',
    `in=${counts.in}`,
    `out=${counts.out}`,
    `lost=${sum('lost', 'stale-state')}`,
    `duplicated=${sum('duplicated', 'aborted-read')}`,
    `reordered=${sum('reordered')}`,
    `hanging=${sum('hanging')}`,
    `kills=${figure(measured.kills)}`,
    `recovery_ms_median=${figure(measured.recoveryMsMedian)}`,
    `recovery_ms_max=${figure(measured.recoveryMsMax)}`,
    `records_per_s=${figure(measured.recordsPerSecond)}`,
  ].join(' ')
}

/** The machine line of a run that could not be judged. */
export function verdictErrorLine(code: string): string {
  return `verdict error=${code}`
}

function figure(value: number | undefined): string {
  return value === undefined ? '-' : String(Math.round(value))
}

/** The table for people: one line per kind, with the first of each and a few more. */
export function verdictTable(verdict: Verdict): string[] {
  const { counts, findings } = verdict
  const how = verdict.reader === 'java' ? "Kafka's Java consumer, read_committed" : 'raw fetches, own aborted filter'
  const lines = [
    `checked by the model "${verdict.model}" (${how})`,
    row('in', counts.in, counts.filtered > 0 ? `${number(counts.filtered)} of them filtered out` : ''),
    row('out', counts.out, `${number(counts.keys)} keys`),
  ]
  if (counts.in === 0) lines.push('  nothing was read from the input: this is no success')
  for (const kind of anomalyKinds) {
    const { count, first, examples } = findings[kind]
    lines.push(row(kind, count, first ? `first ${first.where}: ${first.detail}` : ''))
    for (const other of examples.slice(1)) lines.push(`${' '.repeat(30)}then ${other.where}: ${other.detail}`)
  }
  return lines
}

function row(name: string, count: number, note: string): string {
  return `  ${name.padEnd(14)}${number(count).padStart(12)}  ${note}`.trimEnd()
}

function number(value: number): string {
  return value.toLocaleString('en-US')
}
