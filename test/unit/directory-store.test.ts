// Goal: what a write leaves that a crash interrupted does not stay for ever, and nobody's write under way is touched; what is said
// to be written a power loss does not take away (F22). Method: temporary files of two ages in a real folder; what is forced to the
// disk, and what was there at that moment.
import { existsSync } from 'node:fs'
import { type FileHandle, mkdtemp, open, readdir, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, jest, test } from '@jest/globals'
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

test('F22 rename-not-durable: the bytes are on disk before they get their name, and the name is before create resolves', async () => {
  const store = new DirectoryStore(folder)
  await store.open('tested')
  const name = '00000000000000000001-here-0-abc123.ckpt'
  const events: string[] = []
  await using any = await open(folder)
  const prototype = Object.getPrototypeOf(any) as FileHandle
  const { sync } = prototype
  const spy = jest.spyOn(prototype, 'sync').mockImplementation(async function (this: FileHandle) {
    const what = (await this.stat()).isDirectory() ? 'folder' : 'file'
    await sync.call(this)
    events.push(`${what} on disk, name ${existsSync(join(folder, name)) ? 'there' : 'not there'}`)
  })
  await store.create(name, [Buffer.from('one'), Buffer.from('two')])
  events.push('created')
  spy.mockRestore()
  expect(events).toEqual(['file on disk, name not there', 'folder on disk, name there', 'created'])
})
