// Goal: deployments that contradict each other, and stores that cannot be written, harm nobody else: the newcomer is refused
// or the earlier one is fenced, with code and exit code; the others go on; nothing is committed past a file that is not
// durable. Method: two command lines on one pipeline; a store on a file system of a few blocks.
import { execFile } from 'node:child_process'
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import { freePorts } from '../../connectors/kafka/testing/ports.ts'
import { Site, type Subject } from '../support/site.ts'
import { lives, on } from '../support/state-faults.ts'
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

describe('state', () => {
  test.each(['heap', 'leveldb'] as const)(
    'on %s, a release whose serde is not that of the stored state: refused before the first record; the release of before goes on',
    async (backend) => {
      const subject = await site.feature('counts')
      const env = await on(backend, subject)
      await lives(subject, env, ['k:a'])
      await subject.send(['k:b'])
      const ended = await subject.fails(env, { shape: 'counts-changed' })
      for (const each of ['STATE_INCOMPATIBLE', "'count'", 'value of f64', 'value of utf8'])
        expect(ended.output).toContain(each)
      expect(ended.code).toBe(3)
      expect(await subject.values()).toEqual(['a 1'])
      await lives(subject, env, ['k:c'])
      expect(await subject.values()).toEqual(['a 1', 'b 2', 'c 3'])
    },
  )

  test('one local folder and instance for two processes: the newcomer is refused, the first goes on', async () => {
    const subject = await site.feature('counts')
    const env = await on('leveldb', subject)
    const first = subject.start(['run', '--leave'], env)
    await first.runs()
    const ended = await subject.fails(env)
    for (const each of ['STATE_LOCKED', env.MILLRACE_STATE_FOLDER, '--instance']) expect(ended.output).toContain(each)
    expect(ended.code).toBe(2)
    await subject.send(['k:a'])
    await subject.caughtUp(first)
    expect((await first.stop()).code).toBe(0)
    expect(await subject.values()).toEqual(['a 1'])
  })
})

interface Ailing {
  readonly folder: string
  /** From now on the store takes nothing more. */
  readonly spoil: () => Promise<void>
  readonly mend: () => Promise<void>
  readonly end: () => Promise<void>
}

/** A file system of 64 KiB in memory that fills up; undefined where we may not make one. */
async function smallDisk(): Promise<Ailing | undefined> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-small-'))
  const filler = join(folder, '.fill')
  try {
    await run('mount', ['-t', 'tmpfs', '-o', 'size=64k,mode=777', 'tmpfs', folder])
  } catch {
    await rm(folder, { recursive: true, force: true })
    return undefined
  }
  return {
    folder,
    spoil: () => writeFile(filler, Buffer.alloc(56 * 1024)).catch(() => undefined),
    async mend() {
      await rm(filler)
      await run('mount', ['-o', 'remount,size=8m', folder])
    },
    async end() {
      await run('umount', ['-l', folder])
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** A folder in whose place there is suddenly a file: not even root can write into it. */
async function lostFolder(): Promise<Ailing> {
  const parent = await mkdtemp(join(tmpdir(), 'millrace-lost-'))
  const folder = join(parent, 'store')
  return {
    folder,
    async spoil() {
      await rename(folder, join(parent, 'aside'))
      await writeFile(folder, '')
    },
    async mend() {
      await rm(folder)
      await rename(join(parent, 'aside'), folder)
    },
    end: () => rm(parent, { recursive: true, force: true }),
  }
}

describe('a store that cannot be written while the group rebalances', () => {
  test('a worker that cannot finish its checkpoint in time rolls back and joins again; nothing is lost or doubled', async () => {
    const subject = await site.subject('count', { partitions: 2 })
    const { folder, spoil, mend, end } = await lostFolder()
    try {
      const env = { MILLRACE_STORE: folder, MILLRACE_REBALANCE_TIMEOUT_MS: '4000' }
      const stays = subject.run(env)
      await stays.runs()
      const leaves = subject.start(['run', '--leave'], { ...env, MILLRACE_INSTANCE: 'there' })
      await leaves.runs()
      await subject.send(['k:a', 'l:b', 'm:c'])
      await subject.caughtUp(stays)
      const partition = await ownedBy(subject, 'here-0')
      await spoil()
      await subject.send(['k:d'], partition)
      await stays.printed('checkpoint file not written, trying again')
      expect((await leaves.stop()).code).toBe(0)
      await stays.printed('the last checkpoint did not finish in time')
      await mend()
      await subject.caughtUp(stays)
      expect((await stays.stop()).code).toBe(0)
      const values = (await subject.values()).map((text) => (JSON.parse(text) as { value: string }).value)
      expect(values.sort()).toEqual(['a', 'b', 'c', 'd'])
    } finally {
      await end()
    }
  })
})

/** A partition of the input that the instance has. */
async function ownedBy(subject: Subject, instance: string): Promise<number> {
  let found: number | undefined
  await until(`${instance} has a partition of its own`, async () => {
    const { state, members } = await site.admin.describeGroup(subject.group)
    const member = members.find(({ instanceId }) => instanceId === instance)
    found = member?.assignment[0]?.partition
    return state.toUpperCase() === 'STABLE' && members.length === 2 && found !== undefined
  })
  return found ?? 0
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

  test.each<[string, 'heap' | 'leveldb', () => Promise<Ailing | undefined>]>([
    ['a disk that fills up', 'heap', smallDisk],
    ['a disk that fills up', 'leveldb', smallDisk],
    ['a folder that is lost', 'heap', lostFolder],
  ])(
    'F24 enospc-checkpoint: %s, state on %s: tried again, counted, rolled back, ended with a code; nothing is committed past it',
    async (_, backend, make) => {
      const subject = await site.subject('count')
      // Where no file system may be made there is still the other way.
      const { folder, spoil, mend, end } = (await make()) ?? (await lostFolder())
      try {
        const [port] = await freePorts(1)
        const env = {
          MILLRACE_STORE: folder,
          MILLRACE_STATE_BACKEND: backend,
          MILLRACE_STATE_FOLDER: await subject.anotherStore(),
        }
        const cli = subject.run({ ...env, MILLRACE_HTTP_PORT: String(port) }, { options })
        await cli.runs()
        await subject.send(['k:a'])
        await subject.caughtUp(cli)
        await spoil()
        await subject.send(Array.from({ length: 400 }, (_each, index) => `key-${index}:${'x'.repeat(100)}`))
        // Two of them fail before it ends.
        await until('a failed checkpoint is counted', async () => (await failedCheckpoints(port)) >= 1)
        const ended = await cli.ended(40_000)
        for (const each of ['STORE_UNWRITABLE', 'trying again', 'CHECKPOINT_TIMEOUT', 'RESTARTS_EXHAUSTED', folder])
          expect(ended.output).toContain(each)
        expect(ended.code).toBe(1)
        expect(await subject.values()).toHaveLength(1)
        await mend()
        await subject.once(env)
        expect(await subject.values()).toHaveLength(401)
      } finally {
        await end()
      }
    },
  )
})

/** As the metrics page says; 0: it is gone. */
async function failedCheckpoints(port: number | undefined): Promise<number> {
  try {
    const page = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
    return Number(/^millrace_checkpoints_failed_total(?:\{[^}]*\})? (\d+)$/m.exec(page)?.[1] ?? 0)
  } catch {
    return 0
  }
}
