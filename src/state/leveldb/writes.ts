// Rows of a segment on their way into one batch. What a batch changes several times, or knows only in part, is put together before
// it is written: lists, maps, and numbers side by side.
import { type DiskMap, readMap, writeMap } from '../collections.ts'
import { indexOf, Row } from '../segment.ts'
import type { LevelBatch, LevelDatabase } from './database.ts'
import { ListWrite } from './lists.ts'
import { Pack } from './packs.ts'

type Gathered = Pack | ListWrite | DiskMap | null

const NOTHING = Buffer.alloc(0)

/** `once`: no key has all of its numbers told in one go and then one of them again: true of what one snapshot wrote. */
export type Repetition = 'once' | 'again'

export class Writes {
  readonly #db: LevelDatabase
  readonly #batch: LevelBatch
  readonly #repetition: Repetition
  /** By the entry's name (latin1). */
  readonly #gathered = new Map<string, Gathered>()
  /** Numbers whose rows follow one another, and their entry. */
  #pack = new Pack(1)
  #packName = NOTHING
  #packLength = 0

  constructor(db: LevelDatabase, repetition: Repetition) {
    this.#db = db
    this.#batch = db.batch()
    this.#repetition = repetition
  }

  get length(): number {
    return this.#batch.length + this.#gathered.size + (this.#packLength > 0 ? 1 : 0)
  }

  // `name` is good for one call only.

  value(name: Buffer, op: number, value: Buffer | null): void {
    if (op === Row.PUT && value) this.#batch.put(name, value)
    else this.#batch.delete(name)
  }

  /** One of `states` numbers in an entry. */
  number(name: Buffer, place: number, states: number, op: number, value: Buffer | null): void {
    if (!this.#samePack(name, states)) {
      this.#endPack()
      if (this.#pack.states !== states) this.#pack = new Pack(states)
      if (this.#packName.length < name.length) this.#packName = Buffer.alloc(name.length * 2)
      this.#packLength = name.copy(this.#packName)
    }
    this.#pack.set(place, op === Row.PUT ? value : null)
  }

  #samePack(name: Buffer, states: number): boolean {
    const length = this.#packLength
    return states === this.#pack.states && length === name.length && name.compare(this.#packName, 0, length) === 0
  }

  #endPack(): void {
    if (this.#packLength === 0) return
    const name = this.#packName.subarray(0, this.#packLength)
    this.#packLength = 0
    if (this.#pack.complete && this.#repetition === 'once') this.#put(name, this.#pack.encode())
    else {
      const id = name.toString('latin1')
      const held = this.#gathered.get(id) as Pack | undefined
      if (held) held.under(this.#pack)
      else this.#gathered.set(id, this.#pack.copy())
    }
    this.#pack.clear()
  }

  #put(name: Buffer, value: Buffer | null): void {
    if (value === null || value.length === 0) this.#batch.delete(name)
    else this.#batch.put(name, value)
  }

  list(name: Buffer, op: number, at: Buffer | null, value: Buffer | null): void {
    const id = name.toString('latin1')
    const held = this.#gathered.get(id) as ListWrite | undefined
    const list = held ?? new ListWrite(this.#db, this.#batch, name)
    if (!held) this.#gathered.set(id, list)
    if (op === Row.DELETE || !value) list.clear()
    else if (op === Row.PUT) list.set(value)
    else list.append(indexOf(at), value)
  }

  map(name: Buffer, op: number, at: Buffer | null, value: Buffer | null): void {
    const id = name.toString('latin1')
    if (op === Row.DELETE || !at) {
      this.#gathered.set(id, null)
      return
    }
    const held = this.#gathered.get(id)
    const map = held === undefined ? readMap(this.#db.get(name)) : ((held as DiskMap | null) ?? new Map())
    if (op === Row.MAP_PUT && value) map.set(at.toString('latin1'), Buffer.from(value))
    else map.delete(at.toString('latin1'))
    this.#gathered.set(id, map)
  }

  finish(): LevelBatch {
    this.#endPack()
    for (const [id, held] of this.#gathered) {
      if (held instanceof ListWrite) held.finish()
      else {
        const name = Buffer.from(id, 'latin1')
        this.#put(name, this.#encode(name, held))
      }
    }
    return this.#batch
  }

  #encode(name: Buffer, held: Exclude<Gathered, ListWrite>): Buffer | null {
    if (held instanceof Map) return writeMap(held)
    if (!(held instanceof Pack)) return held
    const before = held.complete ? undefined : this.#db.get(name)
    if (before) held.over(before)
    return held.encode()
  }

  discard(): Promise<void> {
    return this.#batch.discard()
  }
}
