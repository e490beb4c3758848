// The shapes of the functions that users write. They are synchronous and may be plain; I/O goes through `asyncMap`.

import type { StateDescriptors, StateHandles } from '../state/descriptors.ts'
import type { Headers } from './batch.ts'

/**
 * Where a value comes from: the second argument of every user function. Fields decode on first use, which must be while the
 * function runs: a record that is kept and read later may throw CALL_OVER. Values, keys and headers may be kept.
 */
export interface RecordContext<K = unknown> {
  /** The stream's key: the record's own at a source, what `keyBy` chose behind it. */
  readonly key: K
  /** Milliseconds since 1970: the input record's. */
  readonly timestamp: number
  readonly headers: Headers
  /** Where this stage read the record: behind a `keyBy` that is the repartition topic. */
  readonly topic: string
  readonly partition: number
  readonly offset: bigint
}

/** Timers of the current key, in processing time: the clock of the machine. For functions with `onTimer`. */
export interface Timers {
  /** The machine's clock, in ms since 1970. */
  now(): number
  /** `onTimer` is called for the current key at `time` (ms since 1970) or soon after; at once if that is over. Whole milliseconds: rounded up. Twice the same is once. @throws TypeError */
  set(time: number): void
  delete(time: number): void
}

export interface ProcessContext<K, D extends StateDescriptors, Out> {
  readonly key: K
  readonly state: StateHandles<D>
  readonly record: RecordContext<K>
  /** Only for functions that have `onTimer`. @throws PLAN_INVALID without */
  readonly timers: Timers
  /** Sends a result on, with the input's key and timestamp. @throws CALL_OVER after `onRecord` has returned */
  emit(value: Out): void
}

/** What a timer's function gets: no record, since none caused the call. What it emits has the timer's time as its timestamp. */
export type TimerContext<K, D extends StateDescriptors, Out> = Omit<ProcessContext<K, D, Out>, 'record'>

/**
 * A keyed function with access to everything. `open` runs once per task before its first record, `close` after its last. Timers are
 * state: what fires is part of a checkpoint like what a record causes, so results of a timer are there once. They fire between
 * records, in the order of their times.
 */
export interface ProcessFunction<V, K, D extends StateDescriptors, Out> {
  open?(): void
  onRecord(value: V, context: ProcessContext<K, D, Out>): void
  onTimer?(time: number, context: TimerContext<K, D, Out>): void
  close?(): void
}

/** What a keyed operator's function gets, whatever its form. */
export interface OperatorContext extends ProcessContext<unknown, StateDescriptors, unknown> {
  /** The one result of a `map`: the record itself goes on with it. */
  replace(value: unknown): void
}

/** All keyed operators become this: `map` and `flatMap` are process functions that pass on what they return. */
export interface OperatorFunctions {
  open?(): void
  onRecord(value: unknown, context: OperatorContext): void
  onTimer?(time: number, context: TimerContext<unknown, StateDescriptors, unknown>): void
  close?(): void
}

export interface AsyncMapOptions {
  /** Calls under way at once, per task. At the limit the input waits. Default 100. */
  readonly capacity?: number
  /** Per call, in ms. A call that takes longer counts as failed. Default 10 000. */
  readonly timeoutMs?: number
  /** `ordered`: results leave in input order (default). `unordered`: as they come, but never across a barrier. */
  readonly order?: 'ordered' | 'unordered'
  /** Further tries of a failed call before the pipeline rolls back, and the pause before each, in ms. Default 0 tries. */
  readonly retry?: { readonly attempts: number; readonly delayMs: number }
}
