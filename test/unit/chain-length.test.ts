/**
 * Goal: bases are not most of what checkpoints write, and no chain grows without bound. Method: one task's state on the heap, with changes
 * few and many between its checkpoints; what counts is where in the chain the next base begins.
 */
import { expect, test } from '@jest/globals'
import { type Serde, utf8, type ValueState, valueState } from '../../src/index.ts'
import { CHAIN_SEGMENTS_MAX } from '../../src/state/task-state.ts'
import { TaskOnHeap } from '../support/task-on-heap.ts'

const LARGE = 8_000
const states = { text: valueState(utf8) }

function change(task: TaskOnHeap, keys: number, round: number): void {
  const { text } = task.handles as { text: ValueState<string, undefined> }
  for (let key = 0; key < keys; key++) {
    task.setKey(`key-${key}`)
    text.set(`${round} `.padEnd(40, 'x'))
  }
  task.freeze()
  task.complete()
}

/** With a base directly behind it. */
function filled(keys: number): TaskOnHeap {
  const task = new TaskOnHeap(states, utf8 as Serde<unknown>)
  change(task, keys, 0)
  for (let round = 1; task.segments.length > 1 || round < 3; round++) change(task, 1, round)
  return task
}

/** Segments of the chain when the next base begins, if so many keys change at a time. */
function lengthBefore(task: TaskOnHeap, keys: number): number {
  for (let round = 100; ; round++) {
    const { length } = task.segments
    change(task, keys, round)
    if (task.segments.length <= length) return length
  }
}

test('little changes beside a large base: it waits three times as long', () => {
  expect(lengthBefore(filled(LARGE), 10)).toBe(3 * (CHAIN_SEGMENTS_MAX - 4))
})

test('what changed takes twice as much as the base: it waits no longer', () => {
  const length = lengthBefore(filled(LARGE), LARGE / 10)
  // The chain has the last base, too; the last change is in its successor.
  expect(length).toBeGreaterThanOrEqual(20)
  expect(length).toBeLessThanOrEqual(23)
  expect(lengthBefore(filled(LARGE), LARGE / 2)).toBe(CHAIN_SEGMENTS_MAX - 4)
})

test('a small base does not wait: the list of its segments would take more than it', () => {
  expect(lengthBefore(filled(100), 1)).toBe(CHAIN_SEGMENTS_MAX - 4)
})

test('after a crash the size of the last base is not known: the next one does not wait', () => {
  const task = filled(LARGE)
  for (let round = 0; round < 20; round++) change(task, 10, round)
  expect(task.segments.length).toBe(21)
  const restored = task.restored()
  change(restored, 10, 1)
  expect(restored.segments.length).toBe(1)
})
