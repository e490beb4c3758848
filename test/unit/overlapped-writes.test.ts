/**
 * Goal: where a task's batches are written while the next ones are gathered, the disk gets them one after the other, each made from what
 * was written before it, and a write that fails is told. Method: a real LevelDB whose writes take their time, and are counted; batches of one row.
 */
import { setImmediate as turn } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { f64, type Serde, utf8, type ValueState, valueState } from '../../src/index.ts'
import { LevelBatch } from '../../src/state/leveldb/database.ts'
import type { DiskSizes, TaskOnDisk } from '../support/task-on-disk.ts'
import { TasksOnDisk } from '../support/tasks-on-disk.ts'

const states = { one: valueState(f64), other: valueState(f64) }
/** Turns of the event loop: more than gathering a batch takes. */
const WRITE_TURNS = 20

const tasks = new TasksOnDisk()
const { write } = LevelBatch.prototype
let writing = 0
let writingMax = 0
let writes = 0
/** The write that fails, counted from 1; 0: none. */
let failing = 0

beforeEach(() => {
  Object.assign(LevelBatch.prototype, { write: slowWrite })
  writing = writingMax = writes = failing = 0
})
afterEach(() => {
  Object.assign(LevelBatch.prototype, { write })
})

async function slowWrite(this: LevelBatch): Promise<void> {
  writingMax = Math.max(writingMax, ++writing)
  const failed = ++writes === failing
  for (let turns = failed ? 1 : WRITE_TURNS; turns > 0; turns--) await turn()
  writing--
  if (failed) throw new Error('the disk fails')
  await write.call(this)
}

/** With one row in a batch each number is told by itself; with two a key's numbers come together, and nothing is looked up. */
const open = (rowsPerTurn: number, writesPerBatch = 1): Promise<TaskOnDisk> => {
  const sizes: DiskSizes = { cacheBytesMax: 1, rowsPerTurn, writesPerBatch }
  return tasks.open(states, utf8 as Serde<unknown>, sizes)
}

function at(task: TaskOnDisk, key: string): Record<keyof typeof states, ValueState<number, undefined>> {
  task.setKey(key)
  return task.handles as never
}

const keys = ['a', 'b', 'c', 'd']
const seen = (task: TaskOnDisk): unknown[] => keys.map((key) => [at(task, key).one.get(), at(task, key).other.get()])
const wanted = keys.map(() => [1, 52])

/** Two checkpoints, the second with one number of each key. */
async function history(task: TaskOnDisk): Promise<void> {
  for (const key of keys) {
    at(task, key).one.set(1)
    at(task, key).other.set(2)
  }
  task.freeze()
  await task.commit()
  for (const key of keys) at(task, key).other.set(52)
  task.freeze()
  await task.commit()
  await task.settled()
}

test.each([
  [1, 'same disk'],
  [1, 'empty disk'],
  [2, 'same disk'],
  [2, 'empty disk'],
] as const)(
  '%d rows in a batch, read from the %s: each is put together with what was written before it',
  async (rows, disk) => {
    const task = await open(rows)
    await history(task)
    expect(seen(task)).toEqual(wanted)
    expect(seen(tasks.keep(await task.crash(disk)))).toEqual(wanted)
    expect(writes).toBeGreaterThan(keys.length)
    expect(writingMax).toBe(1)
  },
)

test('a write that fails is told, whichever of a restore it is, and nothing is written behind it', async () => {
  let restored = 0
  for (let nth = 1; nth < 100 && restored === 0; nth++) {
    failing = 0
    // Several turns of the event loop for a batch: the write fails while rows are gathered.
    const task = await open(1, 3)
    await history(task)
    const before = writes
    failing = before + nth
    const next = await task.crash('empty disk').catch((error: unknown) => error)
    if (next instanceof Error) {
      expect(next.message).toContain('the disk fails')
      expect(writes).toBe(failing)
    } else {
      restored = writes - before
      expect(restored).toBe(nth - 1)
      tasks.keep(next as TaskOnDisk)
    }
  }
  expect(restored).toBeGreaterThan(3)
})
