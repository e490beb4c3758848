// What the contract of state backends is checked on: one operator with a state of every kind, and the moves of the tests.
import {
  type AggregatingState,
  aggregatingState,
  f64,
  json,
  type ListState,
  listState,
  type MapState,
  mapState,
  nullable,
  ordered,
  type ReducingState,
  reducingState,
  type StateDescriptors,
  utf8,
  type ValueState,
  valueState,
} from '../../src/index.ts'

/** One operator's state in one task. */
export interface StateBackend {
  /** One handle per descriptor, all speaking of the current key. */
  readonly handles: Readonly<Record<string, unknown>>
  readonly keyCount: number
  setKey(key: unknown): void
  /** The barrier: the synchronous part of a snapshot. */
  freeze(): void
  /** Encodes all that is frozen; the snapshot is complete, and what it holds survives a crash. */
  complete(): void | Promise<void>
  /**
   * The process dies: a new backend, restored from the last complete snapshot. This one is not used any more. `states`: what the
   * new one declares, if that is not the same.
   */
  crash(states?: StateDescriptors): StateBackend | Promise<StateBackend>
  /** Another process, restored from the last complete snapshot, while this one goes on. */
  restored(): StateBackend | Promise<StateBackend>
}

export interface Item {
  count: number
}

export const states: StateDescriptors = {
  value: valueState(f64, 0),
  bare: valueState(utf8),
  item: valueState(json<Item>(), () => ({ count: 0 })),
  maybe: valueState(nullable(utf8), 'unset'),
  list: listState(f64),
  items: listState(json<Item>()),
  maybes: listState(nullable(utf8)),
  map: mapState(utf8, f64),
  itemMap: mapState(utf8, json<Item>()),
  byNumber: mapState(ordered.f64, utf8),
  maybeMap: mapState(nullable(utf8), nullable(utf8)),
  pointMap: mapState(json<{ x: number }>(), f64),
  sum: reducingState(f64, (sum, value) => sum + value),
  joined: reducingState(nullable(utf8), (text, value) => (value === null ? null : `${text}${value}`)),
  mean: aggregatingState(json<{ sum: number; all: number[] }>(), {
    create: () => ({ sum: 0, all: [] }),
    // Changed in place, which an accumulator may be.
    add: (accumulator, value: number) => {
      accumulator.sum += value
      accumulator.all.push(value)
      return accumulator
    },
    result: ({ sum, all }) => `${sum} / ${all.length}`,
  }),
}

export interface Handles {
  readonly value: ValueState<number, never>
  readonly bare: ValueState<string, undefined>
  readonly item: ValueState<Item, never>
  readonly maybe: ValueState<string | null, never>
  readonly list: ListState<number>
  readonly items: ListState<Item>
  readonly maybes: ListState<string | null>
  readonly map: MapState<string, number>
  readonly itemMap: MapState<string, Item>
  readonly byNumber: MapState<number, string>
  readonly maybeMap: MapState<string | null, string | null>
  readonly pointMap: MapState<{ x: number }, number>
  readonly sum: ReducingState<number>
  readonly joined: ReducingState<string | null>
  readonly mean: AggregatingState<number, string>
}

/** A backend whose handles have types, with the moves of the tests. */
export class Subject {
  backend: StateBackend

  constructor(backend: StateBackend) {
    this.backend = backend
  }

  at(key: unknown): Handles {
    this.backend.setKey(key)
    return this.backend.handles as unknown as Handles
  }

  async snapshot(): Promise<void> {
    this.backend.freeze()
    await this.backend.complete()
  }

  async crash(states?: StateDescriptors): Promise<void> {
    this.backend = await this.backend.crash(states)
  }
}

export type Check = (subject: Subject) => void | Promise<void>
