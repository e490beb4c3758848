// Numbers of one operator stand side by side in one entry of a key: one read and one write for all of them. It is ASCII (ascii.ts).
//
//   word which are there, a bit for each · a double for each (nothing behind the last one that is there)
import { assert } from '../../base/assert.ts'
import type { StateIdentity } from '../segment.ts'
import { DOUBLE_CHARS, doubleAt, WORD_CHARS, wordAt, writeDouble, writeWord } from './ascii.ts'

/** In one entry; further ones go into the next. */
export const PACKED_MAX = 31

const NOTHING = Buffer.alloc(0)

/** Reducing and aggregating states are values, too. */
export const isPacked = ({ kind, serde }: StateIdentity): boolean =>
  serde === 'f64' && kind !== 'list' && kind !== 'map'

/** What is known of a key's numbers: those that rows have told, and of these which are there. */
export class Pack {
  #known = 0
  #present = 0
  readonly states: number
  readonly #numbers: Float64Array
  #encoded: Buffer = NOTHING

  constructor(states: number) {
    this.states = states
    this.#numbers = new Float64Array(states)
  }

  /** undefined: it is gone. */
  set(place: number, value: number | undefined): void {
    assert(place < this.states, `a pack of ${this.states} numbers has no place ${place}`)
    const bit = 1 << place
    this.#known |= bit
    if (value === undefined) {
      this.#present &= ~bit
      return
    }
    this.#present |= bit
    this.#numbers[place] = value
  }

  /** All were told: what the disk has need not be read. */
  get complete(): boolean {
    return this.#known === 2 ** this.states - 1
  }

  clear(): void {
    this.#known = 0
    this.#present = 0
  }

  /** The same, in memory of its own. */
  copy(): Pack {
    const other = new Pack(this.states)
    other.under(this)
    return other
  }

  /** What `later` knows goes for it. */
  under(later: Pack): void {
    for (let place = 0; place < this.states; place++) {
      const bit = 1 << place
      if ((later.#known & bit) !== 0) this.set(place, (later.#present & bit) !== 0 ? later.#numbers[place] : undefined)
    }
  }

  /** What rows did not tell is as it was. */
  over(before: Buffer): void {
    readPack(before, (place, value) => {
      if ((this.#known & (1 << place)) === 0) this.set(place, value)
    })
  }

  /** null: nothing is there. Good until the next one. */
  encode(): Buffer | null {
    if (this.#present === 0) return null
    const places = 32 - Math.clz32(this.#present)
    const length = WORD_CHARS + places * DOUBLE_CHARS
    // Of all keys mostly as many are there.
    if (this.#encoded.length !== length) this.#encoded = Buffer.alloc(length)
    writeWord(this.#encoded, 0, this.#present)
    for (let place = 0; place < places; place++)
      writeDouble(this.#encoded, WORD_CHARS + place * DOUBLE_CHARS, this.#numbers[place] as number)
    return this.#encoded
  }
}

/** Each number that is there. More may stand behind the entry; no bytes: there is none. */
export function readPack(entry: Buffer, found: (place: number, value: number) => void): void {
  if (entry.length === 0) return
  const present = wordAt(entry, 0)
  const places = 32 - Math.clz32(present)
  for (let place = 0, at = WORD_CHARS; place < places; place++, at += DOUBLE_CHARS)
    if ((present & (1 << place)) !== 0) found(place, doubleAt(entry, at))
}
