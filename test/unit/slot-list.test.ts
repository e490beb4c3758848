// Goal: a list of slots keeps what was pushed, through every growth, and gives memory back that it no longer needs.
import { expect, test } from '@jest/globals'
import { SlotList } from '../../src/state/heap/slot-list.ts'

function filled(list: SlotList, count: number): void {
  for (let slot = 0; slot < count; slot++) list.push(slot * 3)
}

test('what was pushed is there, through every growth', () => {
  const list = new SlotList()
  for (const count of [1, 256, 257, 513, 100_000]) {
    filled(list, count)
    expect(list.length).toBe(count)
    expect([0, count >> 1, count - 1].map((index) => list.at(index))).toEqual([0, (count >> 1) * 3, (count - 1) * 3])
    list.clear()
    expect(list.length).toBe(0)
  }
})

test('memory is kept while it is used, and given back when much less is', () => {
  const list = new SlotList()
  filled(list, 1_000_000)
  list.clear()
  const large = list.capacity
  filled(list, 600_000)
  list.clear()
  list.clear()
  expect(list.capacity).toBe(large)
  filled(list, 1_000)
  list.clear()
  expect(list.capacity).toBeLessThan(large / 10)
})
