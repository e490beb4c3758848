// One checkpoint as a pure function: what happened → what to do. The shell (coordinator.ts) performs the effects. Events of
// other checkpoints and repeated events change nothing: stale and doubled messages are harmless.
//
//   idle ─trigger─▶ snapshotting ─all acked, sink prepared─▶ writing ─file durable─▶ committing ─decided─▶ confirming ─▶ idle
//                        └───────────── failed ──────────────┴─────── failed ────────────┴──── roll back ────┘
//
// "complete" is a durable file, "decided" is EndTxn answered 0, "committed" is confirmed everywhere.
import { assert, assertNever } from '../base/assert.ts'
import type { CheckpointId, TaskId } from '../base/ids.ts'

export type CheckpointState =
  | { readonly phase: 'idle'; readonly last: CheckpointId }
  | {
      readonly phase: 'snapshotting'
      readonly id: CheckpointId
      readonly waiting: ReadonlySet<TaskId>
      readonly undelivered: ReadonlySet<TaskId>
      readonly prepared: boolean
    }
  | { readonly phase: 'writing' | 'committing' | 'confirming'; readonly id: CheckpointId }
  | { readonly phase: 'failed' }

export type CheckpointEvent =
  | { readonly kind: 'trigger'; readonly id: CheckpointId; readonly tasks: readonly TaskId[] }
  /** The barrier reached all ends of a task. */
  | { readonly kind: 'delivered'; readonly id: CheckpointId; readonly task: TaskId }
  /** A task's snapshot is encoded. */
  | { readonly kind: 'acked'; readonly id: CheckpointId; readonly task: TaskId }
  | { readonly kind: 'prepared'; readonly id: CheckpointId }
  | { readonly kind: 'complete'; readonly id: CheckpointId }
  | { readonly kind: 'decided'; readonly id: CheckpointId }
  | { readonly kind: 'confirmed'; readonly id: CheckpointId }
  | { readonly kind: 'failed'; readonly id: CheckpointId; readonly error: Error }

export type CheckpointEffect =
  | { readonly kind: 'inject' | 'prepare' | 'write' | 'commit' | 'confirm' | 'committed'; readonly id: CheckpointId }
  | { readonly kind: 'roll-back'; readonly error: Error }

export interface Step {
  readonly state: CheckpointState
  readonly effects: readonly CheckpointEffect[]
}

const without = (set: ReadonlySet<TaskId>, task: TaskId): ReadonlySet<TaskId> =>
  new Set([...set].filter((each) => each !== task))

export function step(state: CheckpointState, event: CheckpointEvent): Step {
  const same: Step = { state, effects: [] }
  if (event.kind === 'trigger') return trigger(state, event.id, event.tasks)
  if (state.phase === 'idle' || state.phase === 'failed' || state.id !== event.id) return same
  const { id } = state
  switch (event.kind) {
    case 'delivered': {
      if (state.phase !== 'snapshotting' || !state.undelivered.has(event.task)) return same
      const undelivered = without(state.undelivered, event.task)
      return { state: { ...state, undelivered }, effects: undelivered.size === 0 ? [{ kind: 'prepare', id }] : [] }
    }
    case 'acked':
      return state.phase === 'snapshotting'
        ? snapshotted({ ...state, waiting: without(state.waiting, event.task) })
        : same
    case 'prepared':
      // Only as the answer to `prepare`: before all tasks delivered the barrier the sink cannot have all of n.
      return state.phase === 'snapshotting' && state.undelivered.size === 0
        ? snapshotted({ ...state, prepared: true })
        : same
    case 'complete':
      return state.phase === 'writing'
        ? { state: { phase: 'committing', id }, effects: [{ kind: 'commit', id }] }
        : same
    case 'decided':
      return state.phase === 'committing'
        ? { state: { phase: 'confirming', id }, effects: [{ kind: 'confirm', id }] }
        : same
    case 'confirmed':
      if (state.phase !== 'confirming') return same
      return { state: { phase: 'idle', last: id }, effects: [{ kind: 'committed', id }] }
    case 'failed':
      return { state: { phase: 'failed' }, effects: [{ kind: 'roll-back', error: event.error }] }
    default:
      return assertNever(event)
  }
}

function trigger(state: CheckpointState, id: CheckpointId, tasks: readonly TaskId[]): Step {
  if (state.phase !== 'idle') return { state, effects: [] }
  assert(id > state.last, `I5: checkpoint ${id} after ${state.last}`)
  const all = new Set(tasks)
  return {
    state: { phase: 'snapshotting', id, waiting: all, undelivered: all, prepared: false },
    effects: [{ kind: 'inject', id }],
  }
}

/** I3: the file is written only when everything of n is in; n is decided only when the file is durable. */
function snapshotted(state: Extract<CheckpointState, { phase: 'snapshotting' }>): Step {
  if (state.waiting.size > 0 || !state.prepared) return { state, effects: [] }
  return { state: { phase: 'writing', id: state.id }, effects: [{ kind: 'write', id: state.id }] }
}
