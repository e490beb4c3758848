/**
 * Goal: a restarted worker says once that it has caught up, when all inputs are read to where they ended at first, and once more
 * for each hop. Method: inputs whose lag the test sets, on Jest's clock.
 */
import { afterEach, beforeEach, expect, jest, test } from '@jest/globals'
import { checkpointId } from '../../src/base/ids.ts'
import { CatchUp } from '../../src/worker/catch-up.ts'

beforeEach(() => void jest.useFakeTimers())
afterEach(() => void jest.useRealTimers())

/** Two inputs of one task; ends are not known until they are set. */
class Inputs {
  readonly ends = new Map<number, bigint>()
  readonly task = { busy: false, positions: [0, 1].map((partition) => this.#position(partition, 5n)) }
  last = 1

  #position(partition: number, offset: bigint) {
    return { topic: 'in', partition, offset, leaderEpoch: 0 }
  }

  read(partition: number, offset: bigint): void {
    this.task.positions[partition] = this.#position(partition, offset)
  }

  reached(catchUp: CatchUp): boolean {
    jest.advanceTimersByTime(20)
    const lag = (_topic: string, partition: number, offset: bigint): bigint | undefined => {
      const end = this.ends.get(partition)
      return end === undefined ? undefined : end - offset
    }
    return catchUp.reached([this.task], lag, checkpointId(this.last))
  }
}

test('is reached when the first ends are, even if more has come since', () => {
  const inputs = new Inputs()
  const catchUp = new CatchUp(0)
  expect(inputs.reached(catchUp)).toBe(false)
  inputs.ends.set(0, 10n).set(1, 5n)
  expect(inputs.reached(catchUp)).toBe(false)
  inputs.ends.set(0, 1_000n)
  inputs.read(0, 10n)
  expect(inputs.reached(catchUp)).toBe(true)
  inputs.last++
  expect(inputs.reached(catchUp)).toBe(false)
})

test('waits for calls under way', () => {
  const inputs = new Inputs()
  const catchUp = new CatchUp(0)
  inputs.ends.set(0, 5n).set(1, 5n)
  inputs.task.busy = true
  expect(inputs.reached(catchUp)).toBe(false)
  inputs.task.busy = false
  expect(inputs.reached(catchUp)).toBe(true)
})

test('is reached again for each hop, after the checkpoint that filled it', () => {
  const inputs = new Inputs()
  const catchUp = new CatchUp(1)
  inputs.ends.set(0, 5n).set(1, 5n)
  expect(inputs.reached(catchUp)).toBe(true)
  expect(inputs.reached(catchUp)).toBe(false)
  inputs.last++
  inputs.ends.set(1, 8n)
  expect(inputs.reached(catchUp)).toBe(false)
  inputs.read(1, 8n)
  // What a fetch has not told yet may still come.
  expect(inputs.reached(catchUp)).toBe(false)
  jest.advanceTimersByTime(50)
  expect(inputs.reached(catchUp)).toBe(true)
  inputs.last++
  expect(inputs.reached(catchUp)).toBe(false)
})
