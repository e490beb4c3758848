/**
 * Goal: who goes through maps in pages by other ways than a function does finds all of them, once, and what is read of them is counted: timers
 * that are looked for after a restore, the cleaner, the cache. Method: a task's state on a real LevelDB with small pages.
 */
import { expect, test } from '@jest/globals'
import {
  boolean,
  type MapState,
  mapState,
  nullable,
  ordered,
  type Serde,
  type StateDescriptors,
  utf8,
  withTtl,
} from '../../src/index.ts'
import { StateCleaner } from '../../src/state/cleaner.ts'
import { writeMapHead } from '../../src/state/collections.ts'
import { MapWrite } from '../../src/state/leveldb/maps.ts'
import { Puts } from '../../src/state/leveldb/puts.ts'
import type { DiskSizes, TaskOnDisk } from '../support/task-on-disk.ts'
import { TasksOnDisk } from '../support/tasks-on-disk.ts'

const tasks = new TasksOnDisk()
const keep = tasks.keep.bind(tasks)

async function open(states: StateDescriptors, sizes: Partial<DiskSizes> = {}): Promise<TaskOnDisk> {
  const key = nullable(utf8) as Serde<unknown>
  return tasks.open(states, key, { cacheBytesMax: 1, pageBytes: 100, ...sizes })
}

async function checkpoint(task: TaskOnDisk): Promise<void> {
  task.freeze()
  await task.complete()
}

test('every entry of every key is found, also without a key, and after each way back', async () => {
  let task = await open({ times: mapState(ordered.f64, boolean) })
  const times = () => task.handles.times as MapState<number, boolean>
  const keys = [null, '', 'a', 'a long key of more than sixteen bytes']
  const inState = (key: string | null): string => (key === null ? '\0' : `\x01${key}`)
  const wanted = new Set<string>()
  for (const key of keys)
    for (let n = 0; n < 200; n++) {
      task.setKey(key)
      times().set(n, true)
      wanted.add(`${inState(key)}:${n}`)
    }
  for (const [round, comeback] of (['same disk', 'empty disk', 'same disk'] as const).entries()) {
    await checkpoint(task)
    task = keep(await task.crash(comeback))
    const found: string[] = []
    await task.store.eachMapKey('times', (key, time) => found.push(`${key.toString('latin1')}:${time}`))
    expect(found.sort()).toEqual([...wanted].sort())
    task.setKey('a')
    times().delete(round)
    wanted.delete(`${inState('a')}:${round}`)
  }
})

test('the cleaner goes through a map once, however many of its pages have something to remove', async () => {
  const state = withTtl(mapState(ordered.int32, utf8), { ttlMs: 500, clock: 'record-time' })
  const task = await open({ map: state }, { cacheBytesMax: 2 ** 24 })
  let nowMs = 0
  task.store.recordMs = () => nowMs
  const map = task.handles.map as MapState<number, string>
  task.setKey('a')
  for (let n = 0; n < 8_000; n++) {
    nowMs = n % 10 === 0 ? 1_000 : 10_000
    map.set(n, `value ${n}`)
  }
  await checkpoint(task)
  nowMs = 10_001
  const cleaned: string[] = []
  const { cleanKeys } = task.store
  task.store.cleanKeys = (keys) => {
    cleaned.push(...keys.map(String))
    cleanKeys.call(task.store, keys)
  }
  let isAwake = (): void => {}
  const cleaner = new StateCleaner(task.store, task.disk, () => isAwake())
  const run = async (turn: number): Promise<void> => {
    const read = new Promise<void>((resolve) => {
      isAwake = resolve
    })
    if (cleaner.run(turn * 100_000 + 1, () => false)) await read
  }
  // It has read some of the pages, then it cleans and reads the others.
  await run(0)
  await run(1)
  // A second pass would find on disk what is gone.
  await checkpoint(task)
  await run(2)
  expect(cleaned).toEqual(['\x01a'])
  expect(map.size).toBe(7_200)
})

test('pages that are read are counted, and others go for them', async () => {
  const cacheBytesMax = 2 ** 20
  const task = await open({ map: mapState(ordered.int32, utf8) }, { cacheBytesMax, pageBytes: 4_096 })
  const map = task.handles.map as MapState<number, string>
  const KEYS = 40
  for (let key = 0; key < KEYS; key++) {
    task.setKey(`key ${key}`)
    for (let n = 0; n < 3_000; n++) map.set(n, `value ${n}`)
    if (key % 4 === 3) await checkpoint(task)
  }
  // All heads, then all pages of one key after the other.
  for (let key = 0; key < KEYS; key++) {
    task.setKey(`key ${key}`)
    expect(map.size).toBe(3_000)
  }
  for (let key = 0; key < KEYS; key++) {
    task.setKey(`key ${key}`)
    for (let n = 0; n < 3_000; n += 10) if (map.get(n) !== `value ${n}`) throw new Error(`key ${key}, entry ${n}`)
    expect(task.store.cacheBytes).toBeLessThan(2 * cacheBytesMax)
  }
})

test('a head may have more pages than a call has arguments', () => {
  const pages = Array.from({ length: 200_000 }, (_, page) => ({ page, from: String(page).padStart(6, '0'), to: null }))
  const head = writeMapHead({ pairs: null, count: 400_000, pages })
  const db = { get: () => Buffer.from(head) }
  expect(() => new MapWrite(db as never, new Puts(), Buffer.from('name'), 4_096)).not.toThrow()
})
