// From a key's bytes, as they stand in the record, to its slot: the hot path of keyed state neither decodes the key nor looks
// it up by value. It is a short cut, not the authority: a key may have several spellings (JSON with and without blanks); the
// first few are noted when they have been looked up by value, and all are forgotten when the slot is released. Short keys
// stand in the table itself, and the table is kept small: what costs here is memory that is not in the cache.
import { murmur2 } from '../../base/murmur2.ts'

/** Longer keys are always looked up by value. */
const LENGTH_MAX = 255
/** Up to here a key's bytes stand in its entry; of longer ones the offset in the arena and the hash. */
const INLINE_MAX = 16
/** Words of an entry: slot + 1, length, bytes. */
const STRIDE = 6
const LENGTH = 1
const WORDS = 2
/** Spellings of one slot's key: keys that are no UTF-8 all read alike, and there may be any number of them. */
const SPELLINGS_MAX = 4
const EMPTY = 0
const FORGOTTEN = -1

export class KeyIndex {
  #mask = 1023
  #entries = new Int32Array((this.#mask + 1) * STRIDE)
  /** Entries that are not empty. */
  #used = 0
  #forgotten = 0
  #arena = Buffer.allocUnsafeSlow(16 * 1024)
  #arenaEnd = 0
  /** By slot: position + 1 of its newest spelling; earlier ones are in `#others`. */
  #newest = new Int32Array(1024)
  readonly #others = new Map<number, number[]>()
  readonly #words = new Int32Array(STRIDE - WORDS)

  /** −1: not known by these bytes. */
  find(bytes: Uint8Array, start: number, length: number): number {
    if (length > LENGTH_MAX) return -1
    const hash = this.#pack(bytes, start, length)
    const entries = this.#entries
    const mask = this.#mask
    const words = this.#words
    const w0 = words[0]
    const w1 = words[1]
    const w2 = words[2]
    const w3 = words[3]
    for (let position = hash & mask; ; position = (position + 1) & mask) {
      const at = position * STRIDE
      const slot = entries[at] as number
      if (slot === EMPTY) return -1
      if (slot === FORGOTTEN || entries[at + LENGTH] !== length) continue
      if (length > INLINE_MAX) {
        if (entries[at + WORDS + 1] === hash && this.#inArena(entries[at + WORDS] as number, bytes, start, length))
          return slot - 1
      } else if (
        entries[at + WORDS] === w0 &&
        entries[at + WORDS + 1] === w1 &&
        entries[at + WORDS + 2] === w2 &&
        entries[at + WORDS + 3] === w3
      )
        return slot - 1
    }
  }

  /** Puts a short key's bytes into `#words`; gives the hash. */
  #pack(bytes: Uint8Array, start: number, length: number): number {
    const words = this.#words
    words[0] = words[1] = words[2] = words[3] = 0
    if (length <= INLINE_MAX) {
      for (let i = 0; i < length; i++)
        words[i >> 2] = (words[i >> 2] as number) | ((bytes[start + i] as number) << ((i & 3) << 3))
    }
    return murmur2(bytes, start, length)
  }

  #inArena(at: number, bytes: Uint8Array, start: number, length: number): boolean {
    const arena = this.#arena
    for (let i = 0; i < length; i++) if (arena[at + i] !== bytes[start + i]) return false
    return true
  }

  /** These bytes, not known so far, are a spelling of the slot's key. */
  add(bytes: Uint8Array, start: number, length: number, slot: number): void {
    if (length > LENGTH_MAX || (this.#others.get(slot)?.length ?? 0) >= SPELLINGS_MAX - 1) return
    if ((this.#used + 1) * 4 > this.#mask * 3) this.#rebuild()
    if (slot >= this.#newest.length) {
      const grown = new Int32Array(Math.max(this.#newest.length * 2, slot + 1))
      grown.set(this.#newest)
      this.#newest = grown
    }
    const hash = this.#pack(bytes, start, length)
    if (length > INLINE_MAX) {
      this.#words[0] = this.#keep(bytes, start, length)
      this.#words[1] = hash
    }
    this.#insert(hash, slot, length)
  }

  #keep(bytes: Uint8Array, start: number, length: number): number {
    const at = this.#arenaEnd
    if (at + length > this.#arena.length) {
      const arena = Buffer.allocUnsafeSlow(this.#arena.length * 2)
      this.#arena.copy(arena, 0, 0, at)
      this.#arena = arena
    }
    this.#arena.set(bytes.subarray(start, start + length), at)
    this.#arenaEnd = at + length
    return at
  }

  /** What stands behind slot and length is in `#words`. */
  #insert(hash: number, slot: number, length: number): void {
    const entries = this.#entries
    let position = hash & this.#mask
    while (entries[position * STRIDE] !== EMPTY) position = (position + 1) & this.#mask
    const at = position * STRIDE
    entries[at] = slot + 1
    entries[at + LENGTH] = length
    entries.set(this.#words, at + WORDS)
    this.#used++
    const earlier = (this.#newest[slot] as number) - 1
    if (earlier >= 0) this.#noteOther(slot, earlier)
    this.#newest[slot] = position + 1
  }

  #noteOther(slot: number, position: number): void {
    const others = this.#others.get(slot)
    if (others) others.push(position)
    else this.#others.set(slot, [position])
  }

  /** The slot's key is gone; the slot may get another one. */
  forget(slot: number): void {
    const newest = (this.#newest[slot] ?? 0) - 1
    if (newest < 0) return
    for (const position of [newest, ...(this.#others.get(slot) ?? [])]) {
      this.#entries[position * STRIDE] = FORGOTTEN
      this.#forgotten++
    }
    this.#newest[slot] = 0
    this.#others.delete(slot)
  }

  /** Without what is forgotten; twice as large unless that was much. */
  #rebuild(): void {
    const entries = this.#entries
    const arena = this.#arena
    const size = this.#forgotten * 2 > this.#used ? this.#mask + 1 : (this.#mask + 1) * 2
    this.#mask = size - 1
    this.#entries = new Int32Array(size * STRIDE)
    this.#arena = Buffer.allocUnsafeSlow(arena.length)
    this.#arenaEnd = 0
    this.#used = 0
    this.#forgotten = 0
    this.#newest.fill(0)
    this.#others.clear()
    const packed = Buffer.alloc(INLINE_MAX)
    for (let at = 0; at < entries.length; at += STRIDE) {
      const slot = (entries[at] as number) - 1
      if (slot < 0) continue
      const length = entries[at + LENGTH] as number
      if (length > INLINE_MAX) {
        this.add(arena, entries[at + WORDS] as number, length, slot)
        continue
      }
      for (let word = 0; word < INLINE_MAX / 4; word++)
        packed.writeInt32LE(entries[at + WORDS + word] as number, word * 4)
      this.add(packed, 0, length, slot)
    }
  }
}
