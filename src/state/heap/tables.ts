// Values and lists on the heap, each kind as a table of slots and the handle that user code holds (maps: map-table.ts).

import { assert } from '../../base/assert.ts'
import { ByteWriter, bytesOf } from '../../base/byte-writer.ts'
import { readHead, splitItems } from '../collections.ts'
import type { ListState, StateDescriptor, ValueState } from '../descriptors.ts'
import { Row, type SegmentRows, type StateIdentity } from '../segment.ts'
import { indexOf } from '../segment-reader.ts'
import { decodeState, encodeState, f64, type Serde } from '../serde.ts'
import type { Rows } from './rows.ts'
import { ownBytes, type SlotOwner, StateTable, type Write } from './table.ts'

/** Which slot a handle speaks of: the current key's. */
export interface Cursor {
  /** −1: the key has no slot yet. */
  readonly slot: number
  /** The key's slot, made if needed. */
  claim(): number
}

/** From a copy, so that state does not hold the whole checkpoint file in memory. */
export function decodeCopy(serde: Serde<unknown>, bytes: Buffer): unknown {
  return decodeState(serde, Buffer.from(bytes))
}

/** What an object takes in memory, against its bytes as written: a guess. */
const OBJECT_FACTOR = 3

/** One of so many values that are put in is written to see how much it takes; of large ones fewer, so that it costs little. */
const MEASURED_EVERY = 16
const MEASURED_BYTES = 256
const measured = new ByteWriter(256)

/** A mean over about so many of late; 0: there was none. */
export const usually = (before: number, bytes: number): number =>
  before === 0 ? bytes : before + (bytes - before) / MEASURED_EVERY

/** What is kept as JavaScript has it. */
export abstract class ObjectTable extends StateTable {
  protected readonly values: unknown[] = []
  readonly #sizes: number[] | null = this.owner.cached ? [] : null
  /** What a value, an item or an entry takes as written: of those measured last. */
  #usual = 0
  #untilMeasured = 0

  protected override resize(slot: number, bytes: number): void {
    const sizes = this.#sizes
    if (!sizes) return
    const now = bytes * OBJECT_FACTOR
    this.cacheBytes += now - (sizes[slot] ?? 0)
    sizes[slot] = now
  }

  /** It takes so many more. */
  protected grow(slot: number, bytes: number): void {
    if (!this.#sizes) return
    this.resize(slot, (this.#sizes[slot] ?? 0) / OBJECT_FACTOR + bytes)
    this.owner.grown()
  }

  /** An item or entry was added, with so many bytes beside its value: until a snapshot writes it, it takes what they usually do. */
  protected added(slot: number, value: unknown, beside = 0): void {
    if (this.#sizes) this.grow(slot, this.#estimate(value) + beside)
  }

  override restored(slot: number, op: number, bytes: number): void {
    if (!this.#sizes) return
    const before = op === Row.LIST_APPEND ? (this.#sizes[slot] ?? 0) / OBJECT_FACTOR : 0
    this.resize(slot, op === Row.DELETE ? 0 : before + bytes)
  }

  /** A value took the place of another one: what that one took is as good a guess as any. */
  protected replaced(slot: number, value: unknown): void {
    if (!this.#sizes) return
    const before = (this.#sizes[slot] ?? 0) / OBJECT_FACTOR
    if (before > 0 && this.#untilMeasured > 0) this.#untilMeasured--
    else this.grow(slot, this.#estimate(value) - before)
  }

  #estimate(value: unknown): number {
    if (this.#untilMeasured-- > 0) return this.#usual
    measured.reset()
    try {
      encodeState(this.descriptor.serde, value, measured)
    } catch {
      // The snapshot tells what is wrong with it.
      return this.#usual
    }
    this.#untilMeasured = Math.max(MEASURED_EVERY, measured.position / MEASURED_BYTES)
    this.#usual = usually(this.#usual, measured.position)
    return measured.position
  }

  override has(slot: number): boolean {
    return this.values[slot] !== undefined
  }

  protected override erase(slot: number): void {
    this.values[slot] = undefined
  }
}

/** Values of `f64`, as doubles in the rows. */
export class NumberTable extends StateTable {
  readonly #rows: Rows
  readonly #numberColumn: number

  constructor(
    identity: StateIdentity,
    descriptor: StateDescriptor<unknown>,
    owner: SlotOwner,
    column: number,
    numberColumn: number,
  ) {
    super(identity, descriptor, owner, column)
    this.#rows = owner.rows
    this.#numberColumn = numberColumn
  }

  handle(cursor: Cursor): ValueState<unknown, undefined> {
    const rows = this.#rows
    const column = this.#numberColumn
    return {
      get: () =>
        ((cursor.slot < 0 ? undefined : rows.number(cursor.slot, column)) ?? this.descriptor.initial?.()) as undefined,
      set: (value) => {
        if (typeof value !== 'number')
          throw new TypeError(`state '${this.identity.name}': a number expected, ${typeof value} found`)
        const slot = cursor.claim()
        this.mark(slot)
        rows.setNumber(slot, column, value)
      },
      clear: () => {
        if (cursor.slot >= 0) this.clear(cursor.slot)
      },
    }
  }

  override has(slot: number): boolean {
    return this.#rows.number(slot, this.#numberColumn) !== undefined
  }

  protected override erase(slot: number): void {
    this.#rows.removeNumber(slot, this.#numberColumn)
  }

  protected override encodeSlot(writer: SegmentRows, slot: number): number {
    const value = this.#rows.number(slot, this.#numberColumn) as number
    writer.number(this.stateIndex, this.owner, slot, value)
    return 1
  }

  override loadNumber(slot: number, value: number): void {
    this.#rows.setNumber(slot, this.#numberColumn, value)
  }

  override restore(slot: number, op: number, _at: Buffer | null, value: Buffer | null): void {
    if (op === Row.PUT && value) this.loadNumber(slot, f64.decode(value, 0, value.length))
    else this.erase(slot)
  }
}

export class ValueTable extends ObjectTable {
  handle(cursor: Cursor): ValueState<unknown, undefined> {
    const initial = (this.descriptor.initial ?? (() => undefined)) as () => object | undefined
    return {
      get: () => {
        if (cursor.slot < 0) return initial()
        const value = this.values[cursor.slot]
        if (value === undefined) return initial()
        if (typeof value === 'object') this.touch(cursor.slot)
        return value as object
      },
      set: (value) => {
        if (value === undefined) throw new TypeError(`state '${this.identity.name}': set(undefined); use clear()`)
        const slot = cursor.claim()
        this.mark(slot)
        this.values[slot] = ownBytes(value)
        this.replaced(slot, value)
      },
      clear: () => {
        if (cursor.slot >= 0) this.clear(cursor.slot)
      },
    }
  }

  protected override encodeSlot(writer: SegmentRows, slot: number): number {
    const value = this.values[slot]
    this.row(writer, slot, Row.PUT, null, (out) => encodeState(this.descriptor.serde, value, out))
    return 1
  }

  override restore(slot: number, op: number, _at: Buffer | null, value: Buffer | null): void {
    this.values[slot] = op === Row.PUT && value ? decodeCopy(this.descriptor.serde, value) : undefined
  }
}

class ListSlot {
  /** Items in front that are on disk and not here: what is appended does not need them. */
  before = 0
  items: unknown[] = []
  /** The user may hold `items`: what is appended goes into a copy. */
  shared = false
  /** How many of all items earlier checkpoints hold: the rest is appended by the next delta. */
  written = 0
}

/** A row of items takes no more when it is so long: no row is as long as a list may be. */
const ROW_BYTES = 64 * 1024

export class ListTable extends ObjectTable {
  handle(cursor: Cursor): ListState<unknown> {
    return {
      get: () => {
        const list = this.#at(cursor.slot)
        if (!list) return []
        this.touch(cursor.slot)
        if (list.before > 0) this.#fetch(list, cursor.slot)
        list.shared = true
        return list.items as readonly object[]
      },
      add: (value) => this.#append(cursor.claim(), value),
      addAll: (values) => {
        for (const value of values) this.#append(cursor.claim(), value)
      },
      set: (values) => {
        const list = new ListSlot()
        list.items = Array.from(values, ownBytes)
        if (list.items.length === 0 && cursor.slot < 0) return
        const slot = cursor.claim()
        this.mark(slot)
        this.values[slot] = list.items.length > 0 ? list : undefined
        this.resize(slot, 0)
        for (const item of list.items) this.added(slot, item)
      },
      clear: () => {
        if (cursor.slot >= 0) this.clear(cursor.slot)
      },
    }
  }

  #at(slot: number): ListSlot | undefined {
    return slot < 0 ? undefined : (this.values[slot] as ListSlot | undefined)
  }

  /** What was left on disk is wanted now. */
  #fetch(list: ListSlot, slot: number): void {
    const fetched = this.owner.listOnDisk(this, slot, list.before)
    list.items = [...fetched.map((bytes) => decodeCopy(this.descriptor.serde, bytes)), ...list.items]
    list.before = 0
    this.grow(slot, bytesOf(fetched))
  }

  override load(slot: number, bytes: Buffer): void {
    const head = readHead(bytes)
    if (head.items) return super.load(slot, head.items)
    const list = new ListSlot()
    list.before = head.count
    list.written = head.count
    this.values[slot] = list
    this.resize(slot, bytes.length)
  }

  #append(slot: number, value: unknown): void {
    this.mark(slot)
    let list = this.#at(slot)
    if (!list) {
      list = new ListSlot()
      this.values[slot] = list
    }
    if (list.shared) list.items = list.items.slice()
    list.shared = false
    list.items.push(ownBytes(value))
    this.added(slot, value)
  }

  protected override encodeSlot(writer: SegmentRows, slot: number, full: boolean): number {
    const list = this.values[slot] as ListSlot
    const { before, items } = list
    const count = before + items.length
    const first = full ? 0 : list.written
    assert(first >= before, 'I2: a base of a list that is on disk')
    for (let from = first; from < count; ) {
      let written = 0
      const writeItems: Write = (out) => {
        written = encodeItems(this.descriptor.serde, items, from - before, out)
      }
      const index = from
      if (from === 0) this.row(writer, slot, Row.PUT, null, writeItems)
      else this.row(writer, slot, Row.LIST_APPEND, (out) => out.uvarint(index), writeItems)
      from += written
    }
    list.written = count
    return items.length / Math.max(1, count - first)
  }

  override restore(slot: number, op: number, at: Buffer | null, value: Buffer | null): void {
    if (op === Row.DELETE || !value) {
      this.values[slot] = undefined
      return
    }
    const list = op === Row.LIST_APPEND ? (this.#at(slot) ?? new ListSlot()) : new ListSlot()
    if (op === Row.LIST_APPEND) {
      const from = indexOf(at)
      // Of a base whose slice with this key comes later in the chain.
      if (from > list.items.length) return
      list.items.length = from
    }
    for (const item of splitItems(value)) list.items.push(decodeCopy(this.descriptor.serde, item))
    list.written = list.items.length
    this.values[slot] = list
  }
}

const itemScratch = new ByteWriter(256)

/** Items from `from` on, as many as a row takes; gives how many. */
function encodeItems(serde: Serde<unknown>, items: readonly unknown[], from: number, out: ByteWriter): number {
  const end = out.position + ROW_BYTES
  let at = from
  for (; at < items.length && out.position < end; at++) {
    itemScratch.reset()
    encodeState(serde, items[at], itemScratch)
    out.uvarint(itemScratch.position)
    out.bytes(itemScratch.buffer, 0, itemScratch.position)
  }
  return at - from
}
