// Slot numbers in the order in which they came. The memory is used again from checkpoint to checkpoint, and given back when
// much less was needed: after many new keys at once, for example.

const KEPT_MIN = 64 * 1024

export class SlotList {
  #slots = new Int32Array(256)
  #length = 0

  get length(): number {
    return this.#length
  }

  /** For how many slots there is memory. */
  get capacity(): number {
    return this.#slots.length
  }

  at(index: number): number {
    return this.#slots[index] as number
  }

  push(slot: number): void {
    if (this.#length === this.#slots.length) {
      const grown = new Int32Array(this.#length * 2)
      grown.set(this.#slots)
      this.#slots = grown
    }
    this.#slots[this.#length++] = slot
  }

  clear(): void {
    if (this.#length === 0) return
    if (this.capacity > KEPT_MIN && this.#length < this.capacity / 4) this.#slots = new Int32Array(KEPT_MIN)
    this.#length = 0
  }
}
