/**
 * Goal: whatever order messages come in, doubled, late or early, the protocol writes nothing before everything is in, decides
 * nothing that is not durable, and acts once per step (I3, I4; F14, F15, F16). Method: every state that any sequence of any
 * events can reach, enumerated for two tasks and three ids, with a monitor beside it; then random deliveries in which
 * messages are doubled and shuffled and nothing is lost: the checkpoint must be committed.
 */
import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { checkpointId, type TaskId, taskId } from '../../src/base/ids.ts'
import {
  type CheckpointEffect,
  type CheckpointEvent,
  type CheckpointState,
  step,
} from '../../src/checkpoint/protocol.ts'

const tasks = [taskId('stage', 0), taskId('stage', 1)] as const
const ids = [4, 5, 6].map((id) => checkpointId(id)) as [
  ReturnType<typeof checkpointId>,
  ...ReturnType<typeof checkpointId>[],
]
const error = new Error('it failed')

const everyEvent: readonly CheckpointEvent[] = ids.flatMap((id): CheckpointEvent[] => [
  ...tasks.flatMap((task): CheckpointEvent[] => [
    { kind: 'delivered', id, task },
    { kind: 'acked', id, task },
  ]),
  ...(['prepared', 'complete', 'decided', 'confirmed'] as const).map((kind): CheckpointEvent => ({ kind, id })),
  { kind: 'failed', id, error },
])

type Step = CheckpointEffect['kind']

/** What really happened to one checkpoint, noted beside the protocol. */
class Monitor {
  readonly delivered = new Set<TaskId>()
  readonly acked = new Set<TaskId>()
  readonly effects: Step[] = []
  /** Answers to effects; one that came before its effect is no answer. */
  readonly answers = new Set<string>()

  copy(): Monitor {
    const copy = new Monitor()
    for (const task of this.delivered) copy.delivered.add(task)
    for (const task of this.acked) copy.acked.add(task)
    copy.effects.push(...this.effects)
    for (const answer of this.answers) copy.answers.add(answer)
    return copy
  }

  saw(event: CheckpointEvent): void {
    if (event.kind === 'delivered') this.delivered.add(event.task)
    else if (event.kind === 'acked') this.acked.add(event.task)
    else {
      const effect = { prepared: 'prepare', complete: 'write', decided: 'commit', confirmed: 'confirm' }[
        event.kind as string
      ]
      if (effect !== undefined && this.effects.includes(effect as Step)) this.answers.add(event.kind)
    }
  }

  /** Throws if the effect is not allowed now. */
  acts(effect: Step): void {
    expect([effect, this.effects.includes(effect)]).toEqual([effect, false])
    expect(this.effects).not.toContain('roll-back')
    const everything = {
      inject: true,
      prepare: this.delivered.size === tasks.length,
      write: this.acked.size === tasks.length && this.answers.has('prepared'),
      commit: this.answers.has('complete'),
      confirm: this.answers.has('decided'),
      committed: this.answers.has('confirmed'),
      'roll-back': !this.effects.includes('committed'),
    }
    expect([effect, everything[effect]]).toEqual([effect, true])
    this.effects.push(effect)
  }

  get key(): string {
    return [[...this.delivered].sort(), [...this.acked].sort(), this.effects, [...this.answers].sort()].join('|')
  }
}

function keyOf(state: CheckpointState): string {
  return JSON.stringify(state, (_, value: unknown) => {
    if (typeof value === 'bigint') return String(value)
    return value instanceof Set ? [...value].sort() : value
  })
}

interface World {
  readonly state: CheckpointState
  /** Of the checkpoints 5 and 6. */
  readonly monitors: ReadonlyMap<bigint, Monitor>
  readonly path: readonly string[]
}

function after(world: World, event: CheckpointEvent): World {
  const monitors = new Map([...world.monitors].map(([id, monitor]) => [id, monitor.copy()]))
  const current = 'id' in world.state ? world.state.id : undefined
  if (event.kind !== 'trigger') monitors.get(event.id)?.saw(event)
  const { state, effects } = step(world.state, event)
  for (const effect of effects) {
    const id = effect.kind === 'roll-back' ? current : effect.id
    const monitor = monitors.get(id ?? -1n)
    if (!monitor) throw new Error(`${effect.kind} of ${id}, which was not triggered`)
    monitor.acts(effect.kind)
  }
  return { state, monitors, path: [...world.path, `${event.kind} ${event.id}`] }
}

/** The next checkpoint, as the coordinator triggers it: ids rise. */
function triggers(state: CheckpointState): CheckpointEvent[] {
  const next = state.phase === 'idle' ? state.last + 1n : 'id' in state ? state.id + 1n : 6n
  return next > 6n ? [] : [{ kind: 'trigger', id: checkpointId(next), tasks }]
}

describe('every sequence of events', () => {
  test('leads to no step that is not due', () => {
    const monitors = new Map([5n, 6n].map((id) => [id, new Monitor()]))
    const start: World = { state: { phase: 'idle', last: checkpointId(4) }, monitors, path: [] }
    const seen = new Set<string>()
    const open = [start]
    let committed = 0
    for (let world = open.pop(); world; world = open.pop()) {
      const key = [keyOf(world.state), ...[...world.monitors.values()].map((monitor) => monitor.key)].join(' & ')
      if (seen.has(key)) continue
      seen.add(key)
      if (world.monitors.get(6n)?.effects.includes('committed')) committed++
      for (const event of [...everyEvent, ...triggers(world.state)]) {
        try {
          open.push(after(world, event))
        } catch (problem) {
          throw new Error(`after ${world.path.join(', ')}, then ${event.kind}: ${String(problem)}`, { cause: problem })
        }
      }
    }
    expect(seen.size).toBeGreaterThan(1_000)
    expect(committed).toBeGreaterThan(0)
  })

  test('of other checkpoints changes nothing at all', () => {
    const state: CheckpointState = {
      phase: 'snapshotting',
      id: checkpointId(5),
      waiting: new Set(tasks),
      undelivered: new Set(tasks),
      prepared: false,
    }
    const phases: readonly CheckpointState[] = [
      { phase: 'idle', last: checkpointId(5) },
      state,
      ...(['writing', 'committing', 'confirming'] as const).map((phase) => ({ phase, id: checkpointId(5) })),
      { phase: 'failed' },
    ]
    for (const phase of phases) {
      for (const event of everyEvent.filter((each) => each.id !== 5n)) {
        const result = step(phase, event)
        expect(result.effects).toEqual([])
        expect(result.state).toBe(phase)
      }
    }
  })

  test('ids that do not rise are an error of the engine (I5)', () => {
    const idle: CheckpointState = { phase: 'idle', last: checkpointId(5) }
    for (const id of [3, 5]) expect(() => step(idle, { kind: 'trigger', id: checkpointId(id), tasks })).toThrow('I5')
  })
})

/** What answers an effect, in the world outside. */
function answersTo(effect: CheckpointEffect): CheckpointEvent[] {
  if (effect.kind === 'roll-back') return []
  const { id } = effect
  switch (effect.kind) {
    case 'inject':
      return tasks.flatMap((task): CheckpointEvent[] => [
        { kind: 'delivered', id, task },
        { kind: 'acked', id, task },
      ])
    case 'prepare':
      return [{ kind: 'prepared', id }]
    case 'write':
      return [{ kind: 'complete', id }]
    case 'commit':
      return [{ kind: 'decided', id }]
    case 'confirm':
      return [{ kind: 'confirmed', id }]
    case 'committed':
      return id < 6n ? [{ kind: 'trigger', id: checkpointId(id + 1n), tasks }] : []
  }
}

describe('messages that are doubled and shuffled, none lost', () => {
  test('two checkpoints in a row are committed, each step once and in order', () => {
    const picks = fc.infiniteStream(fc.nat(1_000))
    const property = fc.property(picks, fc.integer({ min: 1, max: 4 }), (stream, copies) => {
      let state: CheckpointState = { phase: 'idle', last: checkpointId(4) }
      const steps: string[] = []
      // Old messages of checkpoint 4 are still on their way, and come when they like.
      const bag: CheckpointEvent[] = everyEvent.filter((event) => event.id === 4n)
      bag.push({ kind: 'trigger', id: checkpointId(5), tasks })
      while (bag.length > 0) {
        const at = (stream.next().value ?? 0) % bag.length
        const [event] = bag.splice(at, 1)
        if (!event) throw new Error('the bag is empty')
        if (event.kind === 'trigger' && 'last' in state && event.id <= state.last) continue
        const result = step(state, event)
        state = result.state
        for (const effect of result.effects) {
          if (effect.kind !== 'roll-back') steps.push(`${effect.kind} ${effect.id}`)
          // A doubled trigger would be the coordinator's own mistake; every message comes up to four times.
          const answers = answersTo(effect)
          const doubled = answers[0]?.kind === 'trigger' ? 1 : copies
          for (let copy = 0; copy < doubled; copy++) bag.push(...answers)
        }
      }
      const order = ['inject', 'prepare', 'write', 'commit', 'confirm', 'committed']
      expect(steps).toEqual([5, 6].flatMap((id) => order.map((kind) => `${kind} ${id}`)))
      expect(state).toEqual({ phase: 'idle', last: 6n })
    })
    fc.assert(property, { numRuns: 2_000 })
  })

  test('one lost message never lets a checkpoint be decided: it waits, until it fails', () => {
    const all = ['delivered', 'acked', 'prepared', 'complete', 'decided', 'confirmed'] as const
    for (const lost of all) {
      let state: CheckpointState = { phase: 'idle', last: checkpointId(4) }
      const steps: string[] = []
      let dropped = false
      const bag: CheckpointEvent[] = [{ kind: 'trigger', id: checkpointId(5), tasks }]
      for (let event = bag.shift(); event; event = bag.shift()) {
        if (event.kind === lost && !dropped) {
          dropped = true
          continue
        }
        const result = step(state, event)
        state = result.state
        for (const effect of result.effects) {
          steps.push(effect.kind)
          if (effect.kind !== 'committed') bag.push(...answersTo(effect))
        }
      }
      expect(steps).not.toContain('committed')
      if (lost === 'delivered' || lost === 'acked' || lost === 'prepared') expect(steps).not.toContain('write')
      const failed = step(state, { kind: 'failed', id: checkpointId(5), error })
      expect(failed).toEqual({ state: { phase: 'failed' }, effects: [{ kind: 'roll-back', error }] })
    }
  })
})
