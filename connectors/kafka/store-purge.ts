// Gives back what nobody needs of a checkpoint topic, in the background: tombstones for the log cleaner, DeleteRecords for what stands in
// front of everything that is needed, and an end to what interrupted `create`s have announced.
import { wallMs } from '../../src/base/clock.ts'
import { messageOf } from '../../src/base/errors.ts'
import type { Logger } from '../../src/base/log.ts'
import { keys, values, type Writing } from './store-index.ts'
import { INDEX, type LiveIndex } from './store-live-index.ts'
import type { StoreLog } from './store-log.ts'

/** A `create` that began so long ago was interrupted. If it was not, it fails, and is tried again. */
const WRITING_MS_MAX = 15 * 60_000
/** Index records that nobody needs are purged when they are so many. */
const INDEX_DEAD_MIN = 256n
const TOMBSTONES_PER_BATCH = 1_000

/** Chunks of one `create`. */
export type Attempt = Pick<Writing, 'id' | 'partition' | 'chunks'>

/** This worker's own: where its first announcement stands, and what it has under way. */
export interface OwnAttempts {
  readonly firstAt: bigint
  readonly attempts: ReadonlyMap<string, Attempt>
}

export class StorePurge {
  readonly #log: StoreLog
  readonly #index: LiveIndex
  readonly #clientId: string
  readonly #own: () => OwnAttempts
  readonly #logger: Logger
  /** Their chunks are still to be tombstoned. */
  readonly #dead = new Map<string, Attempt>()
  readonly #purged = new Map<number, bigint>()
  #purging: Promise<void> | undefined

  constructor(log: StoreLog, index: LiveIndex, clientId: string, own: () => OwnAttempts, logger: Logger) {
    this.#log = log
    this.#index = index
    this.#clientId = clientId
    this.#own = own
    this.#logger = logger
  }

  /** What nobody's index record names any more. Not waited for: what fails is tried again with what comes next. */
  add(attempts: readonly Attempt[]): void {
    for (const attempt of attempts) this.#dead.set(attempt.id, attempt)
    this.#purging ??= this.#purge()
  }

  async #purge(): Promise<void> {
    try {
      while (this.#dead.size > 0) {
        const partitions = new Set<number>()
        for (const attempt of [...this.#dead.values()]) {
          await this.#dropChunks(attempt)
          this.#dead.delete(attempt.id)
          partitions.add(attempt.partition)
        }
        // Before the index is read: who announces himself later than we read writes behind these ends.
        const ends = [...partitions].map((partition) => [partition, this.#log.knownEnd(partition)] as const)
        await this.#index.catchUp()
        await this.#reap()
        for (const [partition, end] of ends) {
          const floor = this.#index.now.floorOf(partition)
          await this.#purgeUpTo(partition, floor !== undefined && floor < end ? floor : end)
        }
        await this.#purgeIndex()
      }
    } catch (error) {
      const text = 'purging the checkpoint topic failed; trying again later'
      this.#logger.warn({ topic: this.#log.topic, error: messageOf(error) }, text)
    } finally {
      this.#purging = undefined
    }
  }

  async #purgeUpTo(partition: number, offset: bigint): Promise<void> {
    if (offset <= (this.#purged.get(partition) ?? 0n)) return
    await this.#log.purge(partition, offset)
    this.#purged.set(partition, offset)
  }

  async #purgeIndex(): Promise<void> {
    const { pipeline, floor, ownerAt, position } = this.#index.now
    if (pipeline === undefined || ownerAt === undefined) return
    const needed = floor ?? position
    if (needed - (this.#purged.get(INDEX) ?? 0n) < INDEX_DEAD_MIN) return
    // Whose topic it is shall not be lost: said again, behind everything, if it stands in the way.
    if (ownerAt < needed) await this.#index.note([{ key: keys.store(pipeline), value: values.store() }])
    await this.#purgeUpTo(INDEX, needed)
  }

  /**
   * Ends what interrupted `create`s have left, of this worker's earlier lives at once. A writer that lives after all is shut out of
   * the index by it: its file is there before, or never.
   */
  async #reap(): Promise<void> {
    const { firstAt, attempts } = this.#own()
    const tooOld = wallMs() - WRITING_MS_MAX
    for (const writing of this.#index.now.writings) {
      const dead = writing.sinceMs < tooOld || (writing.by === this.#clientId && writing.offset < firstAt)
      if (!dead || attempts.has(writing.id)) continue
      const end = { key: keys.writing(writing.id), value: null }
      await this.#log.shutOut(writing.producerId, INDEX, end)
      // Shut out before for another file of his: then that was the last word in his name.
      await this.#index.note([end])
      await this.#index.catchUp()
      // It may have come through just before.
      if (!this.#index.now.file(writing.id)) this.#dead.set(writing.id, writing)
    }
  }

  async #dropChunks({ id, partition, chunks }: Attempt): Promise<void> {
    for (let from = 0; from < chunks; from += TOMBSTONES_PER_BATCH) {
      const count = Math.min(TOMBSTONES_PER_BATCH, chunks - from)
      const tombstones = Array.from({ length: count }, (_, index) => ({
        key: keys.chunk(id, from + index),
        value: null,
      }))
      await this.#log.append(partition, tombstones)
    }
  }
}
