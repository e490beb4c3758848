/**
 * Goal: keys whose states are numbers are what a plain Map says on disk, too, where most have all of them and are taken over together.
 * Method: random checkpoints of keys of all lengths with all or some of three numbers, none of which stays in memory; in between the
 * process ends, with the disk behind the checkpoint or not, and comes back to it, or to an empty one.
 */
import { expect, test } from '@jest/globals'
import fc from 'fast-check'
import { f64, type Serde, utf8, type ValueState, valueState } from '../../src/index.ts'
import { Writes } from '../../src/state/leveldb/writes.ts'
import { type DiskSizes, TaskOnDisk } from '../support/task-on-disk.ts'

const states = { a: valueState(f64), b: valueState(f64), c: valueState(f64) }
const names = ['a', 'b', 'c'] as const
type Numbers = Record<(typeof names)[number], number | undefined>

const number = fc.double({ noNaN: false })
const all = fc.record({ a: number, b: number, c: number })
const some = fc.record({ a: fc.option(number, { nil: undefined }), b: fc.constant(undefined), c: number })
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

function expectSame(task: TaskOnDisk, model: ReadonlyMap<string, Numbers>): void {
  for (const [key, numbers] of model) {
    task.setKey(key)
    const found = names.map((name) => (task.handles[name] as ValueState<number, undefined>).get())
    expect([key, ...found]).toEqual([key, ...names.map((name) => numbers[name])])
  }
}

test('numbers of keys that come and go between memory and disk are what they were set to last', async () => {
  let together = 0
  const { numbers } = Writes.prototype
  Writes.prototype.numbers = function (this: Writes, ...given) {
    together += given[1].count
    numbers.apply(this, given)
  }
  const property = fc.asyncProperty(sizes, fc.array(round, { maxLength: 6 }), async (size, rounds) => {
    let task = await TaskOnDisk.open(states, utf8 as Serde<unknown>, size)
    const model = new Map<string, Numbers>()
    try {
      for (const { changes, after } of rounds) {
        for (const [key, numbers] of changes) {
          task.setKey(key)
          for (const name of names) {
            const state = task.handles[name] as ValueState<number, undefined>
            if (numbers[name] === undefined) state.clear()
            else state.set(numbers[name])
          }
          model.set(key, numbers)
        }
        task.freeze()
        await task.commit()
        if (after === 'settled') await task.settled()
        else if (after !== 'on') task = await task.crash(after)
        expectSame(task, model)
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
