/**
 * Goal: what waits for a slow sink of another system is bounded, and goes on in its order. Method: a sink whose prepare ends
 * when the test says so.
 */
import { expect, test } from '@jest/globals'
import { checkpointId, operatorId } from '../../src/base/ids.ts'
import { TwoPhaseSinkOperator } from '../../src/dataflow/operators/two-phase-sink.ts'
import type { TransactionHandle, TwoPhaseCommitSink } from '../../src/dataflow/ports.ts'
import { type StreamRecord, TaskContext } from '../../src/dataflow/record.ts'

test('behind a barrier it takes so many records and no more until the sink is prepared', async () => {
  const written: unknown[] = []
  const preparing = Promise.withResolvers<TransactionHandle>()
  const sink = {
    write: (value: unknown) => void written.push(value),
    prepare: () => preparing.promise,
    begin: async () => undefined,
  } as Partial<TwoPhaseCommitSink> as TwoPhaseCommitSink
  const operator = new TwoPhaseSinkOperator(
    operatorId('out'),
    new TaskContext(operatorId('in')),
    sink,
    3,
    () => undefined,
  )
  const push = (value: number): void => operator.push({ value } as unknown as StreamRecord)
  push(1)
  expect(operator.empty).toBe(true)
  operator.barrier(checkpointId(1))
  push(2)
  push(3)
  expect([operator.full, operator.empty]).toEqual([false, false])
  push(4)
  expect(operator.full).toBe(true)
  expect(written).toEqual([1])
  preparing.resolve({})
  await operator.prepared()
  expect([operator.full, operator.empty]).toEqual([false, true])
  expect(written).toEqual([1, 2, 3, 4])
})

test('a sink that is full pauses the task', () => {
  const sink = { full: true } as { full?: boolean }
  const operator = new TwoPhaseSinkOperator(
    operatorId('out'),
    new TaskContext(operatorId('in')),
    sink as TwoPhaseCommitSink,
    3,
    () => undefined,
  )
  expect(operator.full).toBe(true)
  sink.full = false
  expect(operator.full).toBe(false)
  delete sink.full
  expect(operator.full).toBe(false)
})
