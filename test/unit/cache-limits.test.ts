/**
 * Goal: the memory of state that is on disk stays within its limit, whatever is written between two checkpoints, and no key is lost for
 * it. Method: one task's state in a real LevelDB, with a small limit.
 */
import { expect, test } from '@jest/globals'
import { type Serde, utf8 } from '../../src/index.ts'
import { at, type Handles, states } from '../support/state-of-each-kind.ts'
import type { TaskOnDisk } from '../support/task-on-disk.ts'
import { TasksOnDisk } from '../support/tasks-on-disk.ts'

const tasks = new TasksOnDisk()

function open(sizes: { readonly cacheBytesMax: number }): Promise<TaskOnDisk> {
  return tasks.open(states, utf8 as Serde<unknown>, sizes)
}

test('many more keys than fit: memory stays within its limit, and no key is lost', async () => {
  const KEYS = 20_000
  const task = await open({ cacheBytesMax: 2 ** 20 })
  for (let from = 0; from < KEYS; from += 500) {
    for (let i = from; i < from + 500; i++) at(task, `key-${i}`).note.set({ i, text: 'x'.repeat(i % 50) })
    task.freeze()
    await task.complete()
    expect(task.store.cacheBytes).toBeLessThan(2 * 2 ** 20)
  }
  expect(task.keyCount).toBeLessThan(KEYS / 4)
  for (let i = 0; i < KEYS; i += 7) expect(at(task, `key-${i}`).note.get()).toEqual({ i, text: 'x'.repeat(i % 50) })
  expect(task.store.cacheBytes).toBeLessThan(2 * 2 ** 20)
})

test('keys that can go ask for no checkpoint, however many were used since they were last looked at', async () => {
  const KEYS = 60_000
  const task = await open({ cacheBytesMax: 2 ** 21 })
  for (let from = 0; from < KEYS; from += 5_000) {
    for (let i = from; i < from + 5_000; i++) at(task, `key-${i}`).count.set(i)
    task.freeze()
    await task.complete()
  }
  at(task, 'key-0').count.set(-1)
  expect(task.keyCount).toBeGreaterThan(20_000)
  const seen = { asked: 0, wrong: 0 }
  for (let i = 1; i < KEYS; i++) {
    if (at(task, `key-${i}`).count.get() !== i) seen.wrong++
    if (task.overBudget) seen.asked++
  }
  expect(seen).toEqual({ asked: 0, wrong: 0 })
  expect(task.store.cacheBytes).toBeLessThan(2 ** 21 + 2 ** 16)
})

test('changes that no checkpoint has yet stay in memory beyond the limit, and ask for a checkpoint', async () => {
  const task = await open({ cacheBytesMax: 2 ** 16 })
  expect(task.overBudget).toBe(false)
  for (let i = 0; i < 2_000; i++) at(task, `key-${i}`).count.set(i)
  expect([task.keyCount, task.overBudget]).toEqual([2_000, true])
  task.freeze()
  await task.complete()
  at(task, 'one more').count.set(1)
  expect(task.store.cacheBytes).toBeLessThanOrEqual(2 ** 16)
  expect(task.keyCount).toBeLessThan(1_500)
  for (let i = 0; i < 2_000; i++) expect(at(task, `key-${i}`).count.get()).toBe(i)
})

test.each<[string, (handles: Handles, index: number) => void]>([
  ['a list', ({ items }, index) => items.add(`item ${index}`)],
  ['a value that grows', ({ note }, index) => note.set({ text: 'x'.repeat(index * 20) })],
  ['a map', ({ seen }, index) => seen.set(`entry ${index}`, 'x'.repeat(20))],
  ['large values', ({ items }) => items.set(['x'.repeat(2_000), 'y'.repeat(2_000)])],
])('what grows between two checkpoints counts before it is written, and asks for one: %s', async (_, change) => {
  const task = await open({ cacheBytesMax: 2 ** 20 })
  let asked = 0
  for (let index = 0; index < 40_000 && asked === 0; index++) {
    change(at(task, `key-${index % 500}`), index)
    if (task.overBudget) asked = index
  }
  // 1 MiB at three times the bytes that it takes as written: so many and no more.
  expect(asked).toBeGreaterThan(50)
  task.freeze()
  await task.complete()
  const known = task.store.cacheBytes
  expect(known).toBeLessThan(2 * 2 ** 20)
})

test('far more than twice the limit goes as soon as it is on disk: records need not wait for another checkpoint', async () => {
  const task = await open({ cacheBytesMax: 2 ** 16 })
  for (let i = 0; i < 40_000; i++) at(task, `key-${i}`).count.set(i)
  task.freeze()
  at(task, 'key-0').count.set(-1)
  expect(task.mustWait).toBe(true)
  await task.complete()
  expect(task.mustWait).toBe(false)
})
