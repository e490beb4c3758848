/**
 * Goal: numbers that are written in one go are the same rows as numbers written state by state. Method: one random sequence of
 * changes, barriers and steps of encoding for two tasks, one of which may not write numbers in one go; their segments must be equal
 * to the byte, and give the state back.
 */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { f64, type Serde, utf8, type ValueState, valueState } from '../../src/index.ts'
import { NumberPack } from '../../src/state/heap/number-pack.ts'
import { HeapStore } from '../../src/state/heap/store.ts'
import { replaySegment } from '../../src/state/segment-reader.ts'
import { nextChain, TaskState } from '../../src/state/task-state.ts'
import type { ChainSegment } from '../support/task-on-heap.ts'

const names = ['a', 'b', 'c'] as const
const states = { a: valueState(f64), b: valueState(f64, 0), c: valueState(f64) }
const KEYS = 12
/** Some too long to stand in a row. */
const keyOf = (index: number): string => (index % 5 === 4 ? `a key of many letters, ${index}` : `k${index}`)

/** Whether what runs may write in one go. */
let packing = true

class Side {
  readonly store: HeapStore = new HeapStore('operator', states, utf8 as Serde<unknown>, 2)
  readonly task: TaskState = new TaskState([this.store], { baseSliceSlots: 3 })
  readonly #packs: boolean

  constructor(packs: boolean, chain: readonly ChainSegment[] = []) {
    this.#packs = packs
    for (const { bytes, mark } of chain) this.task.replay(bytes, mark)
  }

  at(index: number, state: number): ValueState<number, undefined> {
    packing = this.#packs
    this.store.setKey(keyOf(index))
    return this.store.handles[names[state] as string] as ValueState<number, undefined>
  }

  encodeSome(): boolean {
    packing = this.#packs
    return this.task.encode(() => true)
  }

  segment(): ChainSegment | null {
    while (!this.encodeSome());
    const { segment, mark } = this.task.take()
    return segment && { mark, bytes: Buffer.concat(segment) }
  }
}

type Change =
  | { readonly kind: 'set'; readonly key: number; readonly state: number; readonly value: number }
  | { readonly kind: 'set-all'; readonly key: number; readonly value: number }
  | { readonly kind: 'clear'; readonly key: number; readonly state: number }
type Step = Change | { readonly kind: 'freeze' } | { readonly kind: 'encode' } | { readonly kind: 'crash' }

const key = fc.nat(KEYS - 1)
const state = fc.nat(names.length - 1)
const value = fc.oneof(fc.constantFrom(0, -0, Number.NaN, Infinity), fc.double())
const stepArbitrary: fc.Arbitrary<Step> = fc.oneof(
  { weight: 20, arbitrary: fc.record({ kind: fc.constant('set-all' as const), key, value }) },
  { weight: 10, arbitrary: fc.record({ kind: fc.constant('set' as const), key, state, value }) },
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('clear' as const), key, state }) },
  { weight: 15, arbitrary: fc.record({ kind: fc.constant('freeze' as const) }) },
  { weight: 10, arbitrary: fc.record({ kind: fc.constant('encode' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('crash' as const) }) },
)

/** What is in all segments one after the other. */
function replayed(segments: readonly ChainSegment[]): Map<string, number> {
  const rows = new Map<string, number>()
  for (const { bytes } of segments)
    replaySegment(bytes, ({ name }) => ({
      apply: (_op, key, _at, value) => {
        const place = `${name} of ${key.view.toString()}`
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

/** Both sides, their common chain of segments and the model, moved together. */
class Pair {
  segments: readonly ChainSegment[] = []
  #sides = [new Side(true), new Side(false)] as const
  #model = new Map<string, number>()
  #frozen: Map<string, number> | undefined
  #durable = new Map<string, number>()

  move(step: Step): void {
    if (step.kind === 'crash') {
      this.#sides = [new Side(true, this.segments), new Side(false, this.segments)]
      this.#frozen = undefined
      this.#model = new Map(this.#durable)
    } else if (step.kind === 'freeze') {
      this.complete()
      for (const { task, store } of this.#sides) {
        task.begin()
        task.freeze(store)
      }
      this.#frozen = new Map(this.#model)
    } else if (step.kind === 'encode') {
      if (this.#frozen) for (const side of this.#sides) side.encodeSome()
    } else apply(this.#sides, this.#model, step)
  }

  complete(): void {
    if (!this.#frozen) return
    const [ours, theirs] = this.#sides.map((side) => side.segment())
    expect(ours).toEqual(theirs)
    this.segments = nextChain(this.segments, ours ?? null)
    expect(replayed(this.segments)).toEqual(this.#frozen)
    this.#durable = this.#frozen
    this.#frozen = undefined
  }
}

/** Counts the slots that were written in one go. */
let packed = 0
/** And that were read so. */
let restored = 0
const { encode, restore } = NumberPack.prototype
beforeAll(() => {
  NumberPack.prototype.encode = function (this: NumberPack, slot, awaitsBase) {
    const done = packing && encode.call(this, slot, awaitsBase)
    if (done) packed++
    return done
  }
  NumberPack.prototype.restore = function (this: NumberPack, ...given) {
    restored++
    restore.apply(this, given)
  }
})
afterAll(() => {
  NumberPack.prototype.encode = encode
  NumberPack.prototype.restore = restore
})

test('segments are equal to the byte, and give back what was there at their barriers', () => {
  const bases = new Set<string>()
  const property = fc.property(fc.array(stepArbitrary, { minLength: 100, maxLength: 250 }), (steps) => {
    const pair = new Pair()
    for (const step of [...steps, { kind: 'freeze' as const }]) {
      pair.move(step)
      for (const { mark } of pair.segments) bases.add(mark)
    }
    pair.complete()
  })
  fc.assert(property, { numRuns: 100 })
  expect(packed).toBeGreaterThan(1_000)
  expect(restored).toBeGreaterThan(1_000)
  expect(bases).toContain('base-part')
})
