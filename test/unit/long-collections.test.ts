/**
 * Goal: of a long list or map what is asked for is read, what changes is written, and both are whole wherever they are restored.
 * Method: a task's state on a real LevelDB; what goes from and to the database is counted.
 */
import { expect, jest, test } from '@jest/globals'
import { json, type ListState, listState, type MapState, mapState, ordered, type Serde, utf8 } from '../../src/index.ts'
import { LevelBatch, LevelDatabase } from '../../src/state/leveldb/database.ts'
import type { DiskSizes, TaskOnDisk } from '../support/task-on-disk.ts'
import { TasksOnDisk } from '../support/tasks-on-disk.ts'

interface Handles {
  readonly items: ListState<string>
}

const lists = { items: listState(utf8) }

const tasks = new TasksOnDisk()
const keep = tasks.keep.bind(tasks)
const comeBack = tasks.comeBack.bind(tasks)

function open(sizes: Partial<DiskSizes> = {}): Promise<TaskOnDisk> {
  return tasks.open(lists, utf8 as Serde<unknown>, { cacheBytesMax: 2 ** 20, ...sizes })
}

function itemsOf(task: TaskOnDisk, key: string): ListState<string> {
  task.setKey(key)
  return (task.handles as unknown as Handles).items
}

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
  let task = await tasks.open(states, utf8 as Serde<unknown>, { cacheBytesMax: 1 })
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
  const task = await tasks.open(states, utf8 as Serde<unknown>, { cacheBytesMax: 2 ** 20, pageBytes: 60 })
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
  const next = await comeBack(task)
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
  const after = await comeBack(next)
  after.setKey('a')
  expect([...(after.handles.map as MapState<number, string>).entries()]).toEqual(inOrder())
})

test('what is appended to a long list neither reads nor writes the rest of it, until it is asked for', async () => {
  const ITEMS = 50_000
  let task = await open({ cacheBytesMax: 1 })
  const items = Array.from({ length: ITEMS }, (_, n) => `item ${n}`)
  itemsOf(task, 'a').addAll(items)
  task.freeze()
  await task.complete()
  for (let round = 0; round < 3; round++) {
    task = await comeBack(task)
    const count = countBytes()
    itemsOf(task, 'a').add(`more ${round}`)
    task.freeze()
    await task.complete()
    const { read, written } = count()
    expect(read).toBeLessThan(20_000)
    expect(written).toBeGreaterThan(0)
    expect(written).toBeLessThan(20_000)
    items.push(`more ${round}`)
  }
  expect(itemsOf(task, 'a').get()).toEqual(items)
  // It is whole wherever it is restored, and when it is replaced nothing of it stays.
  const elsewhere = keep(await task.crash('empty disk'))
  expect(itemsOf(elsewhere, 'a').get()).toEqual(items)
  itemsOf(elsewhere, 'a').set(['one'])
  elsewhere.freeze()
  await elsewhere.complete()
  const again = await comeBack(elsewhere)
  itemsOf(again, 'a').add('two')
  expect(itemsOf(again, 'a').get()).toEqual(['one', 'two'])
})

test('a base in slices has all of a list or nothing of it: any checkpoint restores whole lists', async () => {
  const LISTS = 6
  const task = await open({ cacheBytesMax: 2 ** 28, baseSliceBytes: 150_000, rowsPerTurn: 500, writesPerBatch: 2_000 })
  const model = new Map<string, string[]>()
  const add = (key: string, count: number): void => {
    const before = model.get(key) ?? []
    const added = Array.from({ length: count }, (_, n) => `${key} ${before.length + n} `.padEnd(100, 'x'))
    itemsOf(task, key).addAll(added)
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
      for (const [key, items] of model) expect(itemsOf(disk, key).get()).toEqual(items)
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
