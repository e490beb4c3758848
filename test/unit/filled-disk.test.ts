/**
 * Goal: a state that the cache has room for is back before an empty disk has it; the disk is filled from memory while records flow, and
 * has in the end what it would have had. Method: a real LevelDB whose writes wait until they are let through.
 */
import { setImmediate as turn } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { taskId } from '../../src/base/ids.ts'
import { silentLogger } from '../../src/base/log.ts'
import { f64, nullable, type Serde, utf8, type ValueState, valueState } from '../../src/index.ts'
import { HeapStore } from '../../src/state/heap/store.ts'
import { LevelBackend } from '../../src/state/leveldb/backend.ts'
import { LevelBatch } from '../../src/state/leveldb/database.ts'
import { TaskState } from '../../src/state/task-state.ts'
import { at, type Keyed, states } from '../support/state-of-each-kind.ts'
import { type DiskSizes, TaskOnDisk } from '../support/task-on-disk.ts'
import { TaskOnHeap } from '../support/task-on-heap.ts'
import { TasksOnDisk } from '../support/tasks-on-disk.ts'

const KEYS = 200
const roomy: DiskSizes = { cacheBytesMax: 2 ** 22, rowsPerTurn: 10, writesPerBatch: 20 }

const { write } = LevelBatch.prototype
/** Writes that have begun since the gate was closed last. */
let waiting = 0
let gate: Promise<void> | null = null
let letThrough: () => void = () => {}
/** After so many writes the next ones fail. */
let failsAfter = Number.POSITIVE_INFINITY

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
      waiting++
      await gate
      if (failsAfter-- <= 0) throw new Error('the disk fails')
      await write.call(this)
    },
  })
})
afterEach(() => {
  letThrough()
  failsAfter = Number.POSITIVE_INFINITY
  Object.assign(LevelBatch.prototype, { write })
})
/** Behind the hooks above: it closes what waits for the gate. */
const tasks = new TasksOnDisk()

const all = (task: Keyed): unknown[] =>
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
  await again.settled()
  const last = tasks.keep(await again.crash('same disk'))
  expect(last.read).toEqual([])
  expect(all(last)).toEqual(now)
})

test('a part of what fills the disk, under the name of the only segment of the chain, does no harm to what is then read by that name', async () => {
  const first = await tasks.open(states, utf8 as Serde<unknown>, roomy)
  for (let i = 0; i < KEYS; i++) {
    at(first, `key-${i}`).count.set(i)
    for (let n = 0; n < i % 4; n++) at(first, `key-${i}`).items.add(`item ${n}`)
    at(first, `key-${i}`).seen.set('entry', `${i}`)
  }
  await checkpoint(first)
  const before = all(first)
  await first.leave()
  closeGate()
  const folder = `${tasks.folder}/second`
  const second = tasks.keep(await first.comeTo(folder))
  while (waiting === 0) await turn()
  letThrough()
  await turn()
  closeGate()
  while (waiting === 0) await turn()
  const ending = second.leave()
  letThrough()
  await ending
  // Now there is no room for it in memory.
  const tight = { ...roomy, cacheBytesMax: 1 }
  const third = tasks.keep(await TaskOnDisk.open(states, utf8 as Serde<unknown>, tight, folder, second.chain))
  expect(third.keyCount).toBe(0)
  expect(all(third)).toEqual(before)
})

test('a disk that was left with a part of the first segment is emptied before it is filled: what went later in the chain does not come back', async () => {
  const first = await tasks.open(states, utf8 as Serde<unknown>, roomy)
  for (let i = 0; i < KEYS; i++) at(first, `key-${i}`).note.set({ i })
  await checkpoint(first)
  for (let i = 0; i < KEYS; i += 2) at(first, `key-${i}`).note.clear()
  await checkpoint(first)
  await first.settled()
  const before = all(first)
  const folder = `${tasks.folder}/second`
  const opened = (cacheBytesMax: number): Promise<TaskOnDisk> =>
    TaskOnDisk.open(states, utf8 as Serde<unknown>, { ...roomy, cacheBytesMax }, folder, first.chain)
  // Two batches of the first segment.
  failsAfter = 2
  await expect(opened(1)).rejects.toThrow('the disk fails')
  failsAfter = Number.POSITIVE_INFINITY
  const second = tasks.keep(await opened(2 ** 22))
  expect(second.keyCount).toBe(KEYS / 2)
  await second.settled()
  await second.leave()
  const third = tasks.keep(await opened(2 ** 22))
  expect([third.read, third.keyCount]).toEqual([[], 0])
  expect(all(third)).toEqual(before)
})

/** Tasks of one worker, restored from the same chain. */
class Worker implements AsyncDisposable {
  readonly failures: string[] = []
  readonly backend: LevelBackend
  readonly #chain: TaskOnDisk['chain']

  private constructor(backend: LevelBackend, chain: TaskOnDisk['chain']) {
    this.backend = backend
    this.#chain = chain
  }

  static async open(cacheBytesMax: number, chain: TaskOnDisk['chain']): Promise<Worker> {
    const place = { folder: `${tasks.folder}/worker`, pipeline: 'tested', instance: 'worker', log: silentLogger }
    const sizes = { rowsPerTurn: 10, writesPerBatch: 20, pageBytes: 4_096 }
    return new Worker(await LevelBackend.open({ ...place, cacheBytesMax, sizes }), chain)
  }

  async task(partition: number) {
    const disk = await this.backend.open(taskId('stage', partition))
    const store = new HeapStore('operator', states, utf8 as Serde<unknown>, undefined, disk)
    const state = new TaskState([store], { disk, onFailure: ({ message }) => this.failures.push(message) })
    const parts = this.#chain.map(({ ref, mark, bytes }) => ({
      ref,
      mark,
      bytes: bytes.length,
      read: async () => bytes,
    }))
    await state.restore(parts)
    return { disk, store, state, setKey: (key: unknown) => store.setKey(key), handles: store.handles }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.backend.close()
  }
}

test('a task that is closed while its disk is filled, and opened again by the same worker, begins anew, and nobody is told of a failure', async () => {
  const first = await history()
  const before = all(first)
  await using worker = await Worker.open(2 ** 22, first.chain)
  closeGate()
  const one = await worker.task(0)
  while (waiting === 0) await turn()
  // Behind what fills the disk.
  at(one, 'key-1').count.set(-1)
  one.state.begin()
  one.state.freeze(one.store)
  while (!one.state.encode(() => false)) await turn()
  one.state.take()
  await one.state.committed('never in the chain')
  const closed = one.state.close()
  letThrough()
  await closed
  const two = await worker.task(0)
  expect(all(two)).toEqual(before)
  await two.state.settled()
  await two.state.close()
  const three = await worker.task(0)
  expect(three.store.keyCount).toBe(0)
  expect(all(three)).toEqual(before)
  expect(worker.failures).toEqual([])
})

test('tasks of one worker share the room: those behind the first ones go to the disk', async () => {
  const first = await tasks.open(states, utf8 as Serde<unknown>, roomy)
  for (let i = 0; i < KEYS; i++) at(first, `key-${i}`).note.set({ i, text: 'x'.repeat(500) })
  await checkpoint(first)
  const before = all(first)
  const cacheBytesMax = 2 ** 20
  await using worker = await Worker.open(cacheBytesMax, first.chain)
  const opened: Awaited<ReturnType<Worker['task']>>[] = []
  for (let partition = 0; partition < 8; partition++) opened.push(await worker.task(partition))
  const inMemory = opened.filter(({ store }) => store.keyCount > 0).length
  expect(inMemory).toBeGreaterThan(0)
  expect(inMemory).toBeLessThan(4)
  expect(opened.reduce((sum, { store }) => sum + store.cacheBytes, 0)).toBeLessThan(1.5 * cacheBytesMax)
  for (const task of opened) expect(all(task)).toEqual(before)
  for (const { state } of opened) await state.settled()
  for (const task of opened) expect(all(task)).toEqual(before)
})

test('an orderly end waits for what is being written, and not until the disk is filled', async () => {
  const { task, before } = await filling()
  while (waiting === 0) await turn()
  const closing = task.close()
  const begun = waiting
  letThrough()
  await closing
  expect(waiting).toBe(begun)
  const again = tasks.keep(await task.crash('same disk'))
  expect(again.read.length).toBeGreaterThan(0)
  expect(all(again)).toEqual(before)
  expect(task.failures).toEqual([])
})

test('a disk that fails while it is filled is told once, however much waits for it, and by the next checkpoint', async () => {
  const { task } = await filling()
  for (let i = 0; i < 3; i++) {
    at(task, 'key-1').count.set(-1 - i)
    await checkpoint(task)
  }
  failsAfter = 0
  letThrough()
  await expect(task.settled()).rejects.toThrow('the disk fails')
  expect(task.failures).toEqual(['the disk fails'])
  at(task, 'key-1').count.set(-1)
  await expect(checkpoint(task)).rejects.toThrow('the disk fails')
})

test('no base begins while the disk is filled; the next one has all of the state', async () => {
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
  for (let i = 0; i < 5; i++) {
    at(task, 'key-1').count.set(-1 - i)
    await checkpoint(task)
    expect(task.segments.at(-1)?.mark).toBe('delta')
  }
  letThrough()
  await task.settled()
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
    expect([0, keys]).toContain(task.keyCount)
    if (task.keyCount === keys) seen.whole++
    else seen.onDisk++
    for (let i = 0; i < keys; i += 10) expect(at(task, `key-${i}`).note.get()).toMatchObject({ i })
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

/** What takes more memory than its chain says. */
const small = { flag: valueState(f64) }
const flagOf = (task: TaskOnDisk, key: string): ValueState<number, undefined> => {
  task.setKey(key)
  return (task.handles as { flag: ValueState<number, undefined> }).flag
}

test.each([
  [300_000, 'on disk, as the chain says'],
  [400_000, 'on disk, as is seen on the way'],
  [500_000, 'on disk, as is seen on the way'],
  [600_000, 'in memory'],
])(
  'rows that take more in memory than in their chain, with a cache of %d bytes: none is lost, they are %s',
  async (cacheBytesMax, where) => {
    const sizes = { cacheBytesMax, rowsPerTurn: 1_000, writesPerBatch: 5_000 }
    const first = await tasks.open(small, utf8 as Serde<unknown>, sizes)
    const keys = Array.from({ length: 10_000 }, (_, i) => String(i).padStart(6, '0'))
    for (const [i, key] of keys.entries()) {
      flagOf(first, key).set(i)
      if (i % 1_000 < 999) continue
      first.freeze()
      await first.complete()
    }
    const task = tasks.keep(await first.crash('empty disk'))
    expect(task.keyCount).toBe(where === 'in memory' ? keys.length : 0)
    // Given up on the way, it is read again.
    expect(task.read.length > first.segments.length).toBe(where.endsWith('on the way'))
    expect(task.store.cacheBytes).toBeLessThan(cacheBytesMax)
    expect(keys.filter((key, i) => flagOf(task, key).get() !== i)).toEqual([])
    await task.settled()
    const again = tasks.keep(await task.crash('same disk'))
    expect(again.read).toEqual([])
    expect(keys.filter((key, i) => flagOf(again, key).get() !== i)).toEqual([])
  },
)

test('many more keys than the base had: none is lost, wherever they go', async () => {
  const sizes = { cacheBytesMax: 150_000, rowsPerTurn: 1_000, writesPerBatch: 5_000, baseSliceBytes: 100_000 }
  const first = await tasks.open(states, utf8 as Serde<unknown>, sizes)
  let keys = 0
  const add = async (count: number): Promise<void> => {
    for (const end = keys + count; keys < end; keys++) at(first, `key-${keys}`).note.set({ keys, text: 'x'.repeat(50) })
    first.freeze()
    await first.complete()
  }
  // A base comes.
  for (let i = 0; i < 20; i++) await add(5)
  expect(first.segments.some(({ mark }) => mark !== 'delta')).toBe(true)
  for (let i = 0; i < 8; i++) await add(200)
  const task = tasks.keep(await first.crash('empty disk'))
  expect(task.store.cacheBytes).toBeLessThan(2 * sizes.cacheBytesMax)
  for (let i = 0; i < keys; i++) expect(at(task, `key-${i}`).note.get()).toMatchObject({ keys: i })
})

test.each([
  [utf8 as Serde<unknown>, 65_536],
  [nullable(utf8) as Serde<unknown>, 65_535],
])('a chain with a key that the disk cannot keep is refused before anything runs', async (serde, length) => {
  const onHeap = new TaskOnHeap(small, serde)
  for (const key of ['short', 'k'.repeat(length)]) {
    onHeap.setKey(key)
    ;(onHeap.handles.flag as ValueState<number, undefined>).set(1)
  }
  onHeap.freeze()
  onHeap.complete()
  const chain = onHeap.segments.map((segment, index) => ({ ...segment, ref: `of the heap ${index}` }))
  const opened = TaskOnDisk.open(small, serde, roomy, `${tasks.folder}/other`, chain)
  await expect(opened).rejects.toThrow(/^KEY_INVALID: a key of 65536 bytes/)
})

test('keys that came and went take no room when they are restored, nor do entries that changed often', async () => {
  const first = await tasks.open(states, utf8 as Serde<unknown>, roomy)
  for (let round = 0; round < 10; round++) {
    for (let i = 0; i < 100; i++) {
      at(first, `gone ${round - 1}-${i}`).count.clear()
      at(first, `gone ${round}-${i}`).count.set(i)
    }
    for (let i = 0; i < 20; i++) at(first, `kept ${i}`).seen.set(`entry ${round % 3}`, `${round}`)
    await checkpoint(first)
  }
  await first.settled()
  expect(first.keyCount).toBe(120)
  const task = tasks.keep(await first.crash('empty disk'))
  expect(task.keyCount).toBe(120)
  expect(task.store.slotCount).toBeLessThan(400)
  expect(task.store.cacheBytes).toBeLessThan(1.5 * first.store.cacheBytes)
  await task.settled()
  for (let i = 0; i < 100; i++) {
    expect(at(task, `gone 8-${i}`).count.get()).toBeUndefined()
    expect(at(task, `gone 9-${i}`).count.get()).toBe(i)
  }
})

test('while a disk is filled no task asks for checkpoints that could let go of nothing', async () => {
  const first = await tasks.open(states, utf8 as Serde<unknown>, roomy)
  for (let i = 0; i < KEYS; i++) at(first, `key-${i}`).note.set({ i, text: 'x'.repeat(500) })
  await checkpoint(first)
  await using worker = await Worker.open(500_000, first.chain)
  closeGate()
  const one = await worker.task(0)
  expect(one.store.keyCount).toBe(KEYS)
  const disk = await worker.backend.open(taskId('stage', 1))
  const store = new HeapStore('operator', states, utf8 as Serde<unknown>, undefined, disk)
  const other = new TaskState([store], { disk })
  await other.restore([])
  const task = { setKey: (key: unknown) => store.setKey(key), handles: store.handles }
  let asked = 0
  for (let i = 0; i < 500; i++) {
    at(task, `other-${i}`).note.set({ i, text: 'y'.repeat(500) })
    if (other.overBudget) asked++
  }
  expect(disk.budget.held).toBe(true)
  expect(asked).toBe(0)
  letThrough()
  await one.state.settled()
  at(task, 'one more').note.set({ text: 'y'.repeat(500) })
  for (let i = 0; i < 500 && !other.overBudget; i++) at(task, `more-${i}`).note.set({ i, text: 'y'.repeat(500) })
  expect(other.overBudget).toBe(true)
})
