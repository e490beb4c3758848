// Goal: every task has all records of a broadcast topic, once and in one order, however often workers are killed, and the state that they make
// fits to the records' results, as does operator state; a topic that cannot be broadcast is refused. Method: the command line as a child process; SIGKILL to a
// worker whenever part of a batch is committed, while rules come in; every result says which rules its task had.
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { Cli } from '../support/cli.ts'
import type { Ruled } from '../support/feature-pipeline.ts'
import { hashOf } from '../support/rules.ts'
import { Site, type Subject } from '../support/site.ts'
import { until } from '../support/test-worker.ts'

let site: Site
beforeAll(async () => {
  site = await Site.open()
})
afterEach(() => site.clear())
afterAll(() => site[Symbol.asyncDispose]())

const KEYS = 8
const RULES_PER_BATCH = 200
/** Each takes ten milliseconds behind the repartition topic. */
const DRAINED = 1_200

/** What the rules come to, by how many of them there are. */
function hashesOf(rules: readonly string[]): number[] {
  const hashes = [0]
  for (const rule of rules) hashes.push(hashOf(hashes.at(-1) as number, rule))
  return hashes
}

/** By key, in the order of the output. */
async function results(subject: Subject): Promise<Map<string, Ruled[]>> {
  const byKey = new Map<string, Ruled[]>()
  for (const { key, value } of await site.read(subject.output)) {
    const before = byKey.get(String(key)) ?? []
    byKey.set(String(key), [...before, JSON.parse(String(value)) as Ruled])
  }
  return byKey
}

test.each(['heap', 'leveldb'] as const)(
  'on %s, under SIGKILL: all tasks have the same rules in the same order',
  async (backend) => {
    const subject = await site.feature('broadcast', { partitions: 4 })
    const topic = `${subject.output}-rules`
    await site.createTopic(topic)
    const rules: string[] = []
    const sendRules = async (): Promise<void> => {
      const some = Array.from({ length: RULES_PER_BATCH }, (_, index) => `rule-${rules.length + index}`)
      rules.push(...some)
      await site.send(some.map((value) => ({ topic, value, partition: 0 })))
    }
    await sendRules()
    const cli = subject.start(['run', '--leave', '--workers', '2'], {
      ...{ MILLRACE_CHECKPOINT_INTERVAL_MS: '30', MILLRACE_STATE_BACKEND: backend },
      MILLRACE_STATE_FOLDER: await subject.anotherStore(),
    })
    await cli.runs(2)
    const given = Array.from({ length: 3 }, (_, batch) =>
      Array.from({ length: 800 }, (_, index) => `k${index % KEYS}:${batch * 800 + index}`),
    )
    const ruling = async (): Promise<void> => {
      for (const [batch] of given.entries()) {
        await until('a part of the batch is committed', async () => (await subject.progress()) > batch * 800)
        await sendRules()
      }
    }
    await Promise.all([ruling(), subject.crash(cli, given, 2)])
    // What comes now finds all of them.
    const last = Array.from({ length: KEYS }, (_, key) => `k${key}:last`)
    expect((await cli.stop()).code).toBe(0)
    const again = subject.start(['run', '--leave', '--workers', '2'], { MILLRACE_CHECKPOINT_INTERVAL_MS: '30' })
    await again.runs(2)
    await subject.send(last)
    await subject.caughtUp(again, subject.case.inputs)
    expect((await again.stop()).code).toBe(0)

    const hashes = hashesOf(rules)
    const byKey = await results(subject)
    expect(byKey.size).toBe(KEYS)
    for (const [key, ruled] of byKey) {
      const inputs = [...given.flat(), ...last]
        .filter((each) => each.startsWith(`${key}:`))
        .map((each) => each.split(':')[1])
      expect(ruled.map(({ value, count }) => ({ value, count }))).toEqual(
        inputs.map((value, index) => ({ value, count: index + 1 })),
      )
      // From the first record on, since they are read before it; and never fewer than before.
      expect(ruled[0]?.rules).toBeGreaterThanOrEqual(RULES_PER_BATCH)
      for (const [index, each] of ruled.entries()) {
        expect(each.hash).toBe(hashes[each.rules])
        expect(each.rules).toBeGreaterThanOrEqual(ruled[index - 1]?.rules ?? 0)
      }
      expect(ruled.at(-1)?.rules).toBe(rules.length)
    }
    // Operator state: a task's records are those of one partition, and numbered without a gap.
    const numbers = Map.groupBy(await site.read(subject.output), ({ partition }) => partition)
    for (const records of numbers.values())
      expect(records.map(({ value }) => (JSON.parse(String(value)) as { nth: number }).nth)).toEqual(
        records.map((_, index) => index + 1),
      )
    const scan = await Cli.run(['state', 'scan', subject.module, 'rule.broadcast', '$position'], subject.env())
    expect(scan.code).toBe(0)
    const lines = scan.output
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { value: { offset: string } })
    expect(lines.map(({ value }) => value.offset)).toEqual(Array(4).fill(String(rules.length)))
  },
)

test('a broadcast topic that was created again: stops; its state cannot be kept, and without it all is read anew', async () => {
  const subject = await site.feature('broadcast')
  const topic = `${subject.output}-rules`
  const rule = (value: string) => ({ topic, value, partition: 0 })
  await site.createTopic(topic)
  await site.send(['old', 'older'].map(rule))
  await subject.send(['k:a', 'k:b'])
  await subject.once()
  await site.admin.deleteTopic(topic)
  await site.createTopic(topic)
  await site.send([rule('new')])
  await subject.send(['k:c'])

  const ended = await subject.fails()
  expect(ended.code).toBe(3)
  expect(ended.output).toContain('TOPIC_ID_CHANGED')
  expect(ended.output).toContain(`topic ${topic} was deleted and created again`)
  const kept = await subject.reset('--to', 'latest', '--state', 'keep')
  expect(kept.code).toBe(2)
  expect(kept.output).toContain('OPTION_INVALID')
  expect(kept.output).toContain(`broadcast topic ${topic} was deleted and created again`)
  expect((await subject.reset('--to', 'earliest', '--state', 'drop')).code).toBe(0)
  await subject.once()

  const [before, after] = [
    [0, 'old', 'older'],
    [0, 'new'],
  ].map((all) => all.reduce((hash, each) => hashOf(Number(hash), String(each))))
  const found = (await results(subject)).get('k')?.map(({ value, count, rules, hash }) => [value, count, rules, hash])
  expect(found).toEqual([
    ['a', 1, 2, before],
    ['b', 2, 2, before],
    ['a', 1, 1, after],
    ['b', 2, 1, after],
    ['c', 3, 1, after],
  ])
})

test('a savepoint that drains a repartition topic in front of a broadcast: what is read there meets the rules, and they go on from it', async () => {
  const subject = await site.feature('broadcast-hop', { partitions: 2 })
  const topic = `${subject.output}-rules`
  await site.createTopic(topic)
  const rules = Array.from({ length: RULES_PER_BATCH }, (_, index) => `rule-${index}`)
  const sendRules = (some: readonly string[]): Promise<void> =>
    site.send(some.map((value) => ({ topic, value, partition: 0 })))
  await sendRules(rules)
  const first = Array.from({ length: DRAINED }, (_, index) => `k${index % KEYS}:${index}`)
  const cli = subject.start(['run', '--leave'], { MILLRACE_CHECKPOINT_INTERVAL_MS: '30' })
  await cli.runs()
  await subject.send(first)
  await until('the first part is read into the hop', async () => (await subject.progress()) === DRAINED)
  const folder = join(await subject.anotherStore(), 'savepoint')
  const creating = Cli.run(
    ['savepoint', 'create', subject.module, '--out', folder, '--stop', '--drain'],
    subject.env(),
    90_000,
  )
  expect((await cli.ended()).code).toBe(0)
  // Else nothing is left to be drained.
  expect((await site.read(subject.output)).length).toBeLessThan(DRAINED)
  const created = await creating
  expect([created.code, created.output]).toEqual([0, expect.stringContaining('savepoint written')])
  expect(await site.read(subject.output)).toHaveLength(DRAINED)

  const restored = await Cli.run(['savepoint', 'restore', folder, '--to', subject.module], subject.env(), 90_000)
  expect([restored.code, restored.output]).toEqual([0, expect.stringContaining('key/0')])
  await sendRules(['last'])
  const again = subject.start(['run', '--leave'], { MILLRACE_CHECKPOINT_INTERVAL_MS: '30' })
  await again.runs()
  await subject.send(['k0:end'])
  await until('the last one has come', async () => (await site.read(subject.output)).length > DRAINED)
  expect((await again.stop()).code).toBe(0)

  const hashes = hashesOf([...rules, 'last'])
  for (const [key, ruled] of await results(subject)) {
    expect(ruled.map(({ count }) => count)).toEqual(ruled.map((_, index) => index + 1))
    for (const each of ruled) expect(each.hash).toBe(hashes[each.rules])
    if (key === 'k0') expect(ruled.at(-1)).toMatchObject({ value: 'end', rules: RULES_PER_BATCH + 1 })
    for (const each of ruled) expect(each.rules).toBeGreaterThanOrEqual(RULES_PER_BATCH)
  }
})

test('a broadcast topic with several partitions is refused before anything runs', async () => {
  const subject = await site.feature('broadcast')
  await site.createTopic(`${subject.output}-rules`, 2)
  const ended = await subject.fails()
  expect(ended.code).toBe(2)
  expect(ended.output).toContain('TOPIC_PARTITIONS_WRONG')
  expect(ended.output).toContain('Use a topic with one partition')
})
