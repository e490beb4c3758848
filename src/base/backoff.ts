/** What fails is tried again after 1 turn, 2, 4, … up to this many. */
const SKIPPED_MAX = 256

/** For what is worth trying while it works. */
export class Backoff {
  #toSkip = 0
  #skipNext = 1

  /** False: this turn is left out. */
  isTurn(): boolean {
    if (this.#toSkip === 0) return true
    this.#toSkip--
    return false
  }

  worked(): void {
    this.#skipNext = 1
  }

  failed(): void {
    this.#toSkip = this.#skipNext
    this.#skipNext = Math.min(SKIPPED_MAX, this.#skipNext * 2)
  }
}
