// Goal: what would not be exact is refused by name until it is accepted; what is damaged is told, and changes nothing. Method: the
// savepoint commands as a user runs them, on a real broker.
import { readdirSync } from 'node:fs'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals'
import { Cli, type Ended } from '../support/cli.ts'
import { REFERENCE } from '../support/harness.ts'
import { fixtureCounts, fixtures, numbersOf, referenceEnv, runReference } from '../support/savepoint-fixture.ts'
import { Site, type Subject } from '../support/site.ts'
import { until } from '../support/test-worker.ts'

/** Enough of them that it takes a while to write them. */
const FILES = 20

let folder = ''
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-savepoint-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

let site: Site
beforeAll(async () => {
  site = await Site.open()
})
afterEach(() => site.clear())
afterAll(() => site[Symbol.asyncDispose]())

const command = (subject: Subject, argv: readonly string[], change: Partial<Subject['case']> = {}): Promise<Ended> =>
  Cli.run(['savepoint', ...argv], subject.env(change), 60_000)

/** A savepoint of `count` with k at 2 and l at 1. */
async function saved(subject: Subject, name = 'one'): Promise<string> {
  await subject.send(['k:a', 'k:b', 'l:c'])
  await subject.once()
  const place = join(folder, name)
  const { code, output } = await command(subject, ['create', subject.module, '--out', place])
  if (code !== 0) throw new Error(output)
  return place
}

test('of a pipeline that runs, without stopping it', async () => {
  const subject = await site.subject('count')
  const cli = subject.run()
  await cli.runs()
  await subject.send(['k:a', 'k:b'])
  await subject.caughtUp(cli)
  const place = join(folder, 'running')
  expect(await command(subject, ['create', subject.module, '--out', place])).toMatchObject({ code: 0 })
  await subject.send(['k:c'])
  await subject.caughtUp(cli)
  expect((await cli.stop()).code).toBe(0)
  const listed = await command(subject, ['list', folder])
  expect(listed.output).toMatch(/1 savepoints in(.|\n)*running +count-\d+/)
  const inspected = JSON.parse((await command(subject, ['inspect', place, '--json'])).output) as {
    tasks: { rows: number; positions: { offset: string }[] }[]
  }
  expect(inspected.tasks.map(({ rows, positions }) => [rows > 0, positions[0]?.offset])).toEqual([[true, '2']])
})

test('killed while it is written: it is whole or not there, and the next one under its name is not hindered', async () => {
  const subject = await site.subject('count', { partitions: FILES })
  await subject.send(['k:a', 'k:b', 'l:c'])
  await subject.once()
  const place = join(folder, 'killed')
  const create = ['savepoint', 'create', subject.module, '--out', place]
  {
    await using cli = new Cli(create, subject.env())
    while (cli.running && (await readdir(folder)).length === 0) await setImmediate()
    cli.signal('SIGKILL')
    await cli.ended()
  }
  const left = await readdir(folder)
  expect(left).toHaveLength(1)
  if (!left.includes('killed')) expect((await Cli.run(create, subject.env())).code).toBe(0)
  const inspected = JSON.parse((await command(subject, ['inspect', place, '--json'])).output) as { tasks: unknown[] }
  expect(inspected.tasks).toHaveLength(FILES)
  expect((await command(subject, ['list', folder])).output).toContain('1 savepoints in')
  expect((await command(subject, ['restore', place, '--to', subject.module])).code).toBe(0)
})

test('what was read since would be written again: refused, unless it is accepted', async () => {
  const subject = await site.subject('count')
  const place = await saved(subject)
  await subject.send(['k:d'])
  await subject.once()
  const no = await command(subject, ['restore', place, '--to', subject.module])
  expect([no.code, no.output]).toEqual([
    2,
    expect.stringMatching(/SAVEPOINT_REFUSED.*count-\d+-in-0@3.*--accept-rewrite/),
  ])
  expect(await command(subject, ['restore', place, '--to', subject.module, '--accept-rewrite'])).toMatchObject({
    code: 0,
  })
  await subject.send(['l:e'])
  await subject.once()
  const counts = (await subject.values()).map((text) => JSON.parse(text) as { value: string; count: number })
  expect(counts.map(({ value, count }) => `${value}${count}`)).toEqual(['a1', 'b2', 'c1', 'd3', 'd3', 'e2'])
})

test('under another name, which must be said', async () => {
  const subject = await site.subject('count')
  const place = await saved(subject)
  const renamed = { name: `${subject.case.name}-renamed` }
  const no = await command(subject, ['restore', place, '--to', subject.module], renamed)
  expect([no.code, no.output]).toEqual([
    2,
    expect.stringMatching(/SAVEPOINT_REFUSED.*is of pipeline 'count-\d+'.*--renamed/),
  ])
  subject.store = await subject.anotherStore()
  expect(await command(subject, ['restore', place, '--to', subject.module, '--renamed'], renamed)).toMatchObject({
    code: 0,
  })
  await subject.send(['k:d'])
  const cli = subject.start(['run', '--leave'], {}, renamed)
  await cli.runs()
  await until('the new name has written', async () => (await subject.values()).length === 4)
  expect((await cli.stop()).code).toBe(0)
  expect(JSON.parse((await subject.values())[3] ?? '')).toEqual({ value: 'd', count: 3 })
})

test('state that the code has no more: refused, unless it is to be dropped', async () => {
  const subject = await site.subject('numbers')
  await subject.send(['k:a'])
  await subject.once()
  const place = join(folder, 'numbers')
  expect(await command(subject, ['create', subject.module, '--out', place])).toMatchObject({ code: 0 })
  const now = { shape: 'copy' } as Partial<Subject['case']>
  const no = await command(subject, ['restore', place, '--to', subject.module], now)
  expect([no.code, no.output]).toEqual([
    2,
    expect.stringMatching(/SAVEPOINT_REFUSED.*numbers\.count.*--allow-dropped-state/),
  ])
  const yes = await command(subject, ['restore', place, '--to', subject.module, '--allow-dropped-state'], now)
  expect(yes).toMatchObject({ code: 0 })
})

test('refused for what a sink that the code has no more prepared: repartition topics are as they were, and the old code goes on', async () => {
  const subject = await site.feature('files-hop', { file: join(folder, 'files') })
  await subject.send(['k:a', 'k:b'])
  await subject.once()
  const place = join(folder, 'prepared')
  const created = await command(subject, ['create', subject.module, '--out', place, '--stop', '--drain'])
  expect([created.code, created.output]).toEqual([0, expect.stringContaining('savepoint written')])
  const no = await command(subject, ['restore', place, '--to', subject.module], { shape: 'slow-hop' } as never)
  expect([no.code, no.output]).toEqual([2, expect.stringMatching(/SAVEPOINT_REFUSED.*prepared a transaction/)])
  const cli = subject.run()
  await cli.runs()
  await subject.send(['k:c'])
  await until('the last one is through the hop', async () => (await subject.values()).length === 3)
  expect((await cli.stop()).code).toBe(0)
  expect(await subject.values()).toEqual(['a', 'b', 'c'])
})

test('positions of a topic may be chosen', async () => {
  const subject = await site.subject('count')
  const place = await saved(subject)
  const topic = subject.input
  const asked = ['restore', place, '--to', subject.module, '--offsets', `${topic}=earliest`]
  expect((await command(subject, asked)).output).toMatch(/SAVEPOINT_REFUSED.*-in-0@0.*--accept-rewrite/)
  expect((await command(subject, [...asked, '--accept-rewrite'])).output).toContain(`${topic}-0@0`)
  await subject.once()
  const counts = (await subject.values()).map((text) => (JSON.parse(text) as { count: number }).count)
  expect(counts).toEqual([1, 2, 1, 3, 4, 2])
  expect(
    (await command(subject, ['restore', place, '--to', subject.module, '--offsets', 'other=latest'])).output,
  ).toMatch(/USAGE: --offsets other: the pipeline reads/)
})

test('while workers run, or with records in a repartition topic: refused', async () => {
  const subject = await site.subject('hop', { hopPartitions: 2 })
  const cli = subject.run()
  await cli.runs()
  await subject.send(['k:a'])
  await subject.caughtUp(cli, [subject.input, `${subject.group}.hop.first`])
  const place = join(folder, 'hop')
  const create = ['create', subject.module, '--out', place]
  expect((await command(subject, create)).output).toMatch(/GROUP_NOT_EMPTY: group .* stop all workers/)
  cli.signal('SIGKILL')
  cli.signalWorker('SIGKILL')
  await subject.groupEmpty()
  await site.send([{ topic: `${subject.group}.hop.first`, key: '\u0001k', value: 'late', partition: 0 }])
  expect((await command(subject, create)).output).toMatch(/SAVEPOINT_REFUSED: .*hop\.first-0 \(1\).*--drain/)
  expect(await readdir(folder)).toEqual([])
  const drained = await command(subject, [...create, '--drain'])
  expect([drained.code, drained.output]).toEqual([0, expect.stringContaining('read to their ends')])
})

test('restored where the brokers do not allow its limits: refused while its repartition topics are still there', async () => {
  const subject = await site.subject('hop')
  await subject.send(['k:a'])
  await subject.once()
  const place = join(folder, 'hop')
  const create = ['create', subject.module, '--out', place, '--drain']
  expect((await command(subject, create)).code).toBe(0)
  const inHop = () => site.admin.listOffsets(`${subject.group}.hop.first`, 'read_uncommitted')
  const before = await inHop()
  const argv = ['savepoint', 'restore', place, '--to', subject.module, '--accept-rewrite']
  const refused = await Cli.run(argv, { ...subject.env(), MILLRACE_TRANSACTION_TIMEOUT_MS: '99999999' })
  expect([refused.code, refused.output]).toEqual([2, expect.stringMatching(/KAFKA_LIMIT: .*transaction\.max\.timeout/)])
  expect(await inHop()).toEqual(before)
  expect((await command(subject, argv.slice(1))).code).toBe(0)
  expect(await inHop()).not.toEqual(before)
})

test.each(readdirSync(fixtures))('of an earlier release: %s', async (format) => {
  const pipeline = `restored-${format}`
  const env = referenceEnv(site, pipeline, join(folder, 'store'))
  for (const topic of ['in', 'out']) await site.createTopic(`${pipeline}-${topic}`)
  const given = ['restore', join(fixtures, format), '--to', REFERENCE, '--renamed', '--accept-rewrite']
  const restored = await Cli.run(['savepoint', ...given], env)
  expect([restored.code, restored.output]).toEqual([0, expect.stringContaining('numbers/0')])
  await numbersOf(site, pipeline, { 'key-1': 1, 'key-2': 1, 'key-4': 1 })
  await runReference(site, pipeline, env, 3)
  const counts = (await site.read(`${pipeline}-out`)).map(
    ({ value }) => JSON.parse(String(value)) as Record<string, unknown>,
  )
  // −1 would say that list or map do not agree with the numbers.
  expect(counts.map(({ k, count }) => [k, count])).toEqual([
    ['key-1', (fixtureCounts['key-1'] as number) + 1],
    ['key-2', (fixtureCounts['key-2'] as number) + 1],
    ['key-4', 1],
  ])
})

test('of damage, of a later release, of nothing: told, and nothing is changed', async () => {
  const subject = await site.subject('count')
  const place = await saved(subject)
  const before = await subject.files()
  expect((await command(subject, ['create', subject.module, '--out', place])).output).toMatch(
    /SAVEPOINT_INVALID: .*is not empty; a savepoint is never overwritten/,
  )
  expect((await command(subject, ['restore', folder, '--to', subject.module])).output).toMatch(
    /SAVEPOINT_INVALID: .*there is no savepoint.json/,
  )
  await writeFile(join(place, '0.rows'), 'short')
  const cut = await command(subject, ['restore', place, '--to', subject.module])
  expect([cut.code, cut.output]).toEqual([3, expect.stringMatching(/SAVEPOINT_INVALID: .*0\.rows.*is cut/)])
  await writeFile(join(place, 'savepoint.json'), '{"format":2}\n{}\n')
  expect((await command(subject, ['inspect', place])).output).toMatch(
    /SAVEPOINT_INVALID: .*has format 2; this release reads 1/,
  )
  expect(await subject.files()).toEqual(before)
  await subject.send(['k:d'])
  await subject.once()
})
