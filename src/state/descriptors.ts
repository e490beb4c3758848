// How a pipeline declares its state, before the function that uses it: handles are typed, and the plan knows every state
// before anything runs.
import { plainOf, type Serde } from './serde.ts'

type Primitive = string | number | bigint | boolean | symbol | null | undefined

/** Values in state are immutable to the user: to change one, `set` a new one. */
export type DeepReadonly<T> = T extends Primitive | Buffer | ((...args: never[]) => unknown)
  ? T
  : T extends readonly (infer E)[]
    ? readonly DeepReadonly<E>[]
    : T extends ReadonlyMap<infer K, infer V>
      ? ReadonlyMap<DeepReadonly<K>, DeepReadonly<V>>
      : T extends ReadonlySet<infer E>
        ? ReadonlySet<DeepReadonly<E>>
        : { readonly [P in keyof T]: DeepReadonly<T[P]> }

/** One value per key. */
export interface ValueState<T, Missing = T> {
  get(): DeepReadonly<T> | Missing
  set(value: T): void
  clear(): void
}

/** A list per key; `add` does not read the list. */
export interface ListState<T> {
  get(): readonly DeepReadonly<T>[]
  add(value: T): void
  addAll(values: Iterable<T>): void
  set(values: Iterable<T>): void
  clear(): void
}

/** Part of a map, by its keys' bytes as their serde writes them. */
export interface MapRange<K> {
  /** Included. Default: from the lowest. */
  readonly from?: K
  /** Not included. Default: to the highest. */
  readonly to?: K
  /** The highest first. */
  readonly reverse?: boolean
}

/**
 * A map per key; each entry is written on its own. It is gone through in the order of its keys' bytes, the same on every backend and after
 * every restore: texts by code points, numbers with a serde of `ordered`. What is set on the way may be left out.
 */
export interface MapState<K, V> {
  get(key: K): DeepReadonly<V> | undefined
  set(key: K, value: V): void
  has(key: K): boolean
  delete(key: K): void
  keys(range?: MapRange<K>): IterableIterator<K>
  values(range?: MapRange<K>): IterableIterator<DeepReadonly<V>>
  entries(range?: MapRange<K>): IterableIterator<[K, DeepReadonly<V>]>
  readonly size: number
  clear(): void
}

/** One value per key into which values are folded: a sum, a maximum, a union of sets. */
export interface ReducingState<T> {
  /** undefined: nothing was added. */
  get(): DeepReadonly<T> | undefined
  add(value: T): void
  clear(): void
}

/** An accumulator per key, and the result that is made of it. */
export interface AggregatingState<In, Out> {
  /** undefined: nothing was added. */
  get(): Out | undefined
  add(value: In): void
  clear(): void
}

/** How values become an accumulator, and an accumulator a result (Flink's AggregateFunction). */
export interface Aggregate<In, Acc, Out> {
  /** The accumulator of nothing: a new one at each call. */
  readonly create: () => Acc
  /** Gives a new accumulator, or the same one changed. */
  readonly add: (accumulator: Acc, value: In) => Acc
  readonly result: (accumulator: DeepReadonly<Acc>) => Out
}

/** How the one value of a reducing or aggregating state changes. */
export interface Fold {
  readonly add: (current: unknown, value: unknown) => unknown
  readonly result: (current: unknown) => unknown
}

/** How long entries live: what `withTtl` says. */
export interface Ttl {
  readonly ttlMs: number
  readonly update: 'on-write' | 'on-read-and-write'
  readonly visibility: 'never-return-expired' | 'return-expired-if-not-cleaned-up'
  readonly clock: 'processing-time' | 'record-time'
}

/** The format of a state's values, and older ones that can be read: what `withMigration` says. */
export interface Versions {
  readonly version: number
  /** Serdes by version. */
  readonly older: ReadonlyMap<number, Serde<unknown>>
  readonly migrate: (old: unknown, from: number) => unknown
}

export interface StateDescriptor<Handle> {
  readonly kind: 'value' | 'list' | 'map' | 'reducing' | 'aggregating'
  readonly serde: Serde<unknown>
  /** Reducing and aggregating states only. */
  readonly fold?: Fold
  /** List states of a task only: what a savepoint gives each of another number of tasks. Default `split`. */
  readonly redistribution?: 'split' | 'union'
  /** Map states only: the entries' keys. */
  readonly mapKey?: Serde<unknown>
  readonly initial?: () => unknown
  readonly ttl?: Ttl
  /** Without it: version 1. */
  readonly versions?: Versions
  /** Never set: carries the handle's type. */
  readonly handle?: Handle
}

export type StateDescriptors = Readonly<Record<string, StateDescriptor<unknown>>>

/** The handles that a process function gets for its descriptors. */
export type StateHandles<D extends StateDescriptors> = {
  readonly [P in keyof D]: D[P] extends StateDescriptor<infer Handle> ? Handle : never
}

/**
 * One value per key. With an initial value `get` never gives undefined; an object must be made by a function, so that
 * keys do not share it.
 * @example valueState(f64, 0); valueState(json<Cart>(), () => ({ items: [] }))
 */
export function valueState<T>(serde: Serde<T>): StateDescriptor<ValueState<T, undefined>>
export function valueState<T>(
  serde: Serde<T>,
  initial: T extends object ? () => T : T | (() => T),
): StateDescriptor<ValueState<T, never>>
export function valueState<T>(serde: Serde<T>, initial?: unknown): StateDescriptor<ValueState<T, never>> {
  const base = { kind: 'value' as const, serde: plainOf(serde as Serde<unknown>) }
  if (initial === undefined) return base
  return { ...base, initial: typeof initial === 'function' ? (initial as () => unknown) : () => initial }
}

/** A list per key. @example listState(json<Order>()) */
export function listState<T>(serde: Serde<T>): StateDescriptor<ListState<T>> {
  return { kind: 'list', serde: plainOf(serde as Serde<unknown>) }
}

/**
 * A list per task, for `withOperatorState`. When a savepoint is restored every task gets the lists of all of them.
 * @example unionListState(utf8)
 */
export function unionListState<T>(serde: Serde<T>): StateDescriptor<ListState<T>> {
  return { ...listState(serde), redistribution: 'union' }
}

/** A map per key. @example mapState(utf8, f64) */
export function mapState<K, V>(key: Serde<K>, value: Serde<V>): StateDescriptor<MapState<K, V>> {
  return { kind: 'map', serde: plainOf(value as Serde<unknown>), mapKey: plainOf(key as Serde<unknown>) }
}

/**
 * One value per key: what is added is folded into it by `reduce`. It is given the value so far and the one that is added.
 * @example reducingState(f64, (sum, price) => sum + price)
 */
export function reducingState<T>(
  serde: Serde<T>,
  reduce: (current: T, value: T) => T,
): StateDescriptor<ReducingState<T>> {
  const add = (current: unknown, value: unknown): unknown =>
    current === undefined ? value : reduce(current as T, value as T)
  return { kind: 'reducing', serde: plainOf(serde as Serde<unknown>), fold: { add, result: (current) => current } }
}

/**
 * An accumulator per key, of which `get` gives the result. `accumulator`: its serde.
 * @example
 * aggregatingState(object({ sum: f64, count: f64 }), {
 *   create: () => ({ sum: 0, count: 0 }),
 *   add: ({ sum, count }, price: number) => ({ sum: sum + price, count: count + 1 }),
 *   result: ({ sum, count }) => sum / count,
 * })
 */
export function aggregatingState<In, Acc, Out>(
  accumulator: Serde<Acc>,
  aggregate: Aggregate<In, Acc, Out>,
): StateDescriptor<AggregatingState<In, Out>> {
  const fold: Fold = {
    add: (current, value) => aggregate.add(current === undefined ? aggregate.create() : (current as Acc), value as In),
    result: (current) => (current === undefined ? undefined : aggregate.result(current as DeepReadonly<Acc>)),
  }
  return { kind: 'aggregating', serde: plainOf(accumulator as Serde<unknown>), fold }
}
