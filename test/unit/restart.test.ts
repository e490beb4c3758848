/**
 * Goal: each restart strategy waits and gives up as its name in Flink does. Method: failures at given times.
 */
import { describe, expect, test } from '@jest/globals'
import { RestartPolicy, type RestartStrategy } from '../../src/worker/restart.ts'

const waits = (strategy: RestartStrategy, ...failuresAtMs: readonly number[]): (number | undefined)[] => {
  const policy = new RestartPolicy(strategy)
  return failuresAtMs.map((at) => policy.next(at))
}

test('none: the first failure is the last', () => {
  expect(waits({ strategy: 'none' }, 0)).toEqual([undefined])
})

test('fixed-delay: so many attempts, however far apart', () => {
  const strategy = { strategy: 'fixed-delay', attempts: 2, delayMs: 70 } as const
  expect(waits(strategy, 0, 10, 1_000_000)).toEqual([70, 70, undefined])
  expect(waits({ ...strategy, attempts: 0 }, 0)).toEqual([undefined])
})

describe('exponential-delay', () => {
  const strategy = { strategy: 'exponential-delay', initialMs: 100, maxMs: 1_000 } as const

  test('doubles up to its maximum, for ever', () => {
    expect(waits(strategy, 0, 1, 2, 3, 4, 5)).toEqual([100, 200, 400, 800, 1_000, 1_000])
    const many = waits(strategy, ...Array.from({ length: 2_000 }, (_, index) => index))
    expect(many.at(-1)).toBe(1_000)
  })

  test('begins anew after a time without failures, 60 s unless told otherwise', () => {
    expect(waits(strategy, 0, 1, 60_001, 120_002)).toEqual([100, 200, 400, 100])
    expect(waits({ ...strategy, resetAfterMs: 10 }, 0, 5, 16)).toEqual([100, 200, 100])
  })

  test('gives up after its attempts in a row', () => {
    const limited = { ...strategy, attempts: 2 }
    expect(waits(limited, 0, 1, 2)).toEqual([100, 200, undefined])
    expect(waits(limited, 0, 1, 70_000, 70_001, 70_002)).toEqual([100, 200, 100, 200, undefined])
  })
})

describe('failure-rate', () => {
  const strategy = { strategy: 'failure-rate', failures: 2, intervalMs: 1_000, delayMs: 30 } as const

  test('gives up after more failures within the interval than allowed', () => {
    expect(waits(strategy, 0, 500, 1_000)).toEqual([30, 30, undefined])
  })

  test('forgets failures that are older', () => {
    expect(waits(strategy, 0, 500, 1_001, 1_501, 2_002)).toEqual([30, 30, 30, 30, 30])
  })
})
