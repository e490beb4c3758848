// What came in while nobody processed it: its output shall not wait for a checkpoint's interval, too. When the inputs have been read
// to where they ended when they were first seen, the next checkpoint may come at once; for each hop once more, since what
// goes through one is there only after a checkpoint: then the known ends may be old, and are believed after a while only.
// Under a load that leaves no moment without calls under way (asyncMap), the interval stays.
import { monotonicMs } from '../base/clock.ts'
import { type CheckpointId, partitionKey } from '../base/ids.ts'
import type { SourcePosition } from '../base/messages.ts'

const LOOK_MS = 10
/** By then a fetch has told what a checkpoint made visible. */
const SETTLE_MS = 50

/** A task, as far as it matters here. */
export interface CatchingUp {
  readonly busy: boolean
  readonly positions: readonly SourcePosition[]
}

/** Records between a position and the input's end; undefined: not known yet. */
export type LagOf = (topic: string, partition: number, position: bigint) => bigint | undefined

export class CatchUp {
  #rounds: number
  #settledAtMs: number | undefined
  /** Where the inputs ended, by partition. */
  readonly #ends = new Map<string, bigint>()
  #after: CheckpointId | undefined
  #lookAtMs = Number.NEGATIVE_INFINITY

  constructor(hops: number) {
    this.#rounds = 1 + hops
  }

  /**
   * Whether the next checkpoint need not wait; said once for each round. `last`: the last checkpoint that was begun. Asked when
   * there is something to be saved.
   */
  reached(tasks: readonly CatchingUp[], lag: LagOf, last: CheckpointId): boolean {
    if (this.#rounds === 0 || last === this.#after || monotonicMs() < this.#lookAtMs) return false
    this.#lookAtMs = monotonicMs() + LOOK_MS
    for (const task of tasks) {
      if (task.busy) return false
      for (const { topic, partition, offset } of task.positions) {
        const key = partitionKey(topic, partition)
        const left = lag(topic, partition, offset)
        if (left === undefined) return false
        const end = this.#ends.get(key) ?? offset + left
        this.#ends.set(key, end)
        if (offset < end) return false
      }
    }
    this.#settledAtMs ??= monotonicMs()
    if (this.#after !== undefined && monotonicMs() - this.#settledAtMs < SETTLE_MS) return false
    this.#rounds--
    this.#after = last
    this.#settledAtMs = undefined
    this.#ends.clear()
    return true
  }
}
