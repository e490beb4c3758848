/** Looked at in one go: records are waiting. */
const SLOTS_PER_TURN = 32 * 1024

/** Finds slots that were not used for long: a hand goes round and takes marks away, and what it finds without one may go (CLOCK). */
export class ClockHand {
  /** 1: the slot was used since the hand passed it. */
  #used = new Uint8Array(64)
  #at = 0
  #slots = 0
  #left = 0
  /** Slots in a row that could not go. */
  #inVain = 0

  /** Room for `slot`, which is used. */
  add(slot: number): void {
    if (slot >= this.#used.length) {
      const grown = new Uint8Array(this.#used.length * 2)
      grown.set(this.#used)
      this.#used = grown
    }
    this.#used[slot] = 1
  }

  use(slot: number): void {
    this.#used[slot] = 1
  }

  /** `next` goes through `slots` slots. Two rounds: in the first one the hand may only take marks away. */
  begin(slots: number): void {
    this.#slots = slots
    this.#left = Math.min(2 * slots, SLOTS_PER_TURN)
  }

  /** A slot without a mark; −1: enough was looked at. */
  next(): number {
    while (this.#left > 0) {
      this.#left--
      const slot = this.#at
      this.#at = slot + 1 < this.#slots ? slot + 1 : 0
      this.#inVain++
      if (this.#used[slot] === 0) return slot
      this.#used[slot] = 0
    }
    return -1
  }

  /** The last two rounds offered nothing that could go. */
  foundNothing(slots: number): boolean {
    return this.#inVain >= 2 * slots
  }

  /** A slot has gone, or more may go than before. */
  found(): void {
    this.#inVain = 0
  }
}
