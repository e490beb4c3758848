/**
 * Goal: what is on local disk is taken for a task's state only if it is; else it is read from the checkpoints again, and never
 * mixed with them (F25). Memory stays within its limit. Method: a real LevelDB, ended and damaged in all ways; restores that count what they read.
 */
import { execFile } from 'node:child_process'
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from '@jest/globals'
import { ClassicLevel } from 'classic-level'
import { taskId } from '../../src/base/ids.ts'
import { silentLogger } from '../../src/base/log.ts'
import {
  bytes,
  f64,
  json,
  type ListState,
  listState,
  nullable,
  type Serde,
  utf8,
  type ValueState,
  valueState,
  withMigration,
} from '../../src/index.ts'
import { HeapStore } from '../../src/state/heap/store.ts'
import { LevelBackend } from '../../src/state/leveldb/backend.ts'
import { LevelDatabase } from '../../src/state/leveldb/database.ts'
import { TaskState } from '../../src/state/task-state.ts'
import { BEFORE, NEWEST, valueKey } from '../support/full-disk.ts'
import type { DiskSizes, TaskOnDisk } from '../support/task-on-disk.ts'
import { TasksOnDisk } from '../support/tasks-on-disk.ts'

interface Handles {
  readonly count: ValueState<number, undefined>
  readonly items: ListState<string>
  readonly note: ValueState<object, undefined>
}

const states = { count: valueState(f64), items: listState(utf8), note: valueState(json<object>()) }
const CACHE_BYTES = 2 ** 20
const sizes: DiskSizes = { cacheBytesMax: CACHE_BYTES }

const tasks = new TasksOnDisk()
const keep = tasks.keep.bind(tasks)
const comeBack = tasks.comeBack.bind(tasks)

async function open(more: Partial<DiskSizes> = {}): Promise<TaskOnDisk> {
  return tasks.open(states, utf8 as Serde<unknown>, { ...sizes, ...more })
}

function at(task: TaskOnDisk, key: string): Handles {
  task.setKey(key)
  return task.handles as unknown as Handles
}

/** A committed checkpoint in which each of these keys counts one more. */
async function checkpoint(task: TaskOnDisk, keys: readonly string[]): Promise<void> {
  for (const key of keys) {
    const { count, items } = at(task, key)
    count.set((count.get() ?? 0) + 1)
    items.add(`${key}${count.get()}`)
  }
  task.freeze()
  await task.commit()
}

const seen = (task: TaskOnDisk, key: string): unknown[] => [at(task, key).count.get(), at(task, key).items.get()]

test('F25 a worker that comes back to its disk reads none of its checkpoints', async () => {
  const task = await open()
  await checkpoint(task, ['a', 'b'])
  await checkpoint(task, ['a'])
  await task.settled()
  const again = await comeBack(task)
  expect(again.read).toEqual([])
  expect([seen(again, 'a'), seen(again, 'b')]).toEqual([
    [2, ['a1', 'a2']],
    [1, ['b1']],
  ])
})

test('F25 it ends while a checkpoint is on its way to the disk: that one is read again, and lists have nothing twice', async () => {
  const task = await open({ rowsPerTurn: 1, writesPerBatch: 1 })
  await checkpoint(task, ['a', 'b', 'c'])
  await task.settled()
  await checkpoint(task, ['a', 'b', 'c'])
  const again = await comeBack(task)
  expect(again.read).toHaveLength(1)
  for (const key of ['a', 'b', 'c']) expect(seen(again, key)).toEqual([2, [`${key}1`, `${key}2`]])
})

test('F25 a disk of another history is emptied: the pipeline was set back while the worker was away', async () => {
  const task = await open()
  await checkpoint(task, ['a'])
  await task.settled()
  const early = keep(await task.restored())
  await checkpoint(task, ['a', 'late'])
  await task.settled()
  await task.leave()
  const back = keep(await early.moveTo(tasks.folder))
  expect(back.read).toHaveLength(1)
  expect([seen(back, 'a'), seen(back, 'late')]).toEqual([
    [1, ['a1']],
    [undefined, []],
  ])
})

test('F25 the disk has part of a checkpoint that the history does not have: it is emptied', async () => {
  const task = await open({ rowsPerTurn: 1, writesPerBatch: 1 })
  await checkpoint(task, ['a'])
  await task.settled()
  const early = keep(await task.restored())
  await checkpoint(task, ['x', 'y', 'z'])
  await task.leave()
  await checkpoint(early, ['b'])
  const back = keep(await early.moveTo(tasks.folder))
  expect(back.read).toHaveLength(2)
  expect(['a', 'b', 'x', 'y', 'z'].map((key) => at(back, key).count.get())).toEqual([
    1,
    1,
    undefined,
    undefined,
    undefined,
  ])
})

test('F25 a damaged disk is emptied and read again', async () => {
  const task = await open()
  await checkpoint(task, ['a'])
  await task.settled()
  await task.leave()
  const place = join(tasks.folder, 'tested', 'worker')
  for (const name of await readdir(place))
    if (/^(MANIFEST|CURRENT)/.test(name)) await writeFile(join(place, name), 'damage')
  const back = keep(await task.comeTo(tasks.folder))
  expect(back.read).toHaveLength(1)
  expect(seen(back, 'a')).toEqual([1, ['a1']])
})

test.each([
  ['and is ASCII still', 1],
  ['and is no ASCII any more', 128],
])(
  'F25 a value that changed on disk (%s) is told, and the next process begins with an empty folder',
  async (_, bit) => {
    const task = await open()
    await checkpoint(task, ['a', 'b'])
    await task.settled()
    await task.leave()
    const place = join(tasks.folder, 'tested', 'worker')
    const raw = new ClassicLevel<Buffer, Buffer>(place, { keyEncoding: 'buffer', valueEncoding: 'buffer' })
    for await (const [key, value] of raw.iterator({ gt: Buffer.from([0, 0, 0, 1]) })) {
      value[0] = (value[0] as number) ^ bit
      await raw.put(key, value)
    }
    await raw.close()
    const damaged = keep(await task.comeTo(tasks.folder))
    expect(() => at(damaged, 'a')).toThrow(/^STATE_DAMAGED: state folder .*fails its checksum/)
    await damaged.leave()
    const back = keep(await task.comeTo(tasks.folder))
    expect(back.read).toHaveLength(1)
    expect(seen(back, 'a')).toEqual([1, ['a1']])
  },
)

/** Of a script in test/support, about this test's folder. */
function inItsOwnProcess(name: string): Promise<object> {
  const flags = ['--conditions=source', '--disable-warning=ExperimentalWarning']
  const script = fileURLToPath(new URL(`../support/${name}`, import.meta.url))
  return promisify(execFile)(process.execPath, [...flags, script, tasks.folder]).catch((error) => error as object)
}

/** It needs prlimit. */
const onLinux = process.platform === 'linux' ? test : test.skip

onLinux('F23 a disk that was full for one write: what the next process finds has no holes', async () => {
  expect(await inItsOwnProcess('full-disk.ts')).toMatchObject({ signal: 'SIGKILL', stdout: 'refused\n' })
  const db = await LevelDatabase.open(tasks.folder, silentLogger, CACHE_BYTES)
  const newest = Number(db.get(NEWEST)?.toString())
  expect(newest).toBe(BEFORE - 1)
  const numbers = Array.from({ length: BEFORE }, (_, number) => number)
  expect(numbers.filter((number) => !db.get(valueKey(number)))).toEqual([])
  await db.close()
})

test('−0 is the key 0', async () => {
  const task = await tasks.open({ count: valueState(f64) }, f64 as Serde<unknown>, { cacheBytesMax: 1 })
  const count = task.handles.count as ValueState<number, undefined>
  // The last ones push it out of memory.
  for (const key of [1, -0, -0, 0, 0, -0, 7, 8]) {
    // By turns by value and by bytes, which differ.
    task.setKey(key)
    count.set((count.get() ?? 0) + 1)
    task.freeze()
    await task.complete()
  }
  task.store.setKey(0)
  expect(count.get()).toBe(5)
})

test('the memory that an entry is thought to take does not grow with its changes', async () => {
  const task = await open()
  const sizesSeen: number[] = []
  for (let round = 0; round < 40; round++) {
    const { items, note } = at(task, 'a')
    items.set(['x'.repeat(20)])
    note.set({ text: 'y'.repeat(20) })
    at(task, `other ${round % 2}`).items.clear()
    task.freeze()
    await task.complete()
    sizesSeen.push(task.store.cacheBytes)
  }
  expect(new Set(sizesSeen.slice(2)).size).toBe(1)
})

test('used after it was closed: the remedy is not a disk with more room', async () => {
  const db = await LevelDatabase.open(tasks.folder, silentLogger, CACHE_BYTES)
  const key = Buffer.from('key')
  const batch = db.batch()
  await db.close()
  const closed = /^STATE_DISK: .*not open; it was closed before; an earlier line of the log may say why$/
  expect(() => db.get(key)).toThrow(closed)
  expect(() => db.getAscii(key)).toThrow(closed)
  expect(() => db.getIfAscii(key)).toThrow(closed)
  expect(() => db.batch()).toThrow(closed)
  const batchClosed =
    /^STATE_DISK: .*Batch is not open: cannot .*; it was closed before; an earlier line of the log may say why$/
  expect(() => batch.put(key, key)).toThrow(batchClosed)
  expect(() => batch.delete(key)).toThrow(batchClosed)
})

test('a folder that another process uses is refused by name', async () => {
  const options = { folder: tasks.folder, pipeline: 'p', instance: 'i-0', cacheBytesMax: 2 ** 20, log: silentLogger }
  const first = await LevelBackend.open(options)
  await expect(LevelBackend.open(options)).rejects.toThrow(/^STATE_LOCKED: state folder .*p\/i-0 is in use.*--instance/)
  await first.close()
  await (await LevelBackend.open(options)).close()
})

test('a folder that LevelDB cannot open is told with its cause and the remedy for it', async () => {
  const options = { folder: tasks.folder, pipeline: 'p', instance: 'i-0', cacheBytesMax: 2 ** 20, log: silentLogger }
  await mkdir(join(tasks.folder, 'p', 'i-0', 'LOCK'), { recursive: true })
  await expect(LevelBackend.open(options)).rejects.toThrow(
    /^STATE_DISK: .*LOCK: Is a directory; check rights and free space$/,
  )
})

test('a folder that cannot be made is told with its name', async () => {
  const file = join(tasks.folder, 'file')
  await writeFile(file, '')
  const options = { folder: file, pipeline: 'p', instance: 'i-0', cacheBytesMax: 2 ** 20, log: silentLogger }
  await expect(LevelBackend.open(options)).rejects.toThrow(/^STATE_DISK: state folder .*file.*check rights/)
})

test('a state that changed its serde is refused, also by a disk that needs no checkpoint', async () => {
  const task = await open()
  await checkpoint(task, ['a'])
  await task.settled()
  const changed = { ...states, count: valueState(utf8) }
  await expect(task.crash('same disk', changed)).rejects.toThrow(
    /^STATE_INCOMPATIBLE: .*'count'.*value of f64.*value of utf8/,
  )
})

test('a disk with an older format of a state is read anew from the checkpoint, once', async () => {
  const task = await open()
  await checkpoint(task, ['a', 'b'])
  await task.settled()
  const migrate = (old: number): string => `was ${old}`
  const changed = { ...states, count: withMigration(valueState(utf8), { version: 2, older: { 1: f64 }, migrate }) }
  const first = keep(await task.crash('same disk', changed))
  expect(first.read).toHaveLength(1)
  first.setKey('a')
  expect((first.handles.count as ValueState<string, undefined>).get()).toMatch(/^was \d+$/)
  const second = keep(await first.crash('same disk', changed))
  expect(second.read).toEqual([])
  second.setKey('b')
  expect((second.handles.count as ValueState<string, undefined>).get()).toMatch(/^was \d+$/)
})

const remove = (name: string): Promise<void> => rm(join(tasks.folder, 'tested', 'worker', name))
const changeFormat = (): Promise<void> => writeFile(join(tasks.folder, 'tested', 'worker', 'FORMAT'), 'of tomorrow')

test.each<[string, () => Promise<void>]>([
  ['in another format', changeFormat],
  ['without a format', () => remove('FORMAT')],
  // Its log is there, and LevelDB would replay it.
  ['that was being emptied when the process ended', () => remove('CURRENT')],
])('a folder %s is emptied and read from the checkpoint', async (_, change) => {
  const task = await open()
  await checkpoint(task, ['a'])
  await task.settled()
  await task.leave()
  await change()
  const next = keep(await task.comeTo(tasks.folder))
  expect(next.read).toHaveLength(1)
  expect(at(next, 'a').count.get()).toBe(1)
  const again = await comeBack(next)
  expect(again.read).toEqual([])
})

test('values are read as they were written, whether they are ASCII, other text or bytes, by turns', async () => {
  const kinds = { note: valueState(json<string>()), raw: valueState(bytes), maybe: valueState(nullable(utf8)) }
  const task = await tasks.open(kinds, utf8 as Serde<unknown>, { cacheBytesMax: 1 })
  const texts = ['', 'plain', 'é', '\u0000\u007f', '\u0080', 'x'.repeat(5_000), `${'x'.repeat(300)}ü`, '😀', '\ufffd']
  const values = Array.from({ length: 300 }, (_, i) => texts[(i * 7) % texts.length] as string)
  const handles = task.handles as unknown as Record<string, ValueState<unknown, undefined>>
  const expected = values.map((text, i) => ({
    note: text,
    raw: i % 3 === 0 ? Buffer.from(text, 'latin1') : Buffer.from([i & 255, 255, 0]),
    maybe: i % 5 === 0 ? null : text,
  }))
  for (const [i, each] of expected.entries()) {
    task.setKey(`key ${i}`)
    for (const [name, value] of Object.entries(each)) handles[name]?.set(value)
  }
  task.freeze()
  await task.complete()
  expect(task.keyCount).toBeLessThan(3)
  for (const [i, each] of expected.entries()) {
    task.setKey(`key ${i}`)
    expect(Object.fromEntries(Object.keys(each).map((name) => [name, handles[name]?.get()]))).toEqual(each)
  }
})

test('numbers by a serde that is not f64 and writes as it does are read from disk, beside those that are', async () => {
  const cents: Serde<number> = { ...f64 }
  const task = await tasks.open({ a: valueState(cents), b: valueState(f64) }, utf8 as Serde<unknown>, sizes)
  const numbers = (of: TaskOnDisk) => of.handles as unknown as Record<'a' | 'b', ValueState<number, undefined>>
  task.setKey('key')
  numbers(task).a.set(1.5)
  numbers(task).b.set(-2)
  task.freeze()
  await task.complete()
  const back = await comeBack(task)
  back.setKey('key')
  expect([numbers(back).a.get(), numbers(back).b.get()]).toEqual([1.5, -2])
})

test('a number that is declared later, between the others, comes to the end of their entry and gets its own', async () => {
  const task = await tasks.open({ a: valueState(f64), c: valueState(f64) }, utf8 as Serde<unknown>, sizes)
  const set = async (of: TaskOnDisk, values: Readonly<Record<string, number>>): Promise<void> => {
    for (const key of ['x', 'y']) {
      of.setKey(key)
      for (const [name, value] of Object.entries(values)) (of.handles[name] as ValueState<number, undefined>).set(value)
    }
    of.freeze()
    await of.complete()
  }
  const get = (of: TaskOnDisk, key: string): unknown[] => {
    of.setKey(key)
    return Object.values(of.handles).map((handle) => (handle as ValueState<number, undefined>).get())
  }
  await set(task, { a: 1, c: 3 })
  const more = { a: valueState(f64), b: valueState(f64), c: valueState(f64) }
  const next = keep(await task.crash('same disk', more))
  expect(get(next, 'x')).toEqual([1, undefined, 3])
  await set(next, { a: 10, b: 20, c: 30 })
  const same = keep(await next.crash('same disk', more))
  expect([get(same, 'x'), get(same, 'y')]).toEqual([
    [10, 20, 30],
    [10, 20, 30],
  ])
  const empty = keep(await same.crash('empty disk', more))
  expect([get(empty, 'x'), get(empty, 'y')]).toEqual([
    [10, 20, 30],
    [10, 20, 30],
  ])
})

test('F43 a migration that ends with half of the values written is begun again: none is migrated twice or left out', async () => {
  const keys = Array.from({ length: 40 }, (_, index) => `key ${index}`)
  const small = { rowsPerTurn: 1, writesPerBatch: 1 }
  const task = await open(small)
  await checkpoint(task, keys)
  await task.settled()
  let left = 0
  const migrate = (old: number): string => {
    if (left-- === 0) throw new Error('killed')
    return `was ${old}`
  }
  const changed = { ...states, count: withMigration(valueState(utf8), { version: 2, older: { 1: f64 }, migrate }) }
  for (left of [10, 25]) await expect(task.crash('same disk', changed)).rejects.toThrow('killed')
  const whole = keep(await task.crash('same disk', changed))
  for (const key of keys) {
    whole.setKey(key)
    expect((whole.handles.count as ValueState<string, undefined>).get()).toBe('was 1')
    expect((whole.handles.items as ListState<string>).get()).toEqual([`${key}1`])
  }
})

test.each<[string, () => object]>([
  [
    'a cycle',
    () => {
      const cycle: Record<string, unknown> = {}
      cycle.self = cycle
      return cycle
    },
  ],
  ['a bigint', () => ({ amount: 1n })],
  ['a function', () => () => 1],
])('a value that cannot be written is told with its operator and state: %s', async (_, make) => {
  const task = await open()
  at(task, 'key').note.set(make())
  task.freeze()
  await expect(task.commit()).rejects.toThrow(/^STATE_VALUE_INVALID: operator 'operator', state 'note': a value cannot/)
})

test('keys that changed since the last checkpoint are not looked for, nor do they go; what it has goes', async () => {
  const task = await tasks.open({ count: valueState(f64) }, utf8 as Serde<unknown>, { cacheBytesMax: 1 })
  const held = (): boolean => task.store.held
  const keys = Array.from({ length: 100 }, (_, index) => `key ${index}`)
  for (const key of keys) at(task, key).count.set(1)
  expect([held(), task.keyCount, task.store.evict(1_000_000)]).toEqual([true, 100, 0])
  task.freeze()
  // Changed behind the barrier: what is committed lets go of the others only.
  for (const key of keys.slice(0, 70)) at(task, key).count.set(2)
  await task.complete()
  task.store.evict(1_000_000)
  expect(task.keyCount).toBeGreaterThanOrEqual(70)
  expect(task.keyCount).toBeLessThan(80)
  expect(held()).toBe(true)
  task.freeze()
  await task.complete()
  task.store.evict(1_000_000)
  expect(task.keyCount).toBeLessThan(2)
  expect(keys.map((key) => at(task, key).count.get())).toEqual(keys.map((_, index) => (index < 70 ? 2 : 1)))
})

test('a key beyond what a name on disk can hold is refused', async () => {
  const task = await open()
  expect(() => at(task, 'k'.repeat(70_000))).toThrow(/^KEY_INVALID: a key of 70000 bytes/)
})

test('a disk that fails to take over what is committed is told at once, and not only by the next checkpoint', async () => {
  const failed: Error[] = []
  const backend = await LevelBackend.open({
    ...{ folder: tasks.folder, pipeline: 'tested', instance: 'worker', cacheBytesMax: 2 ** 20, log: silentLogger },
  })
  const disk = await backend.open(taskId('stage', 0))
  const store = new HeapStore('operator', { total: valueState(f64) }, utf8 as Serde<unknown>, undefined, disk)
  const state = new TaskState([store], { disk, onFailure: (error) => failed.push(error) })
  await state.restore([])
  store.setKey('k')
  ;(store.handles.total as ValueState<number, undefined>).set(1)
  state.begin()
  state.freeze(store)
  while (!state.encode(() => true)) await turn()
  state.take()
  // Closed, it takes over nothing.
  await disk.close()
  await state.committed('segment')
  await turn()
  expect(failed).toMatchObject([{ code: 'STATE_DISK' }])
  await expect(state.committed(null)).rejects.toThrow('opened anew')
  await backend.close()
})

onLinux(
  'F23 a task that stays while its folder is opened anew for another one is refused what it is to keep, and told',
  async () => {
    expect(await inItsOwnProcess('reopened-disk.ts')).toMatchObject({
      stdout: JSON.stringify({
        fails: 'STATE_DISK',
        'fails, with space again': 'STATE_DISK',
        'another one': 'kept',
        stays: 'STATE_DISK',
        'stays, opened anew': 'kept',
      }),
    })
  },
)
