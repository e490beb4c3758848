// Goal: F14 and F15: doubled, late and permuted messages between the coordinator and its tasks change nothing. Method:
// random histories of several checkpoints, in which every message may come again, early, late or for another checkpoint,
// against the pure protocol; and the coordinator itself with actions that answer out of turn.
import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { type CheckpointId, checkpointId, type TaskId, taskId } from '../../src/base/ids.ts'
import type { TaskSnapshot } from '../../src/base/messages.ts'
import { type CheckpointActions, CheckpointCoordinator } from '../../src/checkpoint/coordinator.ts'
import { type CheckpointEvent, type CheckpointState, step } from '../../src/checkpoint/protocol.ts'

const TASKS: readonly TaskId[] = [0, 1, 2].map((partition) => taskId('stage', partition))
const ORDER = ['inject', 'prepare', 'write', 'commit', 'confirm', 'committed'] as const

/** Any message, of any of a few checkpoints. */
const anyMessage: fc.Arbitrary<CheckpointEvent> = fc.record({
  kind: fc.constantFrom('delivered', 'acked', 'prepared', 'complete', 'decided', 'confirmed'),
  id: fc.integer({ min: 1, max: 4 }).map((id) => checkpointId(id)),
  task: fc.constantFrom(...TASKS),
})

/** What the tasks, the sink and the store honestly report of checkpoint n, in any order that they may. */
function honest(id: CheckpointId, state: CheckpointState): CheckpointEvent[] {
  switch (state.phase) {
    case 'snapshotting':
      return [
        ...[...state.undelivered].map((task): CheckpointEvent => ({ kind: 'delivered', id, task })),
        ...[...state.waiting].map((task): CheckpointEvent => ({ kind: 'acked', id, task })),
        ...(state.undelivered.size === 0 && !state.prepared ? [{ kind: 'prepared', id } as const] : []),
      ]
    case 'writing':
      return [{ kind: 'complete', id }]
    case 'committing':
      return [{ kind: 'decided', id }]
    case 'confirming':
      return [{ kind: 'confirmed', id }]
    default:
      return []
  }
}

interface Performed {
  readonly kind: string
  readonly id: CheckpointId
}

/** Runs three checkpoints; before each honest message come strangers: messages already sent, or of other checkpoints. */
function run(choices: readonly number[], strangers: readonly CheckpointEvent[]): Performed[] {
  let state: CheckpointState = { phase: 'idle', last: checkpointId(0) }
  const performed: Performed[] = []
  const past: CheckpointEvent[] = []
  const apply = (event: CheckpointEvent): void => {
    const next = step(state, event)
    state = next.state
    for (const effect of next.effects) if (effect.kind !== 'roll-back') performed.push(effect)
  }
  let turn = 0
  for (const n of [1, 2, 3]) {
    const id = checkpointId(n)
    apply({ kind: 'trigger', id, tasks: TASKS })
    while (state.phase !== 'idle') {
      const stranger = strangers[turn % Math.max(1, strangers.length)]
      if (stranger && 'id' in stranger && stranger.id !== id) apply(stranger)
      const again = past[(choices[turn % choices.length] ?? 0) % Math.max(1, past.length)]
      if (again) apply(again)
      const possible = honest(id, state)
      const event = possible[(choices[(turn + 1) % choices.length] ?? 0) % possible.length]
      turn++
      if (!event) continue
      past.push(event)
      apply(event)
      apply(event)
    }
  }
  return performed
}

const whole = [1, 2, 3].flatMap((n) => ORDER.map((kind) => ({ kind, id: checkpointId(n) })))

describe('the protocol as a function', () => {
  test('F14 control-dup, F15 control-reorder: every effect happens once and in its order', () => {
    const choices = fc.array(fc.nat(1_000), { minLength: 1, maxLength: 60 })
    fc.assert(
      fc.property(choices, fc.array(anyMessage, { maxLength: 40 }), (picked, strangers) => {
        expect(run(picked, strangers)).toEqual(whole)
      }),
      { numRuns: 500 },
    )
  })

  test('a failure ends it: no message brings a failed checkpoint back', () => {
    fc.assert(
      fc.property(fc.array(anyMessage, { maxLength: 60 }), (events) => {
        let { state } = step(
          { phase: 'idle', last: checkpointId(0) },
          { kind: 'trigger', id: checkpointId(1), tasks: TASKS },
        )
        state = step(state, { kind: 'failed', id: checkpointId(1), error: new Error('over') }).state
        for (const event of events) {
          const next = step(state, event)
          expect(next.effects).toEqual([])
          state = next.state
        }
        expect(state.phase).toBe('failed')
      }),
    )
  })
})

const snapshot = (task: TaskId, checkpoint: CheckpointId): TaskSnapshot => ({
  task,
  checkpoint,
  positions: [],
  segment: null,
  mark: 'delta',
  keepsSegments: false,
  handles: [],
})

describe('the coordinator', () => {
  test('F14 control-dup: every task reports twice, and once more for the checkpoint before', async () => {
    const performed: string[] = []
    const twice = (id: CheckpointId): void => {
      for (const each of [id, checkpointId(id - 1n), id]) {
        for (const task of TASKS) {
          coordinator.acked(snapshot(task, each))
          coordinator.delivered(task, each)
        }
      }
    }
    const actions: CheckpointActions = {
      inject: (id) => {
        performed.push(`inject ${id}`)
        queueMicrotask(() => twice(id))
      },
      prepare: async (id) => {
        performed.push(`prepare ${id}`)
      },
      write: async (id, snapshots) => {
        performed.push(`write ${id} of ${snapshots.map((each) => each.task).join()}`)
        twice(id)
      },
      commit: async (id) => {
        performed.push(`commit ${id}`)
        twice(id)
      },
      confirm: async (id) => {
        performed.push(`confirm ${id}`)
      },
      committed: async (id) => {
        performed.push(`committed ${id}`)
        twice(id)
      },
      rollBack: (error) => {
        throw error
      },
    }
    const options = { intervalMs: 1_000, minPauseMs: 0, timeoutMs: 5_000 }
    const coordinator = new CheckpointCoordinator(options, actions, TASKS, checkpointId(0))
    await coordinator.next()
    await coordinator.next()
    coordinator.dispose(new Error('the test is over'))
    const all = TASKS.join()
    expect(performed).toEqual(
      ['1', '2'].flatMap((id) => [
        `inject ${id}`,
        `prepare ${id}`,
        `write ${id} of ${all}`,
        `commit ${id}`,
        `confirm ${id}`,
        `committed ${id}`,
      ]),
    )
  })

  test('F15 control-reorder: after its end nothing of an attempt acts any more', async () => {
    const performed: string[] = []
    const slow = Promise.withResolvers<void>()
    const actions: CheckpointActions = {
      inject: () => undefined,
      prepare: () => slow.promise,
      write: async () => void performed.push('write'),
      commit: async () => void performed.push('commit'),
      confirm: async () => void performed.push('confirm'),
      committed: async () => void performed.push('committed'),
      rollBack: () => void performed.push('roll-back'),
    }
    const options = { intervalMs: 1_000, minPauseMs: 0, timeoutMs: 5_000 }
    const coordinator = new CheckpointCoordinator(options, actions, TASKS, checkpointId(0))
    coordinator.trigger()
    for (const task of TASKS) coordinator.delivered(task, checkpointId(1))
    for (const task of TASKS) coordinator.acked(snapshot(task, checkpointId(1)))
    coordinator.dispose(new Error('rolled back'))
    slow.resolve()
    await slow.promise
    for (const task of TASKS) coordinator.acked(snapshot(task, checkpointId(1)))
    expect(performed).toEqual([])
  })
})
