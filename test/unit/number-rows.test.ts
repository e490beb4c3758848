/**
 * Goal: keys with all of an operator's numbers are read together, and give what they give row by row. Method: one segment whose keys
 * have all numbers, some of them, or long keys; it is restored in both ways, in steps of several sizes, by other declarations, cut.
 */
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals'
import { isCode } from '../../src/base/errors.ts'
import { f64, type Serde, utf8, type ValueState, valueState } from '../../src/index.ts'
import { NumberPack } from '../../src/state/heap/number-pack.ts'
import { HeapStore } from '../../src/state/heap/store.ts'
import { SegmentWriter, type StateIdentity } from '../../src/state/segment.ts'
import { type RowTarget, SegmentReader } from '../../src/state/segment-reader.ts'

type Name = 'a' | 'b' | 'c'
const KEYS = 300
const keyOf = (index: number): string =>
  index % 50 === 7 ? 'long '.repeat(26) : index % 20 === 3 ? `longer than a row has room for: ${index}` : `k${index}`
const storeOf = (names: readonly Name[]): HeapStore =>
  new HeapStore('operator', Object.fromEntries(names.map((name) => [name, valueState(f64)])), utf8 as Serde<unknown>)
const handle = (store: HeapStore, name: Name) => store.handles[name] as ValueState<number, undefined>

/** Of every key the numbers that are there. */
const expected = new Map<string, Record<Name, number | undefined>>()
/** Of a key's length. */
const ONE_BYTE = 128

function written(): Buffer {
  const store = storeOf(['a', 'b', 'c'])
  for (let index = 0; index < KEYS; index++) {
    const key = keyOf(index)
    const numbers = { a: index, b: index % 9 === 4 ? undefined : Number.NaN, c: -index / 3 }
    store.setKey(key)
    for (const [name, value] of Object.entries(numbers)) {
      if (value === undefined) handle(store, name as Name).clear()
      else handle(store, name as Name).set(value)
    }
    expected.set(key, numbers)
  }
  const writer = new SegmentWriter()
  store.freeze(writer, 0, 0)
  while (!store.encode(() => true));
  return Buffer.concat(writer.finish('keep-empty') ?? [])
}

const segment = written()
const together = [...expected].filter(([key, { b }]) => key.length < ONE_BYTE && b !== undefined).length

/** Keys that were read together. */
let taken = 0
const { restore } = NumberPack.prototype
beforeAll(() => {
  NumberPack.prototype.restore = function (this: NumberPack, ...given) {
    taken++
    restore.apply(this, given)
  }
})
afterAll(() => {
  NumberPack.prototype.restore = restore
})
beforeEach(() => {
  taken = 0
})

function expectRestored(store: HeapStore): void {
  expect(store.keyCount).toBe(expected.size)
  for (const [key, numbers] of expected) {
    store.setKey(key)
    for (const name of ['a', 'b', 'c'] as const)
      expect([key, name, handle(store, name).get()]).toEqual([key, name, numbers[name]])
  }
}

function replayed(
  store: HeapStore,
  rows: number,
  target: (identity: StateIdentity) => RowTarget,
  bytes = segment,
): HeapStore {
  const reader = new SegmentReader([bytes], target)
  while (!reader.replay(rows));
  store.replay.ended()
  return store
}

test.each([1, 2, 3, 7, 64, 200, 100_000])('%i rows at a time', (rows) => {
  const store = storeOf(['a', 'b', 'c'])
  expectRestored(replayed(store, rows, (identity) => store.replay.target(identity)))
  // Less than a key's rows are none of it.
  if (rows < 3) expect(taken).toBe(0)
  else expect(taken).toBeGreaterThan(0)
  if (rows === 100_000) expect(taken).toBe(together)
})

test('row by row', () => {
  const store = storeOf(['a', 'b', 'c'])
  const alone = (identity: StateIdentity): RowTarget => ({ ...store.replay.target(identity), numbers: null })
  expectRestored(replayed(store, 100_000, alone))
  expect(taken).toBe(0)
})

test('states that are declared in another order, or beside a new one, get their own numbers', () => {
  const turned = storeOf(['c', 'a', 'b'])
  expectRestored(replayed(turned, 100_000, (identity) => turned.replay.target(identity)))
  expect(taken).toBe(0)
  const more = new HeapStore(
    'operator',
    { a: valueState(f64), b: valueState(f64), c: valueState(f64), d: valueState(f64) },
    utf8 as Serde<unknown>,
  )
  expectRestored(replayed(more, 100_000, (identity) => more.replay.target(identity)))
  expect(taken).toBe(0)
})

test('what is restored goes over what was there', () => {
  const other = storeOf(['a', 'b', 'c'])
  for (const key of expected.keys()) {
    other.setKey(key)
    for (const name of ['a', 'b', 'c'] as const)
      if (expected.get(key)?.[name] !== undefined) handle(other, name).set(-7)
  }
  const writer = new SegmentWriter()
  other.freeze(writer, 0, 0)
  while (!other.encode(() => true));
  const store = storeOf(['a', 'b', 'c'])
  const target = (identity: StateIdentity): RowTarget => store.replay.target(identity)
  replayed(store, 100_000, target, Buffer.concat(writer.finish('keep-empty') ?? []))
  store.setKey('k0')
  expect(handle(store, 'a').get()).toBe(-7)
  expectRestored(replayed(store, 100_000, target))
  expect(taken).toBe(2 * together)
})

test('a segment that ends anywhere before its end is refused, and none of what it has is read beyond', () => {
  const rows = segment.indexOf('k0')
  for (let end = rows; end < rows + 2_000; end++) {
    const store = storeOf(['a', 'b', 'c'])
    const cut = Buffer.from(segment.subarray(0, end))
    const error = caught(() => replayed(store, 100_000, (identity) => store.replay.target(identity), cut))
    expect(isCode(error, 'CHECKPOINT_CORRUPT')).toBe(true)
  }
})

function caught(run: () => unknown): unknown {
  try {
    run()
  } catch (error) {
    return error
  }
  throw new Error('nothing was thrown')
}

test('rows of another operator that look like theirs are not theirs', () => {
  const one = { total: valueState(f64) }
  const made = ['first', 'second', 'third'].map((operator) => new HeapStore(operator, one, utf8 as Serde<unknown>))
  for (const [turn, store] of made.entries())
    for (let index = 0; index < 10; index++) {
      store.setKey(`k${index}`)
      totalOf(store).set(100 * turn + index)
    }
  const writer = new SegmentWriter()
  for (const store of made) store.freeze(writer, 0, 0)
  for (const store of made) while (!store.encode(() => true));
  const restored = made.map(({ operator }) => new HeapStore(operator, one, utf8 as Serde<unknown>))
  const bytes = Buffer.concat(writer.finish('keep-empty') ?? [])
  const target = ({ operator, ...identity }: StateIdentity): RowTarget => {
    const store = restored.find((each) => each.operator === operator) as HeapStore
    return store.replay.target({ operator, ...identity })
  }
  while (!new SegmentReader([bytes], target).replay(100_000));
  expect(taken).toBe(30)
  for (const [turn, store] of restored.entries()) {
    expect(store.keyCount).toBe(10)
    for (let index = 0; index < 10; index++) {
      store.setKey(`k${index}`)
      expect(totalOf(store).get()).toBe(100 * turn + index)
    }
  }
})

const totalOf = (store: HeapStore): ValueState<number, undefined> =>
  store.handles.total as ValueState<number, undefined>
