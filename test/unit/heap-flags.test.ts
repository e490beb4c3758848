// Goal: a worker's heap begins as large as pays, and never beyond what a small container can give; who chooses, is heard.
// Method: shares of memory, and a worker process that tells its own heap.
import { execFileSync } from 'node:child_process'
import { expect, test } from '@jest/globals'
import { heapFlags, workerHeapFlags } from '../../src/cli/heap-flags.ts'

test.each([
  [8_000, ['--initial-old-space-size=256', '--min-semi-space-size=16']],
  [512, ['--initial-old-space-size=64', '--min-semi-space-size=8']],
  [200, []],
])('%i MB', (shareMb, flags) => {
  expect(heapFlags(shareMb, [])).toEqual(flags)
})

test.each(['--max-old-space-size=100', '--max_semi_space_size=4'])('a user who has chosen %s is heard', (flag) => {
  expect(heapFlags(8_000, ['--enable-source-maps', flag])).toEqual([])
})

test('Node knows the flags', () => {
  const flags = workerHeapFlags(1)
  const said = execFileSync(process.execPath, [...flags, '-p', '"ran"'], { encoding: 'utf8' })
  expect(said.trim()).toBe('ran')
})
