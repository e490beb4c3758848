// What handles do, whatever the backend has been through.
import { deepEqual, equal, ok } from 'node:assert/strict'
import type { Check, Subject } from './state-subject.ts'

export const behaviour: Readonly<Record<string, Check>> = {
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
export function fill(subject: Subject): () => void {
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
