// Rows of a chain become slots again: how each state of a checkpoint is read, and which slot a row's key has.
import { MillraceError } from '../../base/errors.ts'
import type { StateDescriptors } from '../descriptors.ts'
import { describeFormat, type ReadableState, Row, readable, type StateIdentity } from '../segment.ts'
import { converting, type NumberRows, type NumbersTarget, type RowKey, type RowTarget } from '../segment-reader.ts'
import { TIMERS } from '../timers.ts'
import { hashOf } from './key-index.ts'
import { type KeySlots, NO_SLOT } from './key-slots.ts'
import type { NumberPack } from './number-pack.ts'
import type { StateTable } from './table.ts'
import { NumberTable } from './tables.ts'

/** What the store gives for it. */
export interface ReplayedStore {
  readonly descriptors: StateDescriptors
  readonly tables: readonly StateTable[]
  readonly keys: KeySlots
  readonly pack: NumberPack | null
  /** A slot for the key that was looked for last. */
  claim(): number
  /** A value is gone: nothing may keep the slot any more. */
  released(slot: number): void
  /** A segment is through: what came is counted. */
  ended(): void
}

/** Of a row whose key has a slot. */
interface RowPlace {
  bytes: Buffer
  start: number
  slot: number
}

const noRow = (): RowPlace => ({ bytes: Buffer.alloc(0), start: 0, slot: NO_SLOT })

export class Replay implements NumbersTarget {
  readonly #store: ReplayedStore
  /** The key of the last row. */
  #row = noRow()
  #hashes = new Int32Array(0)
  /** Nobody reads it; without it the compiler leaves out what `prefetch` reads. */
  touched = 0

  constructor(store: ReplayedStore) {
    this.#store = store
  }

  /** How a state that a checkpoint has is read. @throws STATE_INCOMPATIBLE */
  readable(identity: StateIdentity): ReadableState & { readonly table: StateTable } {
    const table = this.#store.tables.find((each) => each.identity.name === identity.name)
    if (!table && identity.name === TIMERS) {
      const text = `the checkpoint has timers of operator '${identity.operator}', and its function has no onTimer any more: keep one that does nothing, or restore the old code`
      throw new MillraceError('STATE_INCOMPATIBLE', text)
    }
    const descriptor = this.#store.descriptors[identity.name]
    const found = table && descriptor && readable(identity, table.identity, descriptor)
    if (!found) {
      const is = table ? describeFormat(table.identity) : 'not declared'
      const text = `operator '${identity.operator}', state '${identity.name}': the checkpoint has ${describeFormat(identity)}; the pipeline has it ${is}. Say how old values become new ones (withMigration), give the changed state a new name, or restore the old code`
      throw new MillraceError('STATE_INCOMPATIBLE', text)
    }
    return { ...found, table }
  }

  /** The target of rows of one state. @throws STATE_INCOMPATIBLE */
  target(identity: StateIdentity): RowTarget {
    const found = this.readable(identity)
    const { keys, tables, pack } = this.#store
    const target: RowTarget = {
      apply: (op, key, at, value) => {
        const slot = this.#slotOf(key)
        found.table.restore(slot, op, at, value)
        found.table.restored(slot, op, (at?.length ?? 0) + (value?.length ?? 0))
        // A row that puts something in keeps its slot.
        if (op !== Row.PUT) this.#store.released(slot)
      },
    }
    const { table } = found
    if (found.convert || !(table instanceof NumberTable)) return converting(target, found)
    return {
      ...target,
      number: (key, value) => table.loadNumber(this.#slotOf(key), value),
      numbers: pack && { of: this, place: tables.indexOf(table) },
      expect: (expected) => keys.expect(expected),
    }
  }

  /** Rows of one key follow each other, and share its bytes. */
  #slotOf({ bytes, start, end }: RowKey): number {
    const { keys } = this.#store
    const row = this.#row
    if (bytes === row.bytes && start === row.start && keys.has(row.slot)) return row.slot
    const found = keys.seekInState(bytes, start, end)
    row.bytes = bytes
    row.start = start
    row.slot = found < 0 ? this.#store.claim() : found
    return row.slot
  }

  get states(): number {
    return this.#store.tables.length
  }

  /** All keys first, then their slots: the misses of the cache overlap. */
  take({ bytes, view, keyAt, keyLength, count }: NumberRows): void {
    const { keys, pack } = this.#store
    if (this.#hashes.length < count) this.#hashes = new Int32Array(keyAt.length)
    const hashes = this.#hashes
    for (let i = 0; i < count; i++) hashes[i] = hashOf(bytes, keyAt[i] as number, keyLength[i] as number)
    this.touched = keys.prefetch(hashes, count)
    for (let i = 0; i < count; i++) {
      const at = keyAt[i] as number
      const length = keyLength[i] as number
      const found = keys.seekHashed(bytes, at, length, hashes[i] as number)
      pack?.restore(found < 0 ? this.#store.claim() : found, view, at + length)
    }
  }

  /** A segment has been replayed, and nothing looks at its memory any more. */
  ended(): void {
    this.#row = noRow()
    this.#store.keys.forgetSought()
    this.#store.ended()
  }
}
