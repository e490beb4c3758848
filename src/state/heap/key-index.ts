// From a key's bytes, as its serde writes them, to its slot: keyed state is found without decoding a key, and keeps no key but
// these bytes. The table is kept small, with the bytes in the slot's row: what costs here is memory that is not in the cache.
import type { ByteWriter } from '../../base/byte-writer.ts'
import { MillraceError } from '../../base/errors.ts'
import { murmur2 } from '../../base/murmur2.ts'
import { KEY_BYTES_INLINE, type Rows } from './rows.ts'

const EMPTY = 0
const FORGOTTEN = -1
/** Places in it are 32-bit numbers. */
const ARENA_BYTES_MAX = 0x7fffffff

/** What the index is asked with. */
export const hashOf: (bytes: Uint8Array, start: number, length: number) => number = murmur2

export class KeyIndex {
  readonly #rows: Rows
  #mask = 1023
  /** Pairs of slot + 1 and hash. */
  #entries = new Int32Array((this.#mask + 1) * 2)
  /** Entries that are not empty. */
  #used = 0
  #forgotten = 0
  /** Bytes of keys that are too long for the row: of those that are there, and of some that are gone. */
  #arena = Buffer.allocUnsafeSlow(16 * 1024)
  #arenaEnd = 0
  #longBytes = 0

  constructor(rows: Rows) {
    this.#rows = rows
  }

  /** −1: not known by these bytes. `hash`: theirs. */
  find(bytes: Uint8Array, start: number, length: number, hash: number): number {
    const entries = this.#entries
    const mask = this.#mask
    for (let position = hash & mask; ; position = (position + 1) & mask) {
      const slot = entries[position * 2] as number
      if (slot === EMPTY) return -1
      if (entries[position * 2 + 1] === hash && slot !== FORGOTTEN && this.#is(slot - 1, bytes, start, length))
        return slot - 1
    }
  }

  /**
   * Reads what `find` and the states will read for the first `count` hashes, only to have it in the cache. First all entries,
   * then all rows: nothing in a loop waits for what an earlier turn of it reads. The result has no meaning.
   */
  prefetch(hashes: Int32Array, count: number): number {
    const entries = this.#entries
    const mask = this.#mask
    let read = 0
    for (let i = 0; i < count; i++) read ^= entries[((hashes[i] as number) & mask) * 2] as number
    for (let i = 0; i < count; i++) read ^= this.#readRow(hashes[i] as number)
    return read
  }

  #readRow(hash: number): number {
    const entries = this.#entries
    const mask = this.#mask
    const { words, stride } = this.#rows
    for (let position = hash & mask; ; position = (position + 1) & mask) {
      const slot = entries[position * 2] as number
      if (slot === EMPTY) return 0
      if (entries[position * 2 + 1] !== hash || slot === FORGOTTEN) continue
      // A row may lie across two cache lines.
      const row = (slot - 1) * stride
      return (words[row] as number) ^ (words[row + stride - 1] as number)
    }
  }

  #is(slot: number, bytes: Uint8Array, start: number, length: number): boolean {
    const rows = this.#rows
    const at = slot * rows.stride + rows.keyAt
    if (rows.words[at] !== length + 1) return false
    const kept = length > KEY_BYTES_INLINE ? this.#arena : rows.bytes
    const from = length > KEY_BYTES_INLINE ? (rows.words[at + 1] as number) : (at + 1) * 4
    for (let i = 0; i < length; i++) if (kept[from + i] !== bytes[start + i]) return false
    return true
  }

  /** The slot has a key. */
  has(slot: number): boolean {
    return this.#rows.words[slot * this.#rows.stride + this.#rows.keyAt] !== 0
  }

  /** Appends the bytes of the slot's key. */
  write(slot: number, out: ByteWriter): void {
    const { words, bytes, stride, keyAt } = this.#rows
    const at = slot * stride + keyAt
    const length = (words[at] as number) - 1
    const from = length > KEY_BYTES_INLINE ? (words[at + 1] as number) : (at + 1) * 4
    out.bytes(length > KEY_BYTES_INLINE ? this.#arena : bytes, from, from + length)
  }

  /** Of keys that are too long for their rows. */
  get longBytes(): number {
    return this.#longBytes
  }

  /** These bytes, not known so far, are the key of a slot that has none. @throws KEY_INVALID */
  add(bytes: Uint8Array, start: number, length: number, hash: number, slot: number): void {
    const rows = this.#rows
    const at = slot * rows.stride + rows.keyAt
    if ((this.#used + 1) * 4 > this.#mask * 3) this.#rebuild()
    if (length > KEY_BYTES_INLINE) rows.words[at + 1] = this.#keep(bytes, start, length)
    else for (let i = 0, to = (at + 1) * 4; i < length; i++) rows.bytes[to + i] = bytes[start + i] as number
    rows.words[at] = length + 1
    this.#insert(slot, hash)
  }

  #insert(slot: number, hash: number): void {
    let position = hash & this.#mask
    while (this.#entries[position * 2] !== EMPTY) position = (position + 1) & this.#mask
    this.#entries[position * 2] = slot + 1
    this.#entries[position * 2 + 1] = hash
    this.#used++
  }

  #keep(bytes: Uint8Array, start: number, length: number): number {
    if (this.#arenaEnd + length > this.#arena.length) this.#compact(length)
    const at = this.#arenaEnd
    this.#arena.set(bytes.subarray(start, start + length), at)
    this.#arenaEnd = at + length
    this.#longBytes += length
    return at
  }

  /** Moves the long keys that are there together, with room for `more` bytes, and for as many again. */
  #compact(more: number): void {
    const { words, stride, keyAt } = this.#rows
    const arena = this.#arena
    const wanted = this.#longBytes + more
    if (wanted > ARENA_BYTES_MAX) {
      const text = `a task holds ${this.#longBytes} bytes of keys in memory, ${ARENA_BYTES_MAX} are the limit: use shorter keys, or their hashes, more partitions, or state on disk`
      throw new MillraceError('KEY_INVALID', text)
    }
    let size = arena.length
    while (size < 2 * wanted) size *= 2
    const packed = Buffer.allocUnsafeSlow(Math.min(size, ARENA_BYTES_MAX))
    let end = 0
    for (let position = 0; position <= this.#mask; position++) {
      const slot = (this.#entries[position * 2] as number) - 1
      const at = slot * stride + keyAt
      const length = slot < 0 ? 0 : (words[at] as number) - 1
      if (length <= KEY_BYTES_INLINE) continue
      const from = words[at + 1] as number
      arena.copy(packed, end, from, from + length)
      words[at + 1] = end
      end += length
    }
    this.#arena = packed
    this.#arenaEnd = end
  }

  /** The slot's key is gone; the slot may get another one. */
  forget(slot: number): void {
    const rows = this.#rows
    const at = slot * rows.stride + rows.keyAt
    const length = (rows.words[at] as number) - 1
    if (length < 0) return
    rows.words[at] = 0
    if (length > KEY_BYTES_INLINE) this.#longBytes -= length
    const hash =
      length > KEY_BYTES_INLINE
        ? hashOf(this.#arena, rows.words[at + 1] as number, length)
        : hashOf(rows.bytes, (at + 1) * 4, length)
    let position = hash & this.#mask
    while (this.#entries[position * 2] !== slot + 1) position = (position + 1) & this.#mask
    this.#entries[position * 2] = FORGOTTEN
    this.#forgotten++
  }

  /** Without what is forgotten; twice as large unless that was much. */
  #rebuild(): void {
    const entries = this.#entries
    const size = this.#forgotten * 2 > this.#used ? this.#mask + 1 : (this.#mask + 1) * 2
    this.#mask = size - 1
    this.#entries = new Int32Array(size * 2)
    this.#used = 0
    this.#forgotten = 0
    for (let at = 0; at < entries.length; at += 2)
      if ((entries[at] as number) > 0) this.#insert((entries[at] as number) - 1, entries[at + 1] as number)
  }
}
