// Goal: the group moves on without a worker, around it, or against it, and nobody's output counts twice: F12, F13, F34,
// F45, F46, F51, F52, F54. Method: one real broker with short session time-outs; workers that lie still (SIGSTOP) exactly at
// an effect while others take over, and then go on; the checker's verdict.
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import { describeGroup } from '../../checker/requests.ts'
import type { ProtocolStep } from '../../src/base/messages.ts'
import type { Point, PointName } from '../support/crash-worker.ts'
import { type Job, Stage } from '../support/harness.ts'
import { until } from '../support/test-worker.ts'

let stage: Stage
beforeAll(async () => {
  stage = await Stage.open()
})
afterEach(() => stage.clear())
afterAll(() => stage[Symbol.asyncDispose]())

const hold = (at: PointName, nth = 1): Point => ({ at, nth, do: 'hold' })
const SHORT_SESSION = { MILLRACE_SESSION_TIMEOUT_MS: '1000' }

async function loaded(name: string, key: 'hop' | 'record', env: Readonly<Record<string, string>> = {}): Promise<Job> {
  const job = await stage.job(name, { key, env: { ...SHORT_SESSION, ...env } })
  await job.feed.wave(60)
  job.feed.stream()
  return job
}

/** The instances that the group has now. */
async function members(job: Job): Promise<string[]> {
  return (await describeGroup(stage.kafka, job.group)).members.map((member) => member.instanceId ?? '').sort()
}

describe('a worker that the group gave up comes back', () => {
  test.each<PointName>([
    'before:produce',
    'before:prepare',
    'before:write',
    'before:add-offsets',
    'after:txn-offset-commit',
    'before:end-txn',
    'after:end-txn',
    'before:commit-handles',
    'before:restore',
  ])('F12 zombie-writer: stopped %s, another one has taken over', async (at) => {
    const job = await loaded('f12', 'hop')
    const zombie = job.start('a', { lives: [[hold(at, at === 'before:restore' ? 1 : 4)]] })
    await zombie.held(at)
    const successor = job.start('b')
    await until(
      'a was expelled',
      async () => (await members(job)).join() === 'b',
      30_000,
      () => job.explain(),
    )
    await successor.reachedEvent('running')
    await job.progresses()
    zombie.signal('SIGCONT')
    await zombie.reachedEvent('running', at === 'before:restore' ? 1 : 2)
    await job.progresses()
    await job.finish()
  })

  test.each<PointName>(['before:produce', 'before:write', 'before:end-txn', 'after:end-txn'])(
    'F12 zombie-writer: stopped %s, its successor has the same instance id',
    async (at) => {
      const job = await loaded('f12', 'record')
      const zombie = job.start('a', { lives: [[hold(at, 4)]], restart: 'no' })
      await zombie.held(at)
      const successor = job.start('a')
      await successor.reachedEvent('running')
      await job.progresses()
      zombie.signal('SIGCONT')
      expect(await zombie.ended()).toMatchObject({ code: 4, error: 'INSTANCE_FENCED' })
      await job.progresses()
      await job.finish({ unplanned: ['INSTANCE_FENCED'] })
      expect(successor.ends).toHaveLength(1)
    },
  )

  test('F13 two-owners: both hold the task, one has the generation', async () => {
    const job = await loaded('f13', 'record')
    const before = job.start('a', { lives: [[hold('before:txn-offset-commit', 4)]] })
    await before.held('before:txn-offset-commit')
    // The successor lies still with the task in its hands, too, and its own commit not yet offered.
    const after = job.start('b', { lives: [[hold('before:txn-offset-commit', 2)]] })
    await after.held('before:txn-offset-commit')
    const committed = await job.progress()
    before.signal('SIGCONT')
    await before.reachedEvent('rolled-back')
    expect(await job.progress()).toBe(committed)
    after.signal('SIGCONT')
    await job.progresses()
    await job.finish()
  })
})

describe('a worker that the group gave up has old things in its hands', () => {
  test('F51 stale-state-returned: a task comes back after another worker has moved it on', async () => {
    const job = await loaded('f51', 'record')
    // It drains for the rebalance, state in memory and confirmed, and lies still before it joins again.
    const first = job.start('a', { lives: [[{ at: 'after:end-txn', nth: 3, do: 'none' }, hold('before:join')]] })
    await first.reachedPoint('after:end-txn')
    const second = job.start('b')
    await first.held('before:join')
    await until(
      'b has everything',
      async () => (await members(job)).join() === 'b',
      30_000,
      () => job.explain(),
    )
    await second.reachedEvent('running')
    await job.progresses(50)
    second.leave()
    await second.ended()
    first.signal('SIGCONT')
    await first.reachedEvent('running', 2)
    await job.progresses()
    await job.finish()
  })

  test('F52 name-overwrite: an old life writes its checkpoint file late', async () => {
    const job = await loaded('f52', 'record', { MILLRACE_RETAINED: '200' })
    const old = job.start('a', { lives: [[hold('before:write', 4)]], restart: 'no' })
    await old.held('before:write')
    const fresh = job.start('a')
    await fresh.reachedEvent('running')
    await job.progresses(50)
    const before = await contents(job.store)
    old.signal('SIGCONT')
    expect(await old.ended()).toMatchObject({ code: 4 })
    const after = await contents(job.store)
    for (const [name, bytes] of before) expect(after.get(name)?.equals(bytes)).toBe(true)
    await job.finish({ unplanned: ['INSTANCE_FENCED'] })
  })
})

async function contents(store: string): Promise<Map<string, Buffer>> {
  const names = (await readdir(store)).filter((name) => name.endsWith('.ckpt'))
  return new Map(await Promise.all(names.map(async (name) => [name, await readFile(join(store, name))] as const)))
}

describe('the group changes under load', () => {
  test('F34 rebalance-mid-checkpoint: a third worker joins and leaves, again and again', async () => {
    const job = await loaded('f34', 'hop')
    const steady = [job.start('a'), job.start('b')]
    for (const worker of steady) await worker.reachedEvent('running')
    for (const how of ['leave', 'kill', 'leave', 'term'] as const) {
      const guest = job.start('c', { restart: 'no' })
      await guest.reachedEvent('running')
      await job.progresses()
      if (how === 'leave') guest.leave()
      else guest.signal(how === 'kill' ? 'SIGKILL' : 'SIGTERM')
      await guest.ended()
      await until(
        'c is gone',
        async () => (await members(job)).join() === 'a,b',
        30_000,
        () => job.explain(),
      )
      await job.progresses()
    }
    await job.finish()
    for (const worker of steady) expect(worker.ends).toHaveLength(1)
  })

  test.each<PointName>(['after:inject', 'before:write', 'before:txn-offset-commit', 'after:end-txn', 'before:drain'])(
    'F34 rebalance-mid-checkpoint: begun while a worker is %s',
    async (at) => {
      const job = await loaded('f34', 'hop', { MILLRACE_SESSION_TIMEOUT_MS: '10000' })
      const worker = job.start('a', {
        lives: [[{ at: 'after:end-txn', nth: 2, do: 'none' }, hold(at, at === 'before:drain' ? 1 : 2)]],
      })
      if (at === 'before:drain') await worker.reachedPoint('after:end-txn')
      else await worker.held(at)
      const guest = job.start('b')
      if (at === 'before:drain') await worker.held(at)
      const rebalancing = async (): Promise<boolean> =>
        (await describeGroup(stage.kafka, job.group)).state === 'PreparingRebalance'
      await until('the rebalance has begun', rebalancing, 30_000, () => job.explain())
      worker.signal('SIGCONT')
      await guest.reachedEvent('running')
      await worker.reachedEvent('running', 2)
      await job.finish()
      // It was finished by its owner, under the old generation: nothing had to be done again.
      expect(worker.count('rolled-back')).toBe(0)
    },
  )
})

const drainable: readonly ProtocolStep[] = [
  'resolve',
  'join',
  'read-offsets',
  'restore',
  'init-producer',
  'add-partitions',
  'produce',
  'inject',
  'prepare',
  'write',
  'add-offsets',
  'txn-offset-commit',
  'end-txn',
  'confirm',
  'commit-handles',
]

describe('orderly ends', () => {
  test.each(drainable.flatMap((step): PointName[] => [`before:${step}`, `after:${step}`]))(
    'F45 sigterm-drain: asked %s (before: the first time, after: in the midst)',
    async (at) => {
      const first = at.startsWith('before') || /resolve|join|read-offsets|restore/.test(at)
      const job = await loaded('f45', 'record')
      const worker = job.start('a', { lives: [[{ at, nth: first ? 1 : 3, do: 'term' }]] })
      expect(await worker.ended()).toMatchObject({ code: 0 })
      expect(await job.hasOpenTransaction('a')).toBe(false)
      job.start('a')
      await job.finish()
    },
  )

  test('F46 double-start: a second deployment with the same instance ids fences the first', async () => {
    const job = await loaded('f46', 'hop')
    const first = [job.start('a'), job.start('b')]
    for (const worker of first) await worker.reachedEvent('running')
    const second = [job.start('a'), job.start('b')]
    for (const worker of first) expect(await worker.ended()).toMatchObject({ code: 4, error: 'INSTANCE_FENCED' })
    for (const worker of second) await worker.reachedEvent('running')
    await job.progresses()
    await job.finish({ unplanned: ['INSTANCE_FENCED'] })
    for (const worker of second) expect(worker.ends).toHaveLength(1)
  })

  test("F54 prefix-neighbour: one pipeline's sweep leaves the other's open transaction alone", async () => {
    const env = { ...SHORT_SESSION }
    const bid = await stage.job('', { pipeline: 'bid', env })
    const totals = await stage.job('', { pipeline: 'bid-totals', env: {} })
    for (const job of [bid, totals]) {
      await job.feed.wave(60)
      job.feed.stream()
    }
    const neighbour = totals.start('a', { lives: [[hold('before:end-txn', 4)]] })
    await neighbour.held('before:end-txn')
    expect(await totals.hasOpenTransaction('a')).toBe(true)
    const gone = bid.start('a', { lives: [[{ at: 'before:end-txn', nth: 4, do: 'kill' }]], restart: 'no' })
    await gone.ended()
    expect(await bid.hasOpenTransaction('a')).toBe(true)
    bid.start('b')
    await until("the leader has swept the dead worker's transaction", async () => !(await bid.hasOpenTransaction('a')))
    await bid.progresses()
    expect(await totals.hasOpenTransaction('a')).toBe(true)
    neighbour.signal('SIGCONT')
    await bid.finish()
    await totals.finish()
    expect(neighbour.count('rolled-back')).toBe(0)
  })
})
