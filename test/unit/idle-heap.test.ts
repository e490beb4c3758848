// Goal: a worker that has nothing to do gives its memory back, once, and a busy one is left alone.
// Method: Jest's clock for when; V8's own figures, in a process of its own, for what.
import { execFileSync } from 'node:child_process'
import { afterEach, beforeEach, expect, jest, test } from '@jest/globals'
import { shrinkWhenIdle } from '../../src/cli/idle-heap.ts'

beforeEach(() => void jest.useFakeTimers())
afterEach(() => void jest.useRealTimers())

test('it collects once per idle time, and not while records come', () => {
  const status = { recordsIn: 0 }
  let collected = 0
  let heap = 20 * 2 ** 20
  const collect = () => void collected++
  const timer = shrinkWhenIdle(status, collect, () => heap)
  const pass = (records: number) => {
    status.recordsIn += records
    jest.advanceTimersByTime(5_000)
    return collected
  }
  // The first look has nothing to compare with.
  expect([0, 0, 0].map(pass)).toEqual([0, 1, 1])
  expect([7, 5, 0, 0, 0].map(pass)).toEqual([1, 1, 2, 2, 2])
  // So much would take too long.
  heap = 2 ** 30
  expect([7, 0, 0].map(pass)).toEqual([2, 2, 2])
  heap = 0
  expect([0].map(pass)).toEqual([3])
  timer.cancel()
  expect([7, 0, 0].map(pass)).toEqual([3, 3, 3])
})

test('V8 returns the pages of what is not used any more', () => {
  const script = `
    const { collectAll } = await import('./src/cli/idle-heap.ts')
    let held = Array.from({ length: 200_000 }, (_, i) => ({ i }))
    const before = process.memoryUsage().heapTotal
    held = held.length
    collectAll()
    console.log(before - process.memoryUsage().heapTotal)`
  const said = execFileSync(process.execPath, ['--conditions=source', '--input-type=module', '-e', script], {
    encoding: 'utf8',
  })
  expect(Number(said)).toBeGreaterThan(4 * 2 ** 20)
})
