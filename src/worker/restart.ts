// Restart strategies: what happens when roll-backs in place are used up. Names and meaning are Flink's.
import { monotonicMs } from '../base/clock.ts'

export type RestartStrategy =
  | { readonly strategy: 'none' }
  | { readonly strategy: 'fixed-delay'; readonly attempts: number; readonly delayMs: number }
  /** Doubles from `initialMs` to `maxMs`; back to the start after `resetAfterMs` (default 60 000) without a failure. */
  | {
      readonly strategy: 'exponential-delay'
      readonly initialMs: number
      readonly maxMs: number
      readonly resetAfterMs?: number
      readonly attempts?: number
    }
  /** Gives up after more than `failures` within `intervalMs`. */
  | {
      readonly strategy: 'failure-rate'
      readonly failures: number
      readonly intervalMs: number
      readonly delayMs: number
    }

/** Decides after each failure: wait so many ms, or give up (undefined). */
export class RestartPolicy {
  readonly #strategy: RestartStrategy
  #failures: number[] = []
  #inRow = 0

  constructor(strategy: RestartStrategy) {
    this.#strategy = strategy
  }

  next(now: number = monotonicMs()): number | undefined {
    const last = this.#failures.at(-1)
    this.#failures.push(now)
    const strategy = this.#strategy
    switch (strategy.strategy) {
      case 'none':
        return undefined
      case 'fixed-delay':
        return ++this.#inRow > strategy.attempts ? undefined : strategy.delayMs
      case 'exponential-delay': {
        if (last !== undefined && now - last > (strategy.resetAfterMs ?? 60_000)) this.#inRow = 0
        const wait = Math.min(strategy.maxMs, strategy.initialMs * 2 ** this.#inRow)
        this.#inRow++
        return strategy.attempts !== undefined && this.#inRow > strategy.attempts ? undefined : wait
      }
      case 'failure-rate': {
        this.#failures = this.#failures.filter((at) => now - at <= strategy.intervalMs)
        return this.#failures.length > strategy.failures ? undefined : strategy.delayMs
      }
    }
  }
}
