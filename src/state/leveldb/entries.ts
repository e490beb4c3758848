// What the names of a task's entries say (task-disk.ts has how they are made), and the rows of a base that its lists and maps are.
import { ByteWriter } from '../../base/byte-writer.ts'
import { readHead, readMap, readMapHead } from '../collections.ts'
import { Row, type SegmentRows } from '../segment.ts'
import { chunkOf } from './lists.ts'
import { pageOf } from './maps.ts'

/** Of a task's prefix, in front of all of its names. */
export const PREFIX_BYTES = 4
/** Of a state's number, behind the key. */
export const STATE_BYTES = 2
const NOTHING = Buffer.alloc(0)

/** The name that follows directly. */
export const behind = (name: Buffer): Buffer => Buffer.concat([name, Buffer.from([0])])

const keyEnd = (name: Buffer): number => PREFIX_BYTES + 2 + name.readUInt16BE(PREFIX_BYTES)
export const keyIn = (name: Buffer): Buffer => name.subarray(PREFIX_BYTES + 2, keyEnd(name))
export const stateIn = (name: Buffer): number => name.readUInt16BE(keyEnd(name))

/** Of a chunk of a list its first index, of a page of a map its number; −1: the name is a head's. */
export function partIn(name: Buffer): number {
  const end = keyEnd(name) + STATE_BYTES
  return name.length > end ? name.readUInt32BE(end) : -1
}

/** Items in the entry of a list; null: they are in its chunks. */
export const itemsIn = (name: Buffer, bytes: Buffer): Buffer | null =>
  partIn(name) < 0 ? readHead(bytes).items : chunkOf(bytes).items

/** Pairs in the entry of a map; null: they are in its pages. */
export const pairsIn = (name: Buffer, bytes: Buffer): Buffer | null =>
  partIn(name) < 0 ? readMapHead(bytes).pairs : pageOf(bytes).pairs

/** A map's head comes before its pages. */
export function mapRows(rows: SegmentRows, state: number, name: Buffer, value: Buffer): void {
  const key = keyIn(name)
  if (partIn(name) < 0) rows.raw(state, Row.DELETE, key, null, null)
  for (const [at, each] of readMap(pairsIn(name, value) ?? NOTHING))
    rows.raw(state, Row.MAP_PUT, key, Buffer.from(at, 'latin1'), each)
}

/** A list's chunks follow one another in the order of their indices. */
export function listRow(rows: SegmentRows, state: number, name: Buffer, value: Buffer): void {
  const items = itemsIn(name, value)
  if (!items) return
  const index = partIn(name)
  if (index <= 0) return rows.raw(state, Row.PUT, keyIn(name), null, items)
  const at = new ByteWriter(8)
  at.uvarint(index)
  rows.raw(state, Row.LIST_APPEND, keyIn(name), at.view(), items)
}
