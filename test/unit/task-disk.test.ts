/**
 * Goal: what is on local disk is taken for a task's state only if it is; else it is read from the checkpoints again, and never
 * mixed with them (F25). Memory stays within its limit. Method: a real LevelDB, ended and damaged in all ways; restores that count what they read.
 */
import { execFile } from 'node:child_process'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterEach, beforeEach, expect, jest, test } from '@jest/globals'
import { ClassicLevel } from 'classic-level'
import { crc32c } from '../../src/base/crc32c.ts'
import { taskId } from '../../src/base/ids.ts'
import { silentLogger } from '../../src/base/log.ts'
import {
  f64,
  json,
  type ListState,
  listState,
  type MapState,
  mapState,
  ordered,
  type Serde,
  utf8,
  type ValueState,
  valueState,
  withMigration,
} from '../../src/index.ts'
import { HeapStore } from '../../src/state/heap/store.ts'
import { LevelBackend } from '../../src/state/leveldb/backend.ts'
import { LevelBatch, LevelDatabase } from '../../src/state/leveldb/database.ts'
import { TaskState } from '../../src/state/task-state.ts'
import { BEFORE, NEWEST, valueKey } from '../support/full-disk.ts'
import { type DiskSizes, TaskOnDisk } from '../support/task-on-disk.ts'

interface Handles {
  readonly count: ValueState<number, undefined>
  readonly items: ListState<string>
  readonly note: ValueState<object, undefined>
}

const states = { count: valueState(f64), items: listState(utf8), note: valueState(json<object>()) }
const sizes: DiskSizes = { cacheBytesMax: 2 ** 20 }

let folder = ''
const opened: TaskOnDisk[] = []
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-disk-'))
})
afterEach(async () => {
  for (const task of opened.splice(0)) await task[Symbol.asyncDispose]()
  await rm(folder, { recursive: true, force: true })
})

const keep = (task: TaskOnDisk): TaskOnDisk => {
  opened.push(task)
  return task
}

async function open(more: Partial<DiskSizes> = {}): Promise<TaskOnDisk> {
  return keep(await TaskOnDisk.open(states, utf8 as Serde<unknown>, { ...sizes, ...more }, folder))
}

const comeBack = async (task: TaskOnDisk): Promise<TaskOnDisk> => keep(await task.crash('same disk'))

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
  const back = keep(await early.moveTo(folder))
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
  const back = keep(await early.moveTo(folder))
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
  const place = join(folder, 'tested', 'worker')
  for (const name of await readdir(place))
    if (/^(MANIFEST|CURRENT)/.test(name)) await writeFile(join(place, name), 'damage')
  const back = keep(await task.comeTo(folder))
  expect(back.read).toHaveLength(1)
  expect(seen(back, 'a')).toEqual([1, ['a1']])
})

test('F25 a value that changed on disk is told, and the next process begins with an empty folder', async () => {
  const task = await open()
  await checkpoint(task, ['a', 'b'])
  await task.settled()
  await task.leave()
  const place = join(folder, 'tested', 'worker')
  const raw = new ClassicLevel<Buffer, Buffer>(place, { keyEncoding: 'buffer', valueEncoding: 'buffer' })
  for await (const [key, value] of raw.iterator({ gt: Buffer.from([0, 0, 0, 1]) })) {
    value[0] = (value[0] as number) ^ 1
    await raw.put(key, value)
  }
  await raw.close()
  const damaged = keep(await task.comeTo(folder))
  expect(() => at(damaged, 'a')).toThrow(/^STATE_DAMAGED: state folder .*fails its checksum/)
  await damaged.leave()
  const back = keep(await task.comeTo(folder))
  expect(back.read).toHaveLength(1)
  expect(seen(back, 'a')).toEqual([1, ['a1']])
})

/** Of a script in test/support, about this test's folder. */
function inItsOwnProcess(name: string): Promise<object> {
  const flags = ['--conditions=source', '--disable-warning=ExperimentalWarning']
  const script = fileURLToPath(new URL(`../support/${name}`, import.meta.url))
  return promisify(execFile)(process.execPath, [...flags, script, folder]).catch((error) => error as object)
}

/** It needs prlimit. */
const onLinux = process.platform === 'linux' ? test : test.skip

onLinux('F23 a disk that was full for one write: what the next process finds has no holes', async () => {
  expect(await inItsOwnProcess('full-disk.ts')).toMatchObject({ signal: 'SIGKILL', stdout: 'refused\n' })
  const db = await LevelDatabase.open(folder, silentLogger)
  const newest = Number(db.get(NEWEST)?.toString())
  expect(newest).toBe(BEFORE - 1)
  const numbers = Array.from({ length: BEFORE }, (_, number) => number)
  expect(numbers.filter((number) => !db.get(valueKey(number)))).toEqual([])
  await db.close()
})

test('−0 is the key 0', async () => {
  const task = keep(
    await TaskOnDisk.open({ count: valueState(f64) }, f64 as Serde<unknown>, { cacheBytesMax: 1 }, folder),
  )
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

test('read after it was closed: the remedy is not a disk with more room', async () => {
  const db = await LevelDatabase.open(folder, silentLogger)
  await db.close()
  expect(() => db.get(Buffer.from('key'))).toThrow(/^STATE_DISK: .*not open; the log has what closed it before$/)
})

test('a folder that another process uses is refused by name', async () => {
  const options = { folder, pipeline: 'p', instance: 'i-0', cacheBytesMax: 2 ** 20, log: silentLogger }
  const first = await LevelBackend.open(options)
  await expect(LevelBackend.open(options)).rejects.toThrow(/^STATE_LOCKED: state folder .*p\/i-0 is in use.*--instance/)
  await first.close()
  await (await LevelBackend.open(options)).close()
})

test('a folder that cannot be made is told with its name', async () => {
  const file = join(folder, 'file')
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

/** What goes from and to the database from now on; the result ends it. */
function countBytes(): () => { readonly read: number; readonly written: number } {
  const get = jest.spyOn(LevelDatabase.prototype, 'get')
  const put = jest.spyOn(LevelBatch.prototype, 'putIn')
  return () => {
    const read = get.mock.results.reduce((sum, { value }) => sum + ((value as Buffer | undefined)?.length ?? 0), 0)
    const written = put.mock.calls.reduce((sum, [, , , length]) => sum + length, 0)
    jest.restoreAllMocks()
    return { read, written }
  }
}

test('of a long map what is asked for is read, and what changes is written, in pages', async () => {
  const ENTRIES = 20_000
  const wholeBytes = ENTRIES * 40
  const states = { map: mapState(ordered.int32, json<{ n: number; text: string }>()) }
  const entryOf = (n: number) => ({ n, text: `entry ${n}` })
  let task = keep(await TaskOnDisk.open(states, utf8 as Serde<unknown>, { cacheBytesMax: 1 }, folder))
  const mapOf = (): MapState<number, { n: number; text: string }> => {
    task.setKey('a')
    return task.handles.map as MapState<number, { n: number; text: string }>
  }
  for (let i = 0; i < ENTRIES; i++) mapOf().set((i * 7_919) % ENTRIES, entryOf((i * 7_919) % ENTRIES))
  task.freeze()
  await task.complete()
  for (let round = 0; round < 3; round++) {
    task = await comeBack(task)
    const count = countBytes()
    const map = mapOf()
    expect(map.size).toBe(ENTRIES - round)
    expect(map.get(500)).toEqual(entryOf(500))
    expect([...map.keys({ from: 9_990, to: 10_010 })]).toEqual(Array.from({ length: 20 }, (_, n) => 9_990 + n))
    expect(map.keys({ reverse: true }).next().value).toBe(ENTRIES - 1)
    map.set(15_000, entryOf(15_000))
    map.delete(round)
    task.freeze()
    await task.complete()
    const { read, written } = count()
    expect(read).toBeLessThan(wholeBytes / 8)
    expect(written).toBeGreaterThan(0)
    expect(written).toBeLessThan(wholeBytes / 16)
  }
  const wanted = Array.from({ length: ENTRIES - 3 }, (_, n) => [n + 3, entryOf(n + 3)])
  expect([...mapOf().entries()]).toEqual(wanted)
  // It is whole wherever it is restored, and nothing of it stays when it is emptied.
  task = keep(await task.crash('empty disk'))
  expect([...mapOf().entries()]).toEqual(wanted)
  for (const n of mapOf().keys({ from: 10 })) mapOf().delete(n)
  task.freeze()
  await task.complete()
  expect([...mapOf().keys()]).toEqual([3, 4, 5, 6, 7, 8, 9])
  mapOf().clear()
  task.freeze()
  await task.complete()
  task = await comeBack(task)
  expect([mapOf().size, task.keyCount]).toEqual([0, 0])
})

test('pages that are not read yet are cut and go meanwhile: what is asked for later is found', async () => {
  const states = { map: mapState(ordered.int32, utf8) }
  const task = keep(
    await TaskOnDisk.open(states, utf8 as Serde<unknown>, { cacheBytesMax: 2 ** 20, pageBytes: 60 }, folder),
  )
  const mapOf = (): MapState<number, string> => {
    task.setKey('a')
    return task.handles.map as MapState<number, string>
  }
  const model = new Map<number, string>()
  const set = (n: number, value: string): void => {
    mapOf().set(n, value)
    model.set(n, value)
  }
  const inOrder = () => [...model].sort(([a], [b]) => a - b)
  for (let n = 0; n < 400; n += 4) set(n, `v${n}`)
  task.freeze()
  await task.complete()
  const next = keep(await task.crash('same disk'))
  next.setKey('a')
  const map = next.handles.map as MapState<number, string>
  // One page is read; the others are known by where they were.
  expect(map.get(200)).toBe('v200')
  for (const [round, near] of [200, 100, 300, 0].entries()) {
    next.setKey('a')
    for (let n = near; n < near + 40; n += 4) {
      map.delete(n)
      model.delete(n)
    }
    for (let n = near + 41; n < near + 47; n++) {
      map.set(n, `new ${n}`)
      model.set(n, `new ${n}`)
    }
    next.freeze()
    await next.complete()
    next.setKey('a')
    expect(map.size).toBe(model.size)
    const some = inOrder().filter((_, i) => i % (7 - round) === 0)
    for (const [n, value] of some) expect(map.get(n)).toBe(value)
  }
  next.setKey('a')
  expect([...map.entries()]).toEqual(inOrder())
  const after = keep(await next.crash('same disk'))
  after.setKey('a')
  expect([...(after.handles.map as MapState<number, string>).entries()]).toEqual(inOrder())
})

test('what is appended to a long list neither reads nor writes the rest of it, until it is asked for', async () => {
  const ITEMS = 50_000
  let task = await open({ cacheBytesMax: 1 })
  const items = Array.from({ length: ITEMS }, (_, n) => `item ${n}`)
  at(task, 'a').items.addAll(items)
  task.freeze()
  await task.complete()
  for (let round = 0; round < 3; round++) {
    task = await comeBack(task)
    const count = countBytes()
    at(task, 'a').items.add(`more ${round}`)
    task.freeze()
    await task.complete()
    const { read, written } = count()
    expect(read).toBeLessThan(20_000)
    expect(written).toBeGreaterThan(0)
    expect(written).toBeLessThan(20_000)
    items.push(`more ${round}`)
  }
  expect(at(task, 'a').items.get()).toEqual(items)
  // It is whole wherever it is restored, and when it is replaced nothing of it stays.
  const elsewhere = keep(await task.crash('empty disk'))
  expect(at(elsewhere, 'a').items.get()).toEqual(items)
  at(elsewhere, 'a').items.set(['one'])
  elsewhere.freeze()
  await elsewhere.complete()
  const again = keep(await elsewhere.crash('same disk'))
  at(again, 'a').items.add('two')
  expect(at(again, 'a').items.get()).toEqual(['one', 'two'])
})

test('a base in slices has all of a list or nothing of it: any checkpoint restores whole lists', async () => {
  const LISTS = 6
  const task = await open({ cacheBytesMax: 2 ** 28, baseSliceBytes: 150_000, rowsPerTurn: 500, writesPerBatch: 2_000 })
  const model = new Map<string, string[]>()
  const add = (key: string, count: number): void => {
    const before = model.get(key) ?? []
    const added = Array.from({ length: count }, (_, n) => `${key} ${before.length + n} `.padEnd(100, 'x'))
    at(task, key).items.addAll(added)
    model.set(key, [...before, ...added])
  }
  for (let n = 0; n < LISTS; n++) add(`key-${n}`, 1_500)
  const marks = new Set<string>()
  for (let round = 0; round < 20; round++) {
    add(`key-${round % LISTS}`, 1)
    task.freeze()
    await task.complete()
    marks.add(task.segments.at(-1)?.mark ?? '')
    const heap = task.onHeap()
    for (const [key, items] of model) {
      heap.setKey(key)
      expect((heap.handles as unknown as Handles).items.get()).toEqual(items)
    }
    if (round % 5 === 4) {
      const disk = keep(await task.restored())
      for (const [key, items] of model) expect(at(disk, key).items.get()).toEqual(items)
    }
  }
  expect([...marks]).toEqual(expect.arrayContaining(['base-first', 'base-part', 'base-last']))
}, 60_000)

test('a list that was read stays as it was when something is added', async () => {
  const disk = await open()
  for (const task of [disk, disk.onHeap()]) {
    task.setKey('a')
    const { items } = task.handles as unknown as Handles
    items.addAll(['one'])
    const read = items.get()
    items.add('two')
    expect(read).toEqual(['one'])
    for (const item of items.get()) items.add(`${item} again`)
    expect(items.get()).toEqual(['one', 'two', 'one again', 'two again'])
  }
})

test('a folder in another format is emptied and read from the checkpoint', async () => {
  const task = await open()
  await checkpoint(task, ['a'])
  await task.settled()
  await task.leave()
  const raw = new ClassicLevel<Buffer, Buffer>(join(folder, 'tested', 'worker'), {
    keyEncoding: 'buffer',
    valueEncoding: 'buffer',
  })
  for await (const [key, stored] of raw.iterator({ lt: Buffer.from([0, 0, 0, 1]) })) {
    const marker = JSON.parse(stored.subarray(0, -4).toString()) as { format: number }
    const value = Buffer.from(JSON.stringify({ ...marker, format: marker.format + 1 }))
    const sum = Buffer.alloc(4)
    sum.writeUInt32LE(crc32c(value, crc32c(key)))
    await raw.put(key, Buffer.concat([value, sum]))
  }
  await raw.close()
  const next = keep(await task.comeTo(folder))
  expect(next.read).toHaveLength(1)
  expect(at(next, 'a').count.get()).toBe(1)
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

test('a key beyond what a name on disk can hold is refused', async () => {
  const task = await open()
  expect(() => at(task, 'k'.repeat(70_000))).toThrow(/^KEY_INVALID: a key of 70000 bytes/)
})

test('a disk that fails to take over what is committed is told at once, and not only by the next checkpoint', async () => {
  const failed: Error[] = []
  const backend = await LevelBackend.open({
    ...{ folder, pipeline: 'tested', instance: 'worker', cacheBytesMax: 2 ** 20, log: silentLogger },
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
