// Handles for tests of pipelines: what goes into state and comes out of it is frozen, so that a function which changes a value in place
// fails there, and not silently on a cluster. An aggregating state's accumulator may be changed in place, and is left alone.
import type { ListState, MapState, StateDescriptors, StateHandles, ValueState } from './descriptors.ts'

/** The value and all that hangs on it; bytes cannot be frozen. */
export function deepFreeze<T>(value: T, seen: Set<unknown> = new Set()): T {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value) || seen.has(value)) return value
  seen.add(Object.freeze(value))
  for (const each of Object.values(value)) deepFreeze(each, seen)
  return value
}

const frozenAll = (values: Iterable<unknown>): unknown[] => Array.from(values, (each) => deepFreeze(each))

type Value = ValueState<unknown, undefined>
type Map = MapState<unknown, unknown>

const frozenValue = (base: Value): Value => ({
  get: () => deepFreeze(base.get()),
  set: (value) => base.set(deepFreeze(value)),
  clear: () => base.clear(),
})

const frozenList = (base: ListState<unknown>): ListState<unknown> => ({
  get: () => Object.freeze(frozenAll(base.get())) as readonly object[],
  add: (value) => base.add(deepFreeze(value)),
  addAll: (values) => base.addAll(frozenAll(values)),
  set: (values) => base.set(frozenAll(values)),
  clear: () => base.clear(),
})

const frozenMap = (base: Map): Map => ({
  get: (key) => deepFreeze(base.get(key)),
  set: (key, value) => base.set(deepFreeze(key), deepFreeze(value)),
  has: (key) => base.has(key),
  delete: (key) => base.delete(key),
  keys: (range) => base.keys(range),
  *values(range) {
    for (const value of base.values(range)) yield deepFreeze(value)
  },
  *entries(range) {
    for (const [key, value] of base.entries(range)) yield [key, deepFreeze(value)]
  },
  get size() {
    return base.size
  },
  clear: () => base.clear(),
})

export function frozenHandles(
  states: StateDescriptors,
  handles: StateHandles<StateDescriptors>,
): StateHandles<StateDescriptors> {
  const frozen = Object.entries(states).map(([name, { kind }]) => {
    const handle = handles[name]
    if (kind === 'value') return [name, frozenValue(handle as Value)]
    if (kind === 'list') return [name, frozenList(handle as ListState<unknown>)]
    return [name, kind === 'map' ? frozenMap(handle as Map) : handle]
  })
  return Object.fromEntries(frozen) as StateHandles<StateDescriptors>
}
