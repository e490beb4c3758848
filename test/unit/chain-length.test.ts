/**
 * Goal: bases are not most of what checkpoints write, and no chain grows without bound. Method: one task's state, with changes few and many
 * between its checkpoints; what counts is where in the chain the next base begins, and how long it is.
 */
import { expect, test } from '@jest/globals'
import { f64, type Serde, utf8, type ValueState, valueState } from '../../src/index.ts'
import { CHAIN_SEGMENTS_MAX } from '../../src/state/task-state.ts'
import { TaskOnDisk } from '../support/task-on-disk.ts'
import { TaskOnHeap } from '../support/task-on-heap.ts'

const LARGE = 8_000
/** By then there is a base. */
const ROUNDS = 100
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
  for (let round = 1; round < ROUNDS; round++) {
    change(task, 1, round)
    if (task.segments.length === 1) return task
  }
  throw new Error('no base')
}

/** Segments of the chain when the next base begins, if so many keys change at a time. */
function lengthBefore(task: TaskOnHeap, keys: number): number {
  for (let round = ROUNDS; round < 2 * ROUNDS; round++) {
    const { length } = task.segments
    change(task, keys, round)
    if (task.segments.length <= length) return length
  }
  return ROUNDS
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

test('after a crash a base waits as long as it would have', () => {
  const task = filled(LARGE)
  for (let round = 0; round < 20; round++) change(task, 10, round)
  expect(lengthBefore(task.restored(), 10)).toBe(3 * (CHAIN_SEGMENTS_MAX - 4))
})

test('a crash at every checkpoint, of a disk on which all changes each time: the chain stays bounded', async () => {
  const sizes = { cacheBytesMax: 2 ** 20, baseSliceBytes: 1_024 }
  let task = await TaskOnDisk.open({ total: valueState(f64) }, utf8 as Serde<unknown>, sizes)
  let longest = 0
  for (let round = 0; round < 150; round++) {
    for (let key = 0; key < 100; key++) {
      task.setKey(`key-${key}`)
      ;(task.handles.total as ValueState<number, undefined>).set(round)
    }
    task.freeze()
    await task.complete()
    longest = Math.max(longest, task.segments.length)
    task = await task.crash()
  }
  expect(longest).toBeGreaterThan(CHAIN_SEGMENTS_MAX)
  expect(longest).toBeLessThanOrEqual(100)
  await task[Symbol.asyncDispose]()
})

test('a disk has what it has, not what changed: a base takes as many slices as that, again and again', async () => {
  const sizes = { cacheBytesMax: 2 ** 20, baseSliceBytes: 8_192 }
  await using task = await TaskOnDisk.open({ total: valueState(f64) }, utf8 as Serde<unknown>, sizes)
  const total = task.handles.total as ValueState<number, undefined>
  const bases: string[] = []
  // 1,000 keys, each with its number about 27 bytes on disk.
  for (let round = 0; bases.length < 6 && round < 3 * ROUNDS; round++) {
    for (let key = 0; key < 1_000; key++) {
      task.setKey(`key-${1_000 + key}`)
      total.set(round)
    }
    task.freeze()
    await task.complete()
    const mark = task.segments.at(-1)?.mark ?? ''
    if (mark.endsWith('last') || mark.endsWith('whole')) bases.push(`${task.segments.length} ${mark}`)
    expect(task.segments.length).toBeLessThanOrEqual(CHAIN_SEGMENTS_MAX)
  }
  expect(bases).toEqual(Array.from({ length: 6 }, () => '4 base-last'))
})
