/**
 * Goal: of several that want the same lock one has it at a time, under Jest, too; one that died with it does not keep it. Method: real files.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { withFileLock } from '../../connectors/kafka/testing/kafka-jars.ts'

let folder = ''
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-lock-'))
})
afterEach(() => rm(folder, { recursive: true }))

test('who comes while it is held waits until it is free', async () => {
  const path = join(folder, 'lock')
  const order: string[] = []
  let release = (): void => {}
  const first = withFileLock(path, 10_000, async () => {
    order.push('first begins')
    await new Promise<void>((resolve) => {
      release = resolve
    })
    order.push('first ends')
  })
  while (order.length === 0) await new Promise((resolve) => setImmediate(resolve))
  const second = withFileLock(path, 10_000, async () => order.push('second begins'))
  // It has looked, and found it held.
  await writeFile(join(folder, 'other'), '')
  release()
  await Promise.all([first, second])
  expect(order).toEqual(['first begins', 'first ends', 'second begins'])
})

test('a lock whose process is dead is taken over', async () => {
  const path = join(folder, 'lock')
  // No process has so high a number.
  await writeFile(path, String(2 ** 30))
  expect(await withFileLock(path, 10_000, async () => 'done')).toBe('done')
})
