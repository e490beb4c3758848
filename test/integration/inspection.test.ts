// Goal: the commands that look at a store tell what is there, of a stopped pipeline and of one that runs, and see damage;
// prune deletes nothing that is needed. Method: the command line as a child process on real checkpoints.
import { readFile, writeFile } from 'node:fs/promises'
import { basename } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { Cli, type Ended } from '../support/cli.ts'
import { Site, type Subject } from '../support/site.ts'

let site: Site
beforeAll(async () => {
  site = await Site.open()
})
afterEach(() => site.clear())
afterAll(() => site[Symbol.asyncDispose]())

/** `millrace <command …> <module> <arguments …>` */
function looks(subject: Subject, command: string, ...given: readonly string[]): Promise<Ended> {
  return Cli.run([...command.split(' '), subject.module, ...given], subject.env())
}

async function sees<T>(subject: Subject, command: string, ...given: readonly string[]): Promise<T[]> {
  const { code, output } = await looks(subject, command, ...given)
  if (code !== 0) throw new Error(`it ended with ${code}:\n${output}`)
  return output
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as T)
}

interface File {
  readonly file: string
  readonly use: string
  readonly tasks: readonly string[]
}

async function files(subject: Subject): Promise<File[]> {
  return JSON.parse((await looks(subject, 'checkpoints list', '--json')).output) as File[]
}

test('state by key and all of it, of a pipeline that runs; values as their serdes read them', async () => {
  const subject = await site.subject('count')
  const cli = subject.run({ MILLRACE_CHECKPOINT_INTERVAL_MS: '50' })
  await cli.runs()
  await subject.send(['k:a', 'k:b', 'l:c'])
  await subject.caughtUp(cli)
  const rows = await sees<{ key: string; value: number; task: string }>(subject, 'state scan', 'count', 'count')
  expect(rows.map(({ key, value }) => [key, value]).sort()).toEqual([
    ['k', 2],
    ['l', 1],
  ])
  expect(await sees(subject, 'state get', 'count', 'count', '--key', 'l')).toEqual([
    { task: 'in/0', key: 'l', value: 1 },
  ])
  expect(await looks(subject, 'state get', 'count', 'count', '--key', 'm')).toMatchObject({ code: 1, output: '' })
  expect((await cli.stop()).code).toBe(0)
})

test('every shape of key and the newest of many checkpoints: numbers in one go, bases, deltas', async () => {
  const subject = await site.subject('numbers')
  for (let round = 0; round < 3; round++) {
    await subject.send(Array.from({ length: 500 }, (_, n) => `key-${n % (100 + round)}:${'v'.repeat(round + 1)}`))
    await subject.once()
  }
  const counts = await sees<{ key: string; value: number }>(subject, 'state scan', 'numbers', 'count')
  expect(counts).toHaveLength(102)
  expect(counts.reduce((sum, { value }) => sum + value, 0)).toBe(1_500)
  const before = await sees<{ value: number }>(subject, 'state get', 'numbers', 'before', '--key', 'key-7')
  expect(before.map(({ value }) => value)).toEqual([3])
})

test('what is asked wrongly is told with what there is', async () => {
  const subject = await site.subject('count')
  expect(await looks(subject, 'state scan', 'count', 'count')).toMatchObject({ code: 3 })
  await subject.send(['k:a'])
  await subject.once()
  const wrong = async (command: string, ...given: readonly string[]): Promise<string> => {
    const { code, output } = await looks(subject, command, ...given)
    expect(code).toBe(2)
    return output
  }
  expect(await wrong('state scan', 'total', 'count')).toContain('those that have: count')
  expect(await wrong('state scan', 'count', 'total')).toContain('it has count')
  expect(await wrong('state scan', 'count')).toContain('one module, operator, state is expected')
  expect(await wrong('state get', 'count', 'count')).toContain('--key is required')
  expect(await wrong('checkpoints list', 'more')).toContain('one module is expected')
  expect(await wrong('checkpoints inspect', '99999')).toContain('is not in')
})

test('list, inspect, verify: what is needed, and damage to any of it', async () => {
  const subject = await site.subject('count')
  for (const value of ['a', 'b', 'c']) {
    await subject.send([`k:${value}`])
    await subject.once()
  }
  const listed = await files(subject)
  const current = listed.filter(({ use }) => use === 'current')
  expect(current).toEqual([listed.at(-1)])
  expect(listed.filter(({ use }) => use === 'needed').length).toBeGreaterThan(0)
  const inspected = JSON.parse((await looks(subject, 'checkpoints inspect')).output) as {
    task: string
    entry: { positions: { offset: string }[] }
  }[]
  expect(inspected.map(({ task, entry }) => [task, entry.positions.map(({ offset }) => offset)])).toEqual([
    ['in/0', ['3']],
  ])
  expect(await looks(subject, 'checkpoints verify')).toMatchObject({ code: 0 })
  // One bit of an older file, in the segment that the newest one stands on.
  const old = (await subject.files()).find((path) =>
    listed.some(({ file, use }) => use === 'needed' && path.endsWith(file)),
  )
  const segment = await segmentIn(subject, old ?? '')
  const bytes = await readFile(segment.path)
  bytes[segment.position] = (bytes[segment.position] ?? 0) ^ 1
  await writeFile(segment.path, bytes)
  const damaged = await looks(subject, 'checkpoints verify')
  expect(damaged.code).toBe(3)
  expect(damaged.output).toContain(`damaged: task in/0, file ${basename(segment.path)}`)
})

test('prune deletes what nothing needs, and only that: the pipeline goes on from where it was', async () => {
  const subject = await site.subject('copy')
  const cli = subject.run({ MILLRACE_CHECKPOINT_INTERVAL_MS: '20' })
  await cli.runs()
  const values = ['a', 'b', 'c', 'd', 'e']
  for (const value of values) {
    await subject.send([value])
    await subject.caughtUp(cli)
  }
  expect((await cli.stop()).code).toBe(0)
  const before = await files(subject)
  const unneeded = before.filter(({ use }) => use === 'unneeded').map(({ file }) => file)
  expect(unneeded.length).toBeGreaterThan(0)
  const deleted = JSON.parse((await looks(subject, 'checkpoints prune', '--json')).output) as string[]
  expect(deleted).toEqual(unneeded)
  const needed = before.map(({ file }) => file).filter((file) => !unneeded.includes(file))
  expect((await files(subject)).map(({ file }) => file)).toEqual(needed)
  expect(await looks(subject, 'checkpoints verify')).toMatchObject({ code: 0 })
  await subject.send(['f'])
  await subject.once()
  expect(await subject.values()).toEqual([...values, 'f'])
})

/** A segment of the newest checkpoint's chain that stands in this file. */
async function segmentIn(subject: Subject, path: string): Promise<{ path: string; position: number }> {
  const inspected = JSON.parse((await looks(subject, 'checkpoints inspect')).output) as {
    entry: { chain: { file: string; position: number; length: number }[] }
  }[]
  const refs = inspected.flatMap(({ entry }) => entry.chain)
  const ref = refs.find(({ file }) => path.endsWith(file)) ?? refs[0]
  if (!ref) throw new Error('the chain is empty')
  const found = (await subject.files()).find((each) => each.endsWith(ref.file))
  if (!found) throw new Error(`${ref.file} is not there`)
  return { path: found, position: ref.position + ref.length - 1 }
}
