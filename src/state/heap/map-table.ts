// Maps per key: live entries, found by what identifies their keys, and gone through in the order of their keys' bytes. With a disk a long map is
// there in pages (leveldb/maps.ts), which are read when something between their bounds is asked for. What has not been read cannot
// have changed here, so its entries are on disk as they were; which pages hold them, the disk may change.
import { assert } from '../../base/assert.ts'
import { ByteWriter } from '../../base/byte-writer.ts'
import { type MapBounds, type MapPage, readMap, readMapHead } from '../collections.ts'
import type { MapRange, MapState } from '../descriptors.ts'
import { Row, type SegmentRows } from '../segment.ts'
import { decodeState, encodeState, type Serde } from '../serde.ts'
import { oneSpelling } from './key-slots.ts'
import { ownBytes, type Write } from './table.ts'
import { type Cursor, decodeCopy, ObjectTable } from './tables.ts'

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
  unread: readonly MapPage[] = []
  /** The entries that are here in their order; null: it is not known. */
  sorted: readonly MapEntry[] | null = null
}

const scratch = new ByteWriter(256)
const EVERYTHING: MapBounds = { from: '', to: null }
/** The disk may cut a page while it is looked for: so often, never. */
const LOOKS_MAX = 100
const UNSTABLE = 'no page of a map on disk has what its head says'

export class MapTable extends ObjectTable {
  readonly #keySerde: Serde<unknown> = this.descriptor.mapKey ?? this.descriptor.serde

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
      map.unread = head.pages
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
    for (let looks = 0; ; looks++) {
      const page = pageAt(map.unread, order)
      if (!page || this.#read(map, slot, page)) return
      assert(looks < LOOKS_MAX, UNSTABLE)
    }
  }

  /** Gives its entries in their order. null: the disk has other pages now, and they are known. */
  #read(map: MapSlot, slot: number, page: MapPage): readonly MapEntry[] | null {
    const pairs = this.owner.mapPageOnDisk(this, slot, page)
    if (pairs) {
      map.unread = map.unread.filter((each) => each !== page)
      this.grow(slot, pairs.length)
      return this.#take(map, pairs, page)
    }
    const head = this.owner.mapHeadOnDisk(this, slot)
    if (head.pairs) {
      for (const bounds of map.unread) this.#take(map, head.pairs, bounds)
      this.grow(slot, head.pairs.length)
      map.unread = []
    } else map.unread = within(head.pages, map.unread)
    return null
  }

  /** Entries from disk that are within the bounds: of others what is here, or is not here, goes. */
  #take(map: MapSlot, pairs: Buffer, bounds: MapBounds): MapEntry[] {
    const taken: MapEntry[] = []
    for (const [order, bytes] of readMap(pairs)) {
      if (!isInside(order, bounds)) continue
      const key = this.decodeKey(Buffer.from(order, 'latin1'))
      const entry = { key, value: decodeCopy(this.descriptor.serde, bytes), order }
      map.entries.set(this.#identity(key), entry)
      taken.push(entry)
    }
    map.sorted = null
    return taken
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
      map.entries.set(identity, { key: ownBytes(key), value: ownBytes(value), order: undefined })
      map.count++
      map.sorted = null
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
    map.sorted = null
    map.dirty.set(identity, entry.key)
    if (map.count === 0) this.values[slot] = undefined
  }

  /** What there was at the beginning and is there still. */
  *#ordered(slot: number, range: MapRange<unknown> | undefined): Generator<MapEntry> {
    const map = this.#at(slot)
    if (!map) return
    this.touch(slot)
    const bounds = {
      from: range?.from === undefined ? '' : this.#bytesOf(oneSpelling(range.from)),
      to: range?.to === undefined ? null : this.#bytesOf(oneSpelling(range.to)),
    }
    const parts = this.#partsOf(map, bounds)
    if (range?.reverse) parts.reverse()
    for (const part of parts) {
      const entries = 'page' in part ? this.#entriesOf(map, slot, part, bounds) : part.entries
      for (const entry of range?.reverse ? entries.toReversed() : entries) {
        if (this.values[slot] !== map) return
        if (map.entries.get(this.#identity(entry.key)) === entry) yield entry
      }
    }
  }

  #sortedOf(map: MapSlot): readonly MapEntry[] {
    map.sorted ??= [...map.entries.values()].sort((a, b) => (this.#orderOf(a) < this.#orderOf(b) ? -1 : 1))
    return map.sorted
  }

  /** The entries that are here, from the first one at `from` or behind. */
  #between(map: MapSlot, { from, to }: MapBounds): readonly MapEntry[] {
    const sorted = this.#sortedOf(map)
    const start = from === '' ? 0 : this.#firstAt(sorted, from)
    return sorted.slice(start, to === null ? sorted.length : Math.max(start, this.#firstAt(sorted, to)))
  }

  #firstAt(sorted: readonly MapEntry[], order: string): number {
    let low = 0
    for (let high = sorted.length; low < high; ) {
      const middle = (low + high) >> 1
      if (this.#orderOf(sorted[middle] as MapEntry) < order) low = middle + 1
      else high = middle
    }
    return low
  }

  /** What is within the bounds, by turns entries that are here and pages that are not. */
  #partsOf(map: MapSlot, bounds: MapBounds): ({ readonly entries: readonly MapEntry[] } | MapPage)[] {
    const parts: ({ readonly entries: readonly MapEntry[] } | MapPage)[] = []
    let { from } = bounds
    for (const page of within(map.unread, [bounds])) {
      parts.push({ entries: this.#between(map, { from, to: page.from }) }, page)
      // Nothing that is here is between the page's bounds.
      from = page.from
    }
    return [...parts, { entries: this.#between(map, { from, to: bounds.to }) }]
  }

  /** What is within the page's bounds and these: it is read, if nobody has done it meanwhile. */
  #entriesOf(map: MapSlot, slot: number, page: MapPage, bounds: MapBounds): readonly MapEntry[] {
    for (let looks = 0; ; looks++) {
      const [part] = within(map.unread, [page])
      if (!part) return within([page], [bounds]).flatMap((inside) => this.#between(map, inside))
      const unread = map.unread.find((each) => each.page === part.page) as MapPage
      const entries = this.#read(map, slot, unread)
      if (entries && unread.from === page.from && unread.to === page.to)
        return entries.filter(({ order }) => isInside(order as string, bounds))
      assert(looks < LOOKS_MAX, UNSTABLE)
    }
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
    return map.entries.size / Math.max(1, written)
  }

  override restore(slot: number, op: number, mapKey: Buffer | null, value: Buffer | null): void {
    if (op === Row.DELETE || !mapKey) {
      this.values[slot] = undefined
      return
    }
    const map = this.#at(slot) ?? new MapSlot()
    map.fresh = false
    map.sorted = null
    const key = this.decodeKey(Buffer.from(mapKey))
    if (op === Row.MAP_PUT && value)
      map.entries.set(this.#identity(key), {
        ...{ key, value: decodeCopy(this.descriptor.serde, value), order: undefined },
      })
    else map.entries.delete(this.#identity(key))
    map.count = map.entries.size
    this.values[slot] = map.count > 0 ? map : undefined
  }
}

/** Of pages in their order, the one with the place of `order`. */
function pageAt(pages: readonly MapPage[], order: string): MapPage | undefined {
  let low = 0
  for (let high = pages.length; high - low > 1; ) {
    const middle = (low + high) >> 1
    if ((pages[middle] as MapPage).from <= order) low = middle
    else high = middle
  }
  const page = pages[low]
  return page && page.from <= order && (page.to === null || order < page.to) ? page : undefined
}

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

const isInside = (order: string, { from, to }: MapBounds): boolean => order >= from && (to === null || order < to)

/** `a` ends where `b` begins, or before. */
const isBelow = (a: MapBounds, b: MapBounds): boolean => a.to !== null && a.to <= b.from

const lower = (a: string | null, b: string | null): string | null => (a === null ? b : b === null || a < b ? a : b)
