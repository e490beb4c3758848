/**
 * Goal: a setting comes from the flag, else the environment, else the module, else the default; and no contradiction between
 * settings gets past the start. Method: every source in turn; every inequality broken by itself, and all at once.
 */
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import {
  DEFAULTS,
  type Overrides,
  type PipelineOptions,
  resolveSettings,
  sanitiseInstance,
} from '../../src/plan/options.ts'
import { withEnvironment } from '../support/environment.ts'

const before = { ...process.env }
beforeEach(() => {
  for (const name of Object.keys(process.env)) if (/^MILLRACE_|^KAFKA_BROKERS$/.test(name)) delete process.env[name]
})
afterEach(() => {
  process.env = { ...before }
})

const resolve = (options: PipelineOptions = {}, overrides: Overrides = {}, hasHop = false) =>
  resolveSettings('tested', options, overrides, hasHop)

test.each([
  ['MILLRACE_CHECKPOINT_MODE', 'at-least-once', { mode: 'at-least-once' }, 'exactly-once or at-least-once'],
  ['MILLRACE_ACCEPT_LOW_REPLICATION', 'true', { acceptLowReplication: true }, 'true or false'],
  ['MILLRACE_CHECKPOINT_VERIFY', 'true', { verify: true }, 'true or false'],
])('%s is read, and another word than its own is refused', async (variable, word, expected, choices) => {
  await withEnvironment({ [variable]: word }, async () => expect(resolve()).toMatchObject(expected))
  await withEnvironment({ [variable]: 'perhaps' }, async () =>
    expect(() => resolve()).toThrow(`${variable}='perhaps' must be ${choices}`),
  )
})

describe('precedence', () => {
  test('defaults', () => {
    expect(resolve()).toMatchObject({
      intervalMs: 1_000,
      minPauseMs: 0,
      checkpointTimeoutMs: 20_000,
      mode: 'exactly-once',
      store: './.millrace/tested',
      retained: 2,
      verify: false,
      tolerableFailed: 3,
      transactionTimeoutMs: 60_000,
      sessionTimeoutMs: 10_000,
      heartbeatMs: 500,
      rebalanceTimeoutMs: 60_000,
      restart: { strategy: 'exponential-delay', initialMs: 1_000, maxMs: 60_000 },
      httpPort: 9464,
      graceMs: 30_000,
      acceptLowReplication: false,
      kafka: { brokers: [] },
    })
    expect(resolve({}, {}, true).intervalMs).toBe(250)
  })

  test('flag, then environment, then module, then default', () => {
    const options = {
      checkpoint: { intervalMs: 30, store: 'module' },
      http: { port: 1 },
      kafka: { brokers: ['module:1'] },
    }
    expect(resolve(options, {}, true)).toMatchObject({
      intervalMs: 30,
      store: 'module',
      httpPort: 1,
      kafka: { brokers: ['module:1'] },
    })
    Object.assign(process.env, {
      MILLRACE_CHECKPOINT_INTERVAL_MS: '20',
      MILLRACE_STORE: 'environment',
      MILLRACE_HTTP_PORT: '2',
      MILLRACE_BROKERS: 'a:1, b:2',
      MILLRACE_INSTANCE: 'From.Environment',
    })
    expect(resolve(options)).toMatchObject({
      intervalMs: 20,
      store: 'environment',
      httpPort: 2,
      instance: 'from-environment',
    })
    expect(resolve(options).kafka.brokers).toEqual(['a:1', 'b:2'])
    const flags = { intervalMs: 10, store: 'flag', httpPort: 0, brokers: 'flag:1', instance: 'flag' }
    expect(resolve(options, flags)).toMatchObject({
      intervalMs: 10,
      store: 'flag',
      httpPort: 0,
      instance: 'flag',
      kafka: { brokers: ['flag:1'] },
    })
  })

  test('KAFKA_BROKERS is only for pipelines that name none', () => {
    process.env.KAFKA_BROKERS = 'everyone:9092'
    expect(resolve().kafka.brokers).toEqual(['everyone:9092'])
    expect(resolve({ kafka: { brokers: ['own:9092'] } }).kafka.brokers).toEqual(['own:9092'])
  })
})

describe('variables', () => {
  test('an empty one is none, and one that is no number is refused by name', () => {
    process.env.MILLRACE_RETAINED = ''
    expect(resolve().retained).toBe(2)
    process.env.MILLRACE_RETAINED = 'many'
    expect(() => resolve()).toThrow(/MILLRACE_RETAINED='many' is not a number/)
  })

  test.each([
    ['Host_1.example', 'host-1-example'],
    ['--a--', 'a'],
    ['ÄÖ7', '7'],
  ])('an instance name becomes part of ids: %s', (given, clean) => expect(sanitiseInstance(given)).toBe(clean))

  test('an instance name of which nothing is left is refused', () => {
    expect(() => sanitiseInstance('…')).toThrow(/--instance/)
  })
})

describe('contradictions', () => {
  const group = { sessionTimeoutMs: 10_000, heartbeatMs: 500, rebalanceTimeoutMs: 60_000 }
  const broken: Readonly<Record<string, readonly [expected: RegExp, PipelineOptions]>> = {
    'interval 0': [/intervalMs is 0/, { checkpoint: { intervalMs: 0 } }],
    'interval negative': [/intervalMs is -1/, { checkpoint: { intervalMs: -1 } }],
    'interval not a number': [/intervalMs is NaN/, { checkpoint: { intervalMs: Number.NaN } }],
    'interval endless': [
      /intervalMs is Infinity/,
      { checkpoint: { mode: 'at-least-once', intervalMs: Number.POSITIVE_INFINITY } },
    ],
    'checkpoint time-out 0': [/checkpointTimeoutMs is 0/, { checkpoint: { timeoutMs: 0 } }],
    'transaction time-out 0': [/transactionTimeoutMs is 0/, { transactionTimeoutMs: 0 }],
    'heartbeat 0': [/heartbeatMs is 0/, { group: { ...group, heartbeatMs: 0 } }],
    'session 0': [/sessionTimeoutMs is 0/, { group: { ...group, sessionTimeoutMs: 0 } }],
    'rebalance 0': [/rebalanceTimeoutMs is 0/, { group: { ...group, rebalanceTimeoutMs: 0 } }],
    'pause negative': [/minPauseMs is -1/, { checkpoint: { minPauseMs: -1 } }],
    'pause not a number': [/minPauseMs is NaN/, { checkpoint: { minPauseMs: Number.NaN } }],
    'nothing retained': [/retained is 0/, { checkpoint: { retained: 0 } }],
    'half a checkpoint retained': [/retained is 1.5/, { checkpoint: { retained: 1.5 } }],
    'tolerated failures negative': [/tolerableFailed is -1/, { checkpoint: { tolerableFailed: -1 } }],
    'no grace': [/graceMs is 0/, { graceMs: 0 }],
    'a port that is none': [/httpPort is 70000/, { http: { port: 70_000 } }],
    'no room in a gate': [/channelCapacityRecords is 0/, { channelCapacityRecords: 0 }],
    'no lag allowed': [/hopLagRecordsMax is 0/, { hopLagRecordsMax: 0 }],
    'a transaction that may expire': [
      /2 × .*= 60002 ms exceeds transactionTimeoutMs 60000/,
      { checkpoint: { intervalMs: 10_001 } },
    ],
    'few heartbeats in a session': [/third of sessionTimeoutMs/, { group: { ...group, heartbeatMs: 3_334 } }],
    'a session longer than a rebalance': [
      /must not exceed rebalanceTimeoutMs/,
      { group: { ...group, sessionTimeoutMs: 60_001 } },
    ],
    'no time before a rejoin': [
      /leaves no time/,
      { group: { sessionTimeoutMs: 1_500, heartbeatMs: 500, rebalanceTimeoutMs: 1_500 } },
    ],
  }

  test.each(Object.entries(broken))('%s', (_, [expected, options]) => {
    expect(() => resolve(options)).toThrow(
      expect.objectContaining({ code: 'OPTION_INVALID', message: expect.stringMatching(expected) }),
    )
  })

  test('at their limits they are allowed', () => {
    expect(() => resolve({ checkpoint: { intervalMs: 10_000 } })).not.toThrow()
    expect(() =>
      resolve({ group: { sessionTimeoutMs: 1_501, heartbeatMs: 500, rebalanceTimeoutMs: 1_501 } }),
    ).not.toThrow()
    expect(() => resolve({ http: { port: 65_535 }, checkpoint: { tolerableFailed: 0 } })).not.toThrow()
  })

  test('at-least-once has no transactions that could expire', () => {
    expect(() => resolve({ checkpoint: { mode: 'at-least-once', intervalMs: 50_000 } })).not.toThrow()
  })

  test('all are reported at once, and those of variables too', () => {
    process.env.MILLRACE_HEARTBEAT_MS = '-5'
    expect(() => resolve({ checkpoint: { intervalMs: 0, retained: 0 }, graceMs: -1 })).toThrow(
      /intervalMs[\s\S]*heartbeatMs[\s\S]*graceMs[\s\S]*retained/,
    )
  })

  test('every default of the table is a number above or at 0', () => {
    for (const value of Object.values(DEFAULTS)) expect(value).toBeGreaterThanOrEqual(0)
  })
})
