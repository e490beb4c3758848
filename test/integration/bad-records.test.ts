// Goal: records that cannot be read or written and functions of the user that fail end the pipeline (or are passed over,
// if that was asked for) with a code, the operator and topic-partition@offset, and nothing of what came after is written
// on the sly; each restart strategy tries as often as it says. Method: the command line as a child process; the trap is a
// record.
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import { freePorts } from '../../connectors/kafka/testing/ports.ts'
import type { Case } from '../support/case-pipeline.ts'
import type { Ended } from '../support/cli.ts'
import { Site, type Subject } from '../support/site.ts'

let site: Site
beforeAll(async () => {
  site = await Site.open()
})
afterEach(() => site.clear())
afterAll(() => site[Symbol.asyncDispose]())

/** No second try: the first failure is the end. */
const ONE_TRY: Case['options'] = { checkpoint: { tolerableFailed: 0 }, restart: { strategy: 'none' } }

function expectEnd(ended: Ended, code: number, ...says: readonly string[]): void {
  for (const each of says) expect(ended.output).toContain(each)
  expect(ended.code).toBe(code)
}

const number = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value)
  return bytes
}

describe('records that cannot be decoded', () => {
  const records = [number(1), Buffer.from('three'), number(2)]

  async function numbers(onDecodeError?: 'skip'): Promise<Subject> {
    const subject = await site.subject('int32', { source: onDecodeError ? { onDecodeError } : {} })
    await site.send(records.map((value) => ({ topic: subject.input, value })))
    return subject
  }

  test('stop the pipeline by default, named by source, place and serde', async () => {
    const subject = await numbers()
    const ended = await subject.fails()
    expectEnd(ended, 3, 'DECODE_FAILED', "source 'in'", `${subject.input}-0@1`, 'int32', "set onDecodeError: 'skip'")
    // Nothing before it is lost for ever: with skip the same pipeline goes on from its last checkpoint.
    await subject.once({}, { source: { onDecodeError: 'skip' } })
    expect(await subject.values()).toEqual(['1', '2'])
  })

  test('are passed over and counted with skip', async () => {
    const subject = await numbers('skip')
    const [port] = await freePorts(1)
    const cli = subject.run({ MILLRACE_HTTP_PORT: String(port) })
    await cli.runs()
    await subject.caughtUp(cli)
    const page = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
    expect(page).toMatch(/^millrace_records_skipped_total\{[^}]*\} 1$/m)
    expect((await cli.stop()).code).toBe(0)
    expect(await subject.values()).toEqual(['1', '2'])
  })

  test('a null value is one of them, unless the serde is nullable', async () => {
    const subject = await site.subject('copy')
    await site.send([{ topic: subject.input, key: 'k', value: null }])
    const ended = await subject.fails()
    expectEnd(ended, 3, 'DECODE_FAILED', `${subject.input}-0@0`, 'it is null', 'nullable(utf8)')
    expect(await subject.values()).toEqual([])
  })
})

describe('functions that fail', () => {
  test.each([
    ['map-throws', 'OPERATOR_FAILED', ["operator 'in.map-1'", 'no such thing']],
    ['async-throws', 'ASYNC_FAILED', ["asyncMap 'look-up'", 'after 2 tries', 'no such thing']],
    ['async-hangs', 'ASYNC_FAILED', ["asyncMap 'look-up'", 'no result in 50 ms']],
    ['partitioner', 'SINK_PARTITION_INVALID', ["sink 'out'", 'the partitioner chose 1', 'partitions 0–0']],
    ['key-nan', 'KEY_INVALID', ["operator 'number'", 'a key must be', 'NaN found']],
  ] as const)('%s: the end names operator and place', async (shape, code, says) => {
    const subject = await site.subject(shape, { options: ONE_TRY })
    await subject.send(['1', '2', 'trap'])
    const ended = await subject.fails()
    expectEnd(ended, 1, 'RESTARTS_EXHAUSTED', code, `${subject.input}-0@2`, ...says)
    expect(await subject.values()).toEqual([])
  })

  test('a record larger than its topic allows is named with its size and the setting', async () => {
    const subject = await site.subject('large', { options: ONE_TRY, outputConfigs: { 'max.message.bytes': '100000' } })
    await subject.send(['fine', 'trap'])
    const ended = await subject.fails()
    expectEnd(ended, 3, 'SINK_RECORD_TOO_LARGE', `${subject.output}-0`, "raise the topic's max.message.bytes")
    expect(await subject.values()).toEqual([])
  })

  test('many small records are no large one: batches keep to the limit of their topic', async () => {
    const subject = await site.subject('copy', { outputConfigs: { 'max.message.bytes': '2000' } })
    const values = Array.from({ length: 500 }, (_, index) => `record ${index} of many`)
    await subject.send(values)
    await subject.once()
    expect(await subject.values()).toEqual(values)
  })
})

describe('restart strategies', () => {
  const strategies: readonly [NonNullable<NonNullable<Case['options']>['restart']>, number][] = [
    [{ strategy: 'none' }, 1],
    [{ strategy: 'fixed-delay', attempts: 2, delayMs: 10 }, 3],
    [{ strategy: 'failure-rate', failures: 3, intervalMs: 60_000, delayMs: 10 }, 4],
    [{ strategy: 'exponential-delay', initialMs: 10, maxMs: 40, attempts: 3 }, 4],
  ]

  test.each(strategies)('%j tries as often as it says', async (restart, tries) => {
    const options = { checkpoint: { tolerableFailed: 0 }, restart }
    const subject = await site.subject('map-throws', { options })
    await subject.send(['trap'])
    const cli = subject.run()
    const ended = await cli.ended()
    expectEnd(ended, 1, 'RESTARTS_EXHAUSTED', restart.strategy, "operator 'in.map-1'", `${subject.input}-0@0`)
    expect(cli.events('roll-back')).toHaveLength(tries)
  })

  test('roll-backs in a row are tolerated before the strategy is asked', async () => {
    const options = { checkpoint: { tolerableFailed: 2 }, restart: { strategy: 'none' } as const }
    const subject = await site.subject('map-throws', { options })
    await subject.send(['trap'])
    const cli = subject.run()
    expectEnd(await cli.ended(), 1, 'RESTARTS_EXHAUSTED')
    expect(cli.events('roll-back')).toHaveLength(3)
  })
})
