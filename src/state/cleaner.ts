// Removes in the background what has expired and no function came upon: some keys each second, between records, like any other change of
// state. On the heap it goes through the slots; with a disk it reads there which keys have something to remove, page by page, while
// records flow, and removes it from these.
import { monotonicMs } from '../base/clock.ts'
import { readMap, splitItems } from './collections.ts'
import type { TaskDisk } from './disk.ts'
import type { HeapStore } from './heap/store.ts'
import { isExpired, lacksTime, stampOf } from './stamp.ts'
import type { ExpiringState } from './ttl.ts'

const TURN_MS = 1_000
/** A pass through all keys takes this many turns, or fewer if they are few. */
const TURNS_PER_PASS = 60
const KEYS_PER_TURN_MIN = 256
/** Of each second, for reading the disk. */
const READ_MS = 50
/** Between two looks at the time that is left. */
const KEYS_PER_LOOK = 64
/** From one pass to the next: a tenth of the shortest life, within these. */
const PAUSE_MIN_MS = TURN_MS
const PAUSE_MAX_MS = 60_000

export class StateCleaner {
  readonly #store: HeapStore
  readonly #disk: TaskDisk | null
  readonly #pauseMs: number
  readonly #wake: () => void
  #nextMs = 0
  #slot = 0
  /** Keys, as written, in which the disk has something to remove. */
  #found: Buffer[] = []
  /** In this pass. */
  #lastFound: Buffer | null = null
  #reading = false
  #after: Buffer | null = null
  #failure: unknown

  constructor(store: HeapStore, disk: TaskDisk | null, wake: () => void) {
    this.#store = store
    this.#disk = disk
    this.#wake = wake
    const shortest = Math.min(...store.expiringStates.map(({ ttl }) => ttl.ttlMs))
    this.#pauseMs = Math.min(PAUSE_MAX_MS, Math.max(PAUSE_MIN_MS, shortest / 10))
  }

  /** Wall time of its next turn; Infinity: it waits for the disk. */
  get nextMs(): number {
    return this.#reading ? Number.POSITIVE_INFINITY : this.#nextMs
  }

  /** Between two records. True if it was its turn. @throws STATE_DAMAGED, STATE_DISK */
  run(nowMs: number, expired: () => boolean): boolean {
    if (this.#failure) throw this.#failure
    // A clock that was put back does not stop it.
    if (this.#reading || (nowMs < this.#nextMs && nowMs > this.#nextMs - 2 * PAUSE_MAX_MS)) return false
    if (this.#disk) this.#onDisk(this.#disk, nowMs, expired)
    else this.#onHeap(nowMs, expired)
    return true
  }

  #onHeap(nowMs: number, expired: () => boolean): void {
    const slots = this.#store.slotCount
    let left = Math.max(KEYS_PER_TURN_MIN, Math.ceil(slots / TURNS_PER_PASS))
    while (left > 0 && this.#slot < slots) {
      const count = Math.min(KEYS_PER_LOOK, left, slots - this.#slot)
      this.#store.cleanSlots(this.#slot, count)
      this.#slot += count
      left -= count
      if (expired()) break
    }
    const through = this.#slot >= slots
    if (through) this.#slot = 0
    // Records came before: it goes on with the next slice.
    const cut = !through && left > 0
    this.#nextMs = cut ? nowMs : nowMs + (through ? this.#pauseMs : TURN_MS)
  }

  #onDisk(disk: TaskDisk, nowMs: number, expired: () => boolean): void {
    while (this.#found.length > 0) {
      this.#store.cleanKeys(this.#found.splice(-KEYS_PER_LOOK))
      if (expired()) return
    }
    this.#reading = true
    this.#readPage(disk, nowMs).catch((error) => {
      this.#failure = error
      this.#wake()
    })
  }

  async #readPage(disk: TaskDisk, nowMs: number): Promise<void> {
    const states = new Map(this.#store.expiringStates.map((state) => [state.id, state] as const))
    const until = monotonicMs() + READ_MS
    do {
      this.#after = await disk.page(this.#after, (state, key, bytes) => {
        const found = states.get(state)
        // A key has as many entries as its lists and maps have parts, one after the other.
        if (!found || this.#lastFound?.equals(key) || !isStale(found, bytes)) return
        this.#lastFound = Buffer.from(key)
        this.#found.push(this.#lastFound)
      })
    } while (this.#after && this.#found.length === 0 && monotonicMs() < until)
    // What was found is removed at once; the disk's next page has time.
    if (!this.#after) this.#lastFound = null
    if (this.#found.length === 0) this.#nextMs = nowMs + (this.#after ? TURN_MS : this.#pauseMs)
    this.#reading = false
    this.#wake()
  }
}

/** Something of what the disk has under a key has expired, or has no time yet. */
function isStale({ kind, ttl, now }: ExpiringState, bytes: Buffer): boolean {
  const nowMs = now()
  const stale = (value: Buffer): boolean => {
    const atMs = stampOf(value, ttl.clock)
    return isExpired(atMs, nowMs, ttl) || lacksTime(atMs, nowMs)
  }
  if (kind === 'map') return [...readMap(bytes).values()].some(stale)
  return kind === 'list' ? splitItems(bytes).some(stale) : stale(bytes)
}
