/**
 * Goal: a state that the cache has room for is back before an empty disk has it; the disk is filled from memory while records flow, and
 * has in the end what it would have had. Method: a real LevelDB whose writes wait until they are let through.
 */
import { setImmediate as turn } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import {
  f64,
  json,
  type ListState,
  listState,
  type MapState,
  mapState,
  type Serde,
  utf8,
  type ValueState,
  valueState,
} from '../../src/index.ts'
import { LevelBatch } from '../../src/state/leveldb/database.ts'
import type { DiskSizes, TaskOnDisk } from '../support/task-on-disk.ts'
import { TasksOnDisk } from '../support/tasks-on-disk.ts'

interface Handles {
  readonly count: ValueState<number, undefined>
  readonly note: ValueState<object, undefined>
  readonly items: ListState<string>
  readonly seen: MapState<string, string>
}

const states = {
  count: valueState(f64),
  note: valueState(json<object>()),
  items: listState(utf8),
  seen: mapState(utf8, utf8),
}
const KEYS = 200
const roomy: DiskSizes = { cacheBytesMax: 2 ** 22, rowsPerTurn: 10, writesPerBatch: 20 }

const { write } = LevelBatch.prototype
/** Writes that have begun since the gate was closed. */
let waiting = 0
let gate: Promise<void> | null = null
let letThrough: () => void = () => {}
/** The next write fails instead. */
let fails = false

function closeGate(): void {
  waiting = 0
  gate = new Promise((resolve) => {
    letThrough = () => {
      gate = null
      resolve()
    }
  })
}

beforeEach(() => {
  Object.assign(LevelBatch.prototype, {
    async write(this: LevelBatch) {
      if (gate) waiting++
      await gate
      if (fails) throw new Error('the disk fails')
      await write.call(this)
    },
  })
})
afterEach(() => {
  letThrough()
  fails = false
  Object.assign(LevelBatch.prototype, { write })
})
/** Behind the hooks above: it closes what waits for the gate. */
const tasks = new TasksOnDisk()

function at(task: TaskOnDisk, key: string): Handles {
  task.setKey(key)
  return task.handles as unknown as Handles
}

const all = (task: TaskOnDisk): unknown[] =>
  Array.from({ length: KEYS + 10 }, (_, i) => {
    const { count, note, items, seen } = at(task, `key-${i}`)
    return [i, count.get(), note.get(), [...items.get()], [...seen.entries()]]
  })

async function checkpoint(task: TaskOnDisk): Promise<void> {
  task.freeze()
  await task.commit()
}

/** Three checkpoints: keys come, change, go, and come again. */
async function history(sizes: DiskSizes = roomy): Promise<TaskOnDisk> {
  const task = await tasks.open(states, utf8 as Serde<unknown>, sizes)
  for (const round of [0, 1, 2]) {
    for (let i = 0; i < KEYS; i += 1 + round) {
      const { count, note, items, seen } = at(task, `key-${i}`)
      if (i % 7 === round) {
        for (const state of [count, note, items, seen]) state.clear()
        continue
      }
      count.set(i + round)
      note.set({ i, round })
      items.add(`item ${round}`)
      seen.set(`entry ${i % (2 + round)}`, `${round}`)
    }
    await checkpoint(task)
  }
  await task.settled()
  return task
}

async function filling(): Promise<{ readonly task: TaskOnDisk; readonly before: unknown[] }> {
  const first = await history()
  const before = all(first)
  await first.leave()
  closeGate()
  const task = tasks.keep(await first.crash('empty disk'))
  return { task, before }
}

test('all of it is there while nothing is on disk, and nothing of it goes', async () => {
  const { task, before } = await filling()
  while (waiting === 0) await turn()
  expect(all(task)).toEqual(before)
  expect(task.keyCount).toBeGreaterThan(KEYS / 2)
  task.disk.budget.charge(2 ** 30)
  task.disk.budget.relieve()
  expect(all(task)).toEqual(before)
  task.disk.budget.charge(-(2 ** 30))
  letThrough()
  await task.settled()
})

test('checkpoints go on while the disk is filled, and it takes over what they have behind that', async () => {
  const { task } = await filling()
  for (const round of [3, 4, 5]) {
    for (let i = round; i < KEYS; i += 10) {
      at(task, `key-${i}`).items.add(`item ${round}`)
      at(task, `key-${i + 1}`).count.clear()
      at(task, `key-${i + 2}`).seen.clear()
    }
    at(task, `key-${KEYS + round}`).count.set(round)
    await checkpoint(task)
  }
  while (waiting === 0) await turn()
  expect(waiting).toBe(1)
  const before = all(task)
  letThrough()
  await task.settled()
  expect(all(task)).toEqual(before)
  const again = tasks.keep(await task.crash('same disk'))
  expect(again.read).toEqual([])
  expect(again.keyCount).toBe(0)
  expect(all(again)).toEqual(before)
})

test('a process that ends while the disk is filled begins anew, and mixes nothing', async () => {
  const { task, before } = await filling()
  // Some batches are written, not all.
  while (waiting === 0) await turn()
  letThrough()
  await turn()
  closeGate()
  while (waiting === 0) await turn()
  at(task, 'key-1').count.set(-1)
  await checkpoint(task)
  const ending = task.crash('same disk')
  letThrough()
  const again = tasks.keep(await ending)
  expect(again.read.length).toBeGreaterThan(3)
  const [, second] = before
  const now = all(again)
  expect(now[1]).toEqual([1, -1, ...(second as unknown[]).slice(2)])
  expect(now.toSpliced(1, 1)).toEqual(before.toSpliced(1, 1))
})

test('an orderly end does not wait until the disk is filled', async () => {
  const { task } = await filling()
  await task.close()
  // The disk has not even begun.
  expect(waiting).toBe(0)
})

test('a disk that fails while it is filled is told at once, and by the next checkpoint', async () => {
  const { task } = await filling()
  fails = true
  letThrough()
  await expect(task.settled()).rejects.toThrow('the disk fails')
  expect(task.failures).toEqual(['the disk fails'])
  at(task, 'key-1').count.set(-1)
  await expect(checkpoint(task)).rejects.toThrow('the disk fails')
})

test('a base that begins while the disk is filled has all of the state', async () => {
  const first = await history({ ...roomy, baseSliceBytes: 500 })
  for (let round = 3; round < 12; round++) {
    at(first, `key-${round}`).count.set(round)
    await checkpoint(first)
  }
  await first.settled()
  const before = all(first)
  await first.leave()
  closeGate()
  const task = tasks.keep(await first.crash('empty disk'))
  at(task, 'key-1').count.set(-1)
  task.freeze()
  const commit = task.commit()
  while (waiting === 0) await turn()
  letThrough()
  await commit
  expect(task.segments.at(-1)?.mark).toBe('base-first')
  for (let i = 0; !['base-last', 'base-whole'].includes(task.segments.at(-1)?.mark ?? ''); i++) {
    at(task, 'key-1').count.set(-1 - i)
    await checkpoint(task)
  }
  at(task, 'key-1').count.set((before[1] as unknown[])[1] as number)
  await checkpoint(task)
  expect(task.segments[0]?.mark).toBe('base-first')
  expect(all(tasks.keep(await task.crash('empty disk')))).toEqual(before)
})

test('a state that the cache has no room for goes to the disk', async () => {
  const first = await history({ ...roomy, cacheBytesMax: 10_000 })
  const before = all(first)
  const task = tasks.keep(await first.crash('empty disk'))
  expect(task.keyCount).toBe(0)
  expect(all(task)).toEqual(before)
})

test('objects that just fit take no more than twice the limit', async () => {
  const cacheBytesMax = 2 ** 20
  const sizes = { ...roomy, cacheBytesMax, rowsPerTurn: 1_000, writesPerBatch: 5_000 }
  const seen = { whole: 0, onDisk: 0 }
  for (let keys = 1_000; keys < 7_000; keys += 1_000) {
    const first = await tasks.open(states, utf8 as Serde<unknown>, sizes)
    for (let i = 0; i < keys; i++) {
      at(first, `key-${i}`).note.set({ i, text: 'x'.repeat(100) })
      if (!first.mustWait) continue
      first.freeze()
      await first.complete()
    }
    first.freeze()
    await first.complete()
    const task = tasks.keep(await first.crash('empty disk'))
    expect(task.store.cacheBytes).toBeLessThan(2 * cacheBytesMax)
    if (task.keyCount === keys) seen.whole++
    else if (task.keyCount === 0) seen.onDisk++
  }
  expect(seen.whole).toBeGreaterThan(0)
  expect(seen.onDisk).toBeGreaterThan(0)
})

test('once a key has gone, what is not here is looked for on disk', async () => {
  const first = await history({ ...roomy, cacheBytesMax: 2 ** 17 })
  const before = all(first)
  const task = tasks.keep(await first.crash('empty disk'))
  await task.settled()
  const there = task.keyCount
  task.disk.budget.charge(2 ** 16)
  for (let i = 0; i < 1_000; i++) {
    at(task, `another-${i}`).count.set(i)
    if (i % 100 > 0) continue
    task.freeze()
    await task.complete()
  }
  expect(there).toBeGreaterThan(KEYS / 2)
  expect(task.keyCount).toBeLessThan(there + 1_000)
  expect(all(task)).toEqual(before)
})
