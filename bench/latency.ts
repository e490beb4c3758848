/**
 * One run at a fixed, modest rate: how long after a record was made its output is there for a read_committed reader. Every
 * output keeps its input's timestamp, which is the wall clock at which the record was handed to the producer.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Candidate } from './candidates.ts'
import { feed, type Load } from './fixed-rate.ts'
import { machineCpu } from './proc.ts'
import type { Scenario } from './scenarios/scenario.ts'
import type { Stage } from './stage.ts'
import { percentile } from './statistics.ts'
import { SystemProcess } from './system-process.ts'
import { argumentsOf } from './throughput.ts'

/** At the beginning code is compiled and connections open: not counted. */
const warmUpMs = 4_000
const drainMs = 20_000

export interface LatencyRun {
  readonly scenario: string
  readonly candidate: string
  readonly run: number
  readonly recordsPerSecond: number
  readonly records: number
  readonly recordsOut: number
  readonly p50Ms: number | null
  readonly p99Ms: number | null
  readonly p999Ms: number | null
  readonly maxMs: number | null
  readonly foreignCores: number
}

export async function measureLatency(
  stage: Stage,
  scenario: Scenario,
  candidate: Candidate,
  load: Load,
  run = 1,
): Promise<LatencyRun> {
  const name = stage.name(scenario.id, candidate.id, 'latency', `r${run}`)
  const input = `${name}-in`
  const output = `${name}-out`
  await stage.createTopic(input)
  await stage.createTopic(output)
  const latencies: number[] = []
  let countFromMs = Number.POSITIVE_INFINITY
  let recordsOut = 0
  try {
    const told = argumentsOf(stage, scenario, candidate, { name, input, output })
    await using system = new SystemProcess(await candidate.program.command(told, []))
    await system.running
    const follower = await stage.reader.follow([output], (chunk) => {
      recordsOut += chunk.count
      for (let index = 0; index < chunk.count; index++) {
        const { timestamp } = chunk.record(index)
        if (timestamp >= countFromMs) latencies.push(chunk.arrivedAtMs - timestamp)
      }
    })
    const before = snapshot(stage, system)
    countFromMs = Date.now() + warmUpMs
    const records = await feed(stage, input, load)
    const after = snapshot(stage, system)
    const deadline = Date.now() + drainMs
    while (recordsOut < records && Date.now() < deadline) await sleep(20)
    await follower.stop()
    if (follower.failure) throw follower.failure
    await system.stop()
    return {
      scenario: scenario.id,
      candidate: candidate.id,
      run,
      recordsPerSecond: load.recordsPerSecond,
      records,
      recordsOut,
      p50Ms: percentile(latencies, 0.5) ?? null,
      p99Ms: percentile(latencies, 0.99) ?? null,
      p999Ms: percentile(latencies, 0.999) ?? null,
      maxMs: percentile(latencies, 1) ?? null,
      foreignCores: Math.max(0, after.foreignUs - before.foreignUs) / 1_000 / (after.atMs - before.atMs),
    }
  } finally {
    await stage.deleteTopicsOf(name)
  }
}

function snapshot(stage: Stage, system: SystemProcess): { atMs: number; foreignUs: number } {
  const { user, system: kernel } = process.cpuUsage()
  const ownUs = system.cpuUs + (stage.brokerCpuUs ?? 0) + user + kernel
  return { atMs: performance.now(), foreignUs: machineCpu().busyUs - ownUs }
}
