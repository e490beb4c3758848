// Goal: with checkpoints in a topic the promise holds as with a folder, and workers share nothing but the cluster; every command that
// looks at a store, copies or resets works with it. Method: workers killed at named effects and at any moment, the broker killed
// under them, the independent checker's verdict; the command line as a child process.
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals'
import { listOffsets } from '../../checker/requests.ts'
import { Cli, type Ended } from '../support/cli.ts'
import { type Job, type JobOptions, REFERENCE, Stage } from '../support/harness.ts'
import { until } from '../support/test-worker.ts'

let stage: Stage
let folder = ''
beforeAll(async () => {
  stage = await Stage.open()
})
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-kafka-store-'))
})
afterEach(async () => {
  await stage.clear()
  await rm(folder, { recursive: true, force: true })
})
afterAll(() => stage[Symbol.asyncDispose]())

async function jobOn(name: string, backend: 'heap' | 'leveldb', options: JobOptions = {}): Promise<Job> {
  const env = { MILLRACE_STORE: 'kafka', MILLRACE_STATE_BACKEND: backend, MILLRACE_STATE_FOLDER: join(folder, 'disk') }
  return stage.job(name, { key: 'hop', ...options, env: { ...env, ...options.env } })
}

const storeTopic = (job: Job): string => `${job.group}.checkpoints`

/** Where the data partitions begin. */
async function starts(job: Job): Promise<number[]> {
  const topic = storeTopic(job)
  return ((await listOffsets(stage.kafka, [topic], 'earliest')).get(topic) ?? []).slice(1)
}

describe('exactly once', () => {
  test.each(['heap', 'leveldb'] as const)(
    'three workers, state on %s, killed around the write of their files, in recovery and at any moment',
    async (backend) => {
      const job = await jobOn(`killed-${backend}`, backend)
      const steady = job.start('c')
      await steady.reachedEvent('running')
      await job.feed.wave(100, 4_000)
      const around = job.start('a', {
        lives: [
          [{ at: 'before:write', nth: 4, do: 'kill' }],
          [{ at: 'after:write', nth: 3, do: 'kill' }],
          [{ at: 'after:end-txn', nth: 3, do: 'kill' }],
          [{ at: 'after:load', do: 'kill' }],
        ],
      })
      const anytime = job.start('b')
      job.feed.stream()
      await around.deaths(4)
      for (let death = 1; death <= 4; death++) {
        await anytime.reachedEvent('running', death)
        await job.progresses()
        anytime.signal('SIGKILL')
        await anytime.deaths(death)
      }
      await job.progresses(50)
      const verdict = await job.finish()
      expect(verdict.counts.out).toBeGreaterThan(200)
      expect(await readdir(job.store)).toEqual([])
    },
  )

  test('the broker is killed and started under two workers that write checkpoints', async () => {
    const job = await jobOn('broker', 'heap')
    const workers = [job.start('a'), job.start('b')]
    for (const worker of workers) await worker.reachedEvent('running')
    job.feed.stream()
    const [node] = stage.broker.nodes
    for (let round = 0; round < 2; round++) {
      await job.progresses()
      await node?.kill()
      await node?.start()
    }
    await job.progresses()
    await job.feed.settle()
    await job.finish()
  })

  test('a worker that was paused beyond its session and comes back harms nothing', async () => {
    const job = await jobOn('paused', 'heap', { env: { MILLRACE_SESSION_TIMEOUT_MS: '1000' } })
    const paused = job.start('a', { lives: [[{ at: 'before:write', nth: 5, do: 'hold' }]] })
    job.start('b')
    job.feed.stream()
    await paused.held('before:write')
    await job.progresses(50)
    paused.signal('SIGCONT')
    await job.progresses(50)
    await job.finish()
  })
})

test('while the pipeline runs, its old checkpoints go: every data partition that is written begins later and later', async () => {
  const job = await jobOn('purged', 'heap')
  job.start('a')
  job.feed.stream()
  await job.progresses(50)
  const moved = async (than: readonly number[]): Promise<boolean> =>
    (await starts(job)).some((start, index) => start > (than[index] ?? 0))
  await until('the log start moves', () => moved([]))
  const first = await starts(job)
  await until('it moves on', () => moved(first))
  await job.finish()
})

describe('commands', () => {
  const command = (job: Job, argv: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Ended> =>
    Cli.run(argv, { ...job.env, ...env }, 60_000)

  test('checkpoints list, inspect, verify and prune; state get and scan; reset with its state', async () => {
    const job = await jobOn('looked-at', 'heap', { key: 'record' })
    await job.feed.wave(100)
    const worker = job.start('a')
    await job.caughtUp()
    const listed = await command(job, ['checkpoints', 'list', REFERENCE])
    expect([listed.code, listed.output]).toEqual([0, expect.stringContaining(`files in topic ${storeTopic(job)}`)])
    expect(listed.output).toMatch(/ current +a /)
    expect(await command(job, ['checkpoints', 'inspect', REFERENCE])).toMatchObject({ code: 0 })
    expect((await command(job, ['checkpoints', 'verify', REFERENCE])).output).toContain('bytes read: sound')
    const [row] = (await command(job, ['state', 'scan', REFERENCE, 'count', 'count'])).output.split('\n')
    const { key, value } = JSON.parse(row ?? '{}') as { key: string; value: number }
    const got = await command(job, ['state', 'get', REFERENCE, 'count', 'count', '--key', key])
    expect(JSON.parse(got.output)).toMatchObject({ key, value })
    worker.leave()
    await worker.ended()
    const pruned = await command(job, ['checkpoints', 'prune', REFERENCE])
    expect([pruned.code, pruned.output]).toEqual([0, expect.stringMatching(/\d+ files deleted/)])
    const reset = await command(job, ['reset', REFERENCE, '--to', 'latest', '--state', 'keep'])
    expect([reset.code, reset.output]).toEqual([0, expect.stringContaining('state kept')])
    job.start('b')
    await job.feed.wave(50)
    await job.finish()
  })

  test('a mistyped store has no checkpoints, and none is made for it', async () => {
    const job = await jobOn('mistyped', 'heap')
    const { code, output } = await command(job, ['checkpoints', 'list', REFERENCE])
    expect([code, output]).toEqual([3, expect.stringContaining(`topic ${storeTopic(job)} holds no checkpoint`)])
    expect(await stage.kafka.topics()).not.toContain(storeTopic(job))
  })

  test('a savepoint is taken and restored, from the topic to a folder and back', async () => {
    const job = await jobOn('saved', 'heap')
    const worker = job.start('a')
    await job.feed.wave(100)
    job.feed.stream()
    await job.progresses(50)
    const there = { MILLRACE_STORE: join(folder, 'store') }
    for (const [place, from, to] of [
      ['one', {}, there],
      ['two', there, {}],
    ] as const) {
      const saved = join(folder, place)
      const created = await command(job, ['savepoint', 'create', REFERENCE, '--out', saved, '--stop', '--drain'], from)
      expect([created.code, created.output]).toEqual([0, expect.stringContaining('savepoint written')])
      const restored = await command(job, ['savepoint', 'restore', saved, '--to', REFERENCE], to)
      expect([restored.code, restored.output]).toEqual([0, expect.stringContaining('key/2  ')])
      job.start(`after-${place}`, { env: to })
      await job.progresses(50)
    }
    expect(worker.ends).toMatchObject([{ code: 0 }])
    await job.finish()
  })
})
