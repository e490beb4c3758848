// One state of one operator on the heap: live objects in slots (a key's slot is the same in all states of an operator).
//
// Snapshots without a pause (I2). Every slot carries the epoch in which it was last changed. `freeze` only starts a new
// epoch; the slots changed before it, and those of a base, are encoded in slices while new records flow. Whoever touches a
// slot that is still to be encoded encodes it first, and a touch includes reading anything that is not a primitive, because
// the user holds a live object then. An epoch above 0: changed, in the current one since the barrier. Else: clean, and
// −current has been written by the running snapshot already.
import type { ByteWriter } from '../../base/byte-writer.ts'
import { MillraceError, messageOf } from '../../base/errors.ts'
import type { MapHead, MapPage } from '../collections.ts'
import type { StateDescriptor } from '../descriptors.ts'
import {
  type KeyWriter,
  NUMBER_BYTES,
  Row,
  type SegmentRows,
  type SegmentWriter,
  type StateIdentity,
} from '../segment.ts'
import type { Rows } from './rows.ts'
import { SlotList } from './slot-list.ts'

export type Write = (out: ByteWriter) => void

/** What the table needs of the store that owns it. */
export interface SlotOwner extends KeyWriter {
  /** The slot's value in some state is gone and written: the key may be forgotten. */
  released(slot: number): void
  /** Encodes the slot in every state in which it is still to be written: they have the key in common. */
  encodeFrozen(slot: number): void
  /** Of the base that is being written: its rows are full. */
  inBase(slot: number): boolean
  /** The same, and not come to yet. */
  awaitsBase(slot: number): boolean
  /** What all states of the operator keep per slot. */
  readonly rows: Rows
  /** Values take more than they did, of keys that were here. */
  grown(): void
  /** Values are on disk, too, and what they take here is counted. */
  readonly cached: boolean
  /** The first `count` items of the slot's list in this state, from disk. */
  listOnDisk(table: StateTable, slot: number, count: number): Buffer[]
  /** Of the slot's map, as `TaskDisk` gives them. */
  mapHeadOnDisk(table: StateTable, slot: number): MapHead
  mapPageOnDisk(table: StateTable, slot: number, page: MapPage): Buffer | undefined
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
  /** What the snapshot with this epoch had, and those before, is on disk. */
  #applied = 0
  #unapplied = 0
  #dirty = new SlotList()
  #frozen = new SlotList()
  #frozenAt = 0
  #writer: SegmentWriter | null = null
  #stateIndex = 0

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

  /** In the segment that the running snapshot writes. */
  get stateIndex(): number {
    return this.#stateIndex
  }

  /** The current one. */
  get epoch(): number {
    return this.#current
  }

  /** Slots changed since the last barrier. */
  get changedSlots(): number {
    return this.#dirty.length
  }

  /** The disk has what the snapshot with this epoch had, and those before. */
  applied(epoch: number): void {
    this.#applied = epoch
    // What a later snapshot has already is left out: it is not known any more how much that is.
    this.#unapplied = this.#dirty.length
  }

  /** Slots whose value is not on disk as it is here: at least so many. */
  get unapplied(): number {
    return this.#unapplied
  }

  /** Clean, and what was applied had the last change. */
  onDisk(slot: number): boolean {
    return this.#isApplied(this.#epochOf(slot))
  }

  #isApplied(epoch: number): boolean {
    return epoch <= 0 && -epoch <= this.#applied
  }

  /** Forgets the slot's value, which is on disk. */
  evict(slot: number): void {
    if (this.has(slot)) this.erase(slot)
    this.#setEpoch(slot, 0)
    this.resize(slot, 0)
  }

  /** Bytes that the values take beside the rows, roughly; 0 where that is not asked for. */
  cacheBytes = 0

  /** The slot's value takes so many bytes as written; 0: it is gone. */
  protected resize(_slot: number, _bytes: number): void {}

  /** Takes over what is on disk. */
  load(slot: number, bytes: Buffer): void {
    this.restore(slot, Row.PUT, null, bytes)
    this.resize(slot, bytes.length)
  }

  /** The same of an `f64`. */
  loadNumber(slot: number, value: number): void {
    const bytes = Buffer.alloc(NUMBER_BYTES)
    bytes.writeDoubleBE(value)
    this.load(slot, bytes)
  }

  /** Clean and empty: nothing keeps the slot. */
  idle(slot: number): boolean {
    return !this.has(slot) && this.#epochOf(slot) <= 0
  }

  /** The running snapshot has to write it (`NumberPack` goes by the same rule): changed before the barrier, or of the base and not come to yet. */
  #owed(slot: number, epoch: number): boolean {
    if (epoch > 0) return epoch !== this.#current
    return epoch !== -this.#current && this.owner.awaitsBase(slot) && this.has(slot)
  }

  /** Before a live object is handed out or changed. */
  touch(slot: number): void {
    if (this.#owed(slot, this.#epochOf(slot))) this.#encode(slot)
  }

  /** Before a change. */
  mark(slot: number): void {
    const epoch = this.#epochOf(slot)
    if (epoch === this.#current) return
    if (this.#isApplied(epoch)) this.#unapplied++
    if (this.#owed(slot, epoch)) this.#encode(slot)
    this.#setEpoch(slot, this.#current)
    this.#dirty.push(slot)
  }

  /** Starts a snapshot of what changed until now. `scanned`: the owner comes to every slot anyway. */
  freeze(writer: SegmentWriter, scanned: boolean): void {
    this.#writer = writer
    this.#stateIndex = writer.register(this.identity)
    const free = this.#frozen
    this.#frozen = this.#dirty
    this.#dirty = free
    free.clear()
    if (scanned) this.#frozen.clear()
    this.#frozenAt = 0
    this.#current = this.#current === 0x7fffffff ? 1 : this.#current + 1
  }

  /** Encodes up to `rows` of the slots that had changed; true when none is left. */
  encodeSome(rows: number): boolean {
    for (let left = rows; left > 0 && this.#frozenAt < this.#frozen.length; left--) {
      this.owner.encodeFrozen(this.#frozen.at(this.#frozenAt))
      this.#frozenAt++
    }
    return this.#frozenAt === this.#frozen.length
  }

  /** The snapshot is complete. */
  thaw(): void {
    this.#frozen.clear()
    this.#frozenAt = 0
    this.#writer = null
  }

  #encode(slot: number): void {
    const writer = this.#writer
    if (!writer) return
    if (!this.has(slot)) {
      this.row(writer, slot, Row.DELETE, null, null)
      this.resize(slot, 0)
      this.#setEpoch(slot, -this.#current)
      this.owner.released(slot)
      return
    }
    this.#write(writer, slot)
    // Only now: a slot that cannot be encoded fails again when the snapshot comes to it, if a user's function caught the
    // first error on the way.
    this.#setEpoch(slot, -this.#current)
  }

  #write(writer: SegmentRows, slot: number): void {
    const full = this.owner.inBase(slot)
    const before = writer.bytes
    try {
      const parts = this.encodeSlot(writer, slot, full)
      this.resize(slot, (writer.bytes - before) * parts)
    } catch (error) {
      if (error instanceof MillraceError) throw error
      const { operator, name, serde } = this.identity
      const text = `operator '${operator}', state '${name}': a value cannot be written as ${serde}: ${messageOf(error)}`
      throw new MillraceError('STATE_VALUE_INVALID', text, { cause: error })
    }
  }

  /** Gives how many times what it wrote the whole value is. */
  protected abstract encodeSlot(writer: SegmentRows, slot: number, full: boolean): number

  protected row(writer: SegmentRows, slot: number, op: number, writeAt: Write | null, writeValue: Write | null): void {
    writer.row(this.stateIndex, op, this.owner, slot, writeAt, writeValue)
  }

  abstract restore(slot: number, op: number, at: Buffer | null, value: Buffer | null): void

  /** A row of so many bytes was: until a snapshot writes the value, it takes what its rows did. */
  restored(_slot: number, _op: number, _bytes: number): void {}

  clear(slot: number): void {
    if (!this.has(slot)) return
    this.mark(slot)
    this.erase(slot)
  }
}
