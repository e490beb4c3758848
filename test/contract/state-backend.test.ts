/**
 * Goal: state on the heap and state on disk keep the contract of state backends. Method: the suite against TaskState, with the
 * chain of segments that a checkpoint file would name; on disk in a real LevelDB, once with a cache so small that hardly a key
 * stays in memory, and a process that comes back to its own disk, or to an empty one.
 */
import { afterEach, describe, test } from '@jest/globals'
import type { StateDescriptors } from '../../src/state/descriptors.ts'
import type { Serde } from '../../src/state/serde.ts'
import { type Comeback, type DiskSizes, TaskOnDisk } from '../support/task-on-disk.ts'
import { TaskOnHeap } from '../support/task-on-heap.ts'
import { stateBackendContract } from './state-backend.ts'
import type { StateBackend } from './state-subject.ts'

const open = (states: StateDescriptors, key: Serde<unknown>): TaskOnHeap => new TaskOnHeap(states, key)

describe('the heap keeps the contract', () => {
  test.each(stateBackendContract({ open }))('$name', ({ run }) => run())
})

const opened: TaskOnDisk[] = []
afterEach(async () => {
  for (const task of opened.splice(0)) await task[Symbol.asyncDispose]()
})

/** A task on disk whose crashes all end in the same way. */
function onDisk(sizes: DiskSizes, comeback: Comeback) {
  const wrap = (task: TaskOnDisk): StateBackend => {
    opened.push(task)
    return {
      handles: task.handles,
      get keyCount() {
        return task.keyCount
      },
      setKey: (key) => task.setKey(key),
      freeze: () => task.freeze(),
      complete: () => task.complete(),
      crash: async (states) => wrap(await task.crash(comeback, states)),
      restored: async () => wrap(await task.restored()),
    }
  }
  return async (states: StateDescriptors, key: Serde<unknown>) => wrap(await TaskOnDisk.open(states, key, sizes))
}

const roomy = { cacheBytesMax: 2 ** 20 }
/** Every key that may go does. */
const tight = { cacheBytesMax: 1, rowsPerTurn: 1, writesPerBatch: 1, pageBytes: 20 }

describe.each([
  ['with room, back to its disk', onDisk(roomy, 'same disk')],
  ['with room, back to an empty disk', onDisk(roomy, 'empty disk')],
  ['without room', onDisk(tight, 'same disk')],
])('the disk keeps the contract, %s', (_, openOnDisk) => {
  test.each(stateBackendContract({ open: openOnDisk }))('$name', ({ run }) => run())
})
