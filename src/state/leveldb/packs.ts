// Numbers of one operator stand side by side in one entry of a key: one read and one write for all of them.
//
//   u32 which are there, a bit for each · 8 bytes for each, as `f64` writes them (nothing behind the last one that is there)
import type { StateIdentity } from '../segment.ts'

export const NUMBER_BYTES = 8
const MASK_BYTES = 4
/** In one entry; further ones go into the next. */
export const PACKED_MAX = 31

/** Reducing and aggregating states are values, too. */
export const isPacked = ({ kind, serde }: StateIdentity): boolean =>
  serde === 'f64' && kind !== 'list' && kind !== 'map'

/** What is known of a key's numbers: those that rows have told, and of these which are there. */
export class Pack {
  #known = 0
  #present = 0
  readonly states: number
  readonly #bytes: Buffer
  readonly #view: DataView

  constructor(states: number) {
    this.states = states
    this.#bytes = Buffer.alloc(MASK_BYTES + states * NUMBER_BYTES)
    this.#view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset)
  }

  /** undefined: it is gone. */
  set(place: number, value: number | undefined): void {
    const bit = 1 << place
    this.#known |= bit
    if (value === undefined) {
      this.#present &= ~bit
      return
    }
    this.#present |= bit
    this.#view.setFloat64(MASK_BYTES + place * NUMBER_BYTES, value)
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
    other.#known = this.#known
    other.#present = this.#present
    this.#bytes.copy(other.#bytes)
    return other
  }

  /** What `later` knows goes for it. */
  under(later: Pack): void {
    for (let place = 0; place < this.states; place++) {
      const bit = 1 << place
      if ((later.#known & bit) === 0) continue
      const there = (later.#present & bit) !== 0
      this.set(place, there ? later.#view.getFloat64(MASK_BYTES + place * NUMBER_BYTES) : undefined)
    }
  }

  /** What rows did not tell is as it was. */
  over(before: Buffer): void {
    readPack(before, (place, at) => {
      if ((this.#known & (1 << place)) === 0) this.set(place, before.readDoubleBE(at))
    })
  }

  /** null: nothing is there. A view. */
  encode(): Buffer | null {
    if (this.#present === 0) return null
    this.#bytes.writeUInt32BE(this.#present, 0)
    return this.#bytes.subarray(0, MASK_BYTES + (32 - Math.clz32(this.#present)) * NUMBER_BYTES)
  }
}

/** Where each number is that is there. No bytes: none is. */
export function readPack(entry: Buffer, found: (place: number, at: number) => void): void {
  if (entry.length === 0) return
  const present = entry.readUInt32BE(0)
  for (let place = 0, at = MASK_BYTES; at < entry.length; place++, at += NUMBER_BYTES)
    if ((present & (1 << place)) !== 0) found(place, at)
}
