// The keyed state of one operator in one task, on the heap: keys to slots, one table per declared state.
import { ByteWriter } from '../../base/byte-writer.ts'
import { MillraceError } from '../../base/errors.ts'
import type { StateDescriptor, StateDescriptors } from '../descriptors.ts'
import type { RowTarget, SegmentWriter, StateIdentity } from '../segment.ts'
import { decodeState, f64, type Serde } from '../serde.ts'
import { type FoldedValue, foldInto } from './fold.ts'
import { KeyIndex } from './key-index.ts'
import { NumberPack } from './number-pack.ts'
import { Rows } from './rows.ts'
import { ownBytes, type StateTable } from './table.ts'
import { type Cursor, ListTable, MapTable, NumberTable, ValueTable } from './tables.ts'

/** Rows between two looks at the clock. */
const ROWS_PER_LOOK = 64

/** The serde itself, not one that calls itself so. */
const isNumber = ({ kind, serde }: StateDescriptor<unknown>): boolean =>
  kind !== 'list' && kind !== 'map' && serde === f64

/** Reducing and aggregating states are values, too, that only change in another way. */
const tableOf = { value: ValueTable, reducing: ValueTable, aggregating: ValueTable, list: ListTable, map: MapTable }

export class HeapStore implements Cursor {
  readonly operator: string
  readonly keySerde: Serde<unknown>
  /** What the user's function gets as `state`: one handle per descriptor, all speaking of the current key. */
  readonly handles: Readonly<Record<string, unknown>>
  readonly rows: Rows
  readonly #rowsPerLook: number
  readonly #tables: StateTable[] = []
  readonly #pack: NumberPack | null
  readonly #slots = new Map<unknown, number>()
  #keys: unknown[] = []
  readonly #free: number[] = []
  readonly #index: KeyIndex
  #key: unknown
  slot = -1
  /** The current key's slot when nothing keeps it any more: freed when the cursor moves on. */
  #idle = -1
  /** Slots that a snapshot looks at one after the other: those of a base, or all where most have changed. */
  #scanAt = 0
  #scanTo = 0
  #baseFrom = 0
  #baseTo = 0

  constructor(
    operator: string,
    descriptors: StateDescriptors,
    keySerde: Serde<unknown>,
    rowsPerLook: number = ROWS_PER_LOOK,
  ) {
    this.#rowsPerLook = rowsPerLook
    this.operator = operator
    this.keySerde = keySerde
    const handles: Record<string, unknown> = {}
    const states = Object.values(descriptors)
    const numbers = states.filter(isNumber).length
    this.rows = new Rows(states.length, numbers)
    this.#pack = NumberPack.of(this.rows, keySerde, states.length, numbers)
    this.#index = new KeyIndex(this.rows)
    let numberColumn = 0
    for (const [name, descriptor] of Object.entries(descriptors)) {
      const identity: StateIdentity = {
        operator,
        name,
        kind: descriptor.kind,
        key: keySerde.id,
        serde: descriptor.serde.id,
        mapKey: descriptor.mapKey?.id ?? '',
      }
      const column = this.#tables.length
      const table = isNumber(descriptor)
        ? new NumberTable(identity, descriptor, this, column, numberColumn++)
        : new tableOf[descriptor.kind](identity, descriptor, this, column)
      this.#tables.push(table)
      const handle = table.handle(this)
      handles[name] = descriptor.fold ? foldInto(handle as FoldedValue, descriptor.fold) : handle
    }
    this.handles = handles
  }

  /** All handles speak of `key` from here on. */
  setKey(key: unknown): void {
    this.#key = key
    this.#moveTo(this.#slots.get(typeof key === 'object' ? this.#identity(key) : key) ?? -1)
  }

  /** Brings what belongs to keys whose bytes have these hashes into the cache; the result has no meaning. */
  prefetch(hashes: Int32Array, count: number): number {
    return this.#index.prefetch(hashes, count)
  }

  /** The same for the key that `keySerde` reads from these bytes. False: nothing moved, {@link setKeyOf} does it. */
  findKey(bytes: Buffer, start: number, length: number, hash: number): boolean {
    const slot = this.#index.find(bytes, start, length, hash)
    if (slot < 0) return false
    this.#moveTo(slot)
    return true
  }

  /** `key` was read from these bytes: next time they will do. */
  setKeyOf(key: unknown, bytes: Buffer, start: number, length: number, hash: number): void {
    this.setKey(key)
    // Objects are the user's: each record has its own.
    if (this.slot >= 0 && typeof key !== 'object') this.#index.add(bytes, start, length, hash, this.slot)
  }

  #moveTo(slot: number): void {
    this.slot = slot
    if (this.#idle >= 0 && this.#idle !== this.slot) {
      const idle = this.#idle
      this.#idle = -1
      this.released(idle)
    }
  }

  #identity(key: unknown): unknown {
    if (typeof key !== 'object' || key === null) return key
    const out = new ByteWriter(64)
    this.keySerde.encode(key, out)
    return `\0${out.view().toString('latin1')}`
  }

  claim(): number {
    if (this.slot < 0) this.slot = this.#claimFor(this.#key)
    return this.slot
  }

  #claimFor(key: unknown): number {
    const identity = this.#identity(key)
    const existing = this.#slots.get(identity)
    if (existing !== undefined) return existing
    const slot = this.#free.pop() ?? this.#keys.length
    this.rows.ensure(slot)
    this.#keys[slot] = ownBytes(key)
    this.#slots.set(identity, slot)
    return slot
  }

  keyOf(slot: number): unknown {
    return this.#keys[slot]
  }

  /** A slot is used again only when nothing of it is left to be written. */
  released(slot: number): void {
    if (!this.#tables.every((table) => table.idle(slot))) return
    if (slot === this.slot) {
      this.#idle = slot
      return
    }
    this.#slots.delete(this.#identity(this.#keys[slot]))
    this.#keys[slot] = undefined
    this.#index.forget(slot)
    this.#free.push(slot)
  }

  get slotCount(): number {
    return this.#keys.length
  }

  get keyCount(): number {
    return this.#slots.size
  }

  get changed(): boolean {
    return this.#tables.some((table) => table.changedSlots > 0)
  }

  /** Starts a snapshot of what changed until now, and of all that is in slots `baseFrom … baseTo − 1`: the same work for any state. */
  freeze(writer: SegmentWriter, baseFrom: number, baseTo: number): void {
    // In the order of memory that is quicker than in the order of change, even with some that have not changed.
    const all = this.#tables.some((table) => table.changedSlots * 4 > this.slotCount)
    for (const table of this.#tables) table.freeze(writer, all)
    const [first] = this.#tables
    if (first) this.#pack?.begin(writer, first.stateIndex, first.epoch)
    this.#baseFrom = baseFrom
    this.#baseTo = baseTo
    this.#scanAt = all ? 0 : baseFrom
    this.#scanTo = all ? this.slotCount : baseTo
  }

  inBase(slot: number): boolean {
    return slot >= this.#baseFrom && slot < this.#baseTo
  }

  awaitsBase(slot: number): boolean {
    return slot >= this.#scanAt && this.inBase(slot)
  }

  /** Encodes frozen rows until `expired()`; true when the snapshot is complete. */
  encode(expired: () => boolean): boolean {
    for (;;) {
      let complete = true
      for (const table of this.#tables) if (!table.encodeSome(this.#rowsPerLook)) complete = false
      if (!this.#scanSome(this.#rowsPerLook)) complete = false
      if (complete) break
      if (expired()) return false
    }
    for (const table of this.#tables) table.thaw()
    this.#pack?.end()
    return true
  }

  #scanSome(slots: number): boolean {
    const end = Math.min(this.#scanAt + slots, this.#scanTo)
    // A slot has been come to when it is written: `awaitsBase`.
    for (; this.#scanAt < end; this.#scanAt++) this.encodeFrozen(this.#scanAt)
    return this.#scanAt === this.#scanTo
  }

  encodeFrozen(slot: number): void {
    if (this.#pack?.encode(slot, this.awaitsBase(slot))) return
    for (const table of this.#tables) table.touch(slot)
  }

  /** The target of restored rows of one state. @throws STATE_INCOMPATIBLE */
  target(identity: StateIdentity): RowTarget {
    const table = this.#tables.find((each) => each.identity.name === identity.name)
    const now = table?.identity
    const same = (['kind', 'key', 'serde', 'mapKey'] as const).every((part) => now?.[part] === identity[part])
    if (!table || !same) {
      const was = `${identity.kind} of ${identity.mapKey ? `${identity.mapKey} → ` : ''}${identity.serde}, key ${identity.key}`
      const is = now
        ? `${now.kind} of ${now.mapKey ? `${now.mapKey} → ` : ''}${now.serde}, key ${now.key}`
        : 'not declared'
      const text = `operator '${identity.operator}', state '${identity.name}': the checkpoint has ${was}; the pipeline has it ${is}. Give the changed state a new name, or restore the old code`
      throw new MillraceError('STATE_INCOMPATIBLE', text)
    }
    return {
      apply: (op, key, mapKey, value) => {
        const slot = this.#claimFor(decodeState(this.keySerde, Buffer.from(key)))
        table.restore(slot, op, mapKey, value)
        this.released(slot)
      },
    }
  }
}
