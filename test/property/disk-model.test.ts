/**
 * Goal: state on disk is what plain Maps say, whatever is done to it, whatever is in memory, and wherever the process ends: also
 * while a checkpoint's changes are on their way to the disk, and whether it comes back to that disk, to an empty one, or with its
 * state on the heap. Method: the sequences of state-model.test.ts on a real LevelDB, with a cache in which hardly a key stays,
 * batches of a few writes, and bases in slices. A failing run prints its seed and the shortest sequence.
 */
import { expect, test } from '@jest/globals'
import fc from 'fast-check'
import type { StateDescriptors } from '../../src/index.ts'
import {
  flatStates,
  keySerdes,
  keys,
  type ModelledBackend,
  moves,
  Pair,
  run,
  seen,
  states,
} from '../support/state-model.ts'
import { type DiskSizes, TaskOnDisk } from '../support/task-on-disk.ts'

const sizes: fc.Arbitrary<DiskSizes> = fc.record({
  // Nothing that may go stays; a few keys; all.
  cacheBytesMax: fc.constantFrom(1, 10_000, 2 ** 20),
  baseSliceBytes: fc.constantFrom(30, 100, 100_000),
  rowsPerLook: fc.constantFrom(1, 2, 64),
  rowsPerTurn: fc.constantFrom(1, 3, 1_000),
  writesPerBatch: fc.constantFrom(1, 2, 5_000),
  // Maps in pages of one entry, of some, of all.
  pageBytes: fc.constantFrom(1, 30, 100, 4_096),
})

/** How a process ends and comes back. */
const endings = ['settled, same disk', 'applying, same disk', 'empty disk'] as const

/** `ways`: what happens at the crashes, one after the other. */
function modelled(
  task: TaskOnDisk,
  ways: readonly (typeof endings)[number][],
  turn = 0,
): ModelledBackend & AsyncDisposable {
  const way = ways[turn % ways.length]
  return {
    handles: task.handles,
    get segments() {
      return task.segments
    },
    setKey: (key) => task.setKey(key),
    freeze: () => task.freeze(),
    encodeSome: () => task.encodeSome(),
    complete: () => (way === 'settled, same disk' ? task.complete() : task.commit()),
    async crash() {
      if (way === 'settled, same disk') await task.settled()
      const next = await task.crash(way === 'empty disk' ? 'empty disk' : 'same disk')
      if (way === 'settled, same disk') expect(next.read).toEqual([])
      return modelled(next, ways, turn + 1)
    },
    [Symbol.asyncDispose]: () => task[Symbol.asyncDispose](),
  }
}

async function disksAgree(descriptors: StateDescriptors, numRuns: number): Promise<void> {
  const ways = fc.array(fc.constantFrom(...endings), { minLength: 1, maxLength: 4 })
  const property = fc.asyncProperty(keys, sizes, ways, moves, async (kind, size, way, sequence) => {
    const pair = new Pair(kind, modelled(await TaskOnDisk.open(descriptors, keySerdes[kind], size), way))
    try {
      await run(pair, sequence)
    } finally {
      await (pair.backend as ReturnType<typeof modelled>)[Symbol.asyncDispose]()
    }
  })
  await fc.assert(property, { numRuns })
}

test('state on disk is what plain Maps say, at any time and after any crash', async () => {
  await disksAgree(states, 600)
  expect([...seen.marks].sort()).toEqual(['base-first', 'base-last', 'base-part', 'base-whole', 'delta', ''].sort())
  // Bases in many slices: chains are as long, and not longer for ever.
  expect(seen.chain).toBeGreaterThan(16)
  expect(seen.chain).toBeLessThan(150)
  expect(seen.insideBase).toBeGreaterThan(5)
})

test('so is state without lists and maps, whose batches are written while the next ones are gathered', async () => {
  await disksAgree(flatStates, 300)
})
