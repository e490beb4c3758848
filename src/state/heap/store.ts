// The keyed state of one operator in one task, on the heap: keys, by their bytes, to slots, one table per declared state. With a disk the
// slots are a cache in front of it. The disk has the last committed checkpoint: a key that comes is read from there, a slot
// may go when all of it is there, and changes get there by way of checkpoints (`TaskDisk.apply`).
import { assert } from '../../base/assert.ts'
import type { ByteWriter } from '../../base/byte-writer.ts'
import { wallMs } from '../../base/clock.ts'
import { type MapHead, type MapPage, readMap } from '../collections.ts'
import type { StateDescriptor, StateDescriptors } from '../descriptors.ts'
import type { CacheBudget, CachedStore, FoundOnDisk, TaskDisk } from '../disk.ts'
import { identityOf, type SegmentWriter, type StateIdentity } from '../segment.ts'
import { f64, type Serde } from '../serde.ts'
import { UNKNOWN_MS } from '../stamp.ts'
import { type Expiring, type ExpiringState, expiring, keptAs } from '../ttl.ts'
import { ClockHand } from './clock-hand.ts'
import { type FoldedValue, foldInto } from './fold.ts'
import { KeySlots, NO_SLOT } from './key-slots.ts'
import { MapTable } from './map-table.ts'
import { NumberPack } from './number-pack.ts'
import { Replay } from './replay.ts'
import { Rows } from './rows.ts'
import type { SlotOwner, StateTable } from './table.ts'
import { type Cursor, ListTable, NumberTable, ValueTable } from './tables.ts'

/** Rows between two looks at the clock. */
const ROWS_PER_LOOK = 64

/** No epoch is as low: not that of a slot which was restored either. */
const NOTHING_APPLIED = -1

/** Of keys of one size: where fewer can go, they are not looked for. A look that finds one passes many others. */
const FREE_SHARE_MIN = 1 / 16

/** The serde itself, not one that calls itself so. */
const isNumber = ({ kind, serde, ttl }: StateDescriptor<unknown>): boolean =>
  kind !== 'list' && kind !== 'map' && serde === f64 && !ttl

/** Reducing and aggregating states are values, too, that only change in another way. */
const tableOf = { value: ValueTable, reducing: ValueTable, aggregating: ValueTable, list: ListTable, map: MapTable }

export class HeapStore implements Cursor, CachedStore, SlotOwner {
  readonly operator: string
  readonly keySerde: Serde<unknown>
  /** What the user's function gets as `state`: one handle per descriptor, all speaking of the current key. */
  readonly handles: Readonly<Record<string, unknown>>
  readonly rows: Rows
  readonly #rowsPerLook: number
  readonly #tables: StateTable[] = []
  readonly #expiring: (Expiring<unknown> & Omit<ExpiringState, 'id'> & { readonly column: number })[] = []
  readonly #pack: NumberPack | null
  /** All states are numbers: keys are of one size. */
  readonly #areNumbers: boolean
  readonly #keys: KeySlots
  slot: number = NO_SLOT
  /** The current key's slot when nothing keeps it any more: freed when the cursor moves on. */
  #idle = NO_SLOT
  /** Slots that a snapshot looks at one after the other: those of a base, or all where most have changed. */
  #scanAt = 0
  #scanTo = 0
  #baseFrom = 0
  #baseTo = 0
  readonly #disk: TaskDisk | null
  /** The states' numbers on disk. */
  #stateIds: readonly number[] = []
  /** Of the key that is being read from there. */
  #loading = NO_SLOT
  /** It is restored, and the disk has nothing. */
  #replaying = false
  /** What is not here is not on disk either: it need not be asked. Until something goes. */
  #whole = false
  readonly #clock = new ClockHand()
  /** Slots with nothing in them that are kept until the disk knows it. */
  #emptied: number[] = []
  /** Of `cacheBytes`, what the budget knows of. */
  #charged = 0
  #disposed = false
  /** How checkpoints come back. */
  readonly replay: Replay

  constructor(
    operator: string,
    descriptors: StateDescriptors,
    keySerde: Serde<unknown>,
    rowsPerLook: number = ROWS_PER_LOOK,
    disk: TaskDisk | null = null,
  ) {
    this.#disk = disk
    this.#rowsPerLook = rowsPerLook
    this.operator = operator
    this.keySerde = keySerde
    const handles: Record<string, unknown> = {}
    const states = Object.values(descriptors)
    const numbers = states.filter(isNumber).length
    this.#areNumbers = numbers > 0 && numbers === states.length
    this.rows = new Rows(states.length, numbers)
    this.#pack = NumberPack.of(this.rows, keySerde, states.length, numbers)
    this.#keys = new KeySlots(keySerde, this.rows)
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
    this.replay = new Replay({
      descriptors,
      tables: this.#tables,
      keys: this.#keys,
      pack: this.#pack,
      claim: () => this.#claim(),
      released: (slot) => this.released(slot),
      ended: () => this.count(),
    })
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
      if (!this.#keys.has(slot)) continue
      this.#moveTo(slot)
      for (const state of this.#expiring) state.clean()
    }
  }

  /** The same of keys, as they are written. */
  cleanKeys(keys: readonly Buffer[]): void {
    for (const key of keys) {
      this.setKeyInState(key)
      for (const state of this.#expiring) state.clean()
    }
  }

  /** Every entry's key of a map state, of every key (its bytes: a view): for what is kept in memory besides. */
  async eachMapKey(state: string, found: (key: Buffer, mapKey: unknown) => void): Promise<void> {
    const column = this.#tables.findIndex(({ identity }) => identity.name === state)
    const table = this.#tables[column] as MapTable
    if (!this.#disk || this.#whole) {
      for (let slot = 0; slot < this.slotCount; slot++)
        for (const mapKey of table.keysOf(slot)) found(this.#keys.inState(slot), mapKey)
      return
    }
    await this.#disk.each(this.#stateIds[column] as number, (key, bytes) => {
      for (const mapKey of readMap(bytes).keys()) found(key, table.decodeKey(Buffer.from(mapKey, 'latin1')))
    })
  }

  /** The disk is restored: its states have their numbers. */
  attach(): void {
    const disk = this.#disk
    this.#replaying = false
    if (disk) this.#stateIds = this.#tables.map(({ identity }) => disk.stateId(identity))
  }

  /** All that the disk is to have comes here first, and stays until the disk has it (`applied`); none of it is counted as changed. */
  hold(): void {
    this.#replaying = true
    this.#whole = true
    for (const table of this.#tables) table.applied(NOTHING_APPLIED)
  }

  /** It does not: what came is forgotten, and the disk gets it by itself. */
  letGo(): void {
    for (let slot = 0; slot < this.slotCount; slot++) {
      if (!this.#keys.has(slot)) continue
      for (const table of this.#tables) table.evict(slot)
      this.#keys.forget(slot)
    }
    for (const table of this.#tables) table.applied(0)
    this.#emptied = []
    this.#clock.found()
    this.#replaying = false
    this.#whole = false
    this.count()
  }

  /** The budget knows what it takes now. */
  count(): void {
    if (this.#disk) this.#charge(this.#disk.budget)
  }

  get cached(): boolean {
    return this.#disk !== null
  }

  /** All handles speak of `key` from here on. */
  setKey(key: unknown): void {
    this.#arrive(this.#keys.seek(key))
  }

  /** The same for a key as state has it. */
  setKeyInState(key: Buffer): void {
    this.#arrive(this.#keys.seekInState(key, 0, key.length))
  }

  /** The same for the key that these bytes spell. False: nothing moved, the key may have another spelling, or no state here. */
  findKey(bytes: Buffer, start: number, length: number, hash: number): boolean {
    const slot = this.#keys.find(bytes, start, length, hash)
    if (slot < 0) return false
    this.#moveTo(slot)
    return true
  }

  #arrive(slot: number): void {
    this.#moveTo(slot < 0 && this.#disk ? this.#load(this.#disk) : slot)
  }

  /** −1: the disk has nothing of the key that was looked for. */
  #load(disk: TaskDisk): number {
    if (this.#whole) {
      disk.checkKey(this.#keys.soughtBytes)
      return NO_SLOT
    }
    this.#loading = NO_SLOT
    disk.read(this.#stateIds, this.#keys.soughtInState, this.#found)
    return this.#loading
  }

  readonly #found: FoundOnDisk = {
    value: (column, bytes) => (this.#tables[column] as StateTable).load(this.#slotToLoad(), bytes),
    number: (column, value) => (this.#tables[column] as StateTable).loadNumber(this.#slotToLoad(), value),
  }

  #slotToLoad(): number {
    if (this.#loading < 0) this.#loading = this.#claim()
    return this.#loading
  }

  listOnDisk(table: StateTable, slot: number, count: number): Buffer[] {
    return this.#diskOf(slot).readList(this.#idOf(table), this.#keys.inState(slot), count)
  }

  mapHeadOnDisk(table: StateTable, slot: number): MapHead {
    return this.#diskOf(slot).mapHead(this.#idOf(table), this.#keys.inState(slot))
  }

  mapPageOnDisk(table: StateTable, slot: number, page: MapPage): Buffer | undefined {
    return this.#diskOf(slot).readMapPage(this.#idOf(table), this.#keys.inState(slot), page)
  }

  #diskOf(slot: number): TaskDisk {
    assert(this.#disk, `part of slot ${slot} is on a disk that is not there`)
    return this.#disk
  }

  #idOf(table: StateTable): number {
    return this.#stateIds[this.#tables.indexOf(table)] as number
  }

  /** Brings what belongs to keys whose bytes have these hashes into the cache; the result has no meaning. */
  prefetch(hashes: Int32Array, count: number): number {
    return this.#keys.prefetch(hashes, count)
  }

  #moveTo(slot: number): void {
    this.slot = slot
    if (slot >= 0 && this.#disk) this.#clock.use(slot)
    if (this.#idle >= 0 && this.#idle !== this.slot) {
      const idle = this.#idle
      this.#idle = NO_SLOT
      this.released(idle)
    }
  }

  writeKey(slot: number, out: ByteWriter): void {
    this.#keys.writeKey(slot, out)
  }

  /** The current key as state has it, good until the next one is asked for. Only where it has a slot. */
  get currentKey(): Buffer {
    return this.#keys.inState(this.slot)
  }

  claim(): number {
    if (this.slot < 0) this.slot = this.#claim()
    return this.slot
  }

  /** For the key that was looked for last. */
  #claim(): number {
    this.#disk?.checkKey(this.#keys.soughtBytes)
    // Before there is a slot that nothing keeps yet.
    this.#disk?.budget.relieve()
    const slot = this.#keys.claim()
    if (this.#disk) this.#use(slot, this.#disk.budget)
    return slot
  }

  #use(slot: number, budget: CacheBudget): void {
    this.#clock.add(slot)
    this.#charge(budget)
  }

  get cacheBytes(): number {
    return this.#keys.bytes + this.#valueBytes()
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

  grown(): void {
    if (!this.#disk) return
    this.#charge(this.#disk.budget)
    this.#disk.budget.relieve()
  }

  evict(bytes: number): number {
    let freed = 0
    if (this.#fewCanGo) return freed
    const before = this.cacheBytes
    this.#clock.begin(this.slotCount)
    while (freed < bytes) {
      const slot = this.#clock.next()
      if (slot < 0) break
      if (slot === this.slot || slot === this.#idle || !this.#keys.has(slot) || !this.#allOnDisk(slot)) continue
      for (const table of this.#tables) table.evict(slot)
      this.#keys.forget(slot)
      this.#whole = false
      freed = before - this.cacheBytes
      this.#clock.found()
    }
    this.#charged -= freed
    return freed
  }

  #allOnDisk(slot: number): boolean {
    for (const table of this.#tables) if (!table.onDisk(slot)) return false
    return true
  }

  get held(): boolean {
    return this.#fewCanGo || this.#clock.foundNothing(this.slotCount)
  }

  /** It is known without a look. Where keys may differ in size, a few may be most of it. */
  get #fewCanGo(): boolean {
    if (!this.#areNumbers) return false
    let unapplied = 0
    for (const table of this.#tables) unapplied = Math.max(unapplied, table.unapplied)
    return this.keyCount - unapplied < this.keyCount * FREE_SHARE_MIN
  }

  /** The disk has what the snapshot with this epoch, and those before, had. */
  applied(epoch: number): void {
    for (const table of this.#tables) table.applied(epoch)
    this.#clock.found()
    const emptied = this.#emptied
    this.#emptied = []
    for (const slot of emptied) if (this.#keys.has(slot)) this.released(slot)
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

  /** A slot is used again only when nothing of it is left to be written. */
  released(slot: number): void {
    if (!this.#tables.every((table) => table.idle(slot))) return
    if (slot === this.slot) {
      this.#idle = slot
      return
    }
    if (this.#disk && !this.#replaying && !this.#allOnDisk(slot)) {
      this.#emptied.push(slot)
      return
    }
    this.#keys.forget(slot)
  }

  get slotCount(): number {
    return this.#keys.slotCount
  }

  get keyCount(): number {
    return this.#keys.keyCount
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
}
