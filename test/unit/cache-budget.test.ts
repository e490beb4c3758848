import { expect, test } from '@jest/globals'
import { SharedBudget } from '../../src/state/cache-budget.ts'
import { ClockHand } from '../../src/state/heap/clock-hand.ts'

const LIMIT = 1_000_000

/** All of it has changed and is not on disk: nothing can go. */
class Unmovable {
  cacheBytes = 0
  looks = 0
  held = false

  evict(): number {
    this.looks++
    this.held = true
    return 0
  }
}

test('a cache of which nothing can go is looked through twice between its limit and twice as much, not for every key', () => {
  const budget = new SharedBudget(LIMIT)
  const store = new Unmovable()
  budget.join(store)
  while (!budget.full) {
    budget.relieve()
    store.cacheBytes += 100
    budget.charge(100)
  }
  expect(budget.over).toBe(true)
  expect(store.looks).toBe(2)
  budget.applied()
  budget.relieve()
  expect(store.looks).toBe(3)
})

test('the hand offers a slot that was used only after its second round, and counts what it offers in vain', () => {
  const clock = new ClockHand()
  for (let slot = 0; slot < 200; slot++) clock.add(slot)
  clock.begin(200)
  expect(clock.next()).toBe(0)
  expect(clock.foundNothing(200)).toBe(false)
  clock.found()
  clock.use(1)
  expect(clock.next()).toBe(2)
  while (clock.next() >= 0);
  expect(clock.foundNothing(200)).toBe(false)
  clock.begin(200)
  while (clock.next() >= 0);
  expect(clock.foundNothing(200)).toBe(true)
})
