// What the states of one operator keep per slot, as one row of 32-bit words: numbers, which of them are there, epochs, and
// the key's bytes. A record touches most of it, and what costs is memory that is not in the cache.

/** Up to here a key's bytes stand in the row; of longer ones where they are. */
export const KEY_BYTES_INLINE = 16

export class Rows {
  /** Words per row. */
  readonly stride: number
  /** In a row, an epoch for each state. */
  readonly epochsAt: number
  /** In a row, the length of the key's bytes + 1 (0: it has none), then they or their place. */
  readonly keyAt: number
  words!: Int32Array
  bytes!: Buffer
  numbers!: Float64Array
  /** In a row, which numbers are there: a bit for each. */
  readonly flagsAt: number

  constructor(states: number, numbers: number) {
    // Doubles first: they must lie at even words.
    this.flagsAt = numbers * 2
    this.epochsAt = this.flagsAt + Math.ceil(numbers / 32)
    this.keyAt = this.epochsAt + states
    const words = this.keyAt + 1 + KEY_BYTES_INLINE / 4
    this.stride = words + (words % 2)
    this.#use(new Int32Array(64 * this.stride))
  }

  #use(words: Int32Array<ArrayBuffer>): void {
    this.words = words
    this.bytes = Buffer.from(words.buffer)
    this.numbers = new Float64Array(words.buffer)
  }

  /** Room for `slot`; new rows are 0. */
  ensure(slot: number): void {
    const wanted = (slot + 1) * this.stride
    if (wanted <= this.words.length) return
    const grown = new Int32Array(Math.max(this.words.length * 2, wanted))
    grown.set(this.words)
    this.#use(grown)
  }

  /** The number of a column; undefined: none. */
  number(slot: number, column: number): number | undefined {
    const row = slot * this.stride
    const flags = this.words[row + this.flagsAt + (column >> 5)] as number
    return flags & (1 << (column & 31)) ? this.numbers[(row >> 1) + column] : undefined
  }

  setNumber(slot: number, column: number, value: number): void {
    const row = slot * this.stride
    const flags = row + this.flagsAt + (column >> 5)
    this.words[flags] = (this.words[flags] as number) | (1 << (column & 31))
    this.numbers[(row >> 1) + column] = value
  }

  removeNumber(slot: number, column: number): void {
    const flags = slot * this.stride + this.flagsAt + (column >> 5)
    this.words[flags] = (this.words[flags] as number) & ~(1 << (column & 31))
  }
}
