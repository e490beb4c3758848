// How lists and maps of a key stand in rows and on disk: a list as its items one after the other (on disk in chunks: leveldb/lists.ts), a
// map as pairs of entry key and value; each part with its length in front.
import { ByteReader } from '../base/byte-reader.ts'
import { ByteWriter } from '../base/byte-writer.ts'

/** Entries by their key's bytes (latin1). */
export type DiskMap = Map<string, Buffer>

export function readMap(bytes: Buffer | undefined): DiskMap {
  const map: DiskMap = new Map()
  if (!bytes) return map
  const reader = new ByteReader(bytes)
  while (reader.remaining > 0) map.set(reader.lengthPrefixed().toString('latin1'), reader.lengthPrefixed())
  return map
}

export function writeMap(map: DiskMap): Buffer {
  const out = new ByteWriter(256)
  for (const [key, value] of map) {
    out.lengthPrefixed(Buffer.from(key, 'latin1'))
    out.lengthPrefixed(value)
  }
  return out.copy()
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
const CHUNKED = 1

/** u8 0 · items; or u8 1 · uvarint how many items · uvarint the last chunk's first index. */
export function writeHead(head: ListHead): Buffer {
  const out = new ByteWriter(64)
  out.uint8(head.items ? SHORT : CHUNKED)
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
