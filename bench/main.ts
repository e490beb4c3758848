/**
 * `npm run bench`: Millrace beside a kafkajs transaction loop, on a real broker, workload by workload. Progress goes to
 * stderr, the tables to stdout, and everything to bench/results.json and bench/RESULTS.md.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { baseline, baselineShare, type Candidate, latencyCandidates, throughputCandidates } from './candidates.ts'
import { describeMachine } from './environment.ts'
import { type LatencyRun, measureLatency } from './latency.ts'
import { type BenchOptions, help, parseBenchOptions } from './options.ts'
import { digestTopic, recordsOf, type TopicDigest } from './output-check.ts'
import { profileWorkloads } from './profile.ts'
import { type Results, renderResults, renderTables } from './report.ts'
import { scenarioOf } from './scenarios/all.ts'
import type { Scenario } from './scenarios/scenario.ts'
import { brokerHeapMb, partitions, Stage } from './stage.ts'
import { measureThroughput, type ThroughputRun } from './throughput.ts'

const fileOf = (name: string): string => fileURLToPath(new URL(name, import.meta.url))

/** One line that renews itself in a terminal, plain lines elsewhere. */
class Progress {
  #last = 0

  say(line: string): void {
    process.stderr.write(process.stderr.isTTY ? `\r\x1b[2K${line}\n` : `${line}\n`)
  }

  live(line: string): void {
    if (!process.stderr.isTTY || performance.now() - this.#last < 100) return
    this.#last = performance.now()
    process.stderr.write(`\r\x1b[2K${line}`)
  }
}

const progress = new Progress()

/** Ctrl-C or SIGTERM: the run under way is finished or given up, and what was measured is written. A second one ends at once. */
let interrupted = false
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    if (interrupted) process.exit(130)
    interrupted = true
    progress.say('ending after this run …')
  })
}

/** Runs `work` for each item; an interruption ends the series, even if it broke what was under way. */
async function series<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  for (const item of items) {
    if (interrupted) return
    try {
      await work(item)
    } catch (error) {
      if (!interrupted) throw error
    }
  }
}

async function throughput(
  stage: Stage,
  options: BenchOptions,
  input: Input,
  scenario: Scenario,
  candidate: Candidate,
  run: number,
): Promise<ThroughputRun[]> {
  const { topic, records, expected } = input
  const label = `${scenario.id} run ${run} · ${candidate.title}`
  const tried: ThroughputRun[] = []
  for (let attempt = 1; attempt <= 1 + options.repeats; attempt++) {
    const result = await measureThroughput({
      stage,
      scenario,
      candidate,
      run,
      attempt,
      input: topic,
      records,
      expected: expected.get(scenario.id) ?? [],
      onProgress: (written) => progress.live(`${label} · ${Math.round((written / records) * 100)} %`),
    })
    tried.push(result)
    const figures = `${result.cpuUsPerRecord.toFixed(2)} µs · ${Math.round(result.recordsPerSecond / 1_000)} k/s`
    const load = `others ${result.foreignCores.toFixed(2)} cores`
    const rolledBack = result.rollBacks > 0 ? ` · ${result.rollBacks} roll-backs` : ''
    const verdict = result.exact ? 'exact' : `NOT EXACT: ${result.recordsOut} out`
    progress.say(`${label} · ${figures} · ${load} · ${verdict}${rolledBack}`)
    if (result.foreignCores <= options.foreignCoresMax) break
  }
  return tried
}

/** A topic to read, and what each workload must make of it. */
interface Input {
  readonly topic: string
  readonly records: number
  readonly expected: ReadonlyMap<string, TopicDigest>
}

async function prepare(stage: Stage, name: string, records: number, workloads: readonly Scenario[]): Promise<Input> {
  const topic = stage.name(name)
  await stage.writeInput(topic, records, (written) =>
    progress.live(`${name} · ${Math.round((written / records) * 100)} %`),
  )
  const expected = new Map<string, TopicDigest>()
  for (const scenario of workloads) {
    progress.live(`what ${scenario.id} must give`)
    const digest = await digestTopic(stage.reader, topic, scenario.plain())
    if (recordsOf(digest) !== records) throw new Error(`the input has ${recordsOf(digest)} records`)
    expected.set(scenario.id, digest)
  }
  progress.say(`${name} · ${records} records in ${partitions} partitions`)
  return { topic, records, expected }
}

async function measureAll(stage: Stage, options: BenchOptions, workloads: readonly Scenario[]) {
  const input = await prepare(stage, 'input', options.records, workloads)
  // The baseline is ten times slower: it would take most of the time, and its cost does not change on the way.
  const short = await prepare(stage, 'short-input', Math.ceil(options.records / baselineShare), workloads)
  const throughputRuns: ThroughputRun[] = []
  const numbers = Array.from({ length: options.runs }, (_, index) => index + 1)
  // Each run begins with another system: none has the quiet start, or the full page cache, every time.
  const order = (run: number): Candidate[] =>
    throughputCandidates.map((_, index, all) => all[(index + run) % all.length] as Candidate)
  const orders = numbers.flatMap((run) =>
    workloads.flatMap((scenario) => order(run).map((candidate) => ({ run, scenario, candidate }))),
  )
  await series(orders, async ({ run, scenario, candidate }) => {
    const read = candidate === baseline ? short : input
    throughputRuns.push(...(await throughput(stage, options, read, scenario, candidate, run)))
  })
  const latencyRuns: LatencyRun[] = []
  const load = { recordsPerSecond: options.latencyRate, seconds: options.latencySeconds }
  const measured = load.seconds > 0 ? workloads : []
  const pairs = measured.flatMap((scenario) => latencyCandidates.map((candidate) => ({ scenario, candidate })))
  await series(pairs, async ({ scenario, candidate }) => {
    const result = await measureLatency(stage, scenario, candidate, load)
    latencyRuns.push(result)
    progress.say(`${scenario.id} latency · ${candidate.title} · p50 ${result.p50Ms} ms · p99 ${result.p99Ms} ms`)
  })
  return { throughputRuns, latencyRuns }
}

async function main(): Promise<number> {
  if (process.argv.includes('--help')) {
    process.stdout.write(help)
    return 0
  }
  const options = parseBenchOptions(process.argv.slice(2))
  const workloads = options.workloads.map(scenarioOf)
  const startedAt = new Date().toISOString()
  await using stage = await Stage.open((line) => progress.say(`broker: ${line}`))
  if (options.profile) {
    const { topic, records, expected } = await prepare(stage, 'input', options.records, workloads)
    const text = await profileWorkloads({ stage, input: topic, records, expected, workloads })
    process.stdout.write(text)
    if (!options.quick) writeFileSync(fileOf('./PROFILE.md'), text)
    return 0
  }
  const measured = await measureAll(stage, options, workloads)
  const results: Results = {
    startedAt,
    machine: describeMachine(),
    settings: { ...options, partitions, brokerHeapMb, broker: stage.broker.kind },
    ...measured,
  }
  process.stdout.write(renderTables(results))
  if (!options.quick) {
    writeFileSync(fileOf('./results.json'), `${JSON.stringify(results, undefined, 1)}\n`)
    writeFileSync(fileOf('./RESULTS.md'), renderResults(results, readFileSync(fileOf('./not-measured.md'), 'utf8')))
  }
  if (interrupted) return 130
  return measured.throughputRuns.every((run) => run.exact) ? 0 : 1
}

process.exitCode = await main()
