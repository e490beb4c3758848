// Maps per key: live entries, found by what identifies their keys, and gone through in the order of their keys' bytes. With a disk a long map is
// there in pages (leveldb/maps.ts), which are read when something between their bounds is asked for. What has not been read cannot
// have changed here, so its entries are on disk as they were; which pages hold them, the disk may change.
import { assert } from '../../base/assert.ts'
import { ByteWriter } from '../../base/byte-writer.ts'
import { firstWhere } from '../../base/search.ts'
import { type MapBounds, type MapPage, readMap, readMapHead } from '../collections.ts'
import type { MapRange, MapState } from '../descriptors.ts'
import { Row, type SegmentRows } from '../segment.ts'
import { decodeState, encodeState, type Serde } from '../serde.ts'
import { oneSpelling } from './key-slots.ts'
import { OrderedBlocks } from './ordered-blocks.ts'
import { ownBytes, type Write } from './table.ts'
import { type Cursor, decodeCopy, ObjectTable, usually } from './tables.ts'

interface MapEntry {
  readonly key: unknown
  value: unknown
  /** The key's bytes (latin1), once they were asked for. */
  order: string | undefined
}

class MapSlot {
  /** Of those that are here. */
  readonly entries = new Map<unknown, MapEntry>()
  /** Identities changed since the last checkpoint. */
  dirty = new Map<unknown, unknown>()
  /** The map began anew (cleared, or never written): the next delta deletes the key first. */
  fresh = true
  /** Of all entries. */
  count = 0
  /** Pages that were not read, in their order. */
  unread: MapPage[] = []
  /** The entries that are here in their order, once somebody asked for it. */
  ordered: OrderedBlocks<MapEntry> | null = null
}

const scratch = new ByteWriter(256)
const EVERYTHING: MapBounds = { from: '', to: null }
/** The disk may cut a page while it is looked for: so often, never. */
const LOOKS_MAX = 100
/** A guess, until they are written. */
const OTHER_KEY_BYTES = 8
/** Of those that are gone through: taken at a time. */
const ENTRIES_PER_LOOK = 64

export class MapTable extends ObjectTable {
  readonly #keySerde: Serde<unknown> = this.descriptor.mapKey ?? this.descriptor.serde
  /** What an entry takes that is restored, of those of late. */
  #restoredBytes = 0

  #at(slot: number): MapSlot | undefined {
    return slot < 0 ? undefined : (this.values[slot] as MapSlot | undefined)
  }

  /** Of the entries of a slot, which are all here. */
  keysOf(slot: number): unknown[] {
    return [...(this.#at(slot)?.entries.values() ?? [])].map(({ key }) => key)
  }

  decodeKey(bytes: Buffer): unknown {
    return decodeState(this.#keySerde, bytes)
  }

  override load(slot: number, bytes: Buffer): void {
    const head = readMapHead(bytes)
    const map = new MapSlot()
    map.fresh = false
    if (head.pairs) {
      this.#take(map, head.pairs, EVERYTHING)
      map.count = map.entries.size
    } else {
      map.count = head.count
      map.unread = [...head.pages]
    }
    this.values[slot] = map
    this.resize(slot, bytes.length)
  }

  handle(cursor: Cursor): MapState<unknown, unknown> {
    const find = (key: unknown): MapEntry | undefined => {
      const map = this.#at(cursor.slot)
      if (!map) return undefined
      this.#reach(map, cursor.slot, key)
      return map.entries.get(this.#identity(key))
    }
    const ordered = (range: MapRange<unknown> | undefined) => this.#ordered(cursor.slot, range)
    const table = this
    return {
      get: (key) => {
        const value = find(key)?.value
        if (typeof value === 'object') this.touch(cursor.slot)
        return value as object | undefined
      },
      set: (key, value) => this.#put(cursor.claim(), key, value),
      has: (key) => find(key) !== undefined,
      delete: (key) => this.#remove(cursor.slot, key),
      *keys(range) {
        for (const entry of ordered(range)) yield entry.key
      },
      *values(range) {
        for (const entry of ordered(range)) yield entry.value as object
      },
      *entries(range) {
        for (const entry of ordered(range)) yield [entry.key, entry.value as object]
      },
      get size() {
        return table.#at(cursor.slot)?.count ?? 0
      },
      clear: () => {
        if (cursor.slot >= 0) this.clear(cursor.slot)
      },
    }
  }

  /** Primitives are their own identity; other keys are identified by their bytes. */
  #identity(key: unknown): unknown {
    return typeof key !== 'object' || key === null ? key : `\0${this.#bytesOf(key)}`
  }

  #bytesOf(key: unknown): string {
    scratch.reset()
    encodeState(this.#keySerde, key, scratch)
    return scratch.view().toString('latin1')
  }

  #orderOf(entry: MapEntry): string {
    entry.order ??= this.#bytesOf(entry.key)
    return entry.order
  }

  /** The page with the place of `key` is read, if it was not. */
  #reach(map: MapSlot, slot: number, key: unknown): void {
    if (map.unread.length === 0) return
    const order = this.#bytesOf(oneSpelling(key))
    this.#readAll(map, slot, () => {
      const at = firstBehind(map.unread, order)
      const page = map.unread[at]
      return page && page.from <= order ? at : -1
    })
  }

  /** Reads a page after the other, as long as `next` gives the place of one among those that were not read; −1: none. */
  #readAll(map: MapSlot, slot: number, next: () => number): void {
    for (let looks = 0, at = next(); at >= 0; at = next()) {
      if (this.#read(map, slot, at)) continue
      assert(++looks < LOOKS_MAX, 'no page of a map on disk has what its head says')
    }
  }

  /** False: the disk has other pages now, and they are known. */
  #read(map: MapSlot, slot: number, at: number): boolean {
    const page = map.unread[at] as MapPage
    const pairs = this.owner.mapPageOnDisk(this, slot, page)
    if (pairs) {
      map.unread.splice(at, 1)
      this.#take(map, pairs, page)
      this.grow(slot, pairs.length)
      return true
    }
    const head = this.owner.mapHeadOnDisk(this, slot)
    if (head.pairs) {
      for (const bounds of map.unread) this.#take(map, head.pairs, bounds)
      this.grow(slot, head.pairs.length)
      map.unread = []
    } else map.unread = within(head.pages, map.unread)
    return false
  }

  /** Entries from disk that are within the bounds: of others what is here, or is not here, goes. */
  #take(map: MapSlot, pairs: Buffer, bounds: MapBounds): void {
    for (const [order, bytes] of readMap(pairs)) {
      if (order < bounds.from || (bounds.to !== null && order >= bounds.to)) continue
      const key = this.decodeKey(Buffer.from(order, 'latin1'))
      const entry = { key, value: decodeCopy(this.descriptor.serde, bytes), order }
      map.entries.set(this.#identity(key), entry)
      map.ordered?.insert(entry)
    }
  }

  #put(slot: number, given: unknown, value: unknown): void {
    const key = oneSpelling(given)
    this.mark(slot)
    let map = this.#at(slot)
    if (!map) {
      map = new MapSlot()
      this.values[slot] = map
    }
    this.#reach(map, slot, key)
    const identity = this.#identity(key)
    const entry = map.entries.get(identity)
    if (entry) entry.value = ownBytes(value)
    else {
      const added: MapEntry = { key: ownBytes(key), value: ownBytes(value), order: undefined }
      map.entries.set(identity, added)
      map.count++
      map.ordered?.insert(added)
      this.added(slot, value, typeof key === 'string' ? key.length : OTHER_KEY_BYTES)
    }
    map.dirty.set(identity, entry?.key ?? ownBytes(key))
  }

  #remove(slot: number, key: unknown): void {
    const map = this.#at(slot)
    if (!map) return
    this.#reach(map, slot, key)
    const identity = this.#identity(key)
    const entry = map.entries.get(identity)
    if (!entry) return
    this.mark(slot)
    map.entries.delete(identity)
    map.count--
    map.ordered?.delete(entry)
    map.dirty.set(identity, entry.key)
    if (map.count === 0) this.values[slot] = undefined
  }

  /** Some at a time: what is changed on the way may be seen or not, but nothing twice, and nothing that is gone. */
  *#ordered(slot: number, range: MapRange<unknown> | undefined): Generator<MapEntry> {
    const map = this.#at(slot)
    if (!map) return
    this.touch(slot)
    let from = range?.from === undefined ? '' : this.#bytesOf(oneSpelling(range.from))
    let to = range?.to === undefined ? null : this.#bytesOf(oneSpelling(range.to))
    for (;;) {
      const entries = range?.reverse ? this.#lastOf(map, slot, { from, to }) : this.#firstOf(map, slot, { from, to })
      for (const entry of entries) {
        if (this.values[slot] !== map) return
        if (map.entries.get(this.#identity(entry.key)) === entry) yield entry
      }
      const last = entries.at(-1)
      if (!last) return
      if (range?.reverse) to = this.#orderOf(last)
      else from = behind(this.#orderOf(last))
    }
  }

  #orderedOf(map: MapSlot): OrderedBlocks<MapEntry> {
    map.ordered ??= new OrderedBlocks([...map.entries.values()], (entry) => this.#orderOf(entry))
    return map.ordered
  }

  /** The first entries within the bounds; a page that comes before them is read. */
  #firstOf(map: MapSlot, slot: number, { from, to }: MapBounds): readonly MapEntry[] {
    const ordered = this.#orderedOf(map)
    const nextPage = (): MapPage | undefined => map.unread[firstBehind(map.unread, from)]
    this.#readAll(map, slot, () => {
      const page = nextPage()
      const [first] = ordered.first(from, null, 1)
      const limit = lower(to, first ? this.#orderOf(first) : null)
      return page && (limit === null || page.from < limit) ? firstBehind(map.unread, from) : -1
    })
    return ordered.first(from, lower(to, nextPage()?.from ?? null), ENTRIES_PER_LOOK)
  }

  /** The last entries within the bounds, the last one first; a page that comes behind them is read. */
  #lastOf(map: MapSlot, slot: number, { from, to }: MapBounds): readonly MapEntry[] {
    const ordered = this.#orderedOf(map)
    const lastPage = (): number => (to === null ? map.unread.length : firstFrom(map.unread, to)) - 1
    this.#readAll(map, slot, () => {
      const page = map.unread[lastPage()]
      const [last] = ordered.last('', to, 1)
      const isWithin = page !== undefined && (page.to === null || page.to > from)
      return isWithin && (!last || page.from > this.#orderOf(last)) ? lastPage() : -1
    })
    const below = map.unread[lastPage()]?.to ?? ''
    return ordered.last(below > from ? below : from, to, ENTRIES_PER_LOOK)
  }

  protected override encodeSlot(writer: SegmentRows, slot: number, full: boolean): number {
    const map = this.values[slot] as MapSlot
    const whole = full || map.fresh
    assert(!whole || map.unread.length === 0, 'I2: a base of a map that is on disk')
    if (whole) this.row(writer, slot, Row.DELETE, null, null)
    const changed = whole ? map.entries.keys() : map.dirty.keys()
    for (const identity of changed) {
      const entry = map.entries.get(identity)
      const key = entry ? entry.key : map.dirty.get(identity)
      const writeMapKey: Write = (out) => encodeState(this.#keySerde, key, out)
      if (!entry) this.row(writer, slot, Row.MAP_DELETE, writeMapKey, null)
      else {
        const writeValue: Write = (out) => encodeState(this.descriptor.serde, entry.value, out)
        this.row(writer, slot, Row.MAP_PUT, writeMapKey, writeValue)
      }
    }
    const written = whole ? map.entries.size : map.dirty.size
    map.dirty = new Map()
    map.fresh = false
    // A page that was not read is known by its bounds, which take about as much as an entry.
    return (map.entries.size + map.unread.length) / Math.max(1, written)
  }

  override restore(slot: number, op: number, mapKey: Buffer | null, value: Buffer | null): void {
    if (op === Row.DELETE || !mapKey) {
      this.values[slot] = undefined
      return
    }
    const map = this.#at(slot) ?? new MapSlot()
    map.fresh = false
    const key = this.decodeKey(Buffer.from(mapKey))
    if (op === Row.MAP_PUT && value)
      map.entries.set(this.#identity(key), { key, value: decodeCopy(this.descriptor.serde, value), order: undefined })
    else map.entries.delete(this.#identity(key))
    map.count = map.entries.size
    this.values[slot] = map.count > 0 ? map : undefined
  }

  /** Entries come again and go: a map takes as many times what one usually does. */
  override restored(slot: number, op: number, bytes: number): void {
    if (!this.owner.cached) return
    if (op === Row.MAP_PUT) this.#restoredBytes = usually(this.#restoredBytes, bytes)
    this.resize(slot, this.#restoredBytes * (this.#at(slot)?.entries.size ?? 0))
  }
}

/** The first page that ends behind `order`. */
const firstBehind = (pages: readonly MapPage[], order: string): number =>
  firstWhere(pages, ({ to }) => to === null || to > order)

/** The first page that begins at `order` or behind. */
const firstFrom = (pages: readonly MapPage[], order: string): number => firstWhere(pages, ({ from }) => from >= order)

/** What comes directly behind, in the order of bytes. */
const behind = (order: string): string => `${order}\0`

/** The parts of pages that lie within some bounds; both in their order. */
function within(pages: readonly MapPage[], bounds: readonly MapBounds[]): MapPage[] {
  const parts: MapPage[] = []
  let next = 0
  for (const page of pages) {
    while (next < bounds.length && isBelow(bounds[next] as MapBounds, page)) next++
    for (let at = next; at < bounds.length && !isBelow(page, bounds[at] as MapBounds); at++) {
      const { from, to } = bounds[at] as MapBounds
      parts.push({ page: page.page, from: from > page.from ? from : page.from, to: lower(to, page.to) })
    }
  }
  return parts
}

/** `a` ends where `b` begins, or before. */
const isBelow = (a: MapBounds, b: MapBounds): boolean => a.to !== null && a.to <= b.from

const lower = (a: string | null, b: string | null): string | null => (a === null ? b : b === null || a < b ? a : b)
