// State larger than the heap: a worker's tasks keep it in one LevelDB, and in memory what was used last.
import { join } from 'node:path'
import type { TaskId } from '../../base/ids.ts'
import type { Logger } from '../../base/log.ts'
import type { StepListener } from '../../base/messages.ts'
import { SharedBudget } from '../cache-budget.ts'
import type { StateBackend } from '../disk.ts'
import { LevelDatabase } from './database.ts'
import { LevelTaskDisk, markerKey, type ReplaySizes, readMarker, replaySizes } from './task-disk.ts'

export interface LevelOptions {
  /** Of all pipelines and workers here: each gets a folder in it. */
  readonly folder: string
  readonly pipeline: string
  readonly instance: string
  readonly cacheBytesMax: number
  readonly log: Logger
  readonly onStep?: StepListener
  readonly sizes?: ReplaySizes
}

export class LevelBackend implements StateBackend {
  readonly #db: LevelDatabase
  readonly #budget: SharedBudget
  readonly #open = new Map<TaskId, LevelTaskDisk>()
  readonly #sizes: ReplaySizes
  readonly #onStep: StepListener
  #nextPrefix: number

  private constructor(
    db: LevelDatabase,
    budget: SharedBudget,
    nextPrefix: number,
    sizes: ReplaySizes,
    onStep: StepListener,
  ) {
    this.#sizes = sizes
    this.#onStep = onStep
    this.#db = db
    this.#budget = budget
    this.#nextPrefix = nextPrefix
  }

  /** @throws STATE_LOCKED, STATE_DISK */
  static async open({
    folder,
    pipeline,
    instance,
    cacheBytesMax,
    log,
    sizes = replaySizes,
    onStep = () => {},
  }: LevelOptions): Promise<LevelBackend> {
    const db = await LevelDatabase.open(join(folder, pipeline, instance), log)
    let prefix = 0
    const markers = { from: Buffer.alloc(4), to: Buffer.from([0, 0, 0, 1]) }
    for await (const entries of db.entries(markers.from, markers.to))
      for (const [, bytes] of entries) prefix = Math.max(prefix, readMarker(bytes)?.prefix ?? 0)
    return new LevelBackend(db, new SharedBudget(cacheBytesMax), prefix + 1, sizes, onStep)
  }

  async open(task: TaskId): Promise<LevelTaskDisk> {
    await this.#open.get(task)?.close()
    const disk = new LevelTaskDisk(task, this.#db, this.#budget, this.#nextPrefix, this.#sizes, this.#onStep)
    if (!this.#db.get(markerKey(task))) this.#nextPrefix++
    this.#open.set(task, disk)
    return disk
  }

  async close(): Promise<void> {
    await Promise.all([...this.#open.values()].map((disk) => disk.close()))
    await this.#db.close()
  }
}
