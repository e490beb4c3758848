// How a pipeline declares its state, before the function that uses it: handles are typed, and the plan knows every state
// before anything runs.
import type { Serde } from './serde.ts'

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

/** A map per key; each entry is written on its own. */
export interface MapState<K, V> {
  get(key: K): DeepReadonly<V> | undefined
  set(key: K, value: V): void
  has(key: K): boolean
  delete(key: K): void
  keys(): IterableIterator<K>
  values(): IterableIterator<DeepReadonly<V>>
  entries(): IterableIterator<[K, DeepReadonly<V>]>
  readonly size: number
  clear(): void
}

export interface StateDescriptor<Handle> {
  readonly kind: 'value' | 'list' | 'map'
  readonly serde: Serde<unknown>
  /** Map states only: the entries' keys. */
  readonly mapKey?: Serde<unknown>
  readonly initial?: () => unknown
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
  const base = { kind: 'value' as const, serde: serde as Serde<unknown> }
  if (initial === undefined) return base
  return { ...base, initial: typeof initial === 'function' ? (initial as () => unknown) : () => initial }
}

/** A list per key. @example listState(json<Order>()) */
export function listState<T>(serde: Serde<T>): StateDescriptor<ListState<T>> {
  return { kind: 'list', serde: serde as Serde<unknown> }
}

/** A map per key. @example mapState(utf8, f64) */
export function mapState<K, V>(key: Serde<K>, value: Serde<V>): StateDescriptor<MapState<K, V>> {
  return { kind: 'map', serde: value as Serde<unknown>, mapKey: key as Serde<unknown> }
}
