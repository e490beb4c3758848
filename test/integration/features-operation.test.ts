// Goal: what an operator of a pipeline relies on: open and close hooks, no checkpoints while nothing happens, old checkpoint
// files and read repartition records go while what is needed stays, health and metrics that agree with what happened, an
// orderly end that keeps or gives up the place in the group. Method: the command line as a child process, seen through its
// files, its HTTP pages and Kafka's own admin client.
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { basename, join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import { javaConsume } from '../../connectors/kafka/testing/index.ts'
import { freePorts } from '../../connectors/kafka/testing/ports.ts'
import { crc32c, crcHex } from '../../src/base/crc32c.ts'
import { decodeFile, type Pointer, parseFileName, type TaskManifest, verifyFile } from '../../src/checkpoint/file.ts'
import { Site, type Subject } from '../support/site.ts'
import { until } from '../support/test-worker.ts'

let site: Site
beforeAll(async () => {
  site = await Site.open()
})
afterEach(() => site.clear())
afterAll(() => site[Symbol.asyncDispose]())

test('open runs before the first record of a task and close after its last', async () => {
  const subject = await site.feature('hooks')
  const file = join(subject.store, '.trace')
  await subject.send(['k:a', 'k:b'])
  await subject.once({}, { file })
  expect((await readFile(file, 'utf8')).trim().split('\n')).toEqual(['open', 'a', 'b', 'close'])
})

describe('checkpoints', () => {
  test('an idle pipeline takes none, while a busy one beside it takes many', async () => {
    const idle = await site.subject('count')
    const idler = idle.run()
    await idler.runs()
    await idle.send(['k:a'])
    await idle.caughtUp(idler)
    const before = [...(await idle.files())]
    const busy = await site.subject('count')
    const worker = busy.run()
    await worker.runs()
    const highest = async (): Promise<bigint> =>
      parseFileName(basename((await busy.files()).at(-1) ?? ''))?.checkpoint ?? 0n
    while ((await highest()) < 12n) {
      await busy.send(['k:a'])
      await busy.caughtUp(worker)
    }
    expect(await idle.files()).toEqual(before)
    expect((await worker.stop()).code).toBe(0)
    expect((await idler.stop()).code).toBe(0)
    // Nothing changed since, so the orderly end took none either.
    expect(await idle.files()).toEqual(before)
  })

  test('files of old checkpoints go; the last retained ones stay whole, and a restart finds its state', async () => {
    const retained = 3
    const subject = await site.subject('count', { options: { checkpoint: { retained } } })
    const cli = subject.start(['run', '--leave'])
    await cli.runs()
    let sent = 0
    const more = async (): Promise<void> => {
      await subject.send([`k:${++sent}`])
      await subject.caughtUp(cli)
    }
    while (sent < 12) await more()
    const oldest = (await subject.files())[0] ?? ''
    // The clean-up comes every few seconds, after new checkpoints.
    while (existsSync(oldest)) await more()
    // The oldest goes first.
    await until('the other old files have gone, too', async () => (await subject.files()).length < sent)
    expect((await cli.stop()).code).toBe(0)
    const [row] = await site.admin.listGroupOffsets(subject.group)
    const named = JSON.parse(row?.metadata ?? '{}') as { id: string; file: string; len: number; crc: string }
    let pointer: Pick<Pointer, 'file' | 'length' | 'checksum'> | null = {
      file: named.file,
      length: named.len,
      checksum: named.crc,
    }
    for (let back = 0; back < retained; back++) {
      const bytes: Buffer = await readFile(join(subject.store, pointer?.file ?? ''))
      verifyFile(pointer as Pointer, bytes)
      const [task]: readonly TaskManifest[] = decodeFile(pointer?.file ?? '', bytes).tasks
      for (const ref of task?.chain ?? []) {
        const whole = await readFile(join(subject.store, ref.file))
        expect(crcHex(crc32c(whole.subarray(ref.position, ref.position + ref.length)))).toBe(ref.checksum)
      }
      pointer = task?.parent ?? null
    }
    await subject.send(['k:last'])
    await subject.once()
    expect(JSON.parse((await subject.values()).at(-1) ?? '{}')).toEqual({ value: 'last', count: sent + 1 })
  })
})

test('files of a worker that is gone, and of a reset, go too', async () => {
  const subject = await site.subject('count')
  await subject.send(['k:a'])
  await subject.once({ MILLRACE_INSTANCE: 'gone' })
  expect((await subject.reset('--to', 'latest', '--state', 'keep')).code).toBe(0)
  const foreign = (await subject.files()).filter((file) => /-(gone-0|reset)-/.test(file))
  expect(foreign.length).toBeGreaterThanOrEqual(3)
  const cli = subject.start(['run', '--leave'])
  await cli.runs()
  // The first checkpoint of the gone one and the reset's own hold no state that a later one could need.
  const [first = ''] = foreign
  const last = foreign.at(-1) ?? ''
  for (let n = 0; existsSync(last) || existsSync(first); n++) {
    await subject.send([`k:${n}`])
    await subject.caughtUp(cli)
  }
  expect((await cli.stop()).code).toBe(0)
})

describe('health and metrics', () => {
  test('pages answer, and agree with what happened', async () => {
    const subject = await site.subject('count', { partitions: 2 })
    const [port] = await freePorts(1)
    const page = async (path: string): Promise<{ status: number; text: string }> => {
      const response = await fetch(`http://127.0.0.1:${port}${path}`)
      return { status: response.status, text: await response.text() }
    }
    const cli = subject.run({ MILLRACE_HTTP_PORT: String(port) })
    await cli.runs()
    await subject.send(Array.from({ length: 50 }, (_, n) => `k${n % 5}:${n}`))
    await subject.caughtUp(cli)
    expect(await page('/healthz')).toMatchObject({ status: 200, text: expect.stringContaining('"phase":"running"') })
    expect(await page('/readyz')).toMatchObject({ status: 200, text: expect.stringContaining('"tasks":2') })
    expect((await page('/elsewhere')).status).toBe(404)
    let metrics = ''
    const value = (name: string): number[] =>
      [...metrics.matchAll(new RegExp(`^millrace_${name}(?:\\{[^}]*\\})? ([0-9.e+-]+)$`, 'gm'))].map(([, text]) =>
        Number(text),
      )
    const settled = async (): Promise<boolean> => {
      metrics = (await page('/metrics')).text
      return value('lag_records').length === 2 && value('lag_records').every((lag) => lag === 0)
    }
    await until('the lag is nought', settled, 10_000, () => metrics)
    expect(value('records_in_total')).toEqual([50])
    expect(value('records_out_total')).toEqual([50])
    expect(value('state_keys')).toEqual([5])
    expect(value('tasks')).toEqual([2])
    expect(value('running')).toEqual([1])
    expect(value('roll_backs_total')).toEqual([0])
    expect(value('checkpoints_failed_total')).toEqual([0])
    const [committed = 0] = value('checkpoints_committed_total')
    expect(committed).toBeGreaterThanOrEqual(2)
    const [last] = value('checkpoint_last_id')
    expect(BigInt(last ?? 0)).toBe(parseFileName(basename(await subject.pointedFile()))?.checkpoint)
    const phase = new RegExp(`^millrace_checkpoint_phase_seconds_count\\{[^}]*phase="total"[^}]*\\} ${committed}$`, 'm')
    expect(metrics).toMatch(phase)
    expect((await cli.stop()).code).toBe(0)
  })

  test('a port that is taken costs the page, not the worker', async () => {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, resolve))
    const { port } = server.address() as { port: number }
    const subject = await site.subject('copy')
    const cli = subject.run({ MILLRACE_HTTP_PORT: String(port) })
    await cli.runs()
    await cli.printed('the port is taken')
    expect((await cli.stop()).code).toBe(0)
    await new Promise<void>((resolve) => server.close(() => resolve()))
  })
})

describe('the orderly end', () => {
  const members = async (subject: Subject): Promise<(string | null)[]> =>
    (await site.admin.describeGroup(subject.group)).members.map(({ instanceId }) => instanceId)

  test.each([
    ['keeps the static place', [], ['here-0', 'here-1']],
    ['gives it up with --leave', ['--leave'], []],
  ])('SIGTERM: everything that was read is committed, exit 0, and it %s', async (_, flags, left) => {
    const subject = await site.subject('count', { partitions: 2 })
    // A long interval: only the final checkpoint can have committed what comes now.
    const cli = subject.start(['run', '--workers', '2', ...flags], { MILLRACE_CHECKPOINT_INTERVAL_MS: '9000' })
    await cli.runs(2)
    await subject.send(Array.from({ length: 40 }, (_, n) => `k${n}:${n}`))
    const open = { brokers: site.broker.brokers, topics: [subject.output], isolation: 'read_uncommitted' } as const
    const written = async (): Promise<boolean> => (await javaConsume(open)).records.length === 40
    await until('all of it is written, committed or not', written, 30_000, () => cli.output)
    expect((await cli.stop()).code).toBe(0)
    expect((await members(subject)).sort()).toEqual(left)
    await subject.caughtUp()
    expect(await subject.values()).toHaveLength(40)
  })
})

test('a stage pauses while the reader of its repartition topic is too far behind', async () => {
  const subject = await site.feature('slow-hop', { options: { hopLagRecordsMax: 50 } })
  const cli = subject.run()
  await cli.runs()
  const values = (from: number): string[] => Array.from({ length: 250 }, (_, index) => `value ${from + index}`)
  await subject.send(values(0))
  await cli.printed('pausing sources: a repartition topic lags')
  await subject.send(values(250))
  const [hop] = [`${subject.group}.hop.one`]
  const read = async (): Promise<number> => {
    const offsets = await site.admin.listGroupOffsets(subject.group)
    return Number(offsets.find(({ topic }) => topic === hop)?.offset ?? 0n)
  }
  const before = await read()
  await until('the reader goes on', async () => (await read()) > before + 20)
  expect(await subject.progress()).toBe(250)
  await subject.caughtUp(cli)
  await subject.caughtUp(cli, [hop])
  expect((await cli.stop()).code).toBe(0)
  expect(await subject.values()).toEqual([...values(0), ...values(250)])
})

test('what is confirmed read is deleted from a repartition topic, and nothing else', async () => {
  const subject = await site.subject('hop', { hopPartitions: 1 })
  const cli = subject.run({ MILLRACE_METADATA_MAX_AGE_MS: '300' })
  await cli.runs()
  await subject.send(['apple', 'ant', 'bee'])
  await subject.caughtUp(cli)
  const hop = `${subject.group}.hop.first`
  const range = async () => (await site.admin.listOffsets(hop))[0]
  await until(
    'the repartition topic is purged',
    async () => ((await range())?.earliest ?? 0n) > 0n,
    20_000,
    () => cli.output,
  )
  const [read] = (await site.admin.listGroupOffsets(subject.group)).filter(({ topic }) => topic === hop)
  expect((await range())?.earliest).toBeLessThanOrEqual(read?.offset ?? -1n)
  expect((await cli.stop()).code).toBe(0)
  await subject.send(['avocado'])
  const again = subject.start(['run', '--leave'])
  await again.runs()
  await subject.caughtUp(again)
  await subject.caughtUp(again, [hop])
  expect((await again.stop()).code).toBe(0)
  const counts = (await subject.values()).map((text) => JSON.parse(text) as { value: string; count: number })
  expect(counts).toContainEqual({ value: 'avocado', count: 3 })
  expect(counts).toHaveLength(4)
})
