// What the states of one operator keep per slot, side by side in one array: a record touches all of them, and what costs is
// memory that is not in the cache.

/** One int32 per slot and state. */
export class IntColumns {
  readonly stride: number
  words: Int32Array

  constructor(stride: number) {
    this.stride = stride
    this.words = new Int32Array(64 * stride)
  }

  /** Room for `slot`; new words are 0. */
  ensure(slot: number): void {
    if ((slot + 1) * this.stride <= this.words.length) return
    const grown = new Int32Array(Math.max(this.words.length * 2, (slot + 1) * this.stride))
    grown.set(this.words)
    this.words = grown
  }
}

/** A NaN that no computation gives, in either byte order: the slot has no number. */
const ABSENT = 0x7ff84d49

/** One double per slot and state, or none. */
export class NumberColumns {
  #stride: number
  #numbers: Float64Array
  #words: Int32Array

  constructor(stride: number) {
    this.#stride = stride
    this.#numbers = new Float64Array(64 * stride)
    this.#words = new Int32Array(this.#numbers.buffer).fill(ABSENT)
  }

  /** undefined: none. */
  get(slot: number, column: number): number | undefined {
    const at = slot * this.#stride + column
    const value = this.#numbers[at]
    return Number.isNaN(value) ? this.#orNone(at) : value
  }

  #orNone(at: number): number | undefined {
    return this.#words[at * 2] === ABSENT && this.#words[at * 2 + 1] === ABSENT ? undefined : this.#numbers[at]
  }

  set(slot: number, column: number, value: number): void {
    const at = slot * this.#stride + column
    if (at >= this.#numbers.length) this.#grow(at)
    // The plain NaN, whatever bits the user's has.
    this.#numbers[at] = Number.isNaN(value) ? Number.NaN : value
  }

  remove(slot: number, column: number): void {
    const at = slot * this.#stride + column
    if (at < this.#numbers.length) this.#words.fill(ABSENT, at * 2, at * 2 + 2)
  }

  #grow(at: number): void {
    const grown = new Float64Array(Math.max(this.#numbers.length * 2, at + 1))
    const words = new Int32Array(grown.buffer)
    words.set(this.#words)
    words.fill(ABSENT, this.#words.length)
    this.#numbers = grown
    this.#words = words
  }
}
