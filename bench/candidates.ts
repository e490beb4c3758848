/** The systems that are compared. */
import { kafkajsLoop, millrace, type Program } from './programs.ts'
import type { Scenario } from './scenarios/scenario.ts'

/** A setting under the system's own name, and why it is what it is. */
export interface Setting {
  readonly name: string
  readonly value: string
  readonly why: string
}

export interface Candidate {
  readonly id: string
  readonly title: string
  readonly program: Program
  readonly mode: 'exactly-once' | 'at-least-once'
  /** 0: no checkpoints, or none that it could take. */
  readonly intervalMs: number
  /** It reads this part of what the others read: 1, or more where a system is so slow that it would take most of the time. */
  readonly inputShare: number
  readonly settings: readonly Setting[]
  /** The same where state is on disk; none: it runs no such workload. */
  readonly onDisk?: readonly Setting[]
  /** It runs no other workload. */
  readonly onDiskOnly?: boolean
  /** It runs the variant that names the fields it uses, of workloads that have one. */
  readonly fieldsNamed?: boolean
}

/** Of the workload's 100,000 keys all fit: about 25 MB. */
const stateOnDisk: readonly Setting[] = [
  { name: 'state.backend', value: 'leveldb', why: 'local disk behind a cache of 256 MiB, the default: all keys fit' },
]

const own = { program: millrace, inputShare: 1, settings: [], onDisk: stateOnDisk }

export const exactlyOnce: Candidate = {
  ...own,
  id: 'eos',
  title: 'Millrace exactly-once, 1 s',
  mode: 'exactly-once',
  intervalMs: 1_000,
}

export const exactlyOnceOften: Candidate = {
  ...exactlyOnce,
  id: 'eos100',
  title: 'Millrace exactly-once, 100 ms',
  intervalMs: 100,
}

export const atLeastOnce: Candidate = {
  ...own,
  id: 'alo',
  title: 'Millrace at-least-once, 1 s',
  mode: 'at-least-once',
  intervalMs: 1_000,
}

export const withoutCheckpoints: Candidate = {
  ...own,
  id: 'off',
  title: 'Millrace without checkpoints',
  mode: 'at-least-once',
  intervalMs: 0,
}

/** W1 by `patch`, W2 and W4 by `json().only()`. */
export const exactlyOnceNaming: Candidate = {
  ...exactlyOnce,
  id: 'eos-fields',
  title: 'Millrace exactly-once, 1 s, fields named',
  fieldsNamed: true,
}

/** Of workloads on disk: most keys are read from disk and written back. */
export const exactlyOnceTenth: Candidate = {
  ...exactlyOnce,
  id: 'eos-tenth',
  title: 'Millrace exactly-once, 1 s, a tenth in memory',
  onDiskOnly: true,
  inputShare: 2,
  onDisk: [
    ...stateOnDisk,
    { name: 'state.cacheBytesMax', value: String(800_000), why: 'for about 10,000 of the 100,000 keys' },
  ],
}

/** So slow that it reads a quarter of what the others read. */
export const baseline: Candidate = {
  id: 'kafkajs',
  title: 'kafkajs transaction loop',
  program: kafkajsLoop,
  mode: 'exactly-once',
  intervalMs: 0,
  inputShare: 4,
  settings: [],
}

/** Whether a candidate can run a workload at all. */
export function canRun({ program, fieldsNamed, onDisk, onDiskOnly }: Candidate, scenario: Scenario): boolean {
  const able = (!program.plain || scenario.plain !== undefined) && (!fieldsNamed || scenario.fieldsNamed !== undefined)
  return able && (scenario.onDisk ? onDisk !== undefined : !onDiskOnly)
}

export const throughputCandidates: readonly Candidate[] = [
  exactlyOnce,
  exactlyOnceNaming,
  exactlyOnceOften,
  atLeastOnce,
  withoutCheckpoints,
  baseline,
]

export const latencyCandidates: readonly Candidate[] = throughputCandidates.filter(({ fieldsNamed }) => !fieldsNamed)
