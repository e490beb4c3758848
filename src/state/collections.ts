// How lists and maps of a key stand on disk: a list as its items one after the other, a map as pairs of entry key and value;
// each part with its length in front.
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

/** The list whose items from `index` on are `added`; as it is if it is shorter (`indexOf`). */
export function appendAt(list: Buffer, index: number, added: Buffer): Buffer {
  const reader = new ByteReader(list)
  for (let i = 0; i < index; i++) {
    if (reader.remaining === 0) return list
    reader.lengthPrefixed()
  }
  return Buffer.concat([list.subarray(0, reader.position), added])
}
