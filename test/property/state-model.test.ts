/**
 * Goal: whatever is done to keyed state, between whichever barriers, with a crash at any point, the state is what plain Maps
 * say, and what is restored is the state of the last complete snapshot. Method: random sequences of operations, freezes,
 * single steps of encoding and crashes against a model; tiny slices, so that bases in several slices and restores in the
 * middle of one are frequent. A failing run prints its seed and the shortest sequence.
 */
import { expect, test } from '@jest/globals'
import fc from 'fast-check'
import { type Serde, utf8 } from '../../src/index.ts'
import { CHAIN_SEGMENTS_MAX } from '../../src/state/task-state.ts'
import {
  type Handles,
  KEYS,
  type Keys,
  keySerdes,
  keys,
  moves,
  operations,
  Pair,
  run,
  seen,
  states,
} from '../support/state-model.ts'
import { type HeapSizes, TaskOnHeap } from '../support/task-on-heap.ts'

/** With a slice for each key. */
const CHAIN_MAX = CHAIN_SEGMENTS_MAX - 4 + 6 * KEYS

const onHeap = (kind: Keys, size: HeapSizes): Pair => new Pair(kind, new TaskOnHeap(states, keySerdes[kind], [], size))

const sizes: fc.Arbitrary<HeapSizes> = fc.record({
  baseSliceSlots: fc.constantFrom(1, 2, 3, 100),
  rowsPerLook: fc.constantFrom(1, 2, 64),
})

test('state is what plain Maps say, at any time and after any crash', async () => {
  const property = fc.asyncProperty(keys, sizes, moves, (kind, size, sequence) => run(onHeap(kind, size), sequence))
  await fc.assert(property, { numRuns: 3000 })
  expect([...seen.marks].sort()).toEqual(['base-first', 'base-last', 'base-part', 'base-whole', 'delta', ''].sort())
  expect(seen.chain).toBeGreaterThan(CHAIN_SEGMENTS_MAX)
  expect(seen.chain).toBeLessThanOrEqual(CHAIN_MAX)
  expect(seen.insideBase).toBeGreaterThan(50)
})

test('a crash at every checkpoint of a base, again and again, never makes a chain too long', async () => {
  for (const slots of [1, 2, 3, 5]) {
    const pair = onHeap('text', { baseSliceSlots: slots, rowsPerLook: 2 })
    for (let round = 0; round < 200; round++) {
      operations['value.set'](pair, round % KEYS, round, '')
      operations['list.add'](pair, (round * 3) % KEYS, round, '')
      await pair.freeze()
      await pair.complete()
      if (round % 5 !== 4) await pair.crash()
    }
    pair.check()
  }
  expect(seen.chain).toBeLessThanOrEqual(CHAIN_MAX)
})

test('a backend that forgets keys does not forget state: many short-lived keys leave nothing behind', () => {
  const backend = new TaskOnHeap(states, utf8 as Serde<unknown>, [], { baseSliceSlots: 4 })
  const handles = backend.handles as unknown as Handles
  for (let round = 0; round < 300; round++) {
    backend.setKey(`session-${round}`)
    handles.value.set({ n: round })
    handles.map.set('a', { n: round })
    if (round >= 3) {
      backend.setKey(`session-${round - 3}`)
      handles.value.clear()
      handles.map.clear()
    }
    backend.freeze()
    backend.complete()
  }
  expect(backend.keyCount).toBeLessThanOrEqual(4)
  expect(backend.store.slotCount).toBeLessThanOrEqual(8)
  expect(backend.crash().keyCount).toBe(3)
})
