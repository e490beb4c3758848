// State without keys. Broadcast state: every task of an operator has all of it, changed by every record of a topic of its own, read by the operator's
// records. It is kept like keyed state, under the one key that it has. How far the topic was read is part of it, so that in every checkpoint
// and savepoint, and after any restore, the two fit together.
import type {
  ListState,
  MapRange,
  MapState,
  StateDescriptor,
  StateDescriptors,
  StateHandles,
  ValueState,
} from './descriptors.ts'
import { json, type Serde } from './serde.ts'

/** The name of the state with the position; users' states cannot begin with it. */
export const POSITION = '$position'

/** The only key. */
export const UNIT = ''

/** Users' serdes cannot have such an id: by it savepoints know what has no keys. */
export const unit: Serde<string> = {
  id: '$unit',
  nullable: false,
  copies: true,
  appends: true,
  encode() {},
  decode(_from, start, end) {
    if (end !== start) throw new RangeError(`$unit: no bytes expected, ${end - start} found`)
    return UNIT
  },
}

/** The key of operator state: a task has one list of each, under this key. */
export const taskKey: Serde<string> = { ...unit, id: '$task' }

/** What was read last of the topic. */
export interface BroadcastPosition {
  /** The next offset, in digits. */
  readonly offset: string
  readonly leaderEpoch: number
}

export type PositionState = ValueState<BroadcastPosition, undefined>

/** The operator under which segments and commands name it. */
export function broadcastOperator(operator: string): string {
  return `${operator}.broadcast`
}

export function withPosition(states: StateDescriptors): StateDescriptors {
  return { ...states, [POSITION]: { kind: 'value', serde: json<unknown>() } }
}

type ReadonlyHandle<Handle> =
  Handle extends MapState<infer K, infer V>
    ? Pick<MapState<K, V>, 'get' | 'has' | 'keys' | 'values' | 'entries' | 'size'>
    : Handle extends { get(): infer R }
      ? { get(): R }
      : never

/** Handles as the operator's records have them. */
export type ReadonlyHandles<D extends StateDescriptors> = {
  readonly [P in keyof D]: D[P] extends StateDescriptor<infer Handle> ? ReadonlyHandle<Handle> : never
}

/** The same handles without what changes something. */
export function readonlyHandles<D extends StateDescriptors>(states: D, handles: StateHandles<D>): ReadonlyHandles<D> {
  const reading = Object.entries(states).map(([name, { kind }]) => {
    const handle = handles[name] as MapState<unknown, unknown> | ListState<unknown>
    if (kind !== 'map') return [name, { get: () => (handle as ListState<unknown>).get() }]
    const map = handle as MapState<unknown, unknown>
    return [
      name,
      {
        get: (key: unknown) => map.get(key),
        has: (key: unknown) => map.has(key),
        keys: (range?: MapRange<unknown>) => map.keys(range),
        values: (range?: MapRange<unknown>) => map.values(range),
        entries: (range?: MapRange<unknown>) => map.entries(range),
        get size() {
          return map.size
        },
      },
    ]
  })
  return Object.fromEntries(reading) as ReadonlyHandles<D>
}
