// What the data path and the control path tell each other. `checkpoint` and `dataflow` never import each other: they meet
// here, and at the stores (checkpoint-store.ts).
import type { CheckpointId, TaskId } from './ids.ts'

/** A partition's next offset to read. */
export interface SourcePosition {
  readonly topic: string
  readonly partition: number
  readonly offset: bigint
  /** Leader epoch of the last batch read; −1: none yet. */
  readonly leaderEpoch: number
}

/**
 * What a segment is in its task's chain. A base is fuzzy: its slices are written with the deltas of several checkpoints;
 * when the last slice is there, everything before the first one is no longer needed.
 */
export type SegmentMark = 'delta' | 'base-first' | 'base-part' | 'base-last' | 'base-whole'

/** A task's part of checkpoint n, acked to the coordinator. */
export interface TaskSnapshot {
  readonly task: TaskId
  readonly checkpoint: CheckpointId
  readonly positions: readonly SourcePosition[]
  /** Changed state, as parts that follow one another; null: nothing changed. */
  readonly segment: readonly Buffer[] | null
  readonly mark: SegmentMark
  /** The task reads the segment once more when it is committed: its memory is not free when the file is written. */
  readonly keepsSegments: boolean
  /** Prepared transactions on other systems, by operator. */
  readonly handles: readonly { readonly operator: string; readonly handle: Readonly<Record<string, unknown>> }[]
}

/**
 * The effects of the protocol, by name: reported before and after each is carried out (`before:write`, `after:end-txn`), for
 * tracing, and for the tests that end the process at every one of them.
 */
export type ProtocolStep =
  | 'resolve'
  | 'join'
  | 'read-offsets'
  | 'load'
  | 'confirm-restored'
  | 'restore'
  | 'init-producer'
  | 'add-partitions'
  | 'produce'
  | 'inject'
  | 'prepare'
  | 'write'
  | 'add-offsets'
  | 'txn-offset-commit'
  | 'end-txn'
  | 'confirm'
  | 'commit-handles'
  // State on disk: some of a segment's changes and the rest of them, and rows of a base.
  | 'apply-part'
  | 'apply'
  | 'base'
  | 'roll-back'
  | 'drain'
  | 'leave'

export type StepListener = (when: 'before' | 'after', step: ProtocolStep, checkpoint?: CheckpointId) => void

/** Reports both sides of an effect. */
export async function traced<T>(
  listener: StepListener,
  step: ProtocolStep,
  run: () => Promise<T>,
  checkpoint?: CheckpointId,
): Promise<T> {
  listener('before', step, checkpoint)
  const result = await run()
  listener('after', step, checkpoint)
  return result
}
