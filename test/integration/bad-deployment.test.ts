// Goal: deployments that contradict each other, and stores that cannot be written, harm nobody else: the newcomer is refused
// or the earlier one is fenced, with code and exit code; the others go on; nothing is committed past a file that is not
// durable. Method: two command lines on one pipeline; a store on a file system of a few blocks.
import { execFile } from 'node:child_process'
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import { Site } from '../support/site.ts'
import { until } from '../support/test-worker.ts'

let site: Site
beforeAll(async () => {
  site = await Site.open()
})
afterEach(() => site.clear())
afterAll(() => site[Symbol.asyncDispose]())

const run = promisify(execFile)

describe('deployments', () => {
  test('a newcomer with another plan is refused; the running one goes on', async () => {
    const subject = await site.subject('count')
    const first = subject.run()
    await first.runs()
    const ended = await subject.fails({ MILLRACE_INSTANCE: 'there' }, { shape: 'count-and-more' })
    for (const each of ['MEMBER_UNEQUAL', 'there-0', 'stop the old deployment']) expect(ended.output).toContain(each)
    expect(ended.code).toBe(2)
    await subject.send(['k:a'])
    await subject.caughtUp(first)
    expect((await first.stop()).code).toBe(0)
    expect(await subject.values()).toHaveLength(1)
  })

  test('a newcomer with another store is refused; the running one goes on', async () => {
    const subject = await site.subject('count')
    const first = subject.run()
    await first.runs()
    const ended = await subject.fails({ MILLRACE_INSTANCE: 'there', MILLRACE_STORE: await subject.anotherStore() })
    for (const each of ['MEMBER_UNEQUAL', 'there-0', 'must share one store', 'MILLRACE_STORE'])
      expect(ended.output).toContain(each)
    expect(ended.code).toBe(2)
    await subject.send(['k:a'])
    await subject.caughtUp(first)
    expect((await first.stop()).code).toBe(0)
  })

  test('a second deployment with the same instance ids: the first ends as fenced, the second goes on', async () => {
    const subject = await site.subject('count')
    const first = subject.run()
    await first.runs()
    await subject.send(['k:a'])
    await subject.caughtUp(first)
    const second = subject.run()
    await second.runs()
    const ended = await first.ended()
    for (const each of ['INSTANCE_FENCED', 'here-0', 'two deployments of one pipeline'])
      expect(ended.output).toContain(each)
    expect(ended.code).toBe(4)
    await subject.send(['k:b'])
    await subject.caughtUp(second)
    expect((await second.stop()).code).toBe(0)
    expect((await subject.values()).map((text) => JSON.parse(text).count)).toEqual([1, 2])
  })
})

/** A file system of 64 KiB in memory, if we may make one; else a folder that only root could write to. */
async function smallStore(): Promise<{ readonly folder: string; readonly end: () => Promise<void> } | undefined> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-small-'))
  try {
    await run('mount', ['-t', 'tmpfs', '-o', 'size=64k,mode=777', 'tmpfs', folder])
    const end = async (): Promise<void> => {
      await run('umount', ['-l', folder])
      await rm(folder, { recursive: true, force: true })
    }
    return { folder, end }
  } catch {
    await rm(folder, { recursive: true, force: true })
    return undefined
  }
}

describe('a store that cannot be written', () => {
  const options = {
    checkpoint: { timeoutMs: 1_000, tolerableFailed: 1 },
    restart: { strategy: 'none' },
  } as const

  test('from the beginning: the folder is named', async () => {
    const subject = await site.subject('count')
    const file = join(subject.store, '..', `${subject.case.name}-not-a-folder`)
    await writeFile(file, '')
    try {
      const ended = await subject.fails({ MILLRACE_STORE: join(file, 'store') }, { options })
      for (const each of ['STORE_UNWRITABLE', file, 'check rights and free space']) expect(ended.output).toContain(each)
      expect(ended.code).toBe(1)
    } finally {
      await rm(file)
    }
  })

  test('full or closed in the middle: written again, rolled back, ended with a code; nothing is committed past it', async () => {
    const subject = await site.subject('count')
    const small = await smallStore()
    const asRoot = process.getuid?.() === 0
    // Root writes into closed folders: without a file system of our own there is nothing to test it with.
    if (!small && asRoot) return
    const folder = small?.folder ?? subject.store
    try {
      const env = { MILLRACE_STORE: folder }
      const cli = subject.run(env, { options })
      await cli.runs()
      await subject.send(['k:a'])
      await subject.caughtUp(cli)
      if (small) await writeFile(join(folder, '.fill'), Buffer.alloc(56 * 1024)).catch(() => undefined)
      else await chmod(folder, 0o555)
      await subject.send(Array.from({ length: 400 }, (_, index) => `key-${index}:${'x'.repeat(100)}`))
      const ended = await cli.ended(40_000)
      for (const each of ['STORE_UNWRITABLE', 'trying again', 'CHECKPOINT_TIMEOUT', 'RESTARTS_EXHAUSTED', folder])
        expect(ended.output).toContain(each)
      expect(ended.code).toBe(1)
      expect(await subject.values()).toHaveLength(1)
      if (small) await rm(join(folder, '.fill'))
      else await chmod(folder, 0o755)
      await run('mount', ['-o', 'remount,size=8m', folder]).catch(() => undefined)
      await until(
        'the place in the group is free',
        async () => (await site.admin.describeGroup(subject.group)).members.length <= 1,
      )
      await subject.once(env)
      expect(await subject.values()).toHaveLength(401)
    } finally {
      await small?.end()
    }
  })
})
