/**
 * Goal: whatever is done to keyed state, between whichever barriers, with a crash at any point, the state is what plain Maps
 * say, and what is restored is the state of the last complete snapshot. Method: random sequences of operations, freezes,
 * single steps of encoding and crashes against a model; tiny slices, so that bases in several slices and restores in the
 * middle of one are frequent. A failing run prints its seed and the shortest sequence.
 */
import { expect, test } from '@jest/globals'
import fc from 'fast-check'
import {
  f64,
  json,
  type ListState,
  listState,
  type MapState,
  mapState,
  nullable,
  type Serde,
  utf8,
  type ValueState,
  valueState,
} from '../../src/index.ts'
import { CHAIN_SEGMENTS_MAX } from '../../src/state/task-state.ts'
import { type HeapSizes, TaskOnHeap } from '../support/task-on-heap.ts'

interface Item {
  n: number
}

const states = {
  value: valueState(json<Item>()),
  number: valueState(nullable(f64)),
  count: valueState(f64),
  list: listState(json<Item>()),
  map: mapState(utf8, json<Item>()),
}

interface Handles {
  readonly value: ValueState<Item, undefined>
  readonly number: ValueState<number | null, undefined>
  readonly count: ValueState<number, undefined>
  readonly list: ListState<Item>
  readonly map: MapState<string, Item>
}

/** One key's state in the model. */
interface Cell {
  value: Item | undefined
  number: number | null | undefined
  count: number | undefined
  list: Item[]
  map: Map<string, Item>
}

type Model = Map<number, Cell>

const cellOf = (model: Model, key: number): Cell => {
  const cell = model.get(key) ?? { value: undefined, number: undefined, count: undefined, list: [], map: new Map() }
  model.set(key, cell)
  return cell
}

type Keys = 'text' | 'text or null' | 'object'
const KEYS = 7
const keySerdes: Readonly<Record<Keys, Serde<unknown>>> = {
  text: utf8 as Serde<unknown>,
  'text or null': nullable(utf8) as Serde<unknown>,
  object: json<unknown>(),
}
const keyOf = (keys: Keys, index: number): unknown => {
  if (keys === 'object') return { id: index }
  if (keys === 'text or null' && index === 0) return null
  return index === 1 ? '' : `key-${index}`
}

/** Backend and model, moved together. */
class Pair {
  backend: TaskOnHeap
  model: Model = new Map()
  /** As of the last freeze; undefined: nothing is frozen. */
  frozen: Model | undefined
  durable: Model = new Map()
  readonly keys: Keys

  constructor(keys: Keys, sizes: HeapSizes) {
    this.keys = keys
    this.backend = new TaskOnHeap(states, keySerdes[keys], [], sizes)
  }

  at(key: number): Handles {
    this.backend.setKey(keyOf(this.keys, key))
    return this.backend.handles as unknown as Handles
  }

  freeze(): void {
    this.complete()
    this.backend.freeze()
    this.frozen = structuredClone(this.model)
  }

  complete(): void {
    if (!this.frozen) return
    this.backend.complete()
    this.durable = this.frozen
    this.frozen = undefined
    note(this.backend)
  }

  crash(): void {
    this.backend = this.backend.crash()
    if (seen.lastMark === 'base-first' || seen.lastMark === 'base-part') seen.insideBase++
    this.frozen = undefined
    this.model = structuredClone(this.durable)
    this.check()
  }

  check(): void {
    for (let key = 0; key < KEYS; key++) this.checkKey(key)
  }

  checkKey(key: number): void {
    const state = this.at(key)
    const found = {
      value: state.value.get(),
      number: state.number.get(),
      count: state.count.get(),
      list: state.list.get(),
      map: [...state.map.entries()].sort(),
      size: state.map.size,
    }
    const { value, number, count, list, map } = cellOf(this.model, key)
    const wanted = { value, number, count, list, map: [...map].sort(), size: map.size }
    // The text is compared because it is fast; both are printed if it differs.
    if (JSON.stringify(found) !== JSON.stringify(wanted)) expect(found).toEqual(wanted)
  }
}

/** What the runs met: a test that never meets a base in slices proves nothing about it. */
const seen = { marks: new Set<string>(), chain: 0, insideBase: 0, lastMark: '' }

function note(backend: TaskOnHeap): void {
  seen.chain = Math.max(seen.chain, backend.segments.length)
  seen.lastMark = backend.segments.at(-1)?.mark ?? ''
  seen.marks.add(seen.lastMark)
}

const operations = {
  'value.set'(pair: Pair, key: number, n: number) {
    pair.at(key).value.set({ n })
    cellOf(pair.model, key).value = { n }
  },
  'value.clear'(pair: Pair, key: number) {
    pair.at(key).value.clear()
    cellOf(pair.model, key).value = undefined
  },
  'number.set'(pair: Pair, key: number, n: number) {
    const value = n === 0 ? null : n
    pair.at(key).number.set(value)
    cellOf(pair.model, key).number = value
  },
  'number.clear'(pair: Pair, key: number) {
    pair.at(key).number.clear()
    cellOf(pair.model, key).number = undefined
  },
  'count.set'(pair: Pair, key: number, n: number) {
    pair.at(key).count.set(n / 3)
    cellOf(pair.model, key).count = n / 3
  },
  'count.clear'(pair: Pair, key: number) {
    pair.at(key).count.clear()
    cellOf(pair.model, key).count = undefined
  },
  'list.add'(pair: Pair, key: number, n: number) {
    pair.at(key).list.add({ n })
    cellOf(pair.model, key).list.push({ n })
  },
  'list.addAll'(pair: Pair, key: number, n: number) {
    const items = Array.from({ length: n }, (_, index) => ({ n: index }))
    pair.at(key).list.addAll(items)
    cellOf(pair.model, key).list.push(...structuredClone(items))
  },
  'list.set'(pair: Pair, key: number, n: number) {
    pair.at(key).list.set(n === 0 ? [] : [{ n }])
    cellOf(pair.model, key).list = n === 0 ? [] : [{ n }]
  },
  'list.clear'(pair: Pair, key: number) {
    pair.at(key).list.clear()
    cellOf(pair.model, key).list = []
  },
  'map.set'(pair: Pair, key: number, n: number, name: string) {
    pair.at(key).map.set(name, { n })
    cellOf(pair.model, key).map.set(name, { n })
  },
  'map.delete'(pair: Pair, key: number, _n: number, name: string) {
    pair.at(key).map.delete(name)
    cellOf(pair.model, key).map.delete(name)
  },
  'map.clear'(pair: Pair, key: number) {
    pair.at(key).map.clear()
    cellOf(pair.model, key).map.clear()
  },
  /** Reads an object and then changes it in place: what stands in a frozen slot must be encoded by then. */
  'spoil after reading'(pair: Pair, key: number, n: number, name: string) {
    const state = pair.at(key)
    const cell = cellOf(pair.model, key)
    const item = n % 2 === 0 ? state.value.get() : state.map.get(name)
    const modelled = n % 2 === 0 ? cell.value : cell.map.get(name)
    if (!item || !modelled) return
    ;(item as Item).n = 1000
    // Behind the back of the state: written by `set`, so that the next snapshot has it too.
    if (n % 2 === 0) state.value.set({ n: 7 })
    else state.map.set(name, { n: 7 })
    modelled.n = 7
  },
  check: (pair: Pair, key: number) => pair.checkKey(key),
  freeze: (pair: Pair) => pair.freeze(),
  'encode a little'(pair: Pair) {
    if (pair.frozen) pair.backend.encodeSome()
  },
  complete: (pair: Pair) => pair.complete(),
  checkpoints(pair: Pair, key: number, n: number) {
    for (let i = 0; i <= n; i++) {
      operations['list.add'](pair, (key + i) % KEYS, n)
      pair.freeze()
    }
    pair.complete()
  },
  crash: (pair: Pair) => pair.crash(),
}

type Operation = keyof typeof operations
const often: Partial<Record<Operation, number>> = {
  freeze: 5,
  checkpoints: 4,
  'encode a little': 5,
  crash: 1,
  check: 2,
}
const operation = fc.oneof(
  ...(Object.keys(operations) as Operation[]).map((name) => ({
    weight: often[name] ?? 2,
    arbitrary: fc.constant(name),
  })),
)
const move = fc.tuple(operation, fc.nat(KEYS - 1), fc.nat(3), fc.constantFrom('a', 'b', '__proto__'))
const sizes: fc.Arbitrary<HeapSizes> = fc.record({
  baseSliceSlots: fc.constantFrom(1, 2, 3, 100),
  rowsPerLook: fc.constantFrom(1, 2, 64),
})
const keys = fc.constantFrom<Keys>('text', 'text or null', 'object')

test('state is what plain Maps say, at any time and after any crash', () => {
  const property = fc.property(
    keys,
    sizes,
    fc.array(move, { minLength: 10, maxLength: 90, size: 'max' }),
    (kind, size, moves) => {
      const pair = new Pair(kind, size)
      for (const [name, key, n, text] of moves) operations[name](pair, key, n, text)
      pair.check()
      pair.crash()
      pair.freeze()
      pair.complete()
      pair.crash()
    },
  )
  fc.assert(property, { numRuns: 3000 })
  expect([...seen.marks].sort()).toEqual(['base-first', 'base-last', 'base-part', 'base-whole', 'delta', ''].sort())
  expect(seen.chain).toBeGreaterThan(CHAIN_SEGMENTS_MAX - 3)
  expect(seen.chain).toBeLessThanOrEqual(CHAIN_SEGMENTS_MAX)
  expect(seen.insideBase).toBeGreaterThan(50)
})

test('a crash at every checkpoint of a base, again and again, never makes a chain too long', () => {
  for (const slots of [1, 2, 3, 5]) {
    const pair = new Pair('text', { baseSliceSlots: slots, rowsPerLook: 2 })
    for (let round = 0; round < 200; round++) {
      operations['value.set'](pair, round % KEYS, round)
      operations['list.add'](pair, (round * 3) % KEYS, round)
      pair.freeze()
      pair.complete()
      if (round % 5 !== 4) pair.crash()
    }
    pair.check()
  }
  expect(seen.chain).toBeLessThanOrEqual(CHAIN_SEGMENTS_MAX)
})

test('a backend that forgets keys does not forget state: many short-lived keys leave nothing behind', () => {
  const backend = new TaskOnHeap(states, utf8 as Serde<unknown>, [], { baseSliceSlots: 4 })
  const handles = backend.handles as unknown as Handles
  for (let round = 0; round < 300; round++) {
    backend.setKey(`session-${round}`)
    handles.value.set({ n: round })
    handles.map.set('a', { n: round })
    if (round >= 3) {
      backend.setKey(`session-${round - 3}`)
      handles.value.clear()
      handles.map.clear()
    }
    backend.freeze()
    backend.complete()
  }
  expect(backend.keyCount).toBeLessThanOrEqual(4)
  expect(backend.store.slotCount).toBeLessThanOrEqual(8)
  expect(backend.crash().keyCount).toBe(3)
})
