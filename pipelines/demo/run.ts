/**
 * The main job, step by step: a broker, topics, the pipeline on its workers, bids flowing in, workers killed meanwhile,
 * an orderly stop, and the verdict of the independent checker.
 *
 * Whatever is opened is put on one stack and closed in reverse order, however the run ends.
 */
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { check } from '../../checker/check.ts'
import { messageOf } from '../../checker/errors.ts'
import { KafkaAccess } from '../../checker/kafka.ts'
import { bidTotalsModel } from '../../checker/models/bid-totals-model.ts'
import { openReader } from '../../checker/reader.ts'
import { type Measurements, type Verdict, verdictLine, verdictTable } from '../../checker/verdict.ts'
import { startBroker, type TestBroker } from '../../connectors/kafka/testing/index.ts'
import { findJavac, findMaven, kafkaJars, resolvedJars } from '../../connectors/kafka/testing/kafka-jars.ts'
import { Feed } from './feed.ts'
import { Killer, recoveryFigures } from './killer.ts'
import { DemoError, type DemoOptions } from './options.ts'
import { OutputWatch } from './output-watch.ts'
import { type PipelineOptions, PipelineProcess } from './pipeline-process.ts'
import { number, type Progress, ProgressView } from './progress-view.ts'
import {
  claimGroup,
  createTopics,
  type DemoTopics,
  group,
  hopTopics,
  internalPrefix,
  removeMembers,
  removeTraces,
  topicsFor,
} from './topics.ts'
import { upgrade } from './upgrade.ts'

const pipelineModule = 'pipelines/bid-totals.ts'
const nextModule = 'pipelines/upgrade/bid-totals.ts'
/** The next version runs on another number of workers. */
const nextWorkersMore = 1
const readyLimitMs = 60_000
const stallLimitMs = 60_000
/** The pipeline's own grace period is 30 s. */
const stopLimitMs = 40_000
const quietMs = 500

export interface DemoSetting {
  readonly options: DemoOptions
  /** Ends the run early; everything is closed then, too. */
  readonly signal: AbortSignal
  /** Called as soon as there is something that must not outlive this process; for `exit` handlers. */
  readonly onPipeline?: (pipeline: PipelineProcess) => void
  /** Another pipeline program; for trying out the demo itself. */
  readonly pipelineCommand?: readonly string[]
}

export interface DemoResult {
  readonly line: string
  readonly exitCode: 0 | 1
}

/** The pipeline that runs; between two versions there is none. */
interface Pipelines {
  current: PipelineProcess
  replacing: boolean
}

/** Everything that is up while bids flow. */
interface Stage {
  readonly setting: DemoSetting
  readonly kafka: KafkaAccess
  readonly brokers: readonly string[]
  readonly topics: DemoTopics
  readonly kafkaLibs: string | undefined
  readonly folder: string
  readonly env: Readonly<Record<string, string>>
  readonly open: (module: string, workers: number) => PipelineProcess
  readonly pipelines: Pipelines
  readonly watch: OutputWatch
  readonly logFile: string
}

/** @throws DemoError, or another error with a `code`, when there can be no verdict */
export async function runDemo(setting: DemoSetting): Promise<DemoResult> {
  const { options, signal } = setting
  const folder = await mkdtemp(join(tmpdir(), 'millrace-demo-'))
  const logFile = join(folder, 'pipeline.log')
  const stack = new AsyncDisposableStack()
  /** The log, and on somebody's cluster the topics, are kept for the one who looks for the cause. */
  let keep = true
  stack.defer(() => rm(keep ? join(folder, 'store') : folder, { recursive: true, force: true }))
  let pipeline: PipelineProcess | null = null
  try {
    const broker = await openBroker(stack, signal)
    const kafka = stack.use(await KafkaAccess.connect({ brokers: broker.brokers }))
    const external = broker.kind === 'external'
    const topics = topicsFor(external ? 'external' : 'own')
    if (external) {
      await claimGroup(kafka, signal)
      stack.defer(async () => {
        if (!keep) await cleanUp(kafka, pipeline)
      })
    }
    await createTopics(kafka, topics)
    const kafkaLibs = await jars()
    signal.throwIfAborted()
    const open = (module: string, workers: number): PipelineProcess => {
      const started = new PipelineProcess(pipelineOptions(setting, module, workers, env, logFile))
      setting.onPipeline?.(started)
      stack.defer(() => started.close())
      pipeline = started
      return started
    }
    const env = pipelineEnv(broker, topics, folder)
    const first = open(pipelineModule, options.workers)
    const watch = new OutputWatch()
    stack.defer(() => watch.stop())
    await watch.start(await openReader({ connection: { brokers: broker.brokers }, kafkaLibs }), topics.totals)
    await untilRunning(first, options.workers, signal)
    const pipelines: Pipelines = { current: first, replacing: false }
    const { brokers } = broker
    const stage: Stage = { setting, kafka, brokers, topics, kafkaLibs, folder, env, open, pipelines, watch, logFile }
    const result = await play(stage)
    keep = result.exitCode !== 0
    if (keep) showLog(pipelines.current, logFile)
    return result
  } catch (error) {
    keep = pipeline !== null && !signal.aborted
    if (pipeline && keep) showLog(pipeline, logFile)
    throw error
  } finally {
    await stack.disposeAsync()
  }
}

/** Leaves somebody's cluster as it was; a failure here does not change what was found. */
async function cleanUp(kafka: KafkaAccess, pipeline: PipelineProcess | null): Promise<void> {
  try {
    const workers = [...(pipeline?.workers.values() ?? [])]
    await removeMembers(kafka, new Set(workers.map((worker) => worker.instance)))
    await removeTraces(kafka)
  } catch (error) {
    console.log(`the demo's topics and group could not be removed from the cluster: ${messageOf(error)}`)
  }
}

/** A start cannot be cut short, but what it gives is closed even if nobody waits for it any more. */
async function openBroker(stack: AsyncDisposableStack, signal: AbortSignal): Promise<TestBroker> {
  const starting = startBroker({ log: (line) => console.log(`broker: ${line}`) })
  stack.defer(async () => {
    const broker = await starting.catch(() => null)
    await broker?.close()
  })
  const aborted = once(signal, 'abort').then(() => null)
  const broker = signal.aborted ? null : await Promise.race([starting, aborted])
  if (broker === null) throw signal.reason
  console.log(`broker: ${broker.kind} at ${broker.brokers.join(', ')}`)
  return broker
}

/** Kafka's jars for the checker's Java reader, if this machine can have them. */
async function jars(): Promise<string | undefined> {
  const known = resolvedJars()
  if (known !== undefined) return known
  const [javac, maven] = await Promise.all([findJavac(), findMaven()])
  if ('missing' in javac || 'missing' in maven) return undefined
  return kafkaJars((line) => console.log(`checker: ${line}`)).catch(() => undefined)
}

function pipelineEnv(broker: TestBroker, topics: DemoTopics, folder: string): Record<string, string> {
  return {
    KAFKA_BROKERS: broker.brokers.join(','),
    BIDS_TOPIC: topics.bids,
    TOTALS_TOPIC: topics.totals,
    MILLRACE_STORE: join(folder, 'store'),
    STATE_FOLDER: join(folder, 'state'),
  }
}

function pipelineOptions(
  setting: DemoSetting,
  module: string,
  workers: number,
  env: Readonly<Record<string, string>>,
  logFile: string,
): PipelineOptions {
  return { module, workers, logFile, env, command: setting.pipelineCommand }
}

/** The next version in the place of the first. */
async function replace(stage: Stage, feed: Feed, signal: AbortSignal): Promise<void> {
  const { env, folder, open, pipelines, setting } = stage
  const workers = setting.options.workers + nextWorkersMore
  pipelines.replacing = true
  await upgrade(
    {
      ...{ feed, env, folder, nextModule, module: pipelineModule, pipeline: pipelines.current },
      startNext: async () => {
        pipelines.current = open(nextModule, workers)
        pipelines.replacing = false
        await untilRunning(pipelines.current, workers, signal)
      },
    },
    signal,
  )
}

async function untilRunning(pipeline: PipelineProcess, workers: number, signal: AbortSignal): Promise<void> {
  const deadline = Date.now() + readyLimitMs
  while (pipeline.running.length < workers) {
    pipeline.assertAlive()
    if (Date.now() > deadline) {
      const states = [...pipeline.workers.values()].map((worker) => `${worker.instance} ${worker.state}`)
      const seen = states.join(', ') || 'no worker has started'
      throw new DemoError('PIPELINE_NOT_READY', `after ${readyLimitMs / 1_000} s not every worker runs: ${seen}`)
    }
    await sleep(50, undefined, { signal })
  }
}

/** Bids, kills, the orderly stop, the verdict. */
async function play(stage: Stage): Promise<DemoResult> {
  const { options, signal } = stage.setting
  const { kafka, pipelines, watch, topics } = stage
  const pipeline = pipelines.current
  const { records, rate, kills, workers, seed } = options
  const feed = new Feed(kafka, { topic: topics.bids, records, rate, seed })
  const durationMs = (records * 1_000) / rate
  const killer = new Killer({ kafka, pipeline, watch, feed, bidsTopic: topics.bids, kills, workers, seed, durationMs })
  const view = new ProgressView(() => progress(feed, killer, stage))
  const over = new AbortController()
  const either = AbortSignal.any([signal, over.signal])
  let missing: string | null
  view.start()
  try {
    const replaced = options.savepoint ? replace(stage, feed, either) : undefined
    const work = Promise.all([feed.run(either), killer.run(either), replaced])
    const alive = guard(stage, either)
    await Promise.race([work, alive])
    missing = await untilCaughtUp(feed, stage)
  } finally {
    over.abort(new DemoError('STOPPED', 'the run is over'))
    view.stop()
  }
  const drained = await stopPipeline(pipelines.current)
  signal.throwIfAborted()
  if (missing !== null) console.log(`error: ${missing}`)
  if (drained !== null) console.log(`error: ${drained}`)
  await watch.stop()
  const verdict = await judge(stage)
  report(verdict, killer, feed, watch)
  const ok = verdict.ok && drained === null && missing === null
  return { line: verdictLine(verdict, measurements(killer, feed, watch)), exitCode: ok ? 0 : 1 }
}

/** Rejects as soon as the pipeline or the reader of its output ends by itself; never resolves. */
async function guard(stage: Stage, signal: AbortSignal): Promise<never> {
  for (;;) {
    assertHealthy(stage)
    await sleep(100, undefined, { signal })
  }
}

function assertHealthy({ pipelines, watch }: Stage): void {
  if (!pipelines.replacing) pipelines.current.assertAlive()
  if (watch.failure) throw watch.failure
}

/** Waits for the last output; null when all came, else what is missing after too long without any progress. */
async function untilCaughtUp(feed: Feed, stage: Stage): Promise<string | null> {
  const { watch, setting } = stage
  let last = -1
  let since = Date.now()
  for (;;) {
    assertHealthy(stage)
    const now = Date.now()
    if (watch.records !== last) {
      last = watch.records
      since = now
    }
    if (watch.records >= feed.sent && now - watch.lastArrivalMs >= quietMs) return null
    if (now - since > stallLimitMs) {
      return `no output for ${stallLimitMs / 1_000} s: ${number(feed.sent - last)} of ${number(feed.sent)} are missing`
    }
    await sleep(50, undefined, { signal: setting.signal })
  }
}

/** SIGTERM; null if it ended as promised, else what went wrong. */
async function stopPipeline(pipeline: PipelineProcess): Promise<string | null> {
  pipeline.assertAlive()
  const exit = await pipeline.stop(stopLimitMs)
  if (exit?.code === 0) return null
  pipeline.killGroup()
  if (exit === null) return `the pipeline did not end within ${stopLimitMs / 1_000} s after SIGTERM; it was killed`
  return `the pipeline ended with ${exit.signal ?? `exit code ${exit.code}`} after SIGTERM, not with 0`
}

async function judge(stage: Stage): Promise<Verdict> {
  return check({
    connection: { brokers: stage.brokers },
    kafkaLibs: stage.kafkaLibs,
    inputs: [stage.topics.bids],
    output: stage.topics.totals,
    model: bidTotalsModel,
    hops: await hopTopics(stage.kafka),
    group,
    transactionalIdPrefix: internalPrefix,
    committed: 'check',
  })
}

function progress(feed: Feed, killer: Killer, { pipelines, watch, setting }: Stage): Progress {
  return {
    elapsedMs: feed.elapsedMs,
    in: feed.sent,
    total: feed.total,
    out: watch.records,
    kills: killer.kills.length,
    killsPlanned: setting.options.kills,
    lastRecoveryMs: watch.lastRecoveryMs,
    workers: [...pipelines.current.workers.values()].sort((a, b) => a.slot - b.slot),
  }
}

function measurements(killer: Killer, feed: Feed, watch: OutputWatch): Measurements {
  const { medianMs, maxMs } = recoveryFigures(killer.kills)
  const seconds = (watch.lastArrivalMs - feed.startedAtMs) / 1_000
  return {
    kills: killer.kills.length,
    recoveryMsMedian: medianMs,
    recoveryMsMax: maxMs,
    recordsPerSecond: seconds > 0 ? feed.sent / seconds : undefined,
  }
}

function report(verdict: Verdict, killer: Killer, feed: Feed, watch: OutputWatch): void {
  const { recoveryMsMedian, recoveryMsMax, recordsPerSecond } = measurements(killer, feed, watch)
  const each = killer.kills.map((kill) =>
    milliseconds(kill.recoveredAtMs === null ? undefined : kill.recoveredAtMs - kill.atMs),
  )
  const row = (name: string, value: string, note: string) =>
    console.log(`  ${name.padEnd(14)}${value.padStart(12)}  ${note}`)
  console.log('')
  for (const line of verdictTable(verdict)) console.log(line)
  row(
    'kills',
    String(killer.kills.length),
    each.length > 0 ? `SIGKILL to new committed output: ${each.join(', ')}` : '',
  )
  row('recovery', milliseconds(recoveryMsMedian), `median, ${milliseconds(recoveryMsMax)} at most`)
  row('throughput', recordsPerSecond === undefined ? '-' : number(Math.round(recordsPerSecond)), 'records a second')
  console.log('')
}

function milliseconds(value: number | undefined): string {
  return value === undefined ? '-' : `${Math.round(value)} ms`
}

function showLog(pipeline: PipelineProcess, logFile: string): void {
  if (pipeline.problems.length > 0) console.log('the last problems that the pipeline logged:')
  for (const line of pipeline.problems) console.log(`  ${line}`)
  console.log(`the pipeline's log: ${logFile}`)
}
