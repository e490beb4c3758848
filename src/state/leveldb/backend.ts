// State larger than the heap: a worker's tasks keep it in one LevelDB, and in memory what was used last.
import { join } from 'node:path'
import type { TaskId } from '../../base/ids.ts'
import type { Logger } from '../../base/log.ts'
import type { StepListener } from '../../base/messages.ts'
import { SharedBudget } from '../cache-budget.ts'
import type { StateBackend } from '../disk.ts'
import { LevelDatabase } from './database.ts'
import { markerKey, readMarker } from './marker.ts'
import { LevelTaskDisk, type ReplaySizes, replaySizes } from './task-disk.ts'

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
  readonly #options: LevelOptions
  #db: LevelDatabase
  readonly #budget: SharedBudget
  readonly #open = new Map<TaskId, LevelTaskDisk>()
  #nextPrefix: number

  private constructor(options: LevelOptions, db: LevelDatabase, nextPrefix: number) {
    this.#options = options
    this.#db = db
    this.#budget = new SharedBudget(options.cacheBytesMax)
    this.#nextPrefix = nextPrefix
  }

  /** @throws STATE_LOCKED, STATE_DISK */
  static async open(options: LevelOptions): Promise<LevelBackend> {
    const { folder, pipeline, instance, cacheBytesMax, log } = options
    const db = await LevelDatabase.open(join(folder, pipeline, instance), log, cacheBytesMax)
    let prefix = 0
    const markers = { from: Buffer.alloc(4), to: Buffer.from([0, 0, 0, 1]) }
    for await (const entries of db.entries(markers.from, markers.to))
      for (const [, bytes] of entries) prefix = Math.max(prefix, readMarker(bytes)?.prefix ?? 0)
    return new LevelBackend(options, db, prefix + 1)
  }

  async open(task: TaskId): Promise<LevelTaskDisk> {
    await this.#open.get(task)?.close()
    if (this.#db.torn) await this.#reopen()
    const { sizes = replaySizes, onStep = () => {} } = this.#options
    const [db, budget, prefix] = [this.#db, this.#budget, this.#nextPrefix]
    const disk = new LevelTaskDisk(task, { db, budget, prefix, sizes, onStep })
    if (!this.#db.get(markerKey(task))) this.#nextPrefix++
    this.#open.set(task, disk)
    return disk
  }

  /** If it fails, it is tried again with the next task. @throws STATE_DISK */
  async #reopen(): Promise<void> {
    const { folder } = this.#db
    const { cacheBytesMax, log } = this.#options
    log.warn({ folder }, 'a write to the local state failed: it is opened anew')
    await this.close()
    this.#db = await LevelDatabase.open(folder, log, cacheBytesMax)
  }

  async close(): Promise<void> {
    await Promise.all([...this.#open.values()].map((disk) => disk.close()))
    await this.#db.close()
  }
}
