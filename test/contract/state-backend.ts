// The contract of every state backend: the handles behave the same in each state of its life, a snapshot has exactly what
// was there at the barrier (I2), and what was restored goes on as if nothing had happened.
import { deepEqual, equal, ok } from 'node:assert/strict'
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
  type Serde,
  type StateDescriptors,
  utf8,
  type ValueState,
  valueState,
} from '../../src/index.ts'
import type { ContractCase } from './contract-case.ts'

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
  /** The process dies: a new backend, restored from the last complete snapshot. This one is not used any more. */
  crash(): StateBackend | Promise<StateBackend>
  /** Another process, restored from the last complete snapshot, while this one goes on. */
  restored(): StateBackend | Promise<StateBackend>
}

export interface StateBackendHarness {
  open(states: StateDescriptors, key: Serde<unknown>): StateBackend | Promise<StateBackend>
}

interface Item {
  count: number
}

const states = {
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
} as const

interface Handles {
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
class Subject {
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

  async crash(): Promise<void> {
    this.backend = await this.backend.crash()
  }
}

type Check = (subject: Subject) => void | Promise<void>

/** What handles do, whatever the backend has been through. */
const behaviour: Readonly<Record<string, Check>> = {
  'a value: unset, set, set again, cleared': (subject) => {
    equal(subject.at('k').value.get(), 0)
    equal(subject.at('k').bare.get(), undefined)
    subject.at('k').value.set(1)
    subject.at('k').value.set(2)
    equal(subject.at('k').value.get(), 2)
    subject.at('k').value.clear()
    subject.at('k').value.clear()
    equal(subject.at('k').value.get(), 0)
  },
  'an initial object is made for each key': (subject) => {
    ok(subject.at('k').item.get() !== subject.at('l').item.get())
  },
  'null is a value, undefined is none': (subject) => {
    subject.at('k').maybe.set(null)
    equal(subject.at('k').maybe.get(), null)
    let refused = false
    try {
      subject.at('k').value.set(undefined as never)
    } catch (error) {
      refused = error instanceof TypeError
    }
    ok(refused, 'set(undefined) must be refused')
  },
  'a list keeps its order': (subject) => {
    deepEqual([...subject.at('k').list.get()], [])
    subject.at('k').list.add(3)
    subject.at('k').list.addAll([1, 2])
    deepEqual([...subject.at('k').list.get()], [3, 1, 2])
    subject.at('k').list.set([9])
    subject.at('k').list.add(8)
    deepEqual([...subject.at('k').list.get()], [9, 8])
    subject.at('k').list.clear()
    deepEqual([...subject.at('k').list.get()], [])
    subject.at('k').list.set([])
    deepEqual([...subject.at('k').list.get()], [])
  },
  'a map: set, has, get, size, delete, clear': (subject) => {
    const { map } = subject.at('k')
    equal(map.get('a'), undefined)
    equal(map.size, 0)
    map.set('a', 1)
    map.set('b', 2)
    map.set('a', 3)
    deepEqual([map.has('a'), map.has('c'), map.get('a'), map.size], [true, false, 3, 2])
    deepEqual([...map.keys()], ['a', 'b'])
    deepEqual([...map.values()], [3, 2])
    map.delete('a')
    map.delete('nothing')
    deepEqual([...map.entries()], [['b', 2]])
    map.clear()
    deepEqual([map.size, map.has('b'), [...map.keys()]], [0, false, []])
  },
  'a map’s keys may be objects: equal bytes, equal keys': (subject) => {
    const { pointMap } = subject.at('k')
    pointMap.set({ x: 1 }, 10)
    pointMap.set({ x: 1 }, 11)
    pointMap.set({ x: 2 }, 20)
    deepEqual([pointMap.get({ x: 1 }), pointMap.size], [11, 2])
    pointMap.delete({ x: 1 })
    deepEqual([pointMap.has({ x: 1 }), [...pointMap.keys()]], [false, [{ x: 2 }]])
  },
  'a map is gone through in the order of its keys’ bytes, as far as is asked': (subject) => {
    const { map, byNumber } = subject.at('k')
    for (const name of ['b', 'ab', 'é', 'a', '', '𐍈', '\uffff', 'b\0']) map.set(name, name.length)
    deepEqual([...map.keys()], ['', 'a', 'ab', 'b', 'b\0', 'é', '\uffff', '𐍈'])
    deepEqual([...map.keys({ from: 'ab', to: 'é' })], ['ab', 'b', 'b\0'])
    deepEqual([...map.keys({ from: 'aa', reverse: true })], ['𐍈', '\uffff', 'é', 'b\0', 'b', 'ab'])
    deepEqual([...map.values({ to: 'b' })], [0, 1, 2])
    deepEqual([...map.entries({ from: 'z', to: 'y' })], [])
    const numbers = [5, -3, 0, 1e300, -1e300, 0.5, -0.5, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
    for (const n of numbers) byNumber.set(n, String(n))
    deepEqual(
      [...byNumber.keys()],
      [...numbers].sort((a, b) => a - b),
    )
    deepEqual([...byNumber.values({ from: -0.5, to: 5 })], ['-0.5', '0', '0.5'])
  },
  'what is iterated may be changed meanwhile': (subject) => {
    const { map } = subject.at('k')
    for (const name of ['a', 'b', 'c']) map.set(name, 1)
    for (const name of map.keys()) map.delete(name)
    equal(map.size, 0)
  },
  'a reducing state: nothing, the first value, folded values, cleared': (subject) => {
    const { sum, joined } = subject.at('k')
    deepEqual([sum.get(), joined.get()], [undefined, undefined])
    sum.add(3)
    joined.add('a')
    deepEqual([sum.get(), joined.get()], [3, 'a'])
    sum.add(4)
    joined.add('b')
    deepEqual([sum.get(), joined.get()], [7, 'ab'])
    joined.add(null)
    equal(joined.get(), null)
    joined.add('c')
    equal(joined.get(), 'nullc')
    sum.clear()
    equal(sum.get(), undefined)
    sum.add(5)
    equal(sum.get(), 5)
  },
  'an aggregating state: its result, though its accumulator is changed in place': (subject) => {
    const { mean } = subject.at('k')
    equal(mean.get(), undefined)
    for (const value of [1, 2, 6]) mean.add(value)
    equal(mean.get(), '9 / 3')
    subject.at('l').mean.add(5)
    deepEqual([subject.at('k').mean.get(), subject.at('l').mean.get()], ['9 / 3', '5 / 1'])
    subject.at('k').mean.clear()
    equal(subject.at('k').mean.get(), undefined)
  },
  'keys do not see each other': (subject) => {
    subject.at('k').value.set(1)
    subject.at('l').list.add(1)
    subject.at('l').map.set('a', 1)
    deepEqual([subject.at('l').value.get(), [...subject.at('k').list.get()], subject.at('k').map.size], [0, [], 0])
  },
  'handles speak of the current key, also those taken before': (subject) => {
    const handles = subject.at('k')
    handles.value.set(1)
    subject.at('l')
    equal(handles.value.get(), 0)
    handles.value.set(2)
    deepEqual([subject.at('k').value.get(), subject.at('l').value.get()], [1, 2])
  },
  'all of it comes back after a crash': async (subject) => {
    const filled = fill(subject)
    await subject.snapshot()
    await subject.crash()
    filled()
  },
}

/** Something of everything under three keys; gives the check of it. */
function fill(subject: Subject): () => void {
  for (const key of ['a', '', '__proto__']) {
    const state = subject.at(key)
    state.value.set(key.length)
    state.bare.set('ü\u{1f600}')
    state.item.set({ count: 3 })
    state.maybe.set(null)
    state.list.set([1, 2])
    state.items.add({ count: 4 })
    state.maybes.addAll([null, '', 'x', null])
    state.map.set('__proto__', 5)
    state.itemMap.set('i', { count: 6 })
    state.maybeMap.set(null, null)
    state.maybeMap.set('', 'empty')
    state.pointMap.set({ x: 1 }, 7)
    for (const value of [1, 2]) state.sum.add(value)
    state.joined.add(null)
    state.mean.add(8)
  }
  return () => {
    for (const key of ['a', '', '__proto__']) {
      const state = subject.at(key)
      deepEqual([state.value.get(), state.bare.get()], [key.length, 'ü\u{1f600}'])
      deepEqual([state.item.get(), state.maybe.get()], [{ count: 3 }, null])
      deepEqual([...state.list.get()], [1, 2])
      deepEqual([...state.items.get()], [{ count: 4 }])
      deepEqual([...state.maybes.get()], [null, '', 'x', null])
      deepEqual([...state.map.entries()], [['__proto__', 5]])
      deepEqual([...state.itemMap.entries()], [['i', { count: 6 }]])
      deepEqual(
        [...state.maybeMap.entries()],
        [
          [null, null],
          ['', 'empty'],
        ],
      )
      deepEqual([...state.pointMap.entries()], [[{ x: 1 }, 7]])
      deepEqual([state.sum.get(), state.joined.get(), state.mean.get()], [3, null, '8 / 1'])
    }
  }
}

type Life = 'fresh' | 'restored' | 'after a crash between barrier and snapshot' | 'under a freeze'

/** The keys `k` and `l` are as unused in every life: there was something, and it was cleared. */
async function inLife(life: Life, subject: Subject): Promise<void> {
  if (life === 'fresh') return
  for (const key of ['k', 'l']) {
    const state = subject.at(key)
    state.value.set(77)
    state.list.add(77)
    state.map.set('old', 77)
    state.value.clear()
    state.list.clear()
    state.map.clear()
  }
  subject.at('other').value.set(1)
  await subject.snapshot()
  if (life === 'under a freeze') {
    for (const key of ['k', 'l']) subject.at(key).itemMap.set('x', { count: 1 })
    for (const key of ['k', 'l']) subject.at(key).itemMap.clear()
    subject.backend.freeze()
    return
  }
  if (life === 'after a crash between barrier and snapshot') {
    subject.at('k').value.set(99)
    subject.at('k').map.set('late', 99)
    subject.backend.freeze()
    subject.at('l').list.add(99)
  }
  await subject.crash()
}

/** The barrier divides: what stood before it is in the snapshot, what came behind it is in the next. */
function divided(change: { before: Check; behind: Check; old: Check; all: Check }): Check {
  return async (subject) => {
    for (const restored of [false, true]) {
      await change.before(subject)
      subject.backend.freeze()
      await change.behind(subject)
      await subject.backend.complete()
      await change.all(subject)
      await change.old(new Subject(await subject.backend.restored()))
      await subject.snapshot()
      await subject.crash()
      await change.all(subject)
      if (restored) return
      subject.at('k').value.clear()
      subject.at('k').list.clear()
      subject.at('k').map.clear()
      subject.at('k').item.clear()
      subject.at('k').itemMap.clear()
      subject.at('k').items.clear()
      subject.at('k').sum.clear()
      subject.at('k').mean.clear()
      await subject.snapshot()
    }
  }
}

const barrier: Readonly<Record<string, Check>> = {
  'a value set behind the barrier': divided({
    before: (s) => s.at('k').value.set(1),
    behind: (s) => s.at('k').value.set(2),
    old: (s) => equal(s.at('k').value.get(), 1),
    all: (s) => equal(s.at('k').value.get(), 2),
  }),
  'an object that is read behind the barrier was encoded before, even if somebody then changes it': divided({
    before: (s) => s.at('k').item.set({ count: 1 }),
    behind: (s) => {
      const item = s.at('k').item.get() as Item
      s.at('k').item.set({ count: item.count + 1 })
      item.count = 66
    },
    old: (s) => deepEqual(s.at('k').item.get(), { count: 1 }),
    all: (s) => deepEqual(s.at('k').item.get(), { count: 2 }),
  }),
  'an object in a map, read by key': divided({
    before: (s) => s.at('k').itemMap.set('a', { count: 1 }),
    behind: (s) => {
      const item = s.at('k').itemMap.get('a') as Item
      item.count = 66
      s.at('k').itemMap.set('a', { count: 2 })
    },
    old: (s) => deepEqual(s.at('k').itemMap.get('a'), { count: 1 }),
    all: (s) => deepEqual(s.at('k').itemMap.get('a'), { count: 2 }),
  }),
  'objects in a map, iterated': divided({
    before: (s) => s.at('k').itemMap.set('a', { count: 1 }),
    behind: (s) => {
      for (const item of s.at('k').itemMap.values()) (item as Item).count = 66
      for (const [, item] of s.at('k').itemMap.entries()) (item as Item).count = 67
      s.at('k').itemMap.set('a', { count: 2 })
    },
    old: (s) => deepEqual([...s.at('k').itemMap.values()], [{ count: 1 }]),
    all: (s) => deepEqual([...s.at('k').itemMap.values()], [{ count: 2 }]),
  }),
  'an append to a frozen list': divided({
    before: (s) => s.at('k').list.addAll([1, 2]),
    behind: (s) => s.at('k').list.add(3),
    old: (s) => deepEqual([...s.at('k').list.get()], [1, 2]),
    all: (s) => deepEqual([...s.at('k').list.get()], [1, 2, 3]),
  }),
  'objects in a list': divided({
    before: (s) => s.at('k').items.add({ count: 1 }),
    behind: (s) => {
      for (const item of s.at('k').items.get()) (item as Item).count = 66
      s.at('k').items.set([{ count: 2 }])
    },
    old: (s) => deepEqual([...s.at('k').items.get()], [{ count: 1 }]),
    all: (s) => deepEqual([...s.at('k').items.get()], [{ count: 2 }]),
  }),
  'values folded in, one into an accumulator that is changed in place': divided({
    before: (s) => {
      s.at('k').sum.add(1)
      s.at('k').mean.add(1)
    },
    behind: (s) => {
      s.at('k').sum.add(2)
      s.at('k').mean.add(2)
    },
    old: (s) => deepEqual([s.at('k').sum.get(), s.at('k').mean.get()], [1, '1 / 1']),
    all: (s) => deepEqual([s.at('k').sum.get(), s.at('k').mean.get()], [3, '3 / 2']),
  }),
  'entries of a map set and deleted': divided({
    before: (s) => {
      s.at('k').map.set('a', 1)
      s.at('k').map.set('b', 1)
    },
    behind: (s) => {
      s.at('k').map.delete('a')
      s.at('k').map.set('c', 2)
    },
    old: (s) =>
      deepEqual(
        [...s.at('k').map.entries()],
        [
          ['a', 1],
          ['b', 1],
        ],
      ),
    all: (s) =>
      deepEqual(
        [...s.at('k').map.entries()],
        [
          ['b', 1],
          ['c', 2],
        ],
      ),
  }),
  'all cleared': divided({
    before: (s) => {
      s.at('k').value.set(1)
      s.at('k').list.add(1)
      s.at('k').map.set('a', 1)
    },
    behind: (s) => {
      s.at('k').value.clear()
      s.at('k').list.clear()
      s.at('k').map.clear()
    },
    old: (s) => deepEqual([s.at('k').value.get(), [...s.at('k').list.get()], s.at('k').map.size], [1, [1], 1]),
    all: (s) => deepEqual([s.at('k').value.get(), [...s.at('k').list.get()], s.at('k').map.size], [0, [], 0]),
  }),
  'cleared and made anew: nothing of before shines through': divided({
    before: (s) => {
      s.at('k').list.addAll([1, 2])
      s.at('k').map.set('a', 1)
    },
    behind: (s) => {
      s.at('k').list.clear()
      s.at('k').map.clear()
      s.at('k').list.add(9)
      s.at('k').map.set('z', 9)
    },
    old: (s) => deepEqual([[...s.at('k').list.get()], [...s.at('k').map.entries()]], [[1, 2], [['a', 1]]]),
    all: (s) => deepEqual([[...s.at('k').list.get()], [...s.at('k').map.entries()]], [[9], [['z', 9]]]),
  }),
  'a key that ends while another begins': divided({
    before: async (s) => {
      s.at('new').value.clear()
      s.at('k').value.set(1)
      await s.snapshot()
      s.at('k').value.clear()
    },
    behind: (s) => s.at('new').value.set(2),
    old: (s) => deepEqual([s.at('k').value.get(), s.at('new').value.get()], [0, 0]),
    all: (s) => deepEqual([s.at('k').value.get(), s.at('new').value.get()], [0, 2]),
  }),
}

async function keysGo(subject: Subject): Promise<void> {
  for (let round = 0; round < 5; round++) {
    for (const key of ['a', 'b', 'c']) {
      const state = subject.at(`${key}${round}`)
      state.value.set(1)
      state.list.addAll([])
      state.map.set('x', 1)
      state.map.delete('x')
      state.value.clear()
    }
    await subject.snapshot()
  }
  subject.at('last').value.set(1)
  await subject.snapshot()
  equal(subject.backend.keyCount, 1, 'a key without state takes no memory')
}

/** A record without key is a key of its own, and not the empty one. */
async function nullKeys(subject: Subject): Promise<void> {
  subject.at(null).value.set(1)
  subject.at('').value.set(2)
  await subject.snapshot()
  await subject.crash()
  deepEqual([subject.at(null).value.get(), subject.at('').value.get()], [1, 2])
}

async function objectKeys(subject: Subject): Promise<void> {
  subject.at({ x: 1 }).value.set(1)
  subject.at({ x: 2 }).list.add(2)
  for (let round = 0; round < 2; round++) {
    deepEqual([subject.at({ x: 1 }).value.get(), [...subject.at({ x: 2 }).list.get()]], [1, [2]])
    equal(subject.backend.keyCount, 2)
    await subject.snapshot()
    await subject.crash()
  }
}

/** A value that no serde writes must not get lost in a `catch` of the user's: the snapshot fails. */
async function unwritable(subject: Subject): Promise<void> {
  subject.at('k').item.set({ count: 1n } as never)
  subject.backend.freeze()
  try {
    subject.at('k').item.get()
  } catch {
    // A user's function that goes on regardless.
  }
  let failed = false
  try {
    await subject.backend.complete()
  } catch {
    failed = true
  }
  ok(failed, 'the snapshot must fail: it cannot hold the value')
}

/** All cases for one implementation. */
export function stateBackendContract(harness: StateBackendHarness): ContractCase[] {
  const open = async (key: Serde<never>): Promise<Subject> =>
    new Subject(await harness.open(states, key as Serde<unknown>))
  const lives: readonly Life[] = ['fresh', 'restored', 'after a crash between barrier and snapshot', 'under a freeze']
  const everywhere = lives.flatMap((life) =>
    Object.entries(behaviour).map(([what, check]) => ({
      name: `${life}: ${what}`,
      run: async () => {
        const subject = await open(utf8 as Serde<never>)
        await inLife(life, subject)
        if (what === 'all of it comes back after a crash' && life === 'under a freeze') await subject.backend.complete()
        await check(subject)
      },
    })),
  )
  const single: readonly (readonly [string, Serde<never>, Check])[] = [
    ...Object.entries(barrier).map(([what, check]) => [`barrier: ${what}`, utf8 as Serde<never>, check] as const),
    ['keys without state are forgotten', utf8 as Serde<never>, keysGo],
    ['a null key is not the empty one', nullable(utf8) as Serde<never>, nullKeys],
    ['keys may be objects: equal bytes, equal keys', json() as Serde<never>, objectKeys],
    [
      'a value that cannot be written fails the snapshot, whoever stumbled over it first',
      utf8 as Serde<never>,
      unwritable,
    ],
  ]
  return [...everywhere, ...single.map(([name, key, check]) => ({ name, run: async () => check(await open(key)) }))]
}
