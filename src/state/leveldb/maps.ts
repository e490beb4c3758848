// A map of a key on disk: a short one in one entry, a longer one in pages, each with the entries between two bounds, so that a change reads and
// writes a page, and what nobody asks for is not read. Pages that grow are cut, empty ones go.
//
//   head   collections.ts
//   page   lower bound · u8 1 · upper bound, or u8 0: it has none · pairs, in the order of their keys' bytes     (under the head's name · u32 its number)
import { assert } from '../../base/assert.ts'
import { ByteReader } from '../../base/byte-reader.ts'
import { ByteWriter } from '../../base/byte-writer.ts'
import { firstWhere } from '../../base/search.ts'
import {
  type DiskMap,
  inOrder,
  type MapBounds,
  type MapPage,
  readMap,
  readMapHead,
  writeMap,
  writeMapHead,
} from '../collections.ts'
import type { LevelDatabase } from './database.ts'
import { partName } from './lists.ts'
import type { Puts } from './puts.ts'

/** Of a page that is cut when it has more. */
export const PAGE_BYTES = 4_096
/** How full its parts are then. */
const FILLED = 0.75

/** What stands in a page's entry. */
export function pageOf(bytes: Buffer): MapBounds & { readonly pairs: Buffer } {
  const reader = new ByteReader(bytes)
  const from = reader.lengthPrefixed().toString('latin1')
  const to = reader.boolean() ? reader.lengthPrefixed().toString('latin1') : null
  return { from, to, pairs: reader.bytes(reader.remaining) }
}

/** The pairs of a page as it is now, if it has all of what is within these bounds; undefined: look into the head. */
export function readMapPage(db: LevelDatabase, head: Buffer, { page, from, to }: MapPage): Buffer | undefined {
  const bytes = db.get(partName(head, page))
  const found = bytes && pageOf(bytes)
  if (!found || found.from > from) return undefined
  return found.to === null || (to !== null && to <= found.to) ? found.pairs : undefined
}

interface Page {
  from: string
  readonly number: number
  /** Its entries, once they were read. */
  entries: DiskMap | null
  changed: boolean
  /** It has an entry of its own on disk. */
  readonly isOnDisk: boolean
}

const sizeOf = (key: string, value: Buffer): number => key.length + value.length

/** A map that a batch changes. */
export class MapWrite {
  readonly #db: LevelDatabase
  readonly #puts: Puts
  readonly #name: Buffer
  readonly #pageBytes: number
  /** In the order of their bounds. */
  #pages: Page[]
  #count: number
  #nextNumber: number
  /** That were read or put: what is held, and written in the end. */
  entriesHeld = 0
  bytesHeld = 0

  constructor(db: LevelDatabase, puts: Puts, name: Buffer, pageBytes: number) {
    this.#db = db
    this.#puts = puts
    this.#name = Buffer.from(name)
    this.#pageBytes = pageBytes
    const bytes = db.get(name)
    const head = bytes && readMapHead(bytes)
    if (!head || head.pairs) {
      const entries: DiskMap = head ? readMap(head.pairs) : new Map()
      this.#pages = [{ from: '', number: 0, entries, changed: false, isOnDisk: false }]
      this.#count = entries.size
      this.#nextNumber = 1
    } else {
      this.#pages = head.pages.map(({ page, from }) => ({
        ...{ from, number: page },
        ...{ entries: null, changed: false, isOnDisk: true },
      }))
      this.#count = head.count
      this.#nextNumber = head.pages.reduce((highest, { page }) => Math.max(highest, page), 0) + 1
    }
  }

  /** The page with the place of `key`, and its entries to be changed. */
  #entriesOf(key: string): DiskMap {
    const above = firstWhere(this.#pages, ({ from }) => from > key)
    const page = this.#pages[Math.max(0, above - 1)] as Page
    // The lowest one so far.
    if (key < page.from) page.from = ''
    return this.#change(page)
  }

  #change(page: Page): DiskMap {
    page.changed = true
    page.entries ??= this.#read(page)
    return page.entries
  }

  #read({ number }: Page): DiskMap {
    const bytes = this.#db.get(partName(this.#name, number))
    assert(bytes, `a map on disk has no page ${number}`)
    const entries = readMap(pageOf(bytes).pairs)
    this.#hold(entries.size, bytes.length)
    return entries
  }

  #hold(entries: number, bytes: number): void {
    this.entriesHeld += entries
    this.bytesHeld += bytes
  }

  put(key: string, value: Buffer): void {
    this.#hold(1, sizeOf(key, value))
    const entries = this.#entriesOf(key)
    if (!entries.has(key)) this.#count++
    entries.set(key, Buffer.from(value))
  }

  delete(key: string): void {
    if (this.#entriesOf(key).delete(key)) this.#count--
  }

  clear(): void {
    for (const page of this.#pages) this.#drop(page)
    this.#pages = [{ from: '', number: this.#nextNumber++, entries: new Map(), changed: true, isOnDisk: false }]
    this.#count = 0
  }

  #drop({ number, isOnDisk }: Page): void {
    if (isOnDisk) this.#puts.delete(partName(this.#name, number))
  }

  /** Writes what is not written yet. */
  finish(): void {
    if (!this.#pages.some(({ changed }) => changed)) return
    const pages: Page[] = []
    for (const page of this.#pages) {
      const parts = page.changed ? this.#cut(page) : [page]
      const before = pages.at(-1)
      // The bounds of the one before are others now.
      if (parts.length === 0 && before) this.#change(before)
      pages.push(...parts)
    }
    if (this.#count === 0) {
      this.#puts.delete(this.#name)
      return
    }
    const [only] = pages
    if (pages.length === 1 && only?.entries && only.changed && bytesOf(only.entries) <= this.#pageBytes) {
      this.#drop(only)
      this.#puts.put(this.#name, writeMapHead({ pairs: writeMap(only.entries) }))
      return
    }
    const bounded = pages.map((page, at) => ({ ...page, page: page.number, to: pages[at + 1]?.from ?? null }))
    for (const page of bounded) if (page.changed) this.#put(page, page.entries ?? new Map())
    this.#puts.put(this.#name, writeMapHead({ pairs: null, count: this.#count, pages: bounded }))
  }

  /** In parts, if it is too large; the first one is the page itself. None: it is empty. */
  #cut(page: Page): Page[] {
    const entries = inOrder(page.entries ?? [])
    if (entries.length === 0) {
      this.#drop(page)
      return []
    }
    const bytes = bytesOf(entries)
    const parts = bytes > this.#pageBytes ? Math.ceil(bytes / (this.#pageBytes * FILLED)) : 1
    const cut: Page[] = []
    let part: [string, Buffer][] = []
    let partBytes = 0
    for (const entry of entries) {
      if (part.length > 0 && partBytes + sizeOf(...entry) > bytes / parts) {
        cut.push(this.#part(page, cut.length, part))
        part = []
        partBytes = 0
      }
      part.push(entry)
      partBytes += sizeOf(...entry)
    }
    return [...cut, this.#part(page, cut.length, part)]
  }

  #part(page: Page, at: number, entries: readonly [string, Buffer][]): Page {
    if (at === 0) return { ...page, entries: new Map(entries) }
    const from = (entries[0] as [string, Buffer])[0]
    return { from, number: this.#nextNumber++, entries: new Map(entries), changed: true, isOnDisk: false }
  }

  #put({ page, from, to }: MapPage, entries: DiskMap): void {
    const out = new ByteWriter(this.#pageBytes)
    out.lengthPrefixed(Buffer.from(from, 'latin1'))
    out.uint8(to === null ? 0 : 1)
    if (to !== null) out.lengthPrefixed(Buffer.from(to, 'latin1'))
    out.bytes(writeMap(entries))
    this.#puts.put(partName(this.#name, page), out.view())
  }
}

function bytesOf(entries: Iterable<[string, Buffer]>): number {
  let bytes = 0
  for (const [key, value] of entries) bytes += sizeOf(key, value)
  return bytes
}
