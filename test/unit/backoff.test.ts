/** Goal: what fails is tried ever more seldom, and at once again when it works. Method: the turns counted in between. */
import { expect, test } from '@jest/globals'
import { Backoff } from '../../src/base/backoff.ts'

/** Turns that are left out before the next one. */
function skipped(backoff: Backoff): number {
  let turns = 0
  while (!backoff.isTurn()) turns++
  return turns
}

test('turns are left out by twice as many each time, 256 at most, and none after one that worked', () => {
  const backoff = new Backoff()
  expect(skipped(backoff)).toBe(0)
  const failed = (): number => {
    backoff.failed()
    return skipped(backoff)
  }
  expect(Array.from({ length: 11 }, failed)).toEqual([1, 2, 4, 8, 16, 32, 64, 128, 256, 256, 256])
  backoff.worked()
  expect(skipped(backoff)).toBe(0)
  expect([failed(), failed()]).toEqual([1, 2])
})
