// The handles of reducing and aggregating states: a value that changes by what is added to it.
import type { AggregatingState, Fold, ValueState } from '../descriptors.ts'

/** The handle of the value underneath; undefined: nothing was added. */
export type FoldedValue = ValueState<unknown, undefined>

export function foldInto(value: FoldedValue, { add, result }: Fold): AggregatingState<unknown, unknown> {
  return {
    get: () => result(value.get()),
    // What `get` gives is encoded if it had to be, so that an accumulator may be changed in place.
    add: (added) => value.set(add(value.get(), added)),
    clear: () => value.clear(),
  }
}
