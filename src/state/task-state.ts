// All keyed state of one task: freezes it at a barrier, encodes it in slices, and decides when to begin a new base so that
// a chain never exceeds its limit.

import { assert } from '../base/assert.ts'
import { MillraceError } from '../base/errors.ts'
import type { SegmentMark } from '../base/messages.ts'
import type { HeapStore } from './heap/store.ts'
import { replaySegment, SegmentWriter } from './segment.ts'

/** Segments of a chain at most; a base in slices must be complete before. */
export const CHAIN_SEGMENTS_MAX = 16
const BASE_SLICES_MAX = 4
const BASE_SLICE_SLOTS = 50_000

interface Base {
  readonly slices: number
  /** Slots of each store when the base began: later keys are in deltas anyway. */
  readonly slots: readonly number[]
  next: number
}

export class TaskState {
  readonly #stores: readonly HeapStore[]
  readonly #baseSliceSlots: number
  #chainLength = 0
  #base: Base | null = null
  #writer: SegmentWriter | null = null
  #slice: { readonly index: number; readonly of: number } | null = null
  #mark: SegmentMark = 'delta'

  constructor(stores: readonly HeapStore[], baseSliceSlots: number = BASE_SLICE_SLOTS) {
    this.#stores = stores
    this.#baseSliceSlots = baseSliceSlots
  }

  get changed(): boolean {
    return this.#stores.some((store) => store.changed)
  }

  get keyCount(): number {
    return this.#stores.reduce((sum, store) => sum + store.keyCount, 0)
  }

  /** A barrier entered the task: a segment begins. */
  begin(): void {
    assert(this.#writer === null, 'I2: a snapshot began while the one before was not encoded')
    this.#writer = new SegmentWriter()
    this.#slice = this.#nextSlice()
  }

  /** The barrier reached one operator: the synchronous part of its snapshot. */
  freeze(store: HeapStore): void {
    assert(this.#writer, `I2: '${store.operator}' froze without a barrier`)
    const slice = this.#slice
    const slots = this.#base?.slots[this.#stores.indexOf(store)] ?? 0
    const from = slice ? Math.floor((slots * slice.index) / slice.of) : 0
    const to = slice ? Math.floor((slots * (slice.index + 1)) / slice.of) : 0
    store.freeze(this.#writer, from, to)
  }

  #nextSlice(): { index: number; of: number } | null {
    if (!this.#base && this.#chainLength >= CHAIN_SEGMENTS_MAX - BASE_SLICES_MAX) {
      const slots = this.#stores.map((store) => store.slotCount)
      const total = slots.reduce((sum, count) => sum + count, 0)
      // After a restore in the middle of a base the chain has its slices already: a new base gets what is left.
      const room = Math.min(BASE_SLICES_MAX, CHAIN_SEGMENTS_MAX - this.#chainLength)
      const slices = Math.max(1, Math.min(room, Math.ceil(total / this.#baseSliceSlots)))
      this.#base = { slices, slots, next: 0 }
    }
    if (!this.#base) {
      this.#mark = 'delta'
      return null
    }
    const index = this.#base.next++
    const of = this.#base.slices
    this.#mark = of === 1 ? 'base-whole' : index === 0 ? 'base-first' : index === of - 1 ? 'base-last' : 'base-part'
    return { index, of }
  }

  /** Encodes frozen state until `expired()`; true when all of it is encoded. */
  encode(expired: () => boolean): boolean {
    return this.#stores.every((store) => store.encode(expired))
  }

  /** The encoded segment; null where nothing changed. */
  take(): { readonly segment: readonly Buffer[] | null; readonly mark: SegmentMark } {
    const writer = this.#writer
    assert(writer, 'I2: a segment was taken before it was frozen')
    this.#writer = null
    if (this.#mark === 'base-last' || this.#mark === 'base-whole') this.#base = null
    const segment = writer.finish(this.#mark === 'delta' ? 'drop-empty' : 'keep-empty')
    if (this.#mark === 'base-whole') this.#chainLength = 1
    else if (this.#mark === 'base-last') this.#chainLength = BASE_SLICES_MAX
    else if (segment) this.#chainLength++
    assert(this.#chainLength <= CHAIN_SEGMENTS_MAX, `a chain of ${this.#chainLength} segments`)
    return { segment, mark: this.#mark }
  }

  /** @throws CHECKPOINT_CORRUPT, STATE_INCOMPATIBLE */
  restore(segments: readonly Buffer[]): void {
    this.#chainLength = segments.length
    for (const segment of segments) {
      replaySegment(segment, (identity) => {
        const store = this.#stores.find((each) => each.operator === identity.operator)
        if (store) return store.target(identity)
        const text = `the checkpoint has state '${identity.name}' of operator '${identity.operator}', which the pipeline does not have; restore the old code, or start again with \`millrace reset --state drop\``
        throw new MillraceError('STATE_INCOMPATIBLE', text)
      })
    }
  }
}

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
