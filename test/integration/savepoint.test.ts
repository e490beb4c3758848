// Goal: a savepoint taken under load, restored with changed code, the other backend, another number of workers and of partitions,
// goes on exactly. Method: the command line on a real broker, fed without a break; the checker's verdict over everything before and after.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals'
import { Cli, type Ended } from '../support/cli.ts'
import { type Job, REFERENCE, Stage } from '../support/harness.ts'
import { until } from '../support/test-worker.ts'

let folder = ''
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-savepoint-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

let stage: Stage
beforeAll(async () => {
  stage = await Stage.open()
})
afterEach(() => stage.clear())
afterAll(() => stage[Symbol.asyncDispose]())

const command = (job: Job, argv: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Ended> =>
  Cli.run(['savepoint', ...argv], { ...job.env, ...env }, 90_000)

test('stopped and drained, then other code, backend, workers and partitions of the keyed stage: nothing lost, nothing twice', async () => {
  const job = await stage.job('savepoint', { key: 'hop' })
  const workers = [job.start('a'), job.start('b')]
  await job.feed.wave(200)
  job.feed.stream()
  await job.progresses(100)
  const place = join(folder, 'one')
  const created = await command(job, ['create', REFERENCE, '--out', place, '--stop', '--drain'])
  expect([created.code, created.output]).toEqual([0, expect.stringContaining('savepoint written')])
  await until('the workers have ended', () => workers.every((worker) => worker.finished))
  expect(workers.flatMap(({ ends }) => ends.map(({ code }) => code))).toEqual([0, 0])

  const changed = {
    REF_CODE: 'changed',
    REF_HOP_PARTITIONS: '5',
    MILLRACE_STATE_BACKEND: 'leveldb',
    MILLRACE_STATE_FOLDER: join(folder, 'disk'),
  }
  const differs = await command(job, ['diff', place, REFERENCE], changed)
  expect(differs.output).toMatch(/restored +count\.count\n.*restored +count\.hash/)
  expect(differs.output).toMatch(/new +seen\.seen/)
  const restored = await command(job, ['restore', place, '--to', REFERENCE], changed)
  expect([restored.code, restored.output]).toEqual([0, expect.stringContaining('key/4  ')])
  for (const instance of ['c', 'd', 'e']) job.start(instance, { env: changed })
  await job.progresses(200)
  await job.finish()
})

test('and back: from disk to the heap, with fewer partitions, a worker killed on the way', async () => {
  const env = {
    MILLRACE_STATE_BACKEND: 'leveldb',
    MILLRACE_STATE_FOLDER: join(folder, 'disk'),
    REF_HOP_PARTITIONS: '4',
  }
  const job = await stage.job('savepoint-back', { key: 'hop', env })
  const worker = job.start('a')
  await job.feed.wave(200)
  job.feed.stream()
  await job.progresses(50)
  worker.signal('SIGKILL')
  await worker.reachedEvent('running', 2)
  await job.progresses(50)
  const place = join(folder, 'two')
  expect(await command(job, ['create', REFERENCE, '--out', place, '--stop', '--drain'])).toMatchObject({ code: 0 })
  const changed = { MILLRACE_STATE_BACKEND: 'heap', REF_HOP_PARTITIONS: '2' }
  expect(await command(job, ['restore', place, '--to', REFERENCE], changed)).toMatchObject({ code: 0 })
  job.start('b', { env: changed })
  await job.progresses(100)
  await job.finish()
})
