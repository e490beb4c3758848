// How much memory the states of a worker may take that are on disk, too: one limit for all of its tasks, busy and idle ones.
import type { CacheBudget, CachedStore } from './disk.ts'

/** What is freed beyond the limit, so that not every new key looks for another one to go: of the limit, and at most. */
const FREED_SHARE = 1 / 64
const FREED_BYTES_MAX = 512 * 1024
/** Of the limit: by how much what is held grows before it is looked through again for what has only been read. A look may be at every key. */
const GROWTH_SHARE = 1 / 2

export class SharedBudget implements CacheBudget {
  readonly #bytesMax: number
  readonly #stores = new Set<CachedStore>()
  #used = 0
  /** What cannot go is not looked through again for every new key. */
  #tryAgainAt: number
  /** Segments that wait for disks being filled. */
  #waiting = 0
  /** The last look found nothing more that can go. */
  #held = false

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
    this.#tryAgainAt = bytesMax
  }

  get used(): number {
    return this.#used
  }

  get held(): boolean {
    return this.#held
  }

  get over(): boolean {
    return this.#held && this.#used > this.#bytesMax && this.#waiting === 0
  }

  wait(bytes: number): void {
    this.#waiting++
    this.#used += bytes
  }

  waited(bytes: number): void {
    this.#waiting--
    this.#used -= bytes
  }

  get full(): boolean {
    return this.#used > 2 * this.#bytesMax
  }

  join(store: CachedStore): void {
    this.#stores.add(store)
  }

  leave(store: CachedStore): void {
    this.#stores.delete(store)
  }

  charge(bytes: number): void {
    this.#used += bytes
  }

  hasRoom(bytes: number): boolean {
    return this.#used + bytes <= this.#bytesMax
  }

  relieve(): void {
    if (this.#used <= this.#tryAgainAt) return
    const step = Math.min(this.#bytesMax * FREED_SHARE, FREED_BYTES_MAX)
    const goal = this.#bytesMax - step
    // Largest first: a store whose task is idle gives back what a busy one needs.
    const stores = [...this.#stores].sort((a, b) => b.cacheBytes - a.cacheBytes)
    for (const store of stores) {
      if (this.#used <= goal) break
      this.#used -= store.evict(this.#used - goal)
    }
    this.#held = this.#used > goal && stores.every((store) => store.held)
    // One that was not looked through goes on with the next key.
    this.#tryAgainAt = this.#held
      ? Math.max(this.#bytesMax, this.#used + this.#bytesMax * GROWTH_SHARE)
      : this.#bytesMax
  }

  applied(): void {
    this.#held = false
    this.#tryAgainAt = this.#bytesMax
  }
}
