// Goal: whatever happens around the commit of a checkpoint, a checkpoint is kept whole or discarded whole: F03 to F06,
// F10, F11. Method: one real broker with short transaction time-outs; workers that kill or stop themselves exactly at an
// effect; a proxy that loses answers; a second two-phase participant in another process; the checker's verdict.
import { readdir } from 'node:fs/promises'
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import { readTopics } from '../../checker/check.ts'
import { KafkaAccess } from '../../checker/kafka.ts'
import { RawReader } from '../../checker/raw-reader.ts'
import { isProbe } from '../../checker/replay.ts'
import type { Point, PointName } from '../support/crash-worker.ts'
import { type Job, Stage } from '../support/harness.ts'
import { Participant } from '../support/participant.ts'
import { END_TXN, TcpProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/test-worker.ts'

let stage: Stage
beforeAll(async () => {
  stage = await Stage.open()
})
afterEach(() => stage.clear())
afterAll(() => stage[Symbol.asyncDispose]())

const kill = (at: PointName, nth = 1): Point => ({ at, nth, do: 'kill' })
const hold = (at: PointName, nth = 1): Point => ({ at, nth, do: 'hold' })
const SHORT_TRANSACTIONS = { MILLRACE_TRANSACTION_TIMEOUT_MS: '1500', MILLRACE_CHECKPOINT_TIMEOUT_MS: '600' }

/** A worker that dies at a point and is not restarted: what it left can be looked at. */
async function diesAt(job: Job, at: PointName): Promise<void> {
  await job.feed.wave(60)
  job.feed.stream()
  // Behind an acknowledged batch: its transaction is open.
  const victim = job.start('a', { lives: [[{ at: 'after:produce', nth: 4, do: 'none' }, kill(at)]], restart: 'no' })
  await victim.ended()
}

describe('discarded whole or kept whole', () => {
  test.each<PointName>(['after:produce', 'after:prepare'])(
    'F03 crash-before-prepare-ack: everything is sent, nothing is reported (%s)',
    async (at) => {
      const job = await stage.job('f03')
      await diesAt(job, at)
      expect(await job.hasOpenTransaction('a')).toBe(true)
      const before = await job.progress()
      const successor = job.start('a')
      await successor.reachedEvent('running')
      expect(await job.progress()).toBeGreaterThanOrEqual(before)
      await job.finish()
    },
  )

  test.each<PointName>(['after:write', 'before:add-offsets', 'after:txn-offset-commit', 'before:end-txn'])(
    'F04 crash-after-complete-before-commit: the file is durable, the transaction is not decided (%s)',
    async (at) => {
      const job = await stage.job('f04', { env: { MILLRACE_RETAINED: '100' } })
      await diesAt(job, at)
      const files = (await readdir(job.store)).filter((name) => name.endsWith('.ckpt')).sort()
      const newest = Number(files.at(-1)?.slice(0, 20))
      expect(await job.hasOpenTransaction('a')).toBe(true)
      const successor = job.start('a')
      await successor.reachedEvent('running')
      await job.finish()
      // The discarded checkpoint's number was given again, under the name of the new life.
      const again = (await readdir(job.store)).filter((name) => Number(name.slice(0, 20)) === newest)
      expect(again.length).toBe(2)
    },
  )
})

describe('several parties to one commit', () => {
  test.each([1, 2, 3])('F05 crash-mid-commit-set: Kafka has committed, %i of 3 participants are told', async (told) => {
    await using participant = await Participant.start()
    const job = await stage.job('f05', { partitions: 3, env: { REF_PARTICIPANT: String(participant.port) } })
    await job.feed.wave(60)
    job.feed.stream()
    let commits = 0
    let cutAt = ''
    participant.onCommit = (id) => {
      commits++
      // In the fourth checkpoint of three tasks; the one that is cut has no answer and, but for the last, no effect.
      if (commits !== 9 + told) return true
      cutAt = id
      worker.signal('SIGKILL')
      return told === 3
    }
    const worker = job.start('a')
    await worker.deaths(1)
    const prepared = participant.open
    expect(cutAt).not.toBe('')
    await worker.reachedEvent('running', 2)
    const verdict = await job.finish()
    expect(participant.violations).toEqual([])
    if (told < 3) expect(prepared).toContain(cutAt)
    for (const id of prepared.filter((each) => each.split('@')[1] === cutAt.split('@')[1])) {
      expect([id, participant.transactions.get(id)?.state]).toEqual([id, 'committed'])
    }
    expect(participant.open).toEqual([])
    const output = await outputValues(job)
    expect(participant.committedRows.toSorted()).toEqual(output.toSorted())
    expect(output.length).toBe(verdict.counts.out)
  })

  test('F06 commit-reply-lost: EndTxn is applied, its answer is not', async () => {
    await using proxy = await TcpProxy.start(stage.broker.brokers[0] ?? '')
    const route = Object.fromEntries(stage.broker.brokers.map((address) => [address, proxy.address]))
    const job = await stage.job('f06', { key: 'hop', env: { REF_ROUTE: JSON.stringify(route) } })
    let answers = 0
    proxy.loses = (api) => api === END_TXN && ++answers % 3 === 0
    await job.feed.wave(60)
    job.feed.stream()
    const worker = job.start('a')
    await until('five answers are lost', () => proxy.lost >= 5, 30_000, worker.explain)
    await job.progresses()
    await job.finish()
    // The same EndTxn again was all it took: nothing was rolled back.
    expect(worker.count('rolled-back')).toBe(0)
    expect(worker.ends).toHaveLength(1)
  })
})

async function outputValues(job: Job): Promise<string[]> {
  await using kafka = await KafkaAccess.connect({ brokers: job.stage.broker.brokers })
  await kafka.refresh()
  const log = (await readTopics(new RawReader({ brokers: job.stage.broker.brokers }), [job.output])).get(job.output)
  return [...(log?.records() ?? [])].flatMap((record) => (isProbe(record) ? [] : [String(record.value)]))
}

describe('the broker ends a transaction that took too long', () => {
  test.each<PointName>(['before:add-partitions', 'after:produce', 'before:prepare'])(
    'F10 txn-timeout-before-prepare: stopped %s for longer than the time-out',
    async (at) => {
      const job = await stage.job('f10', { env: SHORT_TRANSACTIONS })
      await job.feed.wave(60)
      job.feed.stream()
      const worker = job.start('a', { lives: [[{ at: 'after:end-txn', nth: 3, do: 'none' }, hold(at, 2)]] })
      await worker.held(at)
      const open = await job.hasOpenTransaction('a')
      if (open) await until('it expired', async () => !(await job.hasOpenTransaction('a')))
      worker.signal('SIGCONT')
      await job.progresses()
      await job.finish()
      if (open) expect(worker.count('rolled-back')).toBeGreaterThan(0)
    },
  )

  test.each<PointName>(['after:write', 'before:txn-offset-commit', 'before:end-txn'])(
    'F11 txn-timeout-after-complete: stopped %s for longer than the time-out',
    async (at) => {
      const job = await stage.job('f11', { env: SHORT_TRANSACTIONS })
      await job.feed.wave(60)
      job.feed.stream()
      const worker = job.start('a', { lives: [[hold(at, 4)]] })
      await worker.held(at)
      await until('it expired', async () => !(await job.hasOpenTransaction('a')))
      worker.signal('SIGCONT')
      await job.progresses()
      await job.finish()
      expect(worker.count('rolled-back')).toBeGreaterThan(0)
    },
  )

  test('F11 txn-timeout-after-complete: down for longer than the time-out', async () => {
    const job = await stage.job('f11', { key: 'hop', env: SHORT_TRANSACTIONS })
    await diesAt(job, 'before:end-txn')
    expect(await job.hasOpenTransaction('a')).toBe(true)
    await until('it expired', async () => !(await job.hasOpenTransaction('a')))
    job.start('a')
    await job.progresses()
    await job.finish()
  })
})
