// The keys of one operator in one task, each with its slot. Records have a key as its serde writes it; state puts a mark in front where it
// may be null (`encodeState`), so that no key and a key of no bytes are two.
import { ByteWriter } from '../../base/byte-writer.ts'
import type { KeyWriter } from '../segment.ts'
import type { Serde } from '../serde.ts'
import { hashOf, KeyIndex } from './key-index.ts'
import type { Rows } from './rows.ts'

export const NO_SLOT = -1
const NOTHING = Buffer.alloc(0)
/** Of a key beside its row: where it is looked up, when half of that is in use. */
const ENTRY_BYTES = 16

/** −0 is 0, and a NaN is like any other. */
export const oneSpelling = (key: unknown): unknown => (key === 0 ? 0 : Number.isNaN(key) ? Number.NaN : key)

export class KeySlots implements KeyWriter {
  readonly #serde: Serde<unknown>
  readonly #rows: Rows
  /** Of all keys but null. */
  readonly #index: KeyIndex
  #nullSlot = NO_SLOT
  /** That there ever were at a time. */
  #slots = 0
  #keys = 0
  readonly #free: number[] = []
  /** The key that was looked for last, as a record has it. */
  #bytes: Buffer = NOTHING
  #start = 0
  #length = 0
  #hash = 0
  #isNull = false
  readonly #encoded = new ByteWriter(64)
  readonly #inState = new ByteWriter(64)

  constructor(serde: Serde<unknown>, rows: Rows) {
    this.#serde = serde
    this.#rows = rows
    this.#index = new KeyIndex(rows)
  }

  /** Slots with a key are below. */
  get slotCount(): number {
    return this.#slots
  }

  get keyCount(): number {
    return this.#keys
  }

  /** Of the keys that are there, and their rows: memory of others is used again. */
  get bytes(): number {
    return this.#keys * (this.#rows.stride * 4 + ENTRY_BYTES) + this.#index.longBytes
  }

  /** Brings what belongs to keys whose bytes have these hashes into the cache; the result has no meaning. */
  prefetch(hashes: Int32Array, count: number): number {
    return this.#index.prefetch(hashes, count)
  }

  /** Of the key that is written with these bytes; `hash`: theirs. −1: it has none, or this is another spelling. */
  find(bytes: Uint8Array, start: number, length: number, hash: number): number {
    return this.#index.find(bytes, start, length, hash)
  }

  /** −1: it has none; `claim` gives it one. */
  seek(key: unknown): number {
    const out = this.#encoded
    out.reset()
    const isNull = key === null && this.#serde.nullable
    if (!isNull) this.#serde.encode(oneSpelling(key), out)
    return this.#seek(out.buffer, 0, out.position, isNull)
  }

  /** The same for a key as state has it; the bytes are not to change before `claim`. */
  seekInState(bytes: Buffer, start: number, end: number): number {
    const mark = this.#serde.nullable ? 1 : 0
    return this.#seek(bytes, start + mark, end - start - mark, mark > 0 && bytes[start] === 0)
  }

  /** The same for a key of which the hash is known, and that no serde marks. */
  seekHashed(bytes: Buffer, start: number, length: number, hash: number): number {
    this.#bytes = bytes
    this.#start = start
    this.#length = length
    this.#isNull = false
    this.#hash = hash
    return this.#index.find(bytes, start, length, hash)
  }

  /** Room for the rows of so many keys, which takes memory when they come. The index grows by itself: small, it stays in the processor's cache. */
  expect(keys: number): void {
    if (keys > 0) this.#rows.ensure(keys - 1)
  }

  #seek(bytes: Buffer, start: number, length: number, isNull: boolean): number {
    if (!isNull) return this.seekHashed(bytes, start, length, hashOf(bytes, start, length))
    this.#isNull = true
    this.#bytes = NOTHING
    this.#start = 0
    this.#length = 0
    return this.#nullSlot
  }

  /** No `claim` follows: the memory of the key that was looked for last is let go of. */
  forgetSought(): void {
    this.#bytes = NOTHING
    this.#length = 0
  }

  /** A slot for the key that was looked for last and has none. @throws KEY_INVALID */
  claim(): number {
    const slot = this.#free.pop() ?? this.#slots++
    this.#rows.ensure(slot)
    if (this.#isNull) this.#nullSlot = slot
    else this.#index.add(this.#bytes, this.#start, this.#length, this.#hash, slot)
    this.#keys++
    return slot
  }

  /** How many bytes the key takes in state that was looked for last. */
  get soughtBytes(): number {
    return this.#length + (this.#serde.nullable ? 1 : 0)
  }

  /** The key that was looked for last, as state has it. Here and below: good until the next one is asked for. */
  get soughtInState(): Buffer {
    const out = this.#inState
    out.reset()
    if (this.#serde.nullable) out.uint8(this.#isNull ? 0 : 1)
    out.bytes(this.#bytes, this.#start, this.#start + this.#length)
    return out.view()
  }

  /** The slot's key, as state has it. */
  inState(slot: number): Buffer {
    this.#inState.reset()
    this.writeKey(slot, this.#inState)
    return this.#inState.view()
  }

  writeKey(slot: number, out: ByteWriter): void {
    const isNull = slot === this.#nullSlot
    if (this.#serde.nullable) out.uint8(isNull ? 0 : 1)
    if (!isNull) this.#index.write(slot, out)
  }

  has(slot: number): boolean {
    return slot === this.#nullSlot || this.#index.has(slot)
  }

  /** The slot may get another key. */
  forget(slot: number): void {
    if (slot === this.#nullSlot) this.#nullSlot = NO_SLOT
    else this.#index.forget(slot)
    this.#keys--
    this.#free.push(slot)
  }
}
