// Keyed state against plain Maps: every operation of the handles, barriers and crashes, carried out on a backend and on a model.
import { expect } from '@jest/globals'
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
  type StateDescriptors,
  utf8,
  type ValueState,
  valueState,
} from '../../src/index.ts'
import type { ChainSegment } from './task-on-heap.ts'

interface Item {
  n: number
}

/** Without lists and maps: batches are written to a disk while the next ones are gathered. */
export const flatStates: StateDescriptors = {
  value: valueState(json<Item>()),
  number: valueState(nullable(f64)),
  count: valueState(f64),
  sum: valueState(f64),
}
export const states: StateDescriptors = {
  ...flatStates,
  list: listState(json<Item>()),
  map: mapState(utf8, json<Item>()),
}

/** List and map are there unless the states are flat. */
export interface Handles {
  readonly value: ValueState<Item, undefined>
  readonly number: ValueState<number | null, undefined>
  readonly count: ValueState<number, undefined>
  readonly sum: ValueState<number, undefined>
  readonly list: ListState<Item>
  readonly map: MapState<string, Item>
}

/** One key's state in the model. */
interface Cell {
  value: Item | undefined
  number: number | null | undefined
  count: number | undefined
  sum: number | undefined
  list: Item[]
  map: Map<string, Item>
}

type Model = Map<number, Cell>

/** By the bytes of their names. */
function inOrder(map: ReadonlyMap<string, Item>): [string, Item][] {
  return [...map].sort(([a], [b]) => Buffer.from(a).compare(Buffer.from(b)))
}

const isBefore = (a: string, b: string): boolean => Buffer.from(a).compare(Buffer.from(b)) < 0

const cellOf = (model: Model, key: number): Cell => {
  const cell = model.get(key) ?? {
    value: undefined,
    number: undefined,
    count: undefined,
    sum: undefined,
    list: [],
    map: new Map(),
  }
  model.set(key, cell)
  return cell
}

export type Keys = 'text' | 'text or null' | 'object'
export const KEYS: number = 7
export const keySerdes: Readonly<Record<Keys, Serde<unknown>>> = {
  text: utf8 as Serde<unknown>,
  'text or null': nullable(utf8) as Serde<unknown>,
  object: json<unknown>(),
}
const keyOf = (keys: Keys, index: number): unknown => {
  if (keys === 'object') return { id: index }
  if (keys === 'text or null' && index === 0) return null
  return index === 1 ? '' : `key-${index}`
}

/** What is held against the model. */
export interface ModelledBackend {
  readonly handles: Readonly<Record<string, unknown>>
  readonly segments: readonly ChainSegment[]
  setKey(key: unknown): void
  freeze(): void
  encodeSome(): boolean
  complete(): void | Promise<void>
  crash(): ModelledBackend | Promise<ModelledBackend>
}

/** Backend and model, moved together. */
export class Pair<B extends ModelledBackend = ModelledBackend> {
  backend: B
  model: Model = new Map()
  /** As of the last freeze; undefined: nothing is frozen. */
  frozen: Model | undefined
  durable: Model = new Map()
  readonly keys: Keys

  constructor(keys: Keys, backend: B) {
    this.keys = keys
    this.backend = backend
  }

  get isFlat(): boolean {
    return !('list' in this.backend.handles)
  }

  at(key: number): Handles {
    this.backend.setKey(keyOf(this.keys, key))
    return this.backend.handles as unknown as Handles
  }

  async freeze(): Promise<void> {
    await this.complete()
    this.backend.freeze()
    this.frozen = structuredClone(this.model)
  }

  async complete(): Promise<void> {
    if (!this.frozen) return
    await this.backend.complete()
    this.durable = this.frozen
    this.frozen = undefined
    note(this.backend)
  }

  async crash(): Promise<void> {
    this.backend = (await this.backend.crash()) as B
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
      sum: state.sum.get(),
      list: this.isFlat ? [] : state.list.get(),
      map: this.isFlat ? [] : [...state.map.entries()],
      size: this.isFlat ? 0 : state.map.size,
    }
    const { value, number, count, sum, list, map } = cellOf(this.model, key)
    const wanted = { value, number, count, sum, list, map: inOrder(map), size: map.size }
    // The text is compared because it is fast; both are printed if it differs.
    if (JSON.stringify(found) !== JSON.stringify(wanted)) expect(found).toEqual(wanted)
  }
}

/** What the runs met: a test that never meets a base in slices proves nothing about it. */
export const seen: { readonly marks: Set<string>; chain: number; insideBase: number; lastMark: string } = {
  marks: new Set<string>(),
  chain: 0,
  insideBase: 0,
  lastMark: '',
}

function note(backend: ModelledBackend): void {
  seen.chain = Math.max(seen.chain, backend.segments.length)
  seen.lastMark = backend.segments.at(-1)?.mark ?? ''
  seen.marks.add(seen.lastMark)
}

export type Operation =
  | 'value.set'
  | 'value.clear'
  | 'number.set'
  | 'number.clear'
  | 'count.set'
  | 'count.clear'
  | 'sum.set'
  | 'sum.clear'
  | 'list.add'
  | 'list.addAll'
  | 'list.set'
  | 'list.clear'
  | 'map.set'
  | 'map.delete'
  | 'map.clear'
  | 'map.fill'
  | 'map.thin out'
  | 'map.range'
  | 'map.first'
  | 'spoil after reading'
  | 'check'
  | 'freeze'
  | 'encode a little'
  | 'complete'
  | 'checkpoints'
  | 'crash'

type Move = (pair: Pair, key: number, n: number, name: string) => void | Promise<void>

export const operations: Readonly<Record<Operation, Move>> = {
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
  'sum.set'(pair: Pair, key: number, n: number) {
    pair.at(key).sum.set(-n)
    cellOf(pair.model, key).sum = -n
  },
  'sum.clear'(pair: Pair, key: number) {
    pair.at(key).sum.clear()
    cellOf(pair.model, key).sum = undefined
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
  'map.fill'(pair: Pair, key: number, n: number) {
    for (let i = 0; i < 8 * n; i++) operations['map.set'](pair, key, i, `n${(i * 5) % 17}`)
  },
  'map.thin out'(pair: Pair, key: number, n: number) {
    for (let i = n; i < 17; i += 2) operations['map.delete'](pair, key, 0, `n${i}`)
  },
  'map.range'(pair: Pair, key: number, n: number, name: string) {
    const reverse = n % 2 === 1
    const range = n < 2 ? { from: name, reverse } : { from: name, to: `${name}9`, reverse }
    const wanted = inOrder(cellOf(pair.model, key).map).filter(
      ([each]) => !isBefore(each, name) && (n < 2 || isBefore(each, `${name}9`)),
    )
    expect([...pair.at(key).map.keys(range)]).toEqual((reverse ? wanted.reverse() : wanted).map(([each]) => each))
  },
  'map.first'(pair: Pair, key: number) {
    const [first] = inOrder(cellOf(pair.model, key).map)
    const { map } = pair.at(key)
    expect(map.entries().next().value).toEqual(first)
    expect(map.size).toBe(cellOf(pair.model, key).map.size)
    for (const name of map.keys()) {
      map.delete(name)
      break
    }
    if (first) cellOf(pair.model, key).map.delete(first[0])
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
  async checkpoints(pair: Pair, key: number, n: number) {
    for (let i = 0; i <= n; i++) {
      operations[pair.isFlat ? 'sum.set' : 'list.add'](pair, (key + i) % KEYS, n, '')
      await pair.freeze()
    }
    await pair.complete()
  },
  crash: (pair: Pair) => pair.crash(),
}

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
const move = fc.tuple(
  operation,
  fc.nat(KEYS - 1),
  fc.nat(3),
  fc.constantFrom('a', 'b', '__proto__', '', 'n1', 'n5', 'é', '𐍈'),
)
export const keys: fc.Arbitrary<Keys> = fc.constantFrom<Keys>('text', 'text or null', 'object')
export type Sequence = readonly (readonly [Operation, number, number, string])[]

export const moves: fc.Arbitrary<Sequence> = fc.array(move, { minLength: 10, maxLength: 90, size: 'max' })

/** Carries out a sequence, and looks at the end of it, after a crash, and after one more checkpoint and crash. */
export async function run(pair: Pair, sequence: Sequence): Promise<void> {
  for (const [name, key, n, text] of sequence) {
    if (pair.isFlat && /^(list|map|spoil)/.test(name)) continue
    const done = operations[name](pair, key, n, text)
    if (done) await done
  }
  pair.check()
  await pair.crash()
  await pair.freeze()
  await pair.complete()
  await pair.crash()
}
