// Rows of a segment on their way into one batch. What a batch changes several times, or knows only in part, is put together before
// it is written: lists, maps, and numbers side by side.
import { appendAt, type DiskMap, readMap, writeMap } from '../collections.ts'
import { indexOf, Row } from '../segment.ts'
import type { LevelBatch, LevelDatabase } from './database.ts'
import { Pack } from './packs.ts'

type Gathered = { readonly states: number; readonly pack: Pack } | Buffer | DiskMap | null

const NOTHING = Buffer.alloc(0)

export class Writes {
  readonly #db: LevelDatabase
  readonly #batch: LevelBatch
  /** By the entry's name (latin1). */
  readonly #gathered = new Map<string, Gathered>()

  constructor(db: LevelDatabase) {
    this.#db = db
    this.#batch = db.batch()
  }

  get length(): number {
    return this.#batch.length + this.#gathered.size
  }

  // `name` is good for one call only.

  value(name: Buffer, op: number, value: Buffer | null): void {
    if (op === Row.PUT && value) this.#batch.put(name, value)
    else this.#batch.delete(name)
  }

  /** One of `states` numbers in an entry. */
  number(name: Buffer, place: number, states: number, op: number, value: Buffer | null): void {
    const id = name.toString('latin1')
    let held = this.#gathered.get(id) as { readonly states: number; readonly pack: Pack } | undefined
    if (!held) {
      held = { states, pack: new Pack(states) }
      this.#gathered.set(id, held)
    }
    held.pack.set(place, op === Row.PUT ? value : null)
  }

  list(name: Buffer, op: number, at: Buffer | null, value: Buffer | null): void {
    const id = name.toString('latin1')
    if (op === Row.DELETE || !value) this.#gathered.set(id, null)
    else if (op === Row.PUT) this.#gathered.set(id, Buffer.from(value))
    else {
      const held = this.#gathered.get(id)
      const before = held === undefined ? this.#db.get(name) : (held as Buffer | null)
      this.#gathered.set(id, appendAt(before ?? NOTHING, indexOf(at), value))
    }
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
    for (const [id, held] of this.#gathered) {
      const name = Buffer.from(id, 'latin1')
      const value = this.#encode(name, held)
      if (value === null || value.length === 0) this.#batch.delete(name)
      else this.#batch.put(name, value)
    }
    return this.#batch
  }

  #encode(name: Buffer, held: Gathered): Buffer | null {
    if (held === null || Buffer.isBuffer(held)) return held
    if (held instanceof Map) return writeMap(held)
    const { states, pack } = held
    const before = pack.complete(states) ? undefined : this.#db.get(name)
    if (before) pack.over(before)
    return pack.encode()
  }

  discard(): Promise<void> {
    return this.#batch.discard()
  }
}
