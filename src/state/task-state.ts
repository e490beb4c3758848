// All keyed state of one task: freezes it at a barrier, encodes it in slices, and decides when to begin a new base, so that
// chains stay bounded. With a disk the rows of a base come from there, and it follows what is committed.

import { assert } from '../base/assert.ts'
import { bytesOf } from '../base/byte-writer.ts'
import { monotonicMs, yieldToLoop } from '../base/clock.ts'
import { MillraceError } from '../base/errors.ts'
import type { SegmentMark } from '../base/messages.ts'
import { type BaseSlice, type ChainPart, type ReadState, segmentsOf, type TaskDisk } from './disk.ts'
import type { HeapStore } from './heap/store.ts'
import { releaseSegment, SegmentWriter, type StateIdentity } from './segment.ts'
import { replaySegment } from './segment-reader.ts'

/** Segments of a chain at most, where the state is small: less than BASE_BYTES_LARGE. */
export const CHAIN_SEGMENTS_MAX = 16
/** So few slices change nothing; with more of them the chain may be as much longer, so that bases are a small part of what is written. */
const BASE_SLICES_FEW = 4
const CHAIN_BEFORE_BASE = CHAIN_SEGMENTS_MAX - BASE_SLICES_FEW
/** A base that takes so many bytes waits until what changed takes so many times as much, or the chain is so many times as long: it would be most of what is written. */
const BASE_BYTES_LARGE = 256 * 1024
const CHANGES_PER_BASE = 2
const CHAIN_TIMES_MAX = 3
/** What a checkpoint holds in memory, and writes, beyond the changes. */
const BASE_SLICE_SLOTS = 50_000
const BASE_SLICE_BYTES = 8 * 2 ** 20

/** Memory that numbers take, for each byte of the chain's base. What takes more is seen on the way. */
const MEMORY_PER_BYTE = 2
/** Of encoding, between two looks at what else is to be done. */
const SLICE_MS = 4

interface Base {
  /** Fewer than meant if the disk has fewer. */
  slices: number
  /** Slots of each store when the base began: later keys are in deltas anyway. */
  readonly slots: readonly number[]
  next: number
}

export interface TaskStateOptions {
  readonly disk?: TaskDisk | null
  /** Slots of one slice of a base. */
  readonly baseSliceSlots?: number
  readonly baseSliceBytes?: number
  /** Something that `encode` waits for is done. */
  readonly wake?: () => void
  /** The disk did not take over what is committed. */
  readonly onFailure?: (error: Error) => void
}

export class TaskState {
  readonly #stores: readonly HeapStore[]
  readonly #disk: TaskDisk | null
  readonly #baseSliceSlots: number
  readonly #baseSliceBytes: number
  readonly #wake: () => void
  readonly #onFailure: (error: Error) => void
  #chainLength = 0
  /** Of the last complete base; 0: there was none. */
  #lastSlices = 0
  /** Of the same one; of one in slices with what changed meanwhile, where that is not told apart. */
  #lastBaseBytes = 0
  /** Of the base that is being written. */
  #baseBytes = 0
  /** Of segments without part of a base, since the last one. */
  #deltaBytes = 0
  /** In the chain, of bases that crashes cut short. */
  #cutSlices = 0
  #base: Base | null = null
  #writer: SegmentWriter | null = null
  #slice: BaseSlice | null = null
  #mark: SegmentMark = 'delta'
  /** The disk's part of a base: `done`, or why not. */
  #reading: 'no' | 'yes' | 'done' | Error = 'no'
  /** The segment taken last, which the disk will want when it is committed. */
  #taken: readonly Buffer[] | null = null
  #applying: Promise<void> = Promise.resolve()
  /** Segments that are committed and that the disk has not yet. */
  #behind = 0
  /** The disk is being filled after a restore. */
  #filling = false
  #disposed = false
  /** The disk's last one. */
  #failure: Error | null = null
  #encoded = false

  constructor(stores: readonly HeapStore[], options: TaskStateOptions = {}) {
    this.#stores = stores
    this.#disk = options.disk ?? null
    this.#baseSliceSlots = options.baseSliceSlots ?? BASE_SLICE_SLOTS
    this.#baseSliceBytes = options.baseSliceBytes ?? BASE_SLICE_BYTES
    this.#wake = options.wake ?? (() => {})
    this.#onFailure = options.onFailure ?? (() => {})
  }

  get changed(): boolean {
    return this.#stores.some((store) => store.changed)
  }

  /** On the heap; with a disk, there may be more. */
  get keyCount(): number {
    return this.#stores.reduce((sum, store) => sum + store.keyCount, 0)
  }

  /** More is held in memory than it may; a checkpoint lets go of it. */
  get overBudget(): boolean {
    return this.#disk?.budget.over === true && this.changed
  }

  /** So much more that no record may come before some of it can go: a checkpoint or the disk is on the way. */
  get mustWait(): boolean {
    return this.#disk?.budget.full === true && (this.changed || this.#behind > 0)
  }

  /** All that can be encoded is; the disk is still being read. */
  get waiting(): boolean {
    return this.#reading === 'yes' && this.#encoded
  }

  /** The segment is read again when it is committed: its memory is not to be used before. */
  get keepsSegments(): boolean {
    return this.#disk !== null
  }

  /** A barrier entered the task: a segment begins. */
  begin(): void {
    assert(this.#writer === null, 'I2: a snapshot began while the one before was not encoded')
    this.#writer = new SegmentWriter()
    const slice = this.#nextSlice()
    this.#slice = slice
    this.#encoded = false
    this.#reading = slice && this.#disk ? 'no' : 'done'
  }

  /** The barrier reached one operator: the synchronous part of its snapshot. */
  freeze(store: HeapStore): void {
    assert(this.#writer, `I2: '${store.operator}' froze without a barrier`)
    const slice = this.#disk ? null : this.#slice
    const slots = this.#base?.slots[this.#stores.indexOf(store)] ?? 0
    const from = slice ? Math.floor((slots * slice.index) / slice.of) : 0
    const to = slice ? Math.floor((slots * (slice.index + 1)) / slice.of) : 0
    store.freeze(this.#writer, from, to)
  }

  #nextSlice(): BaseSlice | null {
    this.#base ??= this.#beginBase()
    if (!this.#base) {
      this.#mark = 'delta'
      return null
    }
    const index = this.#base.next++
    const of = this.#base.slices
    this.#mark = of === 1 ? 'base-whole' : index === 0 ? 'base-first' : index === of - 1 ? 'base-last' : 'base-part'
    return { index, of, bytes: (this.#disk?.bytes ?? 0) / of }
  }

  #beginBase(): Base | null {
    // It would wait for what the disk lacks after a restore.
    if (this.#filling || this.#behind > 1) return null
    const slots = this.#stores.map((store) => store.slotCount)
    const total = slots.reduce((sum, count) => sum + count, 0)
    const size = this.#disk ? this.#disk.bytes / this.#baseSliceBytes : total / this.#baseSliceSlots
    const wanted = Math.max(1, Math.ceil(size))
    if (this.#chainLength < this.#chainDue) return null
    // After a base that a crash cut short its slices are in the chain already. A new one gets what is left; of many slices half as many,
    // and so on, so that a chain stays bounded whatever happens, and a slice does not become the whole at once.
    const cut = this.#cutSlices
    const last = this.#lastSlices || this.#chainLength - cut
    const halved = Math.ceil(wanted / 2 ** Math.floor(cut / Math.max(BASE_SLICES_FEW, last)))
    const slices = wanted > BASE_SLICES_FEW ? halved : Math.min(wanted, BASE_SLICES_FEW - cut)
    return { slices: Math.max(1, slices), slots, next: 0 }
  }

  /** Segments of the chain from which on a base is due. */
  get #chainDue(): number {
    const longer = this.#lastSlices > BASE_SLICES_FEW ? 2 * this.#lastSlices + (this.#disk?.stagger ?? 0) : 0
    return (CHAIN_BEFORE_BASE + longer) * (this.#baseCanWait ? CHAIN_TIMES_MAX : 1)
  }

  get #baseCanWait(): boolean {
    return this.#lastBaseBytes >= BASE_BYTES_LARGE && this.#deltaBytes < CHANGES_PER_BASE * this.#lastBaseBytes
  }

  /** Encodes frozen state until `expired()`; true when all of it is encoded. @throws STATE_DISK */
  encode(expired: () => boolean): boolean {
    if (this.#reading === 'no') void this.#readBase()
    if (this.#reading instanceof Error) throw this.#reading
    this.#encoded = this.#stores.every((store) => store.encode(expired))
    return this.#encoded && this.#reading === 'done'
  }

  /** The disk is as the checkpoint before left it, until this one is committed: its rows come before what changed since. */
  async #readBase(): Promise<void> {
    const writer = this.#writer
    const slice = this.#slice
    const disk = this.#disk
    assert(writer && slice && disk, 'I2: a base is read without a snapshot')
    this.#reading = 'yes'
    try {
      await this.#applying
      const states = new Map(this.#stores.flatMap((store) => store.segmentStates()))
      if ((await disk.writeBase(writer.base, states, slice)) === 'ended') this.#endsWith(slice.index)
      this.#reading = 'done'
    } catch (error) {
      this.#reading = error as Error
    }
    this.#wake()
  }

  /** The disk has less than was meant: it counts a key each time that it changes. */
  #endsWith(index: number): void {
    assert(this.#base, 'I2: a slice without its base')
    this.#base.slices = index + 1
    this.#mark = index === 0 ? 'base-whole' : 'base-last'
  }

  /** The encoded segment; null where nothing changed. */
  take(): { readonly segment: readonly Buffer[] | null; readonly mark: SegmentMark } {
    const writer = this.#writer
    assert(writer, 'I2: a segment was taken before it was frozen')
    this.#writer = null
    const isDelta = this.#mark === 'delta'
    const slices = this.#base?.slices ?? 0
    const baseBytes = writer.base.bytes
    const segment = writer.finish(isDelta ? 'drop-empty' : 'keep-empty')
    if (isLast(this.#mark)) {
      // What stands before the base leaves the chain.
      this.#chainLength = slices - 1
      this.#base = null
    }
    if (segment) this.#chained(this.#mark, this.#disk && !isDelta ? baseBytes : bytesOf(segment))
    this.#taken = segment
    return { segment, mark: this.#mark }
  }

  /** Of a chain that is restored the last complete base stands at its beginning, and what behind it is no delta was cut short. */
  #chained(mark: SegmentMark, bytes: number): void {
    this.#chainLength++
    if (mark === 'delta') {
      this.#deltaBytes += bytes
      return
    }
    if (mark === 'base-first' || mark === 'base-whole') this.#baseBytes = 0
    this.#baseBytes += bytes
    this.#cutSlices++
    if (!isLast(mark)) return
    this.#lastSlices = this.#chainLength
    this.#lastBaseBytes = this.#baseBytes
    this.#deltaBytes = 0
    this.#cutSlices = 0
  }

  /**
   * The segment taken last is committed, under the name `ref`; null: there was none. The disk follows, while records flow; resolves when it
   * has taken over the one before, at once while it is filled after a restore: then what waits counts as memory, and that is bounded. What
   * goes wrong later is told by `onFailure`, the next call, and `settled`. @throws STATE_DISK
   */
  async committed(ref: string | null): Promise<void> {
    const segment = this.#taken
    this.#taken = null
    if (!this.#filling) await this.#applying
    if (this.#disk) this.#handOn(this.#disk, ref, segment)
  }

  #handOn(disk: TaskDisk, ref: string | null, segment: readonly Buffer[] | null): void {
    const epochs = this.#stores.map((store) => store.epoch)
    const waits = this.#filling
    const bytes = bytesOf(segment ?? [])
    if (waits) disk.budget.wait(bytes)
    this.#behind++
    const applied = this.#applying
      .then(async () => {
        if (!segment || ref === null) return
        await disk.apply(ref, segment, waits)
        releaseSegment(segment)
      })
      .finally(() => waits && disk.budget.waited(bytes))
    this.#applying = applied.then(() => this.#applied(disk, epochs))
    // At once: nobody may come here for long, and a rebalance would keep the task as if all were well.
    this.#applying.catch((error: Error) => this.#failed(error))
  }

  async #applied(disk: TaskDisk, epochs: readonly number[]): Promise<void> {
    for (const [index, store] of this.#stores.entries()) store.applied(epochs[index] as number)
    this.#filling = false
    this.#behind--
    disk.budget.applied()
    // A look is at some keys only. While more than twice the limit is held no record comes, and so nobody else looks.
    for (disk.budget.relieve(); disk.budget.full && !disk.budget.held; disk.budget.relieve()) await yieldToLoop()
    this.#wake()
  }

  /** Those behind it fail for the same reason. */
  #failed(error: Error): void {
    this.#filling = false
    if (!this.#disposed && this.#failure !== error) this.#onFailure(error)
    this.#failure = error
  }

  /** The disk has all that is committed. */
  settled(): Promise<void> {
    return this.#applying
  }

  /** An orderly end: the disk gets what is committed, unless it is being filled: then the next start begins anew. */
  async close(): Promise<void> {
    if (!this.#filling) await this.#applying.catch(() => {})
    this.dispose()
    await this.#applying.catch(() => {})
  }

  /** Nothing is read from it any more. */
  dispose(): void {
    this.#disposed = true
    for (const store of this.#stores) store.dispose()
    if (this.#filling) void this.#disk?.close()
  }

  /** @throws CHECKPOINT_CORRUPT, STATE_INCOMPATIBLE, STATE_DISK */
  async restore(chain: readonly ChainPart[]): Promise<void> {
    for (const { mark, bytes } of chain) this.#chained(mark, bytes)
    if (this.#disk) await this.#restoreDisk(this.#disk, chain)
    else await this.#restoreMemory(chain, () => true)
  }

  async #restoreDisk(disk: TaskDisk, chain: readonly ChainPart[]): Promise<void> {
    const read: ReadState = (identity) => this.#storeOf(identity).replay.readable(identity)
    const there = await disk.prepare(chain, read)
    if (there > 0 || !(await this.#restoreIntoCache(disk, chain)))
      for await (const [{ ref }, segment] of segmentsOf(chain.slice(there))) await disk.follow(ref, segment, read)
    for (const store of this.#stores) store.attach()
  }

  /**
   * Memory is read in a fraction of the time that a disk takes to be written, which is done from there when records flow again. False: the
   * cache has no room for all of it, and nothing was restored.
   */
  async #restoreIntoCache(disk: TaskDisk, chain: readonly ChainPart[]): Promise<boolean> {
    const { budget } = disk
    // Lives that ended before the disk was filled, one after the other, had no base: on the disk each gets further.
    const overdue = this.#chainLength > 2 * this.#chainDue
    if (overdue || !budget.hasRoom(MEMORY_PER_BYTE * bytesOfKeys(chain))) return false
    await disk.clear()
    for (const store of this.#stores) store.hold()
    const restored = await this.#restoreMemory(chain, () => budget.hasRoom(0))
    const segment = restored ? await this.#encodeAll() : null
    for (const store of this.#stores) store.count()
    // What values take is known better now.
    if (!restored || !budget.hasRoom(0)) {
      for (const store of this.#stores) store.letGo()
      budget.applied()
      return false
    }
    this.#filling = true
    // Under the name of the chain's last one it has all up to there.
    this.#handOn(disk, chain.at(-1)?.ref ?? null, segment)
    return true
  }

  async #encodeAll(): Promise<readonly Buffer[] | null> {
    const writer = new SegmentWriter()
    for (const store of this.#stores) store.freeze(writer, 0, store.slotCount)
    for (const store of this.#stores) {
      for (let complete = false; !complete; await yieldToLoop()) {
        const untilMs = monotonicMs() + SLICE_MS
        complete = store.encode(() => monotonicMs() >= untilMs)
      }
    }
    return writer.finish('drop-empty')
  }

  /** False: it was given up, as `goesOn` said after a segment. */
  async #restoreMemory(chain: readonly ChainPart[], goesOn: () => boolean): Promise<boolean> {
    let expected: number | undefined = bytesOfKeys(chain)
    for await (const [, segment] of segmentsOf(chain)) {
      this.#replay(segment, expected)
      expected = undefined
      if (!goesOn()) return false
    }
    return true
  }

  /** The next segment of the chain that is restored on the heap. @throws CHECKPOINT_CORRUPT, STATE_INCOMPATIBLE */
  replay(segment: Buffer, mark: SegmentMark): void {
    this.#replay(segment, undefined)
    this.#chained(mark, segment.length)
  }

  #replay(segment: Buffer, expected: number | undefined): void {
    replaySegment(segment, (identity) => this.#storeOf(identity).replay.target(identity), expected)
    for (const store of this.#stores) store.replay.ended()
  }

  #storeOf({ name, operator }: StateIdentity): HeapStore {
    const store = this.#stores.find((each) => each.operator === operator)
    if (store) return store
    const text = `the checkpoint has state '${name}' of operator '${operator}', which the pipeline does not have; restore the old code, or start again with \`millrace reset --state drop\``
    throw new MillraceError('STATE_INCOMPATIBLE', text)
  }
}

/** In segments that have about each key once: those of the base, or, where there is none, all. */
function bytesOfKeys(chain: readonly ChainPart[]): number {
  const base = chain.filter(({ mark }) => mark !== 'delta')
  return (base.length > 0 ? base : chain).reduce((sum, { bytes }) => sum + bytes, 0)
}

const isLast = (mark: SegmentMark): boolean => mark === 'base-last' || mark === 'base-whole'

/** The chain after a checkpoint: what is needed to restore the task from it. */
export function nextChain<Ref extends { readonly mark: SegmentMark }>(chain: readonly Ref[], added: Ref | null): Ref[] {
  if (!added) return [...chain]
  const next = [...chain, added]
  if (added.mark === 'base-whole') return [added]
  if (added.mark !== 'base-last') return next
  const first = next.findLastIndex((ref) => ref.mark === 'base-first')
  assert(first >= 0, 'the last slice of a base without its first')
  return next.slice(first)
}
