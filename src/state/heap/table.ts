// One state of one operator on the heap: live objects in slots (a key's slot is the same in all states of an operator).
//
// Snapshots without a pause (I2). Every slot carries the epoch in which it was last changed. `freeze` only starts a new
// epoch; the slots changed before it are encoded in slices while new records flow. Whoever touches a slot that is frozen
// and not yet encoded encodes it first, and a touch includes reading anything that is not a primitive, because the user
// holds a live object then. 0 = clean, current = changed since the barrier, anything else = frozen.
import type { ByteWriter } from '../../base/byte-writer.ts'
import { MillraceError, messageOf } from '../../base/errors.ts'
import type { StateDescriptor } from '../descriptors.ts'
import { Row, type SegmentWriter, type StateIdentity } from '../segment.ts'
import type { Serde } from '../serde.ts'
import type { Rows } from './rows.ts'
import { SlotList } from './slot-list.ts'

export type Write = (out: ByteWriter) => void

/** What the table needs of the store that owns it. */
export interface SlotOwner {
  readonly keySerde: Serde<unknown>
  keyOf(slot: number): unknown
  /** The slot's value in some state is gone and written: the key may be forgotten. */
  released(slot: number): void
  readonly slotCount: number
  /** Encodes the slot in every state in which it is frozen: they have the key in common. */
  encodeFrozen(slot: number): void
  /** What all states of the operator keep per slot. */
  readonly rows: Rows
}

/**
 * What state keeps must not be a view of what was fetched: it would hold the whole response in memory.
 * @returns a copy of bytes; everything else as it is
 */
export function ownBytes<T>(value: T): T {
  return Buffer.isBuffer(value) ? (Buffer.from(value) as T & Buffer) : value
}

export abstract class StateTable {
  readonly identity: StateIdentity
  readonly descriptor: StateDescriptor<unknown>
  protected readonly owner: SlotOwner
  readonly #rows: Rows
  /** Where in a row its epoch is. */
  readonly #epochAt: number
  #current = 1
  #dirty = new SlotList()
  #frozen = new SlotList()
  #frozenAt = 0
  #baseFrom = 0
  #baseTo = 0
  /** Slots that are looked at one after the other: those of the base, or all where most have changed. */
  #scanAt = 0
  #scanTo = 0
  #writer: SegmentWriter | null = null
  protected stateIndex = 0

  /** `column`: the state's number among those of its operator. */
  constructor(identity: StateIdentity, descriptor: StateDescriptor<unknown>, owner: SlotOwner, column: number) {
    this.identity = identity
    this.descriptor = descriptor
    this.owner = owner
    this.#rows = owner.rows
    this.#epochAt = owner.rows.epochsAt + column
  }

  abstract has(slot: number): boolean

  /** Forgets the slot's value, if it has one. */
  protected abstract erase(slot: number): void

  #epochOf(slot: number): number {
    return this.#rows.words[slot * this.#rows.stride + this.#epochAt] as number
  }

  #setEpoch(slot: number, epoch: number): void {
    this.#rows.words[slot * this.#rows.stride + this.#epochAt] = epoch
  }

  get changed(): boolean {
    return this.#dirty.length > 0
  }

  /** Clean and empty: nothing keeps the slot. */
  idle(slot: number): boolean {
    return !this.has(slot) && this.#epochOf(slot) === 0
  }

  /** Before a live object is handed out or changed. */
  touch(slot: number): void {
    const epoch = this.#epochOf(slot)
    if (epoch !== 0 && epoch !== this.#current) this.#encode(slot)
  }

  /** Before a change. */
  mark(slot: number): void {
    const epoch = this.#epochOf(slot)
    if (epoch === this.#current) return
    if (epoch !== 0) this.#encode(slot)
    this.#setEpoch(slot, this.#current)
    this.#dirty.push(slot)
  }

  /** Starts a snapshot: what changed until now, and all of the slots `baseFrom … baseTo − 1` in full. */
  freeze(writer: SegmentWriter, baseFrom: number, baseTo: number): void {
    this.#writer = writer
    this.stateIndex = writer.register(this.identity)
    // In the order of memory that is quicker than in the order of change, even with some that have not changed.
    const scan = this.#dirty.length * 4 > this.owner.slotCount
    const free = this.#frozen
    this.#frozen = this.#dirty
    this.#dirty = free
    free.clear()
    if (scan) this.#frozen.clear()
    this.#frozenAt = 0
    this.#baseFrom = baseFrom
    this.#baseTo = baseTo
    this.#scanAt = scan ? 0 : baseFrom
    this.#scanTo = scan ? this.owner.slotCount : baseTo
    for (let slot = baseFrom; slot < baseTo; slot++) {
      if (!this.has(slot) || this.#epochOf(slot) !== 0) continue
      this.#setEpoch(slot, this.#current)
    }
    this.#current = this.#current === 0x7fffffff ? 1 : this.#current + 1
  }

  /** Encodes up to `rows` frozen slots; true when none is left. */
  encodeSome(rows: number): boolean {
    let left = rows
    for (; left > 0 && this.#frozenAt < this.#frozen.length; left--) {
      this.owner.encodeFrozen(this.#frozen.at(this.#frozenAt++))
    }
    for (; left > 0 && this.#scanAt < this.#scanTo; left--) this.owner.encodeFrozen(this.#scanAt++)
    if (left === 0) return false
    this.#frozen.clear()
    this.#frozenAt = 0
    this.#writer = null
    return true
  }

  #encode(slot: number): void {
    const writer = this.#writer
    if (!writer) return
    if (!this.has(slot)) {
      this.row(writer, slot, Row.DELETE, null, null)
      this.#setEpoch(slot, 0)
      this.owner.released(slot)
      return
    }
    this.#write(writer, slot)
    // Only now: a slot that cannot be encoded fails again when the snapshot comes to it, if a user's function caught the
    // first error on the way.
    this.#setEpoch(slot, 0)
  }

  #write(writer: SegmentWriter, slot: number): void {
    try {
      this.encodeSlot(writer, slot, slot >= this.#baseFrom && slot < this.#baseTo)
    } catch (error) {
      if (error instanceof MillraceError) throw error
      const { operator, name, serde } = this.identity
      const text = `operator '${operator}', state '${name}': a value cannot be written as ${serde}: ${messageOf(error)}`
      throw new MillraceError('STATE_VALUE_INVALID', text, { cause: error })
    }
  }

  protected abstract encodeSlot(writer: SegmentWriter, slot: number, full: boolean): void

  protected row(
    writer: SegmentWriter,
    slot: number,
    op: number,
    writeMapKey: Write | null,
    writeValue: Write | null,
  ): void {
    writer.row(this.stateIndex, op, this.owner.keySerde, this.owner.keyOf(slot), writeMapKey, writeValue)
  }

  abstract restore(slot: number, op: number, mapKey: Buffer | null, value: Buffer | null): void

  clear(slot: number): void {
    if (!this.has(slot)) return
    this.mark(slot)
    this.erase(slot)
  }
}
