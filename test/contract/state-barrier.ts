// What a barrier divides, whatever comes before it and behind it.
import { deepEqual, equal } from 'node:assert/strict'
import { type Check, type Item, Subject } from './state-subject.ts'

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

export const barrier: Readonly<Record<string, Check>> = {
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
