/** The systems that are compared. */
import type { SystemKind } from './system-process.ts'

export interface Candidate {
  readonly id: string
  readonly title: string
  readonly kind: SystemKind
  readonly mode: 'exactly-once' | 'at-least-once'
  /** 0: no checkpoints, or none that it could take. */
  readonly intervalMs: number
}

export const exactlyOnce: Candidate = {
  id: 'eos',
  title: 'Millrace exactly-once, 1 s',
  kind: 'millrace',
  mode: 'exactly-once',
  intervalMs: 1_000,
}

/** The baseline reads this part of what the others read. */
export const baselineShare = 4

export const baseline: Candidate = {
  id: 'kafkajs',
  title: 'kafkajs transaction loop',
  kind: 'kafkajs-loop',
  mode: 'exactly-once',
  intervalMs: 0,
}

export const throughputCandidates: readonly Candidate[] = [
  exactlyOnce,
  { id: 'alo', title: 'Millrace at-least-once, 1 s', kind: 'millrace', mode: 'at-least-once', intervalMs: 1_000 },
  { id: 'off', title: 'Millrace without checkpoints', kind: 'millrace', mode: 'at-least-once', intervalMs: 0 },
  baseline,
]

/** Latency of an exactly-once output follows the interval: a short one is measured, too. */
export const latencyCandidates: readonly Candidate[] = [
  exactlyOnce,
  { id: 'eos100', title: 'Millrace exactly-once, 100 ms', kind: 'millrace', mode: 'exactly-once', intervalMs: 100 },
  ...throughputCandidates.slice(1),
]
