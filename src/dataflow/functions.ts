// The shapes of the functions that users write. They are synchronous and may be plain; I/O goes through `asyncMap`.

import type { ReadonlyHandles } from '../state/broadcast.ts'
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

/** What a function with operator state gets. */
export type OperatorStateContext<K, D extends StateDescriptors, Out> = Omit<ProcessContext<K, D, Out>, 'timers'>

/** A function with state of its task, whatever the records' keys. */
export interface OperatorStateFunction<V, K, D extends StateDescriptors, Out> {
  open?(): void
  onRecord(value: V, context: OperatorStateContext<K, D, Out>): void
  close?(): void
}

/** What a record's function gets beside a broadcast stream. */
export interface ConnectedContext<K, D extends StateDescriptors, Out, B extends StateDescriptors>
  extends ProcessContext<K, D, Out> {
  /** The broadcast state: to read. */
  readonly broadcast: ReadonlyHandles<B>
}

/** What the function gets for a record of the broadcast stream. */
export interface BroadcastContext<K, B extends StateDescriptors> {
  /** The broadcast state: to change. */
  readonly broadcast: StateHandles<B>
  readonly record: RecordContext<K>
}

/**
 * A keyed function beside a broadcast stream. Every task gets every record of that stream, in the same order, and has its own copy of the
 * broadcast state: `onBroadcast` must do the same in all of them, and gives no results.
 */
export interface ConnectedFunction<
  V,
  K,
  D extends StateDescriptors,
  Out,
  Broadcast,
  BroadcastKey,
  B extends StateDescriptors,
> {
  open?(): void
  onRecord(value: V, context: ConnectedContext<K, D, Out, B>): void
  onBroadcast(value: Broadcast, context: BroadcastContext<BroadcastKey, B>): void
  onTimer?(time: number, context: Omit<ConnectedContext<K, D, Out, B>, 'record'>): void
  close?(): void
}

/** What a keyed operator's function gets, whatever its form. */
export interface OperatorContext extends ConnectedContext<unknown, StateDescriptors, unknown, StateDescriptors> {
  /** The one result of a `map`: the record itself goes on with it. */
  replace(value: unknown): void
}

/** All keyed operators become this: `map` and `flatMap` are process functions that pass on what they return. */
export interface OperatorFunctions {
  open?(): void
  onRecord(value: unknown, context: OperatorContext): void
  /** Only where a broadcast stream is connected. */
  onBroadcast?(value: unknown, context: BroadcastContext<unknown, StateDescriptors>): void
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
