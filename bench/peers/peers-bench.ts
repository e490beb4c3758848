/** Millrace beside Kafka Streams, Flink and two loops; writes bench/peers.json and bench/PEERS.md. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Candidate } from '../candidates.ts'
import { describeMachine } from '../environment.ts'
import { type LatencyRun, measureLatency } from '../latency.ts'
import type { PeersOptions, PeersPart } from '../options.ts'
import type { Progress } from '../progress.ts'
import { measureRecovery, type RecoveryRun } from '../recovery.ts'
import { scenarioOf } from '../scenarios/all.ts'
import { brokerHeapMb, partitions, Stage } from '../stage.ts'
import { allExact, measureSeries } from '../throughput-series.ts'
import { candidatesOf, latencyCandidates, recoveryCandidates, timedWorkload } from './candidates.ts'
import { renderPeers, renderPeersTables } from './report.ts'
import { type About, type PeersResults, withOthers } from './results.ts'
import { peerVersions } from './versions.ts'

const fileOf = (name: string): string => fileURLToPath(new URL(name, import.meta.url))

/** @returns whether every run came to its end with an exact output */
export async function runPeersBench(options: PeersOptions, progress: Progress): Promise<boolean> {
  const about: About = {
    startedAt: new Date().toISOString(),
    machine: describeMachine(),
    versions: await peerVersions(),
  }
  const candidates = candidatesOf(options.systems)
  const chosen = (some: readonly Candidate[]): readonly Candidate[] =>
    some.filter(({ program }) => candidates.some((each) => each.program === (program.supervises ?? program)))
  for (const program of new Set(candidates.map((candidate) => candidate.program))) {
    progress.live(`building ${program.name}`)
    await program.prepare?.()
  }
  await using stage = await Stage.open((line) => progress.say(`broker: ${line}`))
  const { load, runs } = options
  const measured: { -readonly [part in PeersPart]?: PeersResults[part] } = {}
  if (options.parts.includes('throughput')) {
    const workloads = options.workloads.map(scenarioOf)
    const settings = { ...options, partitions, brokerHeapMb, broker: stage.broker.kind }
    const series = await measureSeries({ stage, progress, options, workloads, candidates })
    const origin = { startedAt: about.startedAt, commit: about.machine.commit }
    const origins = Object.fromEntries(options.workloads.map((id) => [id, origin]))
    measured.throughput = { ...about, settings, ...series, origins }
    save(measured, options)
  }
  if (options.parts.includes('latency')) {
    const latencyRuns = await measureLatencies(stage, progress, options, chosen(latencyCandidates))
    if (latencyRuns.length > 0) measured.latency = { ...about, load, runs: latencyRuns }
    save(measured, options)
  }
  if (options.parts.includes('recovery')) {
    const recoveryRuns = await measureRecoveries(stage, progress, options, chosen(recoveryCandidates))
    if (recoveryRuns.length > 0) measured.recovery = { ...about, load, repeated: runs, runs: recoveryRuns }
    save(measured, options)
  }
  process.stdout.write(renderPeersTables(measured))
  const complete = [...(measured.latency?.runs ?? []), ...(measured.recovery?.runs ?? [])]
  return (
    (!measured.throughput || allExact(measured.throughput)) && complete.every((run) => run.recordsOut === run.records)
  )
}

/** After each part: hours of measuring must not be lost with what comes next. */
function save(measured: PeersResults, { quick, systems }: PeersOptions): void {
  // Of some systems only, they would replace those of all.
  if (quick || systems) return
  const text = existsSync(fileOf('../peers.json')) ? readFileSync(fileOf('../peers.json'), 'utf8') : '{}'
  const before = JSON.parse(text) as PeersResults
  const { throughput, ...others } = measured
  const all = throughput && withOthers(throughput, before.throughput)
  const results: PeersResults = { ...before, ...others, ...(all ? { throughput: all } : {}) }
  writeFileSync(fileOf('../peers.json'), `${JSON.stringify(results, undefined, 1)}\n`)
  writeFileSync(fileOf('../PEERS.md'), renderPeers(results, readFileSync(fileOf('./not-measured.md'), 'utf8')))
}

/** One system after the other, then all of them again. */
function repeated(
  candidates: readonly Candidate[],
  times: number,
): { readonly run: number; readonly candidate: Candidate }[] {
  const numbers = Array.from({ length: times }, (_, index) => index + 1)
  return numbers.flatMap((run) => candidates.map((candidate) => ({ run, candidate })))
}

async function measureLatencies(
  stage: Stage,
  progress: Progress,
  { load, runs: times }: PeersOptions,
  candidates: readonly Candidate[],
): Promise<LatencyRun[]> {
  const runs: LatencyRun[] = []
  await progress.series(repeated(candidates, times), async ({ run, candidate }) => {
    const result = await measureLatency(stage, scenarioOf(timedWorkload), candidate, load, run)
    runs.push(result)
    const { p50Ms, p99Ms, p999Ms } = result
    progress.say(`latency run ${run} · ${candidate.title} · p50 ${p50Ms} ms · p99 ${p99Ms} ms · p99.9 ${p999Ms} ms`)
  })
  return runs
}

async function measureRecoveries(
  stage: Stage,
  progress: Progress,
  { load, runs: times }: PeersOptions,
  candidates: readonly Candidate[],
): Promise<RecoveryRun[]> {
  const runs: RecoveryRun[] = []
  await progress.series(repeated(candidates, times), async ({ run, candidate }) => {
    const result = await measureRecovery(stage, scenarioOf(timedWorkload), candidate, run, load)
    runs.push(result)
    const complete = `${result.recordsOut} of ${result.records} out`
    progress.say(
      `recovery run ${run} · ${candidate.title} · first ${result.firstOutputMs} ms · caught up ${result.caughtUpMs} ms · ${complete}`,
    )
  })
  return runs
}
