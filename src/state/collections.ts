// How lists and maps of a key stand in rows and on disk: a list as its items one after the other, a map as pairs of entry key and value; each
// part with its length in front. On disk long ones are in several entries: a list in chunks (leveldb/lists.ts), a map in pages (leveldb/maps.ts).
import { ByteReader } from '../base/byte-reader.ts'
import { ByteWriter } from '../base/byte-writer.ts'

/** Entries by their key's bytes (latin1). */
export type DiskMap = Map<string, Buffer>

export function readMap(pairs: Buffer): DiskMap {
  const map: DiskMap = new Map()
  const reader = new ByteReader(pairs)
  while (reader.remaining > 0) map.set(reader.lengthPrefixed().toString('latin1'), reader.lengthPrefixed())
  return map
}

export function writeMap(map: Iterable<[string, Buffer]>): Buffer {
  const out = new ByteWriter(256)
  for (const [key, value] of map) {
    out.lengthPrefixed(Buffer.from(key, 'latin1'))
    out.lengthPrefixed(value)
  }
  return out.copy()
}

/** By their keys' bytes: as a function goes through them, and a page has them. */
export function inOrder(entries: Iterable<[string, Buffer]>): [string, Buffer][] {
  return [...entries].sort(([a], [b]) => (a < b ? -1 : 1))
}

/** The items of a list, each without its length. Views. */
export function splitItems(items: Buffer): Buffer[] {
  const reader = new ByteReader(items)
  const split: Buffer[] = []
  while (reader.remaining > 0) split.push(reader.lengthPrefixed())
  return split
}

export function joinItems(items: readonly Buffer[]): Buffer {
  const out = new ByteWriter(256)
  for (const item of items) out.lengthPrefixed(item)
  return out.view()
}

/** How a list's entry on disk begins: all of a short one, or where the chunks of a longer one are. */
export type ListHead =
  | { readonly items: Buffer }
  | { readonly items: null; readonly count: number; readonly lastStart: number }

const SHORT = 0
const IN_PARTS = 1

/** u8 0 · items; or u8 1 · uvarint how many items · uvarint the last chunk's first index. */
export function writeHead(head: ListHead): Buffer {
  const out = new ByteWriter(64)
  out.uint8(head.items ? SHORT : IN_PARTS)
  if (head.items) out.bytes(head.items)
  else {
    out.uvarint(head.count)
    out.uvarint(head.lastStart)
  }
  return out.view()
}

export function readHead(bytes: Buffer): ListHead {
  const reader = new ByteReader(bytes)
  if (reader.uint8() === SHORT) return { items: reader.bytes(reader.remaining) }
  return { items: null, count: reader.uvarint(), lastStart: reader.uvarint() }
}

/** Entries from `from` on, to `to` (not included; null: to the end), by their key's bytes (latin1). */
export interface MapBounds {
  readonly from: string
  readonly to: string | null
}

/** Where a page of a map is. */
export interface MapPage extends MapBounds {
  readonly page: number
}

/** How a map's entry on disk begins: all of a short one, or where the pages of a longer one are, in the order of their bounds. */
export type MapHead =
  | { readonly pairs: Buffer }
  | { readonly pairs: null; readonly count: number; readonly pages: readonly MapPage[] }

/** u8 0 · pairs; or u8 1 · uvarint how many entries · for each page its number as uvarint and its lower bound. */
export function writeMapHead(head: MapHead): Buffer {
  const out = new ByteWriter(64)
  out.uint8(head.pairs ? SHORT : IN_PARTS)
  if (head.pairs) out.bytes(head.pairs)
  else {
    out.uvarint(head.count)
    for (const { page, from } of head.pages) {
      out.uvarint(page)
      out.lengthPrefixed(Buffer.from(from, 'latin1'))
    }
  }
  return out.view()
}

export function readMapHead(bytes: Buffer): MapHead {
  const reader = new ByteReader(bytes)
  if (reader.uint8() === SHORT) return { pairs: reader.bytes(reader.remaining) }
  const count = reader.uvarint()
  const found: { readonly page: number; readonly from: string }[] = []
  while (reader.remaining > 0) found.push({ page: reader.uvarint(), from: reader.lengthPrefixed().toString('latin1') })
  return { pairs: null, count, pages: found.map((each, at) => ({ ...each, to: found[at + 1]?.from ?? null })) }
}
