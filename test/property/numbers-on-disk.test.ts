/**
 * Goal: keys whose states are numbers are what a plain Map says on disk, too, where most have all of them and are taken over together.
 * Method: random checkpoints of keys of all lengths with all or some of their numbers, few or none of which stay in memory; in between the
 * process ends, with the disk behind the checkpoint or not, and comes back to it, or to an empty one.
 */
import { expect, test } from '@jest/globals'
import fc from 'fast-check'
import { f64, type Serde, utf8, type ValueState, valueState } from '../../src/index.ts'
import { Writes } from '../../src/state/leveldb/writes.ts'
import { type DiskSizes, TaskOnDisk } from '../support/task-on-disk.ts'

/** As many as three, or more than an entry on disk has room for. */
const widths = [3, 40] as const
const namesOf = (width: number): string[] => Array.from({ length: width }, (_, index) => `n${index}`)
const statesOf = (width: number) => Object.fromEntries(namesOf(width).map((name) => [name, valueState(f64)]))

type Numbers = readonly (number | undefined)[]

const number = fc.double({ noNaN: false })
const all = fc.array(number, { minLength: 3, maxLength: 3 })
const some = fc.array(fc.option(number, { nil: undefined }), { minLength: 3, maxLength: 3 })
const key = fc.nat(40).map((n) => (n % 10 === 9 ? `${'long '.repeat(n)}${n}` : `k${'x'.repeat(n % 7)}${n}`))
const round = fc.record({
  changes: fc.array(fc.tuple(key, fc.oneof({ weight: 4, arbitrary: all }, some)), { maxLength: 60 }),
  after: fc.constantFrom('on', 'settled', 'same disk', 'empty disk'),
})
const sizes: fc.Arbitrary<DiskSizes> = fc.record({
  cacheBytesMax: fc.constantFrom(1, 2_000, 2 ** 20),
  rowsPerTurn: fc.constantFrom(1, 7, 1_000),
  writesPerBatch: fc.constantFrom(2, 20, 5_000),
  baseSliceBytes: fc.constantFrom(100, 100_000),
})

/** The state at `place` has the number at `place % 3`. */
const handleOf = (task: TaskOnDisk, place: number) => task.handles[`n${place}`] as ValueState<number, undefined>

function expectSame(task: TaskOnDisk, width: number, model: ReadonlyMap<string, Numbers>): void {
  for (const [key, numbers] of model) {
    task.setKey(key)
    for (let place = 0; place < width; place++)
      expect([key, place, handleOf(task, place).get()]).toEqual([key, place, numbers[place % 3]])
  }
}

test('numbers of keys that come and go between memory and disk are what they were set to last', async () => {
  let together = 0
  const { numbers } = Writes.prototype
  Writes.prototype.numbers = function (this: Writes, ...given) {
    together += given[1].count
    numbers.apply(this, given)
  }
  const rounds = fc.array(round, { maxLength: 6 })
  const property = fc.asyncProperty(fc.constantFrom(...widths), sizes, rounds, async (width, size, rounds) => {
    let task = await TaskOnDisk.open(statesOf(width), utf8 as Serde<unknown>, size)
    const model = new Map<string, Numbers>()
    try {
      for (const { changes, after } of rounds) {
        for (const [key, numbers] of changes) {
          task.setKey(key)
          for (let place = 0; place < width; place++) {
            const value = numbers[place % 3]
            if (value === undefined) handleOf(task, place).clear()
            else handleOf(task, place).set(value)
          }
          model.set(key, numbers)
        }
        task.freeze()
        await task.commit()
        if (after === 'settled') await task.settled()
        else if (after !== 'on') task = await task.crash(after)
        expectSame(task, width, model)
      }
    } finally {
      await task[Symbol.asyncDispose]()
    }
  })
  try {
    await fc.assert(property, { numRuns: 150 })
  } finally {
    Writes.prototype.numbers = numbers
  }
  expect(together).toBeGreaterThan(1_000)
})
