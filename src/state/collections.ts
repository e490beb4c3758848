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
