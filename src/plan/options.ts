// Settings of a pipeline: what the module says, what flags and environment override, the defaults, and the inequalities
// between them, checked before anything connects. The README's table is kept equal to `DEFAULTS` by a test.
import { hostname } from 'node:os'
import type { CheckpointStore } from '../base/checkpoint-store.ts'
import { MillraceError } from '../base/errors.ts'
import type { ClusterOptions } from '../dataflow/ports.ts'
import type { Settings } from '../worker/job.ts'
import type { RestartStrategy } from '../worker/restart.ts'

export interface PipelineOptions {
  readonly kafka?: Partial<ClusterOptions>
  readonly checkpoint?: {
    /** Between the starts of two checkpoints, in ms. Default 1 000, or 250 when the plan has a hop. */
    readonly intervalMs?: number
    /** Between the end of one and the start of the next, in ms. Default 0. */
    readonly minPauseMs?: number
    /** From its start to its durable file, in ms; then the worker rolls back. Default 20 000. */
    readonly timeoutMs?: number
    /** Default `exactly-once`. */
    readonly mode?: 'exactly-once' | 'at-least-once'
    /**
     * `kafka`: a topic of the pipeline's own cluster. Else a folder that all workers see (one called kafka is `./kafka`), or a
     * store. Default `./.millrace/<pipeline>`.
     */
    readonly store?: string | CheckpointStore
    /** Committed checkpoints kept per task. Default 2. */
    readonly retained?: number
    /** Reads each checkpoint back from the store and compares it before it is committed. Default false. */
    readonly verify?: boolean
    /** Roll-backs in a row that are tolerated before the restart strategy decides. Default 3. */
    readonly tolerableFailed?: number
  }
  /** Where keyed state is kept while the pipeline runs. */
  readonly state?: {
    /** `heap`: all of it in memory. `leveldb`: on local disk, behind a cache. Checkpoints are the same. Default `heap`. */
    readonly backend?: 'heap' | 'leveldb'
    /** Local folder of `leveldb`, with a part for each pipeline and worker. It may be lost at any time. Default `./.millrace-state`. */
    readonly folder?: string
    /** Memory of a worker for state that is on disk, in bytes. Default 256 MiB. */
    readonly cacheBytesMax?: number
  }
  /** Default 60 000. */
  readonly transactionTimeoutMs?: number
  readonly group?: {
    readonly sessionTimeoutMs?: number
    readonly heartbeatMs?: number
    readonly rebalanceTimeoutMs?: number
  }
  /** After tolerated roll-backs are used up. Default exponential, 1 s to 60 s. */
  readonly restart?: RestartStrategy
  /** Base port of health and metrics; worker n listens on port + n; 0: none. Default 9464. */
  readonly http?: { readonly port?: number }
  /** How long an orderly stop may take, in ms. Default 30 000. */
  readonly graceMs?: number
  /** Between looks at the topics: grown, re-created or gone ones are noticed within it, in ms. Default 30 000. */
  readonly metadataMaxAgeMs?: number
  /** A source pauses while its hop's reader is so many records behind. Default 1 000 000. */
  readonly hopLagRecordsMax?: number
  /** Accept topics with replication or min ISR below 2 on clusters of three brokers or more. Default false. */
  readonly acceptLowReplication?: boolean
  /** Records that an input gate may hold back while it aligns. Default 10 000. */
  readonly channelCapacityRecords?: number
}

/** Flags of the command line; they win over everything. */
export interface Overrides {
  readonly instance?: string
  readonly store?: string
  readonly brokers?: string
  readonly httpPort?: number
  readonly intervalMs?: number
}

export const DEFAULTS: Readonly<Record<string, number>> = {
  intervalMs: 1_000,
  intervalWithHopMs: 250,
  minPauseMs: 0,
  checkpointTimeoutMs: 20_000,
  tolerableFailed: 3,
  transactionTimeoutMs: 60_000,
  rebalanceTimeoutMs: 60_000,
  sessionTimeoutMs: 10_000,
  heartbeatMs: 500,
  retained: 2,
  stateCacheBytesMax: 256 * 1024 * 1024,
  httpPort: 9464,
  graceMs: 30_000,
  metadataMaxAgeMs: 30_000,
  hopLagRecordsMax: 1_000_000,
  channelCapacityRecords: 10_000,
}

const fallback = (name: string): number => DEFAULTS[name] ?? 0

function fromEnvironment(name: string): string | undefined {
  const value = process.env[`MILLRACE_${name}`]
  return value === undefined || value === '' ? undefined : value
}

function numberFrom(name: string): number | undefined {
  const text = fromEnvironment(name)
  if (text === undefined) return undefined
  const value = Number(text)
  if (Number.isFinite(value)) return value
  throw new MillraceError('OPTION_INVALID', `MILLRACE_${name}='${text}' is not a number`)
}

function choiceFrom<T extends string>(name: string, choices: readonly T[]): T | undefined {
  const text = fromEnvironment(name)
  const choice = choices.find((each) => each === text)
  if (text === undefined || choice) return choice
  throw new MillraceError('OPTION_INVALID', `MILLRACE_${name}='${text}' must be ${choices.join(' or ')}`)
}

function flagFrom(name: string): boolean | undefined {
  const choice = choiceFrom(name, ['true', 'false'])
  return choice === undefined ? undefined : choice === 'true'
}

/** Lower-case letters, digits and '-': host names and flags become parts of ids. */
export function sanitiseInstance(name: string): string {
  const clean = name
    .toLowerCase()
    .replace(/[^a-z0-9-]+/g, '-')
    .replace(/^-+|-+$/g, '')
  if (clean === '')
    throw new MillraceError(
      'OPTION_INVALID',
      `instance '${name}' has no letter or digit; set --instance or MILLRACE_INSTANCE`,
    )
  return clean
}

/** Precedence: flag, then `MILLRACE_*` (`KAFKA_BROKERS` for brokers), then the module, then the default. @throws OPTION_INVALID */
export function resolveSettings(
  pipeline: string,
  options: PipelineOptions,
  overrides: Overrides,
  hasHop: boolean,
): Settings {
  const checkpoint = options.checkpoint ?? {}
  const group = options.group ?? {}
  const state = options.state ?? {}
  const pick = (flag: number | undefined, variable: string, own: number | undefined, name: string): number =>
    flag ?? numberFrom(variable) ?? own ?? fallback(name)
  const brokersText =
    overrides.brokers ?? fromEnvironment('BROKERS') ?? (options.kafka?.brokers ? undefined : process.env.KAFKA_BROKERS)
  const brokers = brokersText ? brokersText.split(',').map((each) => each.trim()) : (options.kafka?.brokers ?? [])
  const settings: Settings = {
    kafka: { ...options.kafka, brokers },
    intervalMs: pick(
      overrides.intervalMs,
      'CHECKPOINT_INTERVAL_MS',
      checkpoint.intervalMs,
      hasHop ? 'intervalWithHopMs' : 'intervalMs',
    ),
    minPauseMs: pick(undefined, 'CHECKPOINT_MIN_PAUSE_MS', checkpoint.minPauseMs, 'minPauseMs'),
    checkpointTimeoutMs: pick(undefined, 'CHECKPOINT_TIMEOUT_MS', checkpoint.timeoutMs, 'checkpointTimeoutMs'),
    mode: choiceFrom('CHECKPOINT_MODE', ['exactly-once', 'at-least-once']) ?? checkpoint.mode ?? 'exactly-once',
    store: overrides.store ?? fromEnvironment('STORE') ?? checkpoint.store ?? `./.millrace/${pipeline}`,
    retained: pick(undefined, 'RETAINED', checkpoint.retained, 'retained'),
    verify: flagFrom('CHECKPOINT_VERIFY') ?? checkpoint.verify ?? false,
    stateBackend: choiceFrom('STATE_BACKEND', ['heap', 'leveldb']) ?? state.backend ?? 'heap',
    stateFolder: fromEnvironment('STATE_FOLDER') ?? state.folder ?? './.millrace-state',
    stateCacheBytesMax: pick(undefined, 'STATE_CACHE_BYTES_MAX', state.cacheBytesMax, 'stateCacheBytesMax'),
    tolerableFailed: pick(undefined, 'TOLERABLE_FAILED', checkpoint.tolerableFailed, 'tolerableFailed'),
    transactionTimeoutMs: pick(
      undefined,
      'TRANSACTION_TIMEOUT_MS',
      options.transactionTimeoutMs,
      'transactionTimeoutMs',
    ),
    sessionTimeoutMs: pick(undefined, 'SESSION_TIMEOUT_MS', group.sessionTimeoutMs, 'sessionTimeoutMs'),
    heartbeatMs: pick(undefined, 'HEARTBEAT_MS', group.heartbeatMs, 'heartbeatMs'),
    rebalanceTimeoutMs: pick(undefined, 'REBALANCE_TIMEOUT_MS', group.rebalanceTimeoutMs, 'rebalanceTimeoutMs'),
    restart: options.restart ?? { strategy: 'exponential-delay', initialMs: 1_000, maxMs: 60_000 },
    httpPort: pick(overrides.httpPort, 'HTTP_PORT', options.http?.port, 'httpPort'),
    graceMs: pick(undefined, 'GRACE_MS', options.graceMs, 'graceMs'),
    metadataMaxAgeMs: pick(undefined, 'METADATA_MAX_AGE_MS', options.metadataMaxAgeMs, 'metadataMaxAgeMs'),
    hopLagRecordsMax: pick(undefined, 'HOP_LAG_RECORDS_MAX', options.hopLagRecordsMax, 'hopLagRecordsMax'),
    acceptLowReplication: flagFrom('ACCEPT_LOW_REPLICATION') ?? options.acceptLowReplication ?? false,
    channelCapacityRecords: pick(
      undefined,
      'CHANNEL_CAPACITY_RECORDS',
      options.channelCapacityRecords,
      'channelCapacityRecords',
    ),
    instance: sanitiseInstance(overrides.instance ?? fromEnvironment('INSTANCE') ?? hostname()),
  }
  checkSettings(settings)
  return settings
}

/** What timers of the platform can hold: a longer one fires at once. */
const TIMER_MAX_MS = 2 ** 31 - 1

/** Less would hold little more than the keys of one batch. */
const STATE_CACHE_BYTES_MIN = 256 * 1024

function rangeProblems(settings: Settings): string[] {
  const { intervalMs, checkpointTimeoutMs, transactionTimeoutMs, sessionTimeoutMs, heartbeatMs, rebalanceTimeoutMs } =
    settings
  const {
    minPauseMs,
    graceMs,
    metadataMaxAgeMs,
    retained,
    tolerableFailed,
    httpPort,
    channelCapacityRecords,
    hopLagRecordsMax,
    stateBackend,
    stateCacheBytesMax,
  } = settings
  const times = { intervalMs, checkpointTimeoutMs, transactionTimeoutMs, sessionTimeoutMs, heartbeatMs }
  const problems: string[] = []
  for (const [name, value] of Object.entries({ ...times, rebalanceTimeoutMs, graceMs, metadataMaxAgeMs })) {
    if (!(value > 0 && value <= TIMER_MAX_MS))
      problems.push(`${name} is ${value}; it must be above 0 and at most ${TIMER_MAX_MS}`)
  }
  if (!(minPauseMs >= 0 && minPauseMs <= TIMER_MAX_MS))
    problems.push(`minPauseMs is ${minPauseMs}; it must not be negative, and at most ${TIMER_MAX_MS}`)
  if (!Number.isInteger(retained) || retained < 1)
    problems.push(`retained is ${retained}; at least 1 checkpoint must be kept`)
  if (!['heap', 'leveldb'].includes(stateBackend))
    problems.push(`state.backend is '${stateBackend}'; 'heap' or 'leveldb' is expected`)
  if (!(stateCacheBytesMax >= STATE_CACHE_BYTES_MIN))
    problems.push(`stateCacheBytesMax is ${stateCacheBytesMax}; at least ${STATE_CACHE_BYTES_MIN} are needed`)
  if (!Number.isInteger(tolerableFailed) || tolerableFailed < 0)
    problems.push(`tolerableFailed is ${tolerableFailed}; a whole number from 0 up is expected`)
  if (!Number.isInteger(httpPort) || httpPort < 0 || httpPort > 65_535)
    problems.push(`httpPort is ${httpPort}; a port, or 0 for none, is expected`)
  for (const [name, value] of Object.entries({ channelCapacityRecords, hopLagRecordsMax }))
    if (!(value >= 1)) problems.push(`${name} is ${value}; it must be at least 1`)
  return problems
}

/** @throws OPTION_INVALID with every contradiction at once */
export function checkSettings(settings: Settings): void {
  const { intervalMs, checkpointTimeoutMs, transactionTimeoutMs, sessionTimeoutMs, heartbeatMs, rebalanceTimeoutMs } =
    settings
  const problems = rangeProblems(settings)
  const needed = 2 * (intervalMs + checkpointTimeoutMs)
  if (settings.mode === 'exactly-once' && needed > transactionTimeoutMs) {
    problems.push(
      `2 × (checkpoint interval ${intervalMs} + checkpoint timeout ${checkpointTimeoutMs}) = ${needed} ms exceeds transactionTimeoutMs ${transactionTimeoutMs}: a transaction could expire before its commit. Raise transactionTimeoutMs (up to the broker's transaction.max.timeout.ms) or lower the others`,
    )
  }
  if (heartbeatMs * 3 > sessionTimeoutMs)
    problems.push(`heartbeatMs ${heartbeatMs} must be at most a third of sessionTimeoutMs ${sessionTimeoutMs}`)
  if (sessionTimeoutMs > rebalanceTimeoutMs)
    problems.push(`sessionTimeoutMs ${sessionTimeoutMs} must not exceed rebalanceTimeoutMs ${rebalanceTimeoutMs}`)
  if (rebalanceTimeoutMs <= heartbeatMs + 1_000)
    problems.push(`rebalanceTimeoutMs ${rebalanceTimeoutMs} leaves no time to finish a checkpoint before rejoining`)
  if (problems.length > 0) throw new MillraceError('OPTION_INVALID', problems.join('; '))
}
