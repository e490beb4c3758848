// Goal: F01 and F02: a worker that dies by SIGKILL before or after any effect of the protocol, and once more while its
// successor recovers, loses nothing and doubles nothing. Method: one real broker; each test has a pipeline of its own with
// a repartition topic and two workers under load; one of them kills itself exactly at the named effect, its successor
// starts on the same store, the other one survives; the independent checker judges. State is on the heap and on disk by turns:
// of most effects, before them the one and after them the other.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import type { ProtocolStep } from '../../src/base/messages.ts'
import type { Point, PointName } from '../support/crash-worker.ts'
import { Stage } from '../support/harness.ts'

let stage: Stage
let folder = ''
let turn = 0
beforeAll(async () => {
  stage = await Stage.open()
  folder = await mkdtemp(join(tmpdir(), 'millrace-crash-'))
})
afterEach(() => stage.clear())
afterAll(async () => {
  await stage[Symbol.asyncDispose]()
  await rm(folder, { recursive: true, force: true })
})

const kill = (at: PointName, nth = 1): Point => ({ at, nth, do: 'kill' })
const sides = (step: ProtocolStep): PointName[] => [`before:${step}`, `after:${step}`]

interface Circumstances {
  readonly key?: 'hop' | 'record'
  readonly env?: Readonly<Record<string, string>>
  /** Of a wave of as many records before the death; default: none. */
  readonly keys?: number
  /** The other worker runs before the victim starts: no rebalance comes between the victim's points. */
  readonly otherFirst?: boolean
}

/** Two workers, one with these lives, under load until the last planned death; then everything must add up. */
async function survives(
  lives: readonly (readonly Point[])[],
  { key = 'hop', env: asked = {}, keys = 0, otherFirst = false }: Circumstances = {},
): Promise<void> {
  const backend = turn++ % 2 === 0 ? 'heap' : 'leveldb'
  const env = { MILLRACE_STATE_BACKEND: backend, MILLRACE_STATE_FOLDER: join(folder, `${turn}`), ...asked }
  const job = await stage.job('crash', { key, seed: lives.length * 7 + 1, env })
  // Above 64 KiB: a fetch response whose memory is used again.
  await job.feed.wave(60, 4_000)
  if (keys > 0) await job.feed.wave(keys, 0, keys)
  if (otherFirst) await job.start('b').reachedEvent('running')
  const victim = job.start('a', { lives })
  if (!otherFirst) job.start('b')
  job.feed.stream()
  const deaths = lives.filter((points) => points.some((point) => point.do === 'kill')).length
  await victim.deaths(deaths)
  await victim.reachedEvent('running')
  await job.feed.wave(30)
  const verdict = await job.finish()
  expect(verdict.counts.out).toBeGreaterThan(60)
}

/** Effects that every checkpoint has: once in the very first one (F53), once in the middle of the work. */
const perCheckpoint: readonly ProtocolStep[] = [
  'init-producer',
  'inject',
  'prepare',
  'write',
  'add-offsets',
  'txn-offset-commit',
  'end-txn',
  'confirm',
  'commit-handles',
]

/** Effects of a recovery: they happen once in a life. */
const perRecovery: readonly ProtocolStep[] = ['resolve', 'join', 'read-offsets', 'load', 'confirm-restored', 'restore']
/** The first life ends here, so that there is something to recover: a decided transaction, or an open one. */
const decided = kill('after:end-txn', 4)
const open = kill('after:txn-offset-commit', 4)

describe('F01 crash-every-await: in the middle of the work', () => {
  test.each([...perCheckpoint, 'add-partitions', 'produce'].flatMap((step) => sides(step as ProtocolStep)))(
    'SIGKILL %s',
    (at) => survives([[kill(at, 4)]]),
  )

  test.each(sides('roll-back'))('SIGKILL %s, after a failure that rolls back in place', (at) =>
    survives([[{ at: 'before:add-offsets', nth: 4, do: 'fail' }, kill(at)]]),
  )

  test.each(sides('drain'))('SIGKILL %s, asked to stop', (at) =>
    survives([[{ at: 'after:inject', nth: 4, do: 'term' }, kill(at)]], { otherFirst: true }),
  )

  test.each(sides('leave'))('SIGKILL %s, asked to leave the group', (at) =>
    survives([[{ at: 'after:inject', nth: 4, do: 'leave' }, kill(at)]], { otherFirst: true }),
  )
})

describe('state on disk: what a dead worker wrote of it is gone on from, or written again', () => {
  const disk = { MILLRACE_STATE_BACKEND: 'leveldb', MILLRACE_CHECKPOINT_INTERVAL_MS: '500' }

  test.each(sides('apply-part'))('SIGKILL %s, in the middle of a flush to LevelDB', (at) =>
    survives([[kill(at)]], { key: 'record', env: disk, keys: 16_000 }),
  )

  test.each([...sides('apply'), ...sides('base')])('SIGKILL %s', (at) =>
    survives([[kill(at, 2)]], { env: { MILLRACE_STATE_BACKEND: 'leveldb' } }),
  )
})

describe('F53 first-checkpoint-crash: a first start is still a first start', () => {
  test.each([...perRecovery.filter((step) => !/load|confirm/.test(step)), ...perCheckpoint].flatMap(sides))(
    'SIGKILL %s, the first time',
    (at) => survives([[kill(at)]], { key: 'record' }),
  )
})

describe('F02 crash-pair: recovery is idempotent', () => {
  test.each(perRecovery.flatMap(sides))('SIGKILL after:end-txn, then %s of its recovery', (at) =>
    survives([[decided], [kill(at)]]),
  )

  test.each<PointName>([
    'after:resolve',
    'after:read-offsets',
    'after:confirm-restored',
    'after:restore',
    'before:init-producer',
    'after:init-producer',
    'before:end-txn',
    'after:end-txn',
  ])('SIGKILL with an open transaction, then %s of its recovery', (at) => survives([[open], [kill(at)]]))

  test('four lives in a row end, each one effect further', () =>
    survives([
      [decided],
      [kill('after:resolve')],
      [kill('after:load')],
      [kill('before:write')],
      [kill('after:end-txn')],
    ]))
})
