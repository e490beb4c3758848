// Rows of a segment on their way into one batch. What a batch changes several times, or knows only in part, is put together before
// it is written: lists, maps, and numbers side by side.
import { murmur2 } from '../../base/murmur2.ts'
import { numberBehind, Row } from '../segment.ts'
import { indexOf, type NumberRows } from '../segment-reader.ts'
import type { LevelBatch, LevelDatabase } from './database.ts'
import { ListWrite } from './lists.ts'
import { MapWrite, PAGE_BYTES } from './maps.ts'
import { Pack } from './packs.ts'
import { Puts } from './puts.ts'

type Gathered = Pack | ListWrite | MapWrite

const NOTHING = Buffer.alloc(0)
/** Kept in memory at most, but for the last row. */
const BYTES_MAX = 4 * 2 ** 20
/** For each of these the disk is read in the end, in one go. */
const GATHERED_MAX = 2_000
/** Of maps; they are put into pages in one go. */
const ENTRIES_MAX = 20_000

/** The name of a key's entry, good for one call only; the key: all of the bytes, or from `start` to `end`. */
export type NameOf = (entry: number, bytes: Buffer, start?: number, end?: number) => Buffer

/** `once`: no key has all of its numbers told in one go and then one of them again: true of what one snapshot wrote. */
export type Repetition = 'once' | 'again'

export class Writes {
  readonly #db: LevelDatabase
  readonly #nameOf: NameOf
  readonly #repetition: Repetition
  readonly #pageBytes: number
  readonly #puts = new Puts()
  /** By the entry's name (latin1). */
  readonly #gathered = new Map<string, Gathered>()
  #gatheredBytes = 0
  /** Of maps. */
  #gatheredEntries = 0
  /** Numbers whose rows follow one another, and share their key's bytes. */
  #pack = new Pack(1)
  #packEntry = -1
  #packKey: Buffer = NOTHING
  /** Entries of packs that are among the changes, by the hash of their names: the newest change. */
  readonly #packsPut = new Map<number, number>()

  /** `pageBytes`: of maps. */
  constructor(db: LevelDatabase, nameOf: NameOf, repetition: Repetition, pageBytes: number = PAGE_BYTES) {
    this.#pageBytes = pageBytes
    this.#db = db
    this.#nameOf = nameOf
    this.#repetition = repetition
  }

  get length(): number {
    return this.#puts.length + this.#gathered.size + (this.#packEntry < 0 ? 0 : 1)
  }

  /** It is to be written, however few there are. */
  get full(): boolean {
    const many = this.#gathered.size >= GATHERED_MAX || this.#gatheredEntries >= ENTRIES_MAX
    return many || this.#puts.bytes + this.#gatheredBytes > BYTES_MAX
  }

  value(entry: number, key: Buffer, op: number, value: Buffer | null): void {
    this.#put(this.#nameOf(entry, key), op === Row.PUT ? value : null)
  }

  /** One of `states` numbers in an entry; undefined: it is gone. */
  number(entry: number, key: Buffer, place: number, states: number, value: number | undefined): void {
    if (key !== this.#packKey || entry !== this.#packEntry) {
      this.#endPack()
      if (this.#pack.states !== states) this.#pack = new Pack(states)
      this.#packEntry = entry
      this.#packKey = key
    }
    this.#pack.set(place, value)
  }

  /** All `states` numbers of an entry, of several keys. */
  numbers(entry: number, { bytes, view, keyAt, keyLength, count }: NumberRows, states: number): void {
    this.#endPack()
    if (this.#pack.states !== states) this.#pack = new Pack(states)
    for (let i = 0; i < count; i++) {
      const start = keyAt[i] as number
      const end = start + (keyLength[i] as number)
      for (let place = 0; place < states; place++) this.#pack.set(place, numberBehind(view, end, place))
      this.#takePack(this.#nameOf(entry, bytes, start, end))
    }
  }

  #endPack(): void {
    if (this.#packEntry < 0) return
    const name = this.#nameOf(this.#packEntry, this.#packKey)
    this.#packEntry = -1
    this.#packKey = NOTHING
    this.#takePack(name)
  }

  #takePack(name: Buffer): void {
    if (this.#repetition === 'once') this.#takeOnce(name)
    else this.#takeAgain(name)
    this.#pack.clear()
  }

  #takeOnce(name: Buffer): void {
    if (this.#pack.complete) this.#put(name, this.#pack.encode())
    else this.#gatherPack(name)
  }

  #takeAgain(name: Buffer): void {
    const hash = murmur2(name, 0, name.length)
    const before = this.#packsPut.get(hash)
    // Of two names with one hash the older one may be there, too: it is looked for.
    const known = before === undefined ? undefined : this.#puts.find(name, before)
    if (known) this.#pack.over(known)
    if (!known && !this.#pack.complete) return this.#gatherPack(name)
    this.#packsPut.set(hash, this.#puts.length)
    this.#put(name, this.#pack.encode())
    if (this.#gathered.size > 0) this.#gathered.delete(name.toString('latin1'))
  }

  /** What the disk has of it is read in the end. */
  #gatherPack(name: Buffer): void {
    const id = name.toString('latin1')
    const held = this.#gathered.get(id) as Pack | undefined
    if (held) held.under(this.#pack)
    else this.#gathered.set(id, this.#pack.copy())
  }

  #put(name: Buffer, value: Buffer | null): void {
    if (value) this.#puts.put(name, value)
    else this.#puts.delete(name)
  }

  list(entry: number, key: Buffer, op: number, at: Buffer | null, value: Buffer | null): void {
    const name = this.#nameOf(entry, key)
    const id = name.toString('latin1')
    const held = this.#gathered.get(id) as ListWrite | undefined
    const list = held ?? new ListWrite(this.#db, this.#puts, name)
    if (!held) this.#gathered.set(id, list)
    this.#gatheredBytes += value?.length ?? 0
    if (op === Row.DELETE || !value) list.clear()
    else if (op === Row.PUT) list.set(value)
    else list.append(indexOf(at), value)
  }

  map(entry: number, key: Buffer, op: number, at: Buffer | null, value: Buffer | null): void {
    const name = this.#nameOf(entry, key)
    const id = name.toString('latin1')
    const held = this.#gathered.get(id) as MapWrite | undefined
    const map = held ?? new MapWrite(this.#db, this.#puts, name, this.#pageBytes)
    if (!held) this.#gathered.set(id, map)
    this.#gatheredBytes -= map.bytesHeld
    this.#gatheredEntries -= map.entriesHeld
    if (op === Row.DELETE || !at) map.clear()
    else if (op === Row.MAP_PUT && value) map.put(at.toString('latin1'), value)
    else map.delete(at.toString('latin1'))
    this.#gatheredBytes += map.bytesHeld
    this.#gatheredEntries += map.entriesHeld
  }

  /** Nothing is added any more. True: `finish` looks at the disk, and what was written before must be there by then. */
  end(): boolean {
    this.#endPack()
    return this.#gathered.size > 0
  }

  finish(): void {
    this.end()
    for (const [id, held] of this.#gathered) {
      if (held instanceof Pack) this.#finishPack(Buffer.from(id, 'latin1'), held)
      else held.finish()
    }
    this.#gathered.clear()
    this.#puts.sort()
  }

  #finishPack(name: Buffer, pack: Pack): void {
    const before = pack.complete ? undefined : this.#db.getAscii(name)
    if (before) pack.over(before)
    this.#put(name, pack.encode())
  }

  /** Hands on up to `count` of what was finished; true when none is left. */
  emit(batch: LevelBatch, count: number): boolean {
    return this.#puts.emit(batch, count)
  }
}
