/** Millrace in each of its modes beside a kafkajs transaction loop; writes bench/results.json and bench/RESULTS.md, or bench/PROFILE.md. */
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { canRun, latencyCandidates, throughputCandidates } from './candidates.ts'
import { describeMachine } from './environment.ts'
import { prepareInput } from './input.ts'
import { type LatencyRun, measureLatency } from './latency.ts'
import { type BenchOptions, workloadsDefault } from './options.ts'
import { profileWorkloads } from './profile.ts'
import type { Progress } from './progress.ts'
import { type Results, renderResults, renderTables } from './report.ts'
import { scenarioOf } from './scenarios/all.ts'
import type { Scenario } from './scenarios/scenario.ts'
import { brokerHeapMb, partitions, Stage } from './stage.ts'
import { allExact, measureSeries } from './throughput-series.ts'

const fileOf = (name: string): string => fileURLToPath(new URL(name, import.meta.url))

/** @returns whether every run came to its end with an exact output */
export async function runMillraceBench(options: BenchOptions, progress: Progress): Promise<boolean> {
  const workloads = options.workloads.map(scenarioOf)
  const startedAt = new Date().toISOString()
  await using stage = await Stage.open((line) => progress.say(`broker: ${line}`))
  if (options.profile) {
    const input = await prepareInput({ stage, progress }, 'input', { records: options.records }, workloads)
    const text = await profileWorkloads({ stage, input, workloads })
    process.stdout.write(text)
    if (!options.quick) writeFileSync(fileOf('./PROFILE.md'), text)
    return true
  }
  const series = await measureSeries({ stage, progress, options, workloads, candidates: throughputCandidates })
  const latencyRuns = await measureLatencies(stage, progress, options, workloads)
  const results: Results = {
    startedAt,
    machine: describeMachine(),
    settings: { ...options, partitions, brokerHeapMb, broker: stage.broker.kind },
    ...series,
    latencyRuns,
  }
  process.stdout.write(renderTables(results))
  // Of some workloads only, or without latencies, it would replace all.
  if (!options.quick && workloads.length >= workloadsDefault.length && options.latencySeconds > 0) {
    writeFileSync(fileOf('./results.json'), `${JSON.stringify(results, undefined, 1)}\n`)
    writeFileSync(fileOf('./RESULTS.md'), renderResults(results, readFileSync(fileOf('./not-measured.md'), 'utf8')))
  }
  return allExact(series)
}

async function measureLatencies(
  stage: Stage,
  progress: Progress,
  options: BenchOptions,
  workloads: readonly Scenario[],
): Promise<LatencyRun[]> {
  const load = { recordsPerSecond: options.latencyRate, seconds: options.latencySeconds }
  const measured = load.seconds > 0 ? workloads : []
  const pairs = measured.flatMap((scenario) =>
    latencyCandidates.filter((candidate) => canRun(candidate, scenario)).map((candidate) => ({ scenario, candidate })),
  )
  const runs: LatencyRun[] = []
  await progress.series(pairs, async ({ scenario, candidate }) => {
    const result = await measureLatency(stage, scenario, candidate, load)
    runs.push(result)
    progress.say(`${scenario.id} latency · ${candidate.title} · p50 ${result.p50Ms} ms · p99 ${result.p99Ms} ms`)
  })
  return runs
}
