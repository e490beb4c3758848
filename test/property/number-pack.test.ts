/**
 * Goal: numbers that are written in one go are the same rows as numbers written state by state. Method: one random sequence of
 * changes, barriers and steps of encoding for two tasks, one of which knows its keys' bytes and the other does not; their
 * segments must be equal to the byte, and give the state back.
 */
import { expect, test } from '@jest/globals'
import fc from 'fast-check'
import { f64, type Serde, utf8, type ValueState, valueState } from '../../src/index.ts'
import { hashOf } from '../../src/state/heap/key-index.ts'
import { HeapStore } from '../../src/state/heap/store.ts'
import { replaySegment } from '../../src/state/segment.ts'
import { TaskState } from '../../src/state/task-state.ts'

const names = ['a', 'b', 'c'] as const
const states = { a: valueState(f64), b: valueState(f64, 0), c: valueState(f64) }
const KEYS = 12
/** Some too long to stand in a row. */
const keyOf = (index: number): string => (index % 5 === 4 ? `a key of many letters, ${index}` : `k${index}`)

class Side {
  readonly store: HeapStore = new HeapStore('operator', states, utf8 as Serde<unknown>, 2)
  readonly task: TaskState = new TaskState([this.store], 3)
  readonly #byBytes: boolean

  constructor(byBytes: boolean) {
    this.#byBytes = byBytes
  }

  at(index: number, state: number): ValueState<number, undefined> {
    const key = keyOf(index)
    const bytes = Buffer.from(key)
    const hash = hashOf(bytes, 0, bytes.length)
    if (!this.#byBytes) this.store.setKey(key)
    else if (!this.store.findKey(bytes, 0, bytes.length, hash)) this.store.setKeyOf(key, bytes, 0, bytes.length, hash)
    return this.store.handles[names[state] as string] as ValueState<number, undefined>
  }

  segment(): Buffer | null {
    while (!this.task.encode(() => true));
    const { segment } = this.task.take()
    return segment && Buffer.concat(segment)
  }
}

type Change =
  | { readonly kind: 'set'; readonly key: number; readonly state: number; readonly value: number }
  | { readonly kind: 'set-all'; readonly key: number; readonly value: number }
  | { readonly kind: 'clear'; readonly key: number; readonly state: number }
type Step = Change | { readonly kind: 'freeze' } | { readonly kind: 'encode' }

const key = fc.nat(KEYS - 1)
const state = fc.nat(names.length - 1)
const value = fc.oneof(fc.constantFrom(0, -0, Number.NaN, Infinity), fc.double())
const stepArbitrary: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('set-all' as const), key, value }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('set' as const), key, state, value }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('clear' as const), key, state }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('freeze' as const) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('encode' as const) }) },
)

/** What is in all segments one after the other. */
function replayed(segments: readonly Buffer[]): Map<string, number> {
  const rows = new Map<string, number>()
  for (const segment of segments)
    replaySegment(segment, ({ name }) => ({
      apply: (_op, key, _mapKey, value) => {
        const place = `${name} of ${key.toString()}`
        if (value) rows.set(place, value.readDoubleBE(0))
        else rows.delete(place)
      },
    }))
  return rows
}

function apply(sides: readonly Side[], model: Map<string, number>, step: Change) {
  const touched = step.kind === 'set-all' ? [0, 1, 2] : [step.state]
  for (const index of touched) {
    const place = `${names[index]} of ${keyOf(step.key)}`
    for (const side of sides) {
      if (step.kind === 'clear') side.at(step.key, index).clear()
      else side.at(step.key, index).set(step.value + index)
    }
    if (step.kind === 'clear') model.delete(place)
    else model.set(place, step.value + index)
  }
}

test('segments are equal to the byte, and give back what was there at their barriers', () => {
  let packed = 0
  const property = fc.property(fc.array(stepArbitrary, { minLength: 100, maxLength: 250 }), (steps) => {
    const sides = [new Side(true), new Side(false)] as const
    const model = new Map<string, number>()
    const segments: Buffer[] = []
    let frozen: Map<string, number> | undefined
    const complete = (): void => {
      if (!frozen) return
      const [ours, theirs] = sides.map((side) => side.segment())
      expect(ours).toEqual(theirs)
      if (ours) segments.push(ours)
      expect(replayed(segments)).toEqual(frozen)
      frozen = undefined
    }
    for (const step of [...steps, { kind: 'freeze' as const }]) {
      if (step.kind === 'freeze') {
        complete()
        for (const { task, store } of sides) {
          task.begin()
          task.freeze(store)
        }
        frozen = new Map(model)
      } else if (step.kind === 'encode') {
        if (frozen) for (const { task } of sides) task.encode(() => true)
      } else apply(sides, model, step)
    }
    complete()
    packed += segments.length
  })
  fc.assert(property, { numRuns: 200 })
  expect(packed).toBeGreaterThan(200 * 12)
})
