// The keyed state of one operator in one task, on the heap: keys to slots, one table per declared state. With a disk the
// slots are a cache in front of it. The disk has the last committed checkpoint: a key that comes is read from there, a slot
// may go when all of it is there, and changes get there by way of checkpoints (`TaskDisk.apply`).
import { ByteWriter } from '../../base/byte-writer.ts'
import { wallMs } from '../../base/clock.ts'
import { MillraceError } from '../../base/errors.ts'
import { readMap } from '../collections.ts'
import type { StateDescriptor, StateDescriptors } from '../descriptors.ts'
import type { CacheBudget, CachedStore, TaskDisk } from '../disk.ts'
import {
  converting,
  describeFormat,
  identityOf,
  type ReadableState,
  Row,
  type RowTarget,
  readable,
  type SegmentWriter,
  type StateIdentity,
} from '../segment.ts'
import { decodeState, encodeState, f64, type Serde } from '../serde.ts'
import { UNKNOWN_MS } from '../stamp.ts'
import { TIMERS } from '../timers.ts'
import { type Expiring, type ExpiringState, expiring, keptAs } from '../ttl.ts'
import { type FoldedValue, foldInto } from './fold.ts'
import { KEY_BYTES_MAX, KeyIndex } from './key-index.ts'
import { NumberPack } from './number-pack.ts'
import { Rows } from './rows.ts'
import { ownBytes, type StateTable } from './table.ts'
import { type Cursor, ListTable, MapTable, NumberTable, ValueTable } from './tables.ts'

/** Rows between two looks at the clock. */
const ROWS_PER_LOOK = 64

/** The serde itself, not one that calls itself so. */
const isNumber = ({ kind, serde, ttl }: StateDescriptor<unknown>): boolean =>
  kind !== 'list' && kind !== 'map' && serde === f64 && !ttl

/** Reducing and aggregating states are values, too, that only change in another way. */
const tableOf = { value: ValueTable, reducing: ValueTable, aggregating: ValueTable, list: ListTable, map: MapTable }

/** Of a slot beside its row: the key, the places where it is looked up. */
const SLOT_BYTES = 160
/** Looked at in one go. */
const SLOTS_PER_EVICTION = 32 * 1024
const NO_ROW: { readonly key: Buffer; readonly slot: number } = { key: Buffer.alloc(0), slot: 0 }

export class HeapStore implements Cursor, CachedStore {
  readonly operator: string
  readonly keySerde: Serde<unknown>
  /** What the user's function gets as `state`: one handle per descriptor, all speaking of the current key. */
  readonly handles: Readonly<Record<string, unknown>>
  readonly rows: Rows
  readonly #rowsPerLook: number
  readonly #descriptors: StateDescriptors
  readonly #tables: StateTable[] = []
  readonly #expiring: (Expiring<unknown> & Omit<ExpiringState, 'id'> & { readonly column: number })[] = []
  readonly #pack: NumberPack | null
  readonly #slots = new Map<unknown, number>()
  #keys: unknown[] = []
  readonly #free: number[] = []
  readonly #index: KeyIndex
  readonly #keyBytes = new ByteWriter(64)
  readonly #diskKey = new ByteWriter(64)
  #key: unknown
  slot = -1
  /** The current key's slot when nothing keeps it any more: freed when the cursor moves on. */
  #idle = -1
  /** Slots that a snapshot looks at one after the other: those of a base, or all where most have changed. */
  #scanAt = 0
  #scanTo = 0
  #baseFrom = 0
  #baseTo = 0
  readonly #disk: TaskDisk | null
  /** The states' numbers on disk. */
  #stateIds: readonly number[] = []
  /** 1: the slot was used since the hand passed it. */
  #used = new Uint8Array(64)
  #hand = 0
  /** The epoch whose changes, and all before, are on disk. */
  #applied = 0
  /** Slots with nothing in them that are kept until the disk knows it. */
  #emptied: number[] = []
  /** Of `cacheBytes`, what the budget knows of. */
  #charged = 0
  #disposed = false
  /** The key of the last row that was replayed. */
  #row = NO_ROW

  constructor(
    operator: string,
    descriptors: StateDescriptors,
    keySerde: Serde<unknown>,
    rowsPerLook: number = ROWS_PER_LOOK,
    disk: TaskDisk | null = null,
  ) {
    this.#descriptors = descriptors
    this.#disk = disk
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
      const identity = identityOf(operator, name, keySerde, descriptor)
      const column = this.#tables.length
      const table = isNumber(descriptor)
        ? new NumberTable(identity, descriptor, this, column, numberColumn++)
        : new tableOf[descriptor.kind](identity, keptAs(descriptor), this, column)
      this.#tables.push(table)
      const handle = this.#handleOf(table, descriptor, column)
      handles[name] = descriptor.fold ? foldInto(handle as FoldedValue, descriptor.fold) : handle
    }
    this.handles = handles
    disk?.budget.join(this)
  }

  #handleOf(
    table: StateTable & { handle(cursor: Cursor): unknown },
    descriptor: StateDescriptor<unknown>,
    column: number,
  ): unknown {
    const handle = table.handle(this)
    const { ttl, kind } = descriptor
    if (!ttl) return handle
    const now = ttl.clock === 'record-time' ? () => this.recordMs() : wallMs
    const state = { ...expiring(handle, descriptor, ttl, now), kind, ttl, now, column }
    this.#expiring.push(state)
    return state.handle
  }

  /** The timestamp of what is being processed; between records, the latest one; UNKNOWN_MS: there was none. */
  recordMs: () => number = () => UNKNOWN_MS

  /** Those whose entries have a time to live. */
  get expiringStates(): readonly ExpiringState[] {
    return this.#expiring.map((state) => ({ ...state, id: this.#stateIds[state.column] ?? -1 }))
  }

  /** Removes what is expired in `count` slots from `first` on. */
  cleanSlots(first: number, count: number): void {
    for (let slot = first; slot < first + count; slot++) {
      if (this.#keys[slot] === undefined) continue
      this.#moveTo(slot)
      for (const state of this.#expiring) state.clean()
    }
  }

  /** The same of keys, as they are written. */
  cleanKeys(keys: readonly Buffer[]): void {
    for (const key of keys) {
      this.setKey(decodeState(this.keySerde, key))
      for (const state of this.#expiring) state.clean()
    }
  }

  /** Every entry's key of a map state, of every key: for what is kept in memory besides. */
  async eachMapKey(state: string, found: (key: unknown, mapKey: unknown) => void): Promise<void> {
    const column = this.#tables.findIndex(({ identity }) => identity.name === state)
    const table = this.#tables[column] as MapTable
    if (!this.#disk) {
      for (let slot = 0; slot < this.slotCount; slot++)
        for (const mapKey of table.keysOf(slot)) found(this.#keys[slot], mapKey)
      return
    }
    await this.#disk.each(this.#stateIds[column] as number, (key, bytes) => {
      const decoded = decodeState(this.keySerde, Buffer.from(key))
      for (const mapKey of readMap(bytes).keys()) found(decoded, table.decodeKey(Buffer.from(mapKey, 'latin1')))
    })
  }

  /** The disk is restored: its states have their numbers. */
  attach(): void {
    const disk = this.#disk
    if (disk) this.#stateIds = this.#tables.map(({ identity }) => disk.stateId(identity))
  }

  get cached(): boolean {
    return this.#disk !== null
  }

  /** All handles speak of `key` from here on. */
  setKey(given: unknown): void {
    // −0 is 0, in a Map as on disk.
    const key = given === 0 ? 0 : given
    this.#key = key
    const slot = this.#slots.get(typeof key === 'object' ? this.identity(key) : key)
    this.#moveTo(slot ?? (this.#disk ? this.#load(key, this.#disk) : -1))
  }

  #keyOnDisk(key: unknown): Buffer {
    const out = this.#diskKey
    out.reset()
    encodeState(this.keySerde, key, out)
    return out.view()
  }

  listOnDisk(table: StateTable, slot: number, count: number): Buffer[] {
    const state = this.#stateIds[this.#tables.indexOf(table)] as number
    return this.#disk?.readList(state, this.#keyOnDisk(this.#keys[slot]), count) ?? []
  }

  /** −1: the disk has nothing of the key. */
  #load(key: unknown, disk: TaskDisk): number {
    let slot = -1
    disk.read(this.#stateIds, this.#keyOnDisk(key), (column, bytes) => {
      if (slot < 0) slot = this.#claimFor(key)
      ;(this.#tables[column] as StateTable).load(slot, bytes)
    })
    return slot
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

  /** `key` was read from these bytes: next time they will do, if they are how the key is written. */
  setKeyOf(key: unknown, bytes: Buffer, start: number, length: number, hash: number): void {
    this.setKey(key)
    // Objects are the user's: each record has its own.
    if (this.slot < 0 || typeof key === 'object' || length > KEY_BYTES_MAX) return
    const written = this.#keyBytes
    written.reset()
    this.keySerde.encode(this.#key, written)
    if (written.view().equals(bytes.subarray(start, start + length)))
      this.#index.add(bytes, start, length, hash, this.slot)
  }

  #moveTo(slot: number): void {
    this.slot = slot
    if (slot >= 0 && this.#disk) this.#used[slot] = 1
    if (this.#idle >= 0 && this.#idle !== this.slot) {
      const idle = this.#idle
      this.#idle = -1
      this.released(idle)
    }
  }

  /** The current key, as it is kept. Only where it has a slot. */
  get currentKey(): unknown {
    return this.#keys[this.slot]
  }

  /** Equal for equal keys, as a Map compares. */
  identity(key: unknown): unknown {
    if (typeof key !== 'object' || key === null) return key
    const out = this.#keyBytes
    out.reset()
    this.keySerde.encode(key, out)
    return `\0${out.view().toString('latin1')}`
  }

  claim(): number {
    if (this.slot < 0) this.slot = this.#claimFor(this.#key)
    return this.slot
  }

  #claimFor(key: unknown): number {
    // Before there is a slot that nothing keeps yet.
    this.#disk?.budget.relieve()
    const identity = this.identity(key)
    const existing = this.#slots.get(identity)
    if (existing !== undefined) return existing
    const slot = this.#free.pop() ?? this.#keys.length
    this.rows.ensure(slot)
    this.#keys[slot] = ownBytes(key)
    this.#slots.set(identity, slot)
    if (this.#disk) this.#use(slot, this.#disk.budget)
    return slot
  }

  #use(slot: number, budget: CacheBudget): void {
    if (slot >= this.#used.length) {
      const grown = new Uint8Array(this.#used.length * 2)
      grown.set(this.#used)
      this.#used = grown
    }
    this.#used[slot] = 1
    this.#charge(budget)
  }

  /** Rows are as many as there ever were keys at a time; the rest is of those that are there. */
  get cacheBytes(): number {
    return this.slotCount * this.rows.stride * 4 + this.#slots.size * SLOT_BYTES + this.#valueBytes()
  }

  #valueBytes(): number {
    let bytes = 0
    for (const table of this.#tables) bytes += table.cacheBytes
    return bytes
  }

  #charge(budget: CacheBudget): void {
    if (this.#disposed) return
    const bytes = this.cacheBytes
    budget.charge(bytes - this.#charged)
    this.#charged = bytes
  }

  evict(bytes: number): number {
    const slots = this.slotCount
    let freed = 0
    // Two rounds: in the first one the hand may only take marks away. Not all at once: records are waiting.
    for (let left = Math.min(2 * slots, SLOTS_PER_EVICTION); left > 0 && freed < bytes; left--) {
      const slot = this.#hand
      this.#hand = slot + 1 < slots ? slot + 1 : 0
      if (this.#keys[slot] === undefined || slot === this.slot || slot === this.#idle) continue
      if (this.#used[slot] === 1) this.#used[slot] = 0
      else if (this.#tables.every((table) => table.onDisk(slot, this.#applied))) {
        const before = this.#valueBytes()
        for (const table of this.#tables) table.evict(slot)
        this.#forget(slot)
        freed += SLOT_BYTES + before - this.#valueBytes()
      }
    }
    this.#charged -= freed
    return freed
  }

  /** The disk has what the snapshot with this epoch, and those before, had. */
  applied(epoch: number): void {
    this.#applied = epoch
    const emptied = this.#emptied
    this.#emptied = []
    for (const slot of emptied) if (this.#keys[slot] !== undefined) this.released(slot)
    if (this.#disk) this.#charge(this.#disk.budget)
  }

  /** Of the snapshot that is being encoded, or of the next one. */
  get epoch(): number {
    return this.#tables[0]?.epoch ?? 0
  }

  /** Nothing is read from it any more. */
  dispose(): void {
    this.#disposed = true
    this.#disk?.budget.leave(this)
    this.#disk?.budget.charge(-this.#charged)
    this.#charged = 0
  }

  /** What a segment calls the states that a disk calls by number. */
  segmentStates(): [number, { index: number; identity: StateIdentity }][] {
    return this.#tables.map(({ stateIndex, identity }, column) => [
      this.#stateIds[column] as number,
      { index: stateIndex, identity },
    ])
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
    if (this.#disk && !this.#tables.every((table) => table.onDisk(slot, this.#applied))) {
      this.#emptied.push(slot)
      return
    }
    this.#forget(slot)
  }

  #forget(slot: number): void {
    this.#slots.delete(this.identity(this.#keys[slot]))
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

  /** How a state that a checkpoint has is read. @throws STATE_INCOMPATIBLE */
  readable(identity: StateIdentity): ReadableState & { readonly table: StateTable } {
    const table = this.#tables.find((each) => each.identity.name === identity.name)
    if (!table && identity.name === TIMERS) {
      const text = `the checkpoint has timers of operator '${identity.operator}', and its function has no onTimer any more: keep one that does nothing, or restore the old code`
      throw new MillraceError('STATE_INCOMPATIBLE', text)
    }
    const descriptor = this.#descriptors[identity.name]
    const found = table && descriptor && readable(identity, table.identity, descriptor)
    if (!found) {
      const is = table ? describeFormat(table.identity) : 'not declared'
      const text = `operator '${identity.operator}', state '${identity.name}': the checkpoint has ${describeFormat(identity)}; the pipeline has it ${is}. Say how old values become new ones (withMigration), give the changed state a new name, or restore the old code`
      throw new MillraceError('STATE_INCOMPATIBLE', text)
    }
    return { ...found, table }
  }

  /** The target of restored rows of one state. @throws STATE_INCOMPATIBLE */
  target(identity: StateIdentity): RowTarget {
    const found = this.readable(identity)
    const target: RowTarget = {
      apply: (op, key, at, value) => {
        const slot = this.#slotOfRow(key)
        found.table.restore(slot, op, at, value)
        // A row that puts something in keeps its slot.
        if (op !== Row.PUT) this.released(slot)
      },
    }
    const { table } = found
    if (found.convert || !(table instanceof NumberTable)) return converting(target, found)
    return { ...target, number: (key, value) => table.restoreNumber(this.#slotOfRow(key), value) }
  }

  /** Rows of one key follow each other, and share its bytes. */
  #slotOfRow(key: Buffer): number {
    const { slot } = this.#row
    if (key === this.#row.key && this.#keys[slot] !== undefined) return slot
    const own = this.keySerde.copies ? key : Buffer.from(key)
    this.#row = { key, slot: this.#claimFor(decodeState(this.keySerde, own)) }
    return this.#row.slot
  }

  /** A segment has been replayed: its memory is let go of. */
  replayed(): void {
    this.#row = NO_ROW
  }
}
