// Goal: a deployment can change at any moment without loss: other code within the session timeout, topics that grow under a
// running pipeline, a stop while workers load or wait for the group. Method: the command line as a child process; what Kafka
// says of group and offsets.
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import { Cli } from '../support/cli.ts'
import { Site, type Subject } from '../support/site.ts'
import { until } from '../support/test-worker.ts'

let site: Site
beforeAll(async () => {
  site = await Site.open({ settings: { 'transaction.max.timeout.ms': '30000' } })
})
afterEach(() => site.clear())
afterAll(() => site[Symbol.asyncDispose]())

/** What these brokers allow: half of the default. */
const SHORT = { MILLRACE_TRANSACTION_TIMEOUT_MS: '30000', MILLRACE_CHECKPOINT_TIMEOUT_MS: '10000' }
/** Places are kept for longer than any restart takes. */
const KEPT_PLACE = { ...SHORT, MILLRACE_SESSION_TIMEOUT_MS: '30000' }
const WATCHFUL = { ...SHORT, MILLRACE_METADATA_MAX_AGE_MS: '300' }

async function counts(subject: Subject): Promise<string[]> {
  const results = (await subject.values()).map((text) => JSON.parse(text) as { value: string; count: number })
  return results.map(({ value, count }) => `${value}×${count}`).sort()
}

describe('other code, started before the places of the old are given up', () => {
  test.each([1, 2])('%d workers: what the group had assigned for the old plan is assigned anew', async (workers) => {
    const subject = await site.subject('count', { partitions: 2 })
    const command = ['run', '--workers', String(workers)]
    const old = subject.start(command, KEPT_PLACE)
    await old.runs(workers)
    await subject.send(['k:a', 'l:b'])
    await subject.caughtUp(old)
    expect((await old.stop()).code).toBe(0)
    expect((await site.admin.describeGroup(subject.group)).members).toHaveLength(workers)
    const other = subject.start(command, KEPT_PLACE, { shape: 'count-and-more' })
    await other.runs(workers)
    await subject.send(['k:c', 'l:d'])
    await subject.caughtUp(other)
    expect((await other.stop()).code).toBe(0)
    expect(await counts(subject)).toEqual(['a×1', 'b×1', 'c×2', 'd×2'])
  })

  test('another store with the files copied over: the same', async () => {
    const subject = await site.subject('count')
    const old = subject.run(KEPT_PLACE)
    await old.runs()
    await subject.send(['k:a'])
    await subject.caughtUp(old)
    expect((await old.stop()).code).toBe(0)
    const other = subject.run({ ...KEPT_PLACE, MILLRACE_STORE: await subject.copyStore() })
    await other.runs()
    await subject.send(['k:b'])
    await subject.caughtUp(other)
    expect((await other.stop()).code).toBe(0)
    expect(await counts(subject)).toEqual(['a×1', 'b×2'])
  })
})

describe('a topic that grows while the pipeline runs', () => {
  test.each([1, 2])('stateless, %d workers: the new partitions are read from their first record', async (workers) => {
    const subject = await site.subject('copy', { source: { start: 'latest' } })
    const cli = subject.start(['run', '--workers', String(workers)], WATCHFUL)
    await cli.runs(workers)
    await site.admin.createPartitions(subject.input, 4)
    await subject.send(['first'], 3)
    await subject.caughtUp(cli)
    await subject.send(['second'], 3)
    await subject.send(['elsewhere'], 0)
    await subject.caughtUp(cli)
    expect(cli.output).toContain('TOPIC_PARTITIONS_GREW')
    expect((await cli.stop()).code).toBe(0)
    expect((await subject.values()).sort()).toEqual(['elsewhere', 'first', 'second'])
  })

  test('keyed: stops, because keys would move', async () => {
    const subject = await site.subject('count')
    const cli = subject.run(WATCHFUL)
    await cli.runs()
    await site.admin.createPartitions(subject.input, 2)
    const ended = await cli.ended()
    for (const each of ['PARTITION_COUNT_CHANGED', subject.input]) expect(ended.output).toContain(each)
    expect(ended.code).toBe(3)
  })
})

test('brokers that allow only short transactions: a crash with one open is recovered from', async () => {
  const subject = await site.subject('count')
  const cli = subject.run({ ...SHORT, MILLRACE_CHECKPOINT_INTERVAL_MS: '2000' })
  await cli.runs()
  let sent = 0
  const open = async (): Promise<boolean> => {
    // The first ones do not wait for an interval, and may have come and gone unseen.
    if ((await subject.progress()) === sent) await subject.send([`k:${sent++}`])
    return (await site.admin.listTransactions()).some(
      ({ transactionalId, state }) => transactionalId.startsWith(`${subject.group}.`) && state === 'Ongoing',
    )
  }
  await until('a transaction is open', open, 20_000, () => cli.output)
  cli.signalWorker('SIGKILL')
  await cli.runs(2)
  await subject.caughtUp(cli)
  expect((await cli.stop()).code).toBe(0)
  expect(await counts(subject)).toEqual(Array.from({ length: sent }, (_, n) => `${n}×${n + 1}`))
})

describe('stopped before it runs', () => {
  test.each(['supervisor', 'worker'])('while the module loads in the %s: ends with 0', async (slow) => {
    const module = fileURLToPath(new URL('../support/modules/slow.ts', import.meta.url))
    await using cli = new Cli(['run', module], { KAFKA_BROKERS: site.broker.brokers.join(','), SLOW: slow })
    await cli.printed(`the module loads in the ${slow}`)
    expect((await cli.stop(5_000)).code).toBe(0)
  })

  test('while the group waits for another member: ends with 0, and nothing is left of it', async () => {
    const subject = await site.subject('count')
    const first = subject.run(KEPT_PLACE)
    await first.runs()
    first.signalWorker('SIGSTOP')
    const second = subject.run({ ...KEPT_PLACE, MILLRACE_INSTANCE: 'there' })
    const waits = async (): Promise<boolean> => {
      const { state } = await site.admin.describeGroup(subject.group)
      return state === 'PreparingRebalance'
    }
    await until('the group waits for the first one', waits)
    expect(await second.stop(5_000)).toMatchObject({ code: 0 })
    first.signalWorker('SIGCONT')
    await subject.send(['k:a'])
    await subject.caughtUp(first)
    expect((await first.stop()).code).toBe(0)
    expect(await counts(subject)).toEqual(['a×1'])
  })
})
