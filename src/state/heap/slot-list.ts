// Slot numbers in the order in which they came, in memory that is used again from checkpoint to checkpoint.

export class SlotList {
  #slots = new Int32Array(256)
  #length = 0

  get length(): number {
    return this.#length
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
    this.#length = 0
  }
}
