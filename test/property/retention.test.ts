/**
 * Goal: a checkpoint file goes when nothing can need it any more, and not before: of every task the last R committed
 * checkpoints stay restorable, whoever owns it and owned it before. Method: random histories of workers that commit,
 * fail after writing, move tasks and collect at any time, also with what they knew before; a model follows the pointers.
 */
import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { type TaskId, taskId } from '../../src/base/ids.ts'
import { silentLogger } from '../../src/base/log.ts'
import { encodePointer, type Manifest, type Pointer, type SegmentRef } from '../../src/checkpoint/file.ts'
import { Retention } from '../../src/checkpoint/retention.ts'
import { MemoryStore } from '../../src/checkpoint/store.ts'
import { type FileTask, fileOf } from '../support/checkpoint-files.ts'

const TASKS = 4
const tasks = Array.from({ length: TASKS }, (_, index) => taskId('stage', index))

interface Committed {
  readonly pointer: Pointer
  readonly chain: readonly SegmentRef[]
}

/** A cluster's group and store, and what really happened to each task. */
class World {
  readonly store = new MemoryStore()
  readonly history = new Map<TaskId, Committed[]>()
  readonly owners = new Map<TaskId, number>()
  readonly lastIds: number[] = [0, 0]
  readonly retentions: Retention[]
  readonly retained: number

  constructor(retained: number) {
    this.retained = retained
    this.retentions = [0, 1].map((worker) => this.retention(worker))
    for (const [index, task] of tasks.entries()) this.owners.set(task, index % 2)
  }

  /** A new life of a worker: it knows nothing. */
  retention(worker: number): Retention {
    const cluster = {
      committedOffsets: async () =>
        tasks.flatMap((task) => {
          const pointer = this.history.get(task)?.at(-1)?.pointer
          return pointer ? [{ offset: 5n, metadata: encodePointer(pointer) }] : []
        }),
    }
    const options = { cluster, group: 'group', store: this.store, retained: this.retained, log: silentLogger }
    return new Retention({ ...options, instance: `worker-${worker}` })
  }

  get dispose(): () => void {
    return () => {
      for (const retention of this.retentions) retention.stop()
    }
  }

  /** A checkpoint of all tasks of a worker, `whole`: as a base, so that older files are not needed. */
  async checkpoint(worker: number, outcome: 'committed' | 'failed', whole: boolean): Promise<void> {
    const own = tasks.filter((task) => this.owners.get(task) === worker)
    if (own.length === 0) return
    const restored = own.map((task) => Number(this.history.get(task)?.at(-1)?.pointer.checkpoint ?? 0n))
    const id = Math.max(this.lastIds[worker] ?? 0, ...restored) + 1
    this.lastIds[worker] = id
    const entries = own.map((task): FileTask => {
      const last = this.history.get(task)?.at(-1)
      const chain = last?.chain ?? []
      const full = whole || chain.length >= 12
      const mark = full ? 'base-whole' : 'delta'
      return {
        task,
        offset: BigInt(id),
        parent: last?.pointer ?? null,
        chain,
        segment: Buffer.from(`${task} ${id}`),
        mark,
      }
    })
    const { bytes, pointer, manifest } = fileOf(id, `worker-${worker}`, entries)
    await this.store.create(pointer.file, [bytes])
    if (outcome === 'failed') return
    this.commit(worker, manifest, pointer)
  }

  commit(worker: number, manifest: Manifest, pointer: Pointer): void {
    for (const { task, chain } of manifest.tasks) {
      this.history.set(task, [...(this.history.get(task) ?? []), { pointer, chain }])
    }
    this.retentions[worker]?.committed(manifest)
  }

  /** The files of the last R committed checkpoints of every task. */
  needed(): Set<string> {
    const recent = [...this.history.values()].flatMap((committed) => committed.slice(-this.retained))
    return new Set(recent.flatMap(({ pointer, chain }) => [pointer.file, ...chain.map((ref) => ref.file)]))
  }

  async check(): Promise<void> {
    const there = new Set(await this.store.list())
    const missing = [...this.needed()].filter((file) => !there.has(file))
    expect(missing).toEqual([])
  }
}

type Move =
  | {
      readonly kind: 'checkpoint'
      readonly worker: number
      readonly outcome: 'committed' | 'failed'
      readonly whole: boolean
    }
  | { readonly kind: 'move'; readonly task: number }
  | { readonly kind: 'collect'; readonly worker: number }
  | { readonly kind: 'restart'; readonly worker: number }

const worker = fc.nat(1)
const move: fc.Arbitrary<Move> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant('checkpoint' as const),
      worker,
      outcome: fc.oneof({ weight: 4, arbitrary: fc.constant('committed' as const) }, fc.constant('failed' as const)),
      whole: fc.oneof({ weight: 3, arbitrary: fc.constant(false) }, fc.constant(true)),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('move' as const), task: fc.nat(TASKS - 1) }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('collect' as const), worker }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('restart' as const), worker }) },
)

async function play(world: World, moves: readonly Move[]): Promise<number> {
  let deleted = 0
  for (const each of moves) {
    if (each.kind === 'checkpoint') await world.checkpoint(each.worker, each.outcome, each.whole)
    if (each.kind === 'collect') deleted += (await world.retentions[each.worker]?.collect())?.length ?? 0
    if (each.kind === 'move') {
      const task = tasks[each.task]
      if (task) world.owners.set(task, 1 - (world.owners.get(task) ?? 0))
    }
    if (each.kind === 'restart') {
      world.retentions[each.worker]?.stop()
      world.retentions[each.worker] = world.retention(each.worker)
    }
    await world.check()
  }
  return deleted
}

describe('any history of two workers', () => {
  test('what may still be needed is there, and what is not goes', async () => {
    let deleted = 0
    const history = fc.array(move, { minLength: 5, maxLength: 40, size: 'max' })
    const property = fc.asyncProperty(fc.integer({ min: 1, max: 3 }), history, async (retained, moves) => {
      const world = new World(retained)
      deleted += await play(world, moves)
      for (const each of [0, 1]) for (let i = 0; i <= retained; i++) await world.checkpoint(each, 'committed', true)
      await world.retentions[0]?.collect()
      await world.retentions[1]?.collect()
      await world.check()
      // With whole bases everywhere, only the last R checkpoints of a task are left, and what still names a task that moved.
      const there = await world.store.list()
      expect(there.length).toBeLessThanOrEqual(2 * (retained + 1) + [...world.needed()].length)
      world.dispose()
    })
    await fc.assert(property, { numRuns: 600 })
    expect(deleted).toBeGreaterThan(500)
  })
})

describe('one worker', () => {
  test('R committed checkpoints stay, discarded ones do not count', async () => {
    const world = new World(2)
    for (let i = 0; i < 3; i++) await world.checkpoint(0, 'committed', true)
    for (let i = 0; i < 2; i++) await world.checkpoint(0, 'failed', true)
    await world.checkpoint(0, 'committed', true)
    await world.retentions[0]?.collect()
    const ids = (await world.store.list()).map((name) => Number(name.slice(0, 20)))
    expect(ids).toEqual([3, 6])
    world.dispose()
  })

  test('a delta keeps its base', async () => {
    const world = new World(1)
    await world.checkpoint(0, 'committed', true)
    for (let i = 0; i < 4; i++) await world.checkpoint(0, 'committed', false)
    await world.retentions[0]?.collect()
    expect(await world.store.list()).toHaveLength(5)
    await world.checkpoint(0, 'committed', true)
    await world.retentions[0]?.collect()
    expect(await world.store.list()).toHaveLength(1)
    world.dispose()
  })

  test('a file that is written but not yet decided stays', async () => {
    const world = new World(1)
    await world.checkpoint(0, 'committed', true)
    await world.checkpoint(0, 'failed', true)
    await world.retentions[0]?.collect()
    expect(await world.store.list()).toHaveLength(2)
    world.dispose()
  })

  test('files of living members are their own business; those of instances that left are the leader’s', async () => {
    const world = new World(1)
    for (let i = 0; i < 3; i++) for (const each of [0, 1]) await world.checkpoint(each, 'committed', true)
    const [retention] = world.retentions
    await retention?.collect()
    expect((await world.store.list()).filter((name) => name.includes('worker-1'))).toHaveLength(3)
    retention?.lookAfter(['worker-0', 'worker-1'])
    await retention?.collect()
    expect((await world.store.list()).filter((name) => name.includes('worker-1'))).toHaveLength(3)
    retention?.lookAfter(['worker-0'])
    await retention?.collect()
    expect((await world.store.list()).filter((name) => name.includes('worker-1'))).toHaveLength(1)
    await world.check()
    world.dispose()
  })
})
