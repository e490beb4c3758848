/**
 * Goal: state on the heap keeps the contract of state backends. Method: the suite against TaskState and HeapStore, with the
 * chain of segments that a checkpoint file would name.
 */
import { describe, test } from '@jest/globals'
import type { StateDescriptors } from '../../src/state/descriptors.ts'
import type { Serde } from '../../src/state/serde.ts'
import { TaskOnHeap } from '../support/task-on-heap.ts'
import { stateBackendContract } from './state-backend.ts'

const open = (states: StateDescriptors, key: Serde<unknown>): TaskOnHeap => new TaskOnHeap(states, key)

describe('the heap keeps the contract', () => {
  test.each(stateBackendContract({ open }))('$name', ({ run }) => run())
})
