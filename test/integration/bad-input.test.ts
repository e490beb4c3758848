// Goal: what a user gets wrong before anything runs ends the command with the right exit code, a coded error, and a
// message that names its subject and the remedy. Method: the command line as a child process against a real broker (or
// against something that is none); nothing may have been written.

import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import { Cli, type Ended } from '../support/cli.ts'
import { FakeBroker } from '../support/fake-broker.ts'
import { Site } from '../support/site.ts'

let site: Site
beforeAll(async () => {
  site = await Site.open()
})
afterEach(() => site.clear())
afterAll(() => site[Symbol.asyncDispose]())

const module = (name: string): string => fileURLToPath(new URL(`../support/modules/${name}.ts`, import.meta.url))

/** The end of a command that could not work, with everything that its message must say. */
function expectEnd(ended: Ended, code: number, ...says: readonly (string | RegExp)[]): void {
  for (const each of says) expect(ended.output).toMatch(typeof each === 'string' ? literal(each) : each)
  expect(ended.code).toBe(code)
}

function literal(text: string): RegExp {
  return new RegExp(text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
}

describe('modules and the command line', () => {
  test.each(['run', 'plan', 'reset'])(
    '%s names a module without default export and shows how one begins',
    async (command) => {
      const flags = command === 'reset' ? ['--to', 'earliest'] : []
      const ended = await Cli.run([command, module('no-default-export'), ...flags])
      expectEnd(ended, 2, 'MODULE_INVALID', 'no-default-export.ts', 'export default definePipeline(')
    },
  )

  test('a module that throws while it is loaded is named with what it threw', async () => {
    expectEnd(
      await Cli.run(['plan', module('throws')]),
      2,
      'MODULE_INVALID',
      'throws.ts',
      'the moon is in the wrong house',
    )
  })

  test('a module that does not exist is named', async () => {
    expectEnd(await Cli.run(['run', module('nowhere')]), 2, 'MODULE_INVALID', 'nowhere.ts')
  })

  test.each([
    [['fly'], "unknown command 'fly'"],
    [['run'], 'one module is expected'],
    [['run', 'a.ts', '--workers', 'many'], '--workers many'],
    [['run', 'a.ts', '--wings'], '--wings'],
    [['reset', 'a.ts'], '--to earliest|latest|'],
    [['reset', 'a.ts', '--to', 'nowhere.json'], 'nowhere.json'],
    [['reset', 'a.ts', '--to', 'earliest', '--state', 'lose'], '--state lose'],
  ])('a command line that is not understood says what is expected: %j', async (argv, says) => {
    expectEnd(await Cli.run(argv), 2, 'USAGE', says)
  })
})

describe('settings', () => {
  test.each([
    [
      { MILLRACE_CHECKPOINT_TIMEOUT_MS: '30000', MILLRACE_CHECKPOINT_INTERVAL_MS: '1000' },
      /2 × .* = 62000 ms exceeds transactionTimeoutMs 60000.*Raise/,
    ],
    [
      { MILLRACE_HEARTBEAT_MS: '4000', MILLRACE_SESSION_TIMEOUT_MS: '10000' },
      /heartbeatMs 4000 must be at most a third of sessionTimeoutMs 10000/,
    ],
    [
      { MILLRACE_SESSION_TIMEOUT_MS: '10000', MILLRACE_REBALANCE_TIMEOUT_MS: '9000' },
      /sessionTimeoutMs 10000 must not exceed rebalanceTimeoutMs 9000/,
    ],
    [
      { MILLRACE_SESSION_TIMEOUT_MS: '900', MILLRACE_REBALANCE_TIMEOUT_MS: '1050' },
      /rebalanceTimeoutMs 1050 leaves no time/,
    ],
    [{ MILLRACE_CHECKPOINT_INTERVAL_MS: '0' }, /intervalMs is 0; it must be above 0/],
    [{ MILLRACE_RETAINED: '0' }, /retained is 0; at least 1/],
    [{ MILLRACE_HEARTBEAT_MS: 'often' }, /MILLRACE_HEARTBEAT_MS='often' is not a number/],
  ])('times that break an inequality are refused with both figures: %j', async (env, says) => {
    const subject = await site.subject('copy')
    expectEnd(await subject.fails(env), 2, 'OPTION_INVALID', says)
  })

  test("a transaction timeout above the brokers' transaction.max.timeout.ms is refused with both figures", async () => {
    const subject = await site.subject('copy')
    const ended = await subject.fails({ MILLRACE_TRANSACTION_TIMEOUT_MS: '1000000' })
    expectEnd(ended, 2, 'KAFKA_LIMIT', 'transactionTimeoutMs 1000000', 'transaction.max.timeout.ms 900000', 'lower it')
  })

  test("a session timeout outside the brokers' limits is refused with the limits", async () => {
    const subject = await site.subject('copy')
    const ended = await subject.fails({ MILLRACE_SESSION_TIMEOUT_MS: '400' })
    expectEnd(ended, 2, 'KAFKA_LIMIT', 'sessionTimeoutMs 400', '500–1800000')
  })
})

describe('brokers', () => {
  test('nobody listens: exit 5 within the connect timeout', async () => {
    const subject = await site.subject('copy')
    const gone = await FakeBroker.start('silent')
    await gone[Symbol.asyncDispose]()
    const options = { kafka: { connectTimeoutMs: 1_000 } }
    const ended = await subject.fails({ KAFKA_BROKERS: gone.address }, { options })
    expectEnd(ended, 5, 'KAFKA_UNREACHABLE', gone.address, 'in 1000 ms', 'check KAFKA_BROKERS')
    expect(ended.afterMs).toBeLessThan(6_000)
  })

  test('somebody accepts and never answers: exit 5 within the connect timeout', async () => {
    await using silent = await FakeBroker.start('silent')
    const subject = await site.subject('copy')
    const options = { kafka: { connectTimeoutMs: 1_000 } }
    const ended = await subject.fails({ KAFKA_BROKERS: silent.address }, { options })
    expectEnd(ended, 5, 'KAFKA_UNREACHABLE', silent.address, 'in 1000 ms')
    expect(ended.afterMs).toBeLessThan(6_000)
  })

  test('a broker older than 3.0 is refused with the request that it lacks', async () => {
    await using old = await FakeBroker.start('old')
    const subject = await site.subject('copy')
    const ended = await subject.fails({ KAFKA_BROKERS: old.address })
    expectEnd(ended, 2, 'KAFKA_TOO_OLD', old.address, 'DescribeTransactions', 'use Kafka 3.0 or newer')
  })

  test('no brokers at all: says where to name them', async () => {
    const subject = await site.subject('copy')
    expectEnd(await subject.fails({ KAFKA_BROKERS: '' }), 2, 'OPTION_INVALID', 'set KAFKA_BROKERS')
  })

  test('a broker that is not host:port is quoted', async () => {
    const subject = await site.subject('copy')
    expectEnd(await subject.fails({ KAFKA_BROKERS: 'kafka' }), 2, 'OPTION_INVALID', "'kafka'", 'host:port')
  })
})

describe('topics', () => {
  test('missing topics are all named, with what they are for', async () => {
    const subject = await site.subject('copy', { inputs: ['no-such-input'], output: 'no-such-output' })
    const ended = await subject.fails()
    expectEnd(ended, 2, 'TOPIC_UNKNOWN', "'no-such-input' (read)", "'no-such-output' (written)", 'Create them')
  })

  test('topics that meet in a keyed stage need equal partition counts', async () => {
    await site.createTopic('narrow', 2)
    await site.createTopic('wide', 3)
    const subject = await site.subject('union', { inputs: ['narrow', 'wide'] })
    expectEnd(await subject.fails(), 2, 'TOPIC_PARTITIONS_WRONG', 'narrow (2)', 'wide (3)', 'use keyBy')
  })

  test('a repartition topic keeps its partition count: another explicit one is refused', async () => {
    const subject = await site.subject('hop', { hopPartitions: 2 })
    await subject.once()
    const ended = await subject.fails({}, { hopPartitions: 3 })
    expectEnd(
      ended,
      2,
      'TOPIC_PARTITIONS_WRONG',
      `${subject.group}.hop.first has 2 partitions`,
      'wants 3',
      'set partitions back',
    )
  })

  test('a repartition topic whose retention could eat unread records is refused with the command that mends it', async () => {
    const subject = await site.subject('hop', { hopPartitions: 1 })
    await subject.once()
    await site.admin.alterConfigs(
      { resourceType: 'topic', name: `${subject.group}.hop.first` },
      { 'retention.ms': '60000' },
    )
    const ended = await subject.fails()
    expectEnd(
      ended,
      2,
      'TOPIC_CONFIG_WRONG',
      `${subject.group}.hop.first has retention.ms=60000`,
      'kafka-configs.sh --alter',
    )
  })
})
