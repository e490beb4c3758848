// Goal: every operator keeps the promise when its worker is killed in the middle: union, flatMap, filter, asyncMap in both
// orders, several keyed operators with calls under way between them; and at-least-once mode loses nothing. Method: the
// command line as a child process; SIGKILL to the worker whenever part of a batch is committed.
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import { fetch as fetchRaw } from '../../checker/requests.ts'
import type { Numbers } from '../support/case-pipeline.ts'
import type { Between } from '../support/feature-pipeline.ts'
import { Site, type Subject } from '../support/site.ts'
import { until } from '../support/test-worker.ts'

let site: Site
beforeAll(async () => {
  site = await Site.open()
})
afterEach(() => site.clear())
afterAll(() => site[Symbol.asyncDispose]())

const KILLS = 3

/** Batches of different values, with keys if wanted; a last one is worked off without a kill. */
function batches(size: number, keyed: boolean): string[][] {
  return Array.from({ length: KILLS }, (_, batch) =>
    Array.from({ length: size }, (_, index) => {
      const value = `${batch * size + index}`
      return keyed ? `k${index % 4}:${value}` : value
    }),
  )
}

/** Mostly short, some that do not fit into the batch that is being filled. */
function padded(text: string, padding: string): string {
  const n = Number(text)
  return `${text} ${padding.slice(0, n % 1_500 === 1_499 ? n * 3 : n % 300)}`
}

/** What the shape `numbers` makes of a value with its key. */
function numbersOf(): (given: string) => string {
  const state = new Map<string, Omit<Numbers, 'value'>>()
  return (given) => {
    const [key = '', value = ''] = given.split(':')
    const { count, sum, before } = state.get(key) ?? { count: 0, sum: 0, before: -1 }
    state.set(key, { count: count + 1, sum: sum + value.length, before: value.length })
    return JSON.stringify({ count: count + 1, sum: sum + value.length, before, value } satisfies Numbers)
  }
}

const SMALL_STEPS = { MILLRACE_CHECKPOINT_INTERVAL_MS: '30' }

async function survives(subject: Subject, given: readonly (readonly string[])[], workers = 1): Promise<void> {
  const cli = subject.start(['run', '--leave', '--workers', String(workers)], SMALL_STEPS)
  await cli.runs(workers)
  await subject.crash(cli, given, workers)
  expect(cli.events('worker-exited')).toHaveLength(given.length)
  expect((await cli.stop()).code).toBe(0)
}

describe('operators under SIGKILL', () => {
  test('union, flatMap and filter: each result once, in the order of its input', async () => {
    const subject = await site.feature('mixed', { inputs: ['mixed-one', 'mixed-two'] })
    for (const topic of subject.case.inputs) await site.createTopic(topic)
    const second = Array.from({ length: 300 }, (_, n) => String(n))
    await site.send(second.map((value) => ({ topic: 'mixed-two', value })))
    const first = batches(1_000, false)
    await survives(subject, first)
    const values = await subject.values()
    const even = first.flat().filter((value) => Number(value) % 2 === 0)
    expect(values.filter((value) => value.startsWith('one'))).toEqual(
      even.flatMap((value) => [`one:${value}:a`, `one:${value}:b`]),
    )
    expect(values.filter((value) => value.startsWith('two'))).toEqual(second.map((value) => `two:${value}`))
  })

  test.each(['ordered', 'unordered'] as const)('asyncMap, %s: each result once', async (order) => {
    const subject = await site.feature('async', { order })
    const given = batches(400, false)
    await survives(subject, given)
    const values = await subject.values()
    if (order === 'ordered') expect(values).toEqual(given.flat())
    else expect([...values].sort()).toEqual(given.flat().sort())
  })

  test('two keyed operators with an asyncMap between them: both states exact', async () => {
    const subject = await site.feature('async-between', { partitions: 2 })
    const given = batches(400, true)
    await survives(subject, given, 2)
    const records = await site.read(subject.output)
    const seen = new Map<string, Between[]>()
    for (const { key, value } of records) {
      const before = seen.get(String(key)) ?? []
      seen.set(String(key), [...before, JSON.parse(String(value)) as Between])
    }
    expect(seen.size).toBe(4)
    for (const [key, results] of seen) {
      const inputs = given
        .flat()
        .filter((each) => each.startsWith(`${key}:`))
        .map((each) => each.split(':')[1])
      const expected = inputs.map((value, index) => {
        const count = index + 1
        return { value, before: count, after: count, sum: (count * (count + 1)) / 2 }
      })
      expect(results).toEqual(expected)
    }
  })
})

describe('timers and files under SIGKILL', () => {
  test.each(['heap', 'leveldb'] as const)(
    'timers, state on %s: each fires once, also those that were pending',
    async (backend) => {
      const subject = await site.feature('alarms')
      const given = batches(300, true)
      const env = {
        ...SMALL_STEPS,
        MILLRACE_STATE_BACKEND: backend,
        MILLRACE_STATE_FOLDER: await subject.anotherStore(),
      }
      const cli = subject.start(['run', '--leave'], env)
      await cli.runs()
      await subject.crash(cli, given)
      await until('all timers have fired', async () => (await subject.values()).length >= given.flat().length)
      expect((await cli.stop()).code).toBe(0)
      const values = (await subject.values()).map((text) => text.split(' '))
      expect(values.map(([value]) => Number(value)).sort((a, b) => a - b)).toEqual(
        given.flat().map((_, index) => index),
      )
      // Keys are k0 to k3 by turns.
      for (const key of [0, 1, 2, 3]) {
        const paid = values.filter(([value]) => (Number(value) % 300) % 4 === key).map(([, count]) => Number(count))
        expect(paid).toEqual(paid.map((_, index) => index + 1))
      }
    },
  )

  test('files: each line once, and in the order of the topic beside them', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'millrace-files-'))
    const subject = await site.feature('files', { file: folder })
    const given = batches(1_000, false)
    await survives(subject, given)
    // What a crash left stays for a while, hidden.
    const names = (await readdir(folder)).filter((name) => !name.startsWith('.')).sort()
    const texts = await Promise.all(names.map((name) => readFile(join(folder, name), 'utf8')))
    const lines = texts.flatMap((text) => text.trimEnd().split('\n')).map((line) => JSON.parse(line) as string)
    expect(lines).toEqual(given.flat())
    expect(await subject.values()).toEqual(given.flat())
    await rm(folder, { recursive: true })
  })
})

describe('a migration under SIGKILL', () => {
  test.each(['heap', 'leveldb'] as const)(
    'state on %s: two lives die in the middle of it and leave all as it was; the third migrates every value',
    async (backend) => {
      const folder = await mkdtemp(join(tmpdir(), 'millrace-lives-'))
      const subject = await site.feature('counts', { file: join(folder, 'deaths') })
      const env = {
        ...SMALL_STEPS,
        MILLRACE_STATE_BACKEND: backend,
        MILLRACE_STATE_FOLDER: await subject.anotherStore(),
      }
      const keys = Array.from({ length: 50 }, (_, index) => `k${index}`)
      await subject.send(keys.flatMap((key) => [`${key}:a`, `${key}:b`]))
      await subject.once(env)
      const cli = subject.start(['run', '--leave'], env, { shape: 'counts-migrated' })
      await subject.send(keys.map((key) => `${key}:c`))
      await subject.caughtUp(cli)
      expect((await cli.stop()).code).toBe(0)
      expect(cli.events('worker-exited')).toHaveLength(2)
      const ofKey = Map.groupBy(await site.read(subject.output), ({ key }) => String(key))
      expect([...ofKey.keys()].sort()).toEqual(keys.toSorted())
      for (const records of ofKey.values())
        expect(records.map(({ value }) => String(value))).toEqual(['a 1', 'b 2', 'c 3 after 2'])
      await rm(folder, { recursive: true })
    },
  )
})

describe('a backlog', () => {
  const minutes = { MILLRACE_CHECKPOINT_INTERVAL_MS: '300000', MILLRACE_TRANSACTION_TIMEOUT_MS: '800000' }

  test('what came in while nobody ran does not wait for the interval', async () => {
    const subject = await site.feature('async', { order: 'ordered' })
    const values = Array.from({ length: 2_000 }, (_, n) => String(n))
    for (const some of [values.slice(0, 1_000), values.slice(1_000)]) {
      await subject.send(some)
      const cli = subject.start(['run', '--leave'], minutes)
      await cli.runs()
      // Before its stop, which would commit the rest.
      await subject.caughtUp(cli)
      expect((await cli.stop()).code).toBe(0)
    }
    expect(await subject.values()).toEqual(values)
  })

  test('nor does what it becomes behind a hop', async () => {
    const subject = await site.subject('hop', { hopPartitions: 2 })
    const values = Array.from({ length: 500 }, (_, n) => String(n))
    await subject.send(values)
    const cli = subject.start(['run', '--leave'], minutes)
    await cli.runs()
    await subject.caughtUp(cli, [subject.input, `${subject.group}.hop.first`])
    expect((await subject.values()).length).toBe(values.length)
    expect((await cli.stop()).code).toBe(0)
  })

  test('of megabytes, whose responses, batches and segments are the same memory over and over: exact under SIGKILL', async () => {
    const subject = await site.subject('numbers')
    const padding = 'x'.repeat(300_000)
    const given = batches(30_000, false).map((batch) =>
      batch.map((text) => `k${Number(text) % 7_001}:${padded(text, padding)}`),
    )
    await survives(subject, given)
    const values = await subject.values()
    const expected = given.flat().map(numbersOf())
    expect(values.length).toBe(expected.length)
    expect(values.findIndex((value, index) => value !== expected[index])).toBe(-1)
  })
})

describe('at-least-once mode', () => {
  const options = { checkpoint: { mode: 'at-least-once' } } as const

  /** No transactional bit, an idempotent producer. */
  async function idempotent(topic: string): Promise<void> {
    const [first] = await fetchRaw(site.kafka, 1, [{ topic, partition: 0, offset: 0 }], 1_000)
    const records = first?.records ?? Buffer.alloc(0)
    expect(records.readInt16BE(21) & 0x10).toBe(0)
    expect(records.readBigInt64BE(43)).toBeGreaterThanOrEqual(0n)
  }

  async function pointsAtFiles(subject: Subject): Promise<void> {
    const offsets = await site.admin.listGroupOffsets(subject.group)
    expect(offsets.length).toBeGreaterThan(0)
    for (const { metadata } of offsets)
      expect(JSON.parse(metadata)).toMatchObject({ f: 1, file: expect.stringMatching(/\.ckpt$/) })
    const open = await site.admin.listTransactions()
    expect(open.filter(({ transactionalId }) => transactionalId.startsWith(`${subject.group}.`))).toEqual([])
  }

  test('nothing is lost, offsets carry the pointer, no transaction is ever opened', async () => {
    const subject = await site.subject('copy', { options })
    const given = batches(3_000, false)
    await survives(subject, given)
    expect([...new Set(await subject.values())].sort()).toEqual(given.flat().sort())
    await idempotent(subject.output)
    await pointsAtFiles(subject)
  })

  test('a repartition topic loses nothing either', async () => {
    const subject = await site.subject('hop', { options, hopPartitions: 2 })
    const given = batches(2_000, false)
    const cli = subject.start(['run', '--leave'], SMALL_STEPS)
    await cli.runs()
    await subject.crash(cli, given)
    const hop = `${subject.group}.hop.first`
    await subject.caughtUp(cli, [hop])
    expect((await cli.stop()).code).toBe(0)
    const values = (await subject.values()).map((text) => (JSON.parse(text) as { value: string }).value)
    expect([...new Set(values)].sort()).toEqual(given.flat().sort())
    await idempotent(hop)
    await pointsAtFiles(subject)
  })
})
