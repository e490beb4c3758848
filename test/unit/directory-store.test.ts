// Goal: what a write leaves that a crash interrupted does not stay for ever, and nobody's write under way is touched.
// Method: temporary files of two ages in a real folder.
import { mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { DirectoryStore } from '../../src/checkpoint/store.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-sweep-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

test('old temporary files go when the store is opened, young ones and other names stay', async () => {
  const store = new DirectoryStore(folder)
  await store.open('tested')
  const twoHoursAgo = Date.now() / 1_000 - 7_200
  for (const name of ['.old.ckpt.abc.tmp', '.young.ckpt.abc.tmp', '.keep']) await writeFile(join(folder, name), 'x')
  for (const name of ['.old.ckpt.abc.tmp', '.keep']) await utimes(join(folder, name), twoHoursAgo, twoHoursAgo)
  await new DirectoryStore(folder).open('tested')
  expect((await readdir(folder)).sort()).toEqual(['.keep', '.young.ckpt.abc.tmp', 'STORE'])
})
