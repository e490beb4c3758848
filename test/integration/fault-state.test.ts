// Goal: F19 to F25, F35, F44: whatever happens to checkpoint files and to the local disk between two lives of a worker, state is
// whole or the worker stops and names what is not; nothing is made of part of it. Method: the command line as a child process on
// one real broker; counts per key in the output, which show a state that is older, newer or mixed.
import { existsSync } from 'node:fs'
import { cp, rm } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import { CHAIN_SEGMENTS_MAX } from '../../src/state/task-state.ts'
import type { RestartStrategy } from '../../src/worker/restart.ts'
import { Cli } from '../support/cli.ts'
import type { PointName } from '../support/crash-worker.ts'
import { limitFiles } from '../support/file-limit.ts'
import { Site, type Subject } from '../support/site.ts'
import {
  chainOf,
  type Damage,
  damage,
  diesAt,
  type Env,
  EvenFeed,
  forge,
  inTopic,
  type Local,
  lives,
  on,
  openTransactions,
  storedFile,
  unstable,
  withBitFlipped,
} from '../support/state-faults.ts'
import { until } from '../support/test-worker.ts'

let site: Site
beforeAll(async () => {
  site = await Site.open()
})
afterEach(() => site.clear())
afterAll(() => site[Symbol.asyncDispose]())

/** It ends with this code, and has sent and committed nothing. */
async function stopsLoudly(subject: Subject, env: Env, code: string, ...says: readonly string[]): Promise<void> {
  const seen = async () => [
    await site.admin.listOffsets(subject.output, 'read_uncommitted'),
    await site.admin.listGroupOffsets(subject.group),
  ]
  const before = await seen()
  const ended = await subject.fails(env)
  for (const each of [code, ...says]) expect(ended.output).toContain(each)
  expect(ended.code).toBe(3)
  expect(await seen()).toEqual(before)
}

describe.each(['heap', 'leveldb'] as const)('checkpoint files, state on %s', (backend) => {
  test.each<[string, Damage, string]>([
    ['F19 torn-checkpoint-file', 'cut', 'CHECKPOINT_CORRUPT'],
    ['F20 bitflip-checkpoint', 'flipped', 'CHECKPOINT_CORRUPT'],
    ['F21 missing-blob', 'gone', 'CHECKPOINT_MISSING'],
  ])('%s: a delta of the chain is %s: stops and names it; put back, it goes on exactly once', async (_, how, code) => {
    const subject = await site.feature('counts')
    const env = await on(backend, subject)
    await lives(subject, env, ['k:a', 'k:b', 'l:c'])
    const [delta, ...later] = await chainOf(subject)
    if (!delta) throw new Error('the chain is empty')
    expect(later).toHaveLength(2)
    const putBack = await damage(subject, delta.file, how, delta.position + delta.length - 1)
    await subject.send(['k:d'])
    if (backend === 'leveldb') {
      // The local disk has what was in it.
      await lives(subject, env, ['l:e'])
      await subject.send(['k:f'])
      await rm(env.MILLRACE_STATE_FOLDER, { recursive: true })
    }
    await stopsLoudly(subject, env, code, delta.file)
    await putBack()
    await subject.once(env)
    const further = backend === 'heap' ? [] : ['e 2', 'f 4']
    expect(await subject.values()).toEqual(['a 1', 'b 2', 'c 1', 'd 3', ...further])
  })
})

test('F19 torn-checkpoint-file, F20 bitflip-checkpoint: the newest file: stops, though the local disk has all that was in it', async () => {
  const subject = await site.feature('counts')
  const env = await on('leveldb', subject)
  await lives(subject, env, ['k:a'])
  const file = basename(await subject.pointedFile())
  await subject.send(['k:b'])
  for (const [how, at] of [
    ['cut', -1],
    ['flipped', 14],
  ] as const) {
    const putBack = await damage(subject, file, how, at)
    await stopsLoudly(subject, env, 'CHECKPOINT_CORRUPT', file)
    await putBack()
  }
  await subject.once(env)
  expect(await subject.values()).toEqual(['a 1', 'b 2'])
})

describe('checkpoint files in a topic', () => {
  test('F19 torn-checkpoint-file: the newest one lacks its first chunk: stops and names it', async () => {
    const { subject, env, topic, newest } = await inTopic(site)
    const { partition, chunks } = await storedFile(subject, newest)
    await site.admin.deleteRecords(topic, partition, chunks[1] ?? -1n)
    await stopsLoudly(subject, env, 'CHECKPOINT_CORRUPT', newest, topic, 'chunk 0')
  })

  test('F21 missing-blob: the chunks of a delta are gone: stops and names it', async () => {
    const { subject, env, topic, delta } = await inTopic(site)
    const { partition, chunks } = await storedFile(subject, delta.file)
    await site.admin.deleteRecords(topic, partition, (chunks.at(-1) ?? -1n) + 1n)
    await stopsLoudly(subject, env, 'CHECKPOINT_CORRUPT', delta.file, topic, 'is not in the log')
  })

  test('F20 bitflip-checkpoint: in the newest one, in a delta; as it was, it goes on exactly once', async () => {
    const { subject, env, newest, delta } = await inTopic(site)
    for (const [name, at] of [
      [newest, 14],
      [delta.file, delta.position],
    ] as const) {
      const file = await storedFile(subject, name)
      await forge(subject, file, withBitFlipped(file.content, at))
      await stopsLoudly(subject, env, 'CHECKPOINT_CORRUPT', name)
      await forge(subject, await storedFile(subject, name), file.content)
    }
    await subject.once(env)
    expect(await subject.values()).toEqual(['a 1', 'b 2', 'c 3', 'd 4'])
  })
})

describe('F22 rename-not-durable', () => {
  test.each<[PointName, 'heap' | 'leveldb']>([
    ['after:write', 'heap'],
    ['before:end-txn', 'leveldb'],
  ])('the power takes the worker %s, and the newest file with it: the one before is used (%s)', async (at, backend) => {
    const subject = await site.feature('counts')
    const env = await on(backend, subject)
    await lives(subject, env, ['k:a', 'l:b'])
    const before = [await subject.pointedFile(), ...(await subject.files())]
    await subject.send(['k:c', 'l:d', 'k:e'])
    expect(await diesAt(subject, env, at)).toMatchObject({ signal: 'SIGKILL' })
    expect(await openTransactions(subject)).toHaveLength(1)
    const lost = (await subject.files()).filter((file) => !before.includes(file))
    expect([await subject.pointedFile(), lost.length]).toEqual([before[0], 1])
    await rm(lost[0] ?? '')
    await subject.once(env)
    expect(await subject.values()).toEqual(['a 1', 'b 1', 'c 2', 'd 2', 'e 3'])
    expect(await openTransactions(subject)).toEqual([])
  })
})

/** A file's size is limited from outside by Linux only. */
const onLinux = process.platform === 'linux' ? describe : describe.skip

onLinux('F23 enospc-state: the local disk takes nothing more', () => {
  const keys = Array.from({ length: 1_000 }, (_, index) => `key-${index}`)

  /** What LevelDB has written for two tasks is longer than their worker may write from here on; a checkpoint of one key is not. */
  async function fills(restart: RestartStrategy): Promise<{ subject: Subject; cli: Cli; env: Local; worker: number }> {
    const subject = await site.feature('counts', { partitions: 2, options: { restart } })
    const env = await on('leveldb', subject)
    const cli = subject.start(['run', '--leave'], env)
    await cli.runs()
    await subject.send(keys.map((key) => `${key}:a`))
    await subject.caughtUp(cli)
    const worker = cli.events('worker-started').at(-1)?.pid ?? 0
    await limitFiles(worker, 16 * 1024)
    await subject.send(['key-0:b'])
    await cli.printed('STATE_DISK')
    return { subject, cli, env, worker }
  }

  /** Each key once more, in a life that finds the disk as it is. */
  async function isWhole(subject: Subject, env: Env): Promise<void> {
    await subject.send(keys.map((key) => `${key}:z`))
    await subject.once(env)
    const counts = [...keys.map(() => 'a 1'), 'b 2', 'z 3', ...keys.slice(1).map(() => 'z 2')]
    expect((await subject.values()).sort()).toEqual(counts.sort())
  }

  test('no restart is left: it ends and names the folder; with space again it goes on exactly once', async () => {
    const { subject, cli, env } = await fills({ strategy: 'none' })
    const ended = await cli.ended()
    for (const each of ['RESTARTS_EXHAUSTED', env.MILLRACE_STATE_FOLDER, 'check rights and free space'])
      expect(ended.output).toContain(each)
    expect(ended.code).toBe(1)
    await isWhole(subject, env)
  })

  test('there is space again before it gives up: it goes on in place, and SIGKILL finds no hole in what it writes', async () => {
    const { subject, cli, env, worker } = await fills({ strategy: 'fixed-delay', attempts: 1_000, delayMs: 20 })
    await limitFiles(worker, 'unlimited')
    await subject.caughtUp(cli)
    expect(cli.output).toContain('it is opened anew')
    cli.signal('SIGKILL')
    cli.signalWorker('SIGKILL')
    await cli.ended()
    expect(cli.events('worker-started')).toHaveLength(1)
    await isWhole(subject, env)
  })
})

describe('F25 local-state-stale', () => {
  test('an older disk is put in the place of a newer one: what is missing is read', async () => {
    const subject = await site.feature('counts')
    const env = await on('leveldb', subject)
    await lives(subject, env, ['k:a', 'l:b'])
    const older = await subject.anotherStore()
    await cp(env.MILLRACE_STATE_FOLDER, older, { recursive: true })
    await lives(subject, env, ['k:c', 'm:d'])
    await lives(subject, { ...env, MILLRACE_STATE_FOLDER: older }, ['k:e', 'l:f', 'm:g'])
    expect(await subject.values()).toEqual(['a 1', 'b 1', 'c 2', 'd 1', 'e 3', 'f 2', 'g 2'])
  })

  test('the disk is newer than the checkpoint that a savepoint restored, and than no checkpoint at all: it is emptied', async () => {
    const subject = await site.feature('counts')
    const env = await on('leveldb', subject)
    const place = join(await subject.anotherStore(), 'savepoint')
    const savepoint = async (...argv: readonly string[]): Promise<void> =>
      expect(await Cli.run(['savepoint', ...argv], subject.env(), 60_000)).toMatchObject({ code: 0 })
    await lives(subject, env, ['k:a', 'l:b'])
    await savepoint('create', subject.module, '--out', place)
    await lives(subject, env, ['k:c', 'm:d'])
    await savepoint('restore', place, '--to', subject.module, '--accept-rewrite')
    await lives(subject, env, ['l:e', 'm:f'])
    const rewritten = ['c 2', 'd 1', 'e 2', 'f 2']
    expect(await subject.values()).toEqual(['a 1', 'b 1', 'c 2', 'd 1', ...rewritten])
    expect((await subject.reset('--to', 'latest', '--state', 'drop')).code).toBe(0)
    await lives(subject, env, ['k:g', 'm:h'])
    expect((await subject.values()).slice(8)).toEqual(['g 1', 'h 1'])
  })
})

test('F35 rescale-restore: three workers die with open transactions, one goes on, then three: nothing stays open', async () => {
  const subject = await site.feature('counts', { partitions: 6 })
  const quick = { MILLRACE_SESSION_TIMEOUT_MS: '1000' }
  const seldom = { MILLRACE_CHECKPOINT_INTERVAL_MS: '300000', MILLRACE_TRANSACTION_TIMEOUT_MS: '800000' }
  const dying = subject.start(['run', '--workers', '3'], seldom)
  await dying.runs(3)
  const feed = new EvenFeed(subject, 6)
  const all = (signal: NodeJS.Signals): void => {
    for (const slot of [0, 1, 2]) dying.signalWorker(signal, slot)
  }
  const threeOpen = async (): Promise<boolean> =>
    (await openTransactions(subject)).length === 3 && (await unstable(subject)) >= 3
  // The first checkpoints come at once: the workers are held, so that none commits between the look and their death. Of what
  // they had asked the broker for before, the second look sees the end.
  const heldOpen = async (): Promise<boolean> => {
    if (!(await threeOpen())) {
      await feed.more()
      return false
    }
    all('SIGSTOP')
    if ((await threeOpen()) && (await threeOpen())) return true
    all('SIGCONT')
    return false
  }
  await until('all three have written what is not committed', heldOpen, 30_000, () => dying.output)
  dying.signal('SIGKILL')
  all('SIGKILL')
  expect([(await dying.ended()).code, (await openTransactions(subject)).length]).toEqual([null, 3])
  await feed.more()
  const one = subject.start(['run', '--leave'], quick)
  await one.runs()
  await subject.caughtUp(one)
  expect((await one.stop()).code).toBe(0)
  expect([await openTransactions(subject), await unstable(subject)]).toEqual([[], 0])
  await feed.more()
  const three = subject.start(['run', '--leave', '--workers', '3'], quick)
  await three.runs(3)
  await feed.more()
  await subject.caughtUp(three)
  expect((await three.stop()).code).toBe(0)
  expect((await subject.values()).sort()).toEqual(feed.counts())
  expect([await openTransactions(subject), await unstable(subject)]).toEqual([[], 0])
})

test('F44 checkpoint-gc-race: killed while old files go, by the workers and by prune: all that is needed stays', async () => {
  const subject = await site.feature('counts', { partitions: 2, options: { checkpoint: { retained: 1 } } })
  const cli = subject.start(['run', '--leave', '--workers', '2'], { MILLRACE_CHECKPOINT_INTERVAL_MS: '10' })
  await cli.runs(2)
  const feed = new EvenFeed(subject, 2)
  const killed = async (...slots: readonly number[]): Promise<void> => {
    const before = cli.events('worker-running').length
    for (const slot of slots) cli.signalWorker('SIGKILL', slot)
    await cli.runs(before + slots.length)
    await feed.more()
    await subject.caughtUp(cli)
    expect(await Cli.run(['checkpoints', 'verify', subject.module], subject.env())).toMatchObject({ code: 0 })
  }
  await feed.more()
  await subject.caughtUp(cli)
  const first = await subject.files()
  // Workers clean up every few seconds, both at about the same time …
  while (first.every((file) => existsSync(file))) await feed.more()
  await killed(0, 1)
  // … and prune does at once. Enough for a new base, which leaves the files before it to be deleted:
  for (let n = 0; n < CHAIN_SEGMENTS_MAX; n++) {
    await feed.more()
    await subject.caughtUp(cli)
  }
  const before = await subject.files()
  await using prune = new Cli(['checkpoints', 'prune', subject.module], subject.env())
  while (prune.running && before.every((file) => existsSync(file))) await feed.more()
  await killed(1)
  expect((await prune.ended()).code).toBe(0)
  expect(before.every((file) => existsSync(file))).toBe(false)
  expect((await cli.stop()).code).toBe(0)
  await feed.more()
  await subject.once()
  expect((await subject.values()).sort()).toEqual(feed.counts())
})
