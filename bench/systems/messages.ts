/** What the bench and the processes that it measures tell each other: arguments to all, the rest to those with Node's IPC channel. */

/** The argument of such a process, as JSON. */
export interface SystemArguments {
  readonly scenario: string
  readonly brokers: readonly string[]
  readonly pipeline: string
  readonly input: string
  readonly output: string
  /** Millrace only. */
  readonly mode: 'exactly-once' | 'at-least-once'
  /** Millrace only. */
  readonly intervalMs: number
  /** Millrace only. */
  readonly fieldsNamed: boolean
  /** A folder of its own, for checkpoints and other local state. */
  readonly store: string
  /** What else it is set to, under the system's own names. */
  readonly settings: Readonly<Record<string, string>>
}

/** Of one checkpoint, in ms. */
export interface CheckpointTimes {
  /** Barrier injection: the record loop stands still. */
  readonly inject: number
  /** Laying out and checksumming the checkpoint file, before it is written: the record loop stands still, too. */
  readonly layOut: number
  /** From the barrier to the last record of it acknowledged and the state encoded; records flow meanwhile. */
  readonly snapshot: number
  readonly write: number
  readonly commit: number
  readonly confirm: number
  readonly total: number
  readonly bytes: number
}

export interface Summary {
  readonly kind: 'summary'
  readonly checkpoints: readonly CheckpointTimes[]
  readonly rollBacks: number
}

export type FromSystem = { readonly kind: 'running' } | Summary
export type ToSystem = { readonly kind: 'stop' }

export function tell(message: FromSystem): void {
  process.send?.(message)
}
