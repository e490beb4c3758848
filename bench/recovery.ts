/**
 * One run at a fixed rate in which the system's process is killed and started again at once, as a supervisor would: when a
 * read_committed reader sees the first output of an input that was made after the kill, and when the backlog is worked off.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Candidate } from './candidates.ts'
import { feed, type Load } from './fixed-rate.ts'
import type { Scenario } from './scenarios/scenario.ts'
import type { Stage } from './stage.ts'
import { percentile } from './statistics.ts'
import { SystemProcess } from './system-process.ts'
import { argumentsOf } from './throughput.ts'

const killedAfter = 0.4
/** At the beginning code is compiled and connections open: no measure of the normal latency. */
const warmUpMs = 3_000
const drainMs = 90_000

export interface RecoveryRun {
  readonly scenario: string
  readonly candidate: string
  readonly run: number
  readonly recordsPerSecond: number
  readonly records: number
  readonly recordsOut: number
  /** From SIGKILL to the first output of an input made after it; null: none came. */
  readonly firstOutputMs: number | null
  /** From SIGKILL to the first output that came as quickly as 99 of 100 did before the kill. */
  readonly caughtUpMs: number | null
}

/** What the reader of the output saw. */
class Arrivals {
  recordsOut = 0
  killedAtMs = Number.POSITIVE_INFINITY
  firstOutputMs: number | null = null
  caughtUpMs: number | null = null
  readonly #countFromMs = Date.now() + warmUpMs
  readonly #before: number[] = []
  #normalMs = 0

  killed(): void {
    this.killedAtMs = Date.now()
    this.#normalMs = percentile(this.#before, 0.99) ?? 0
  }

  add(timestamp: number, arrivedAtMs: number): void {
    this.recordsOut++
    const latencyMs = arrivedAtMs - timestamp
    if (timestamp >= this.killedAtMs) {
      this.firstOutputMs ??= arrivedAtMs - this.killedAtMs
      if (latencyMs <= this.#normalMs) this.caughtUpMs ??= arrivedAtMs - this.killedAtMs
    } else if (timestamp >= this.#countFromMs) this.#before.push(latencyMs)
  }
}

export async function measureRecovery(
  stage: Stage,
  scenario: Scenario,
  candidate: Candidate,
  run: number,
  load: Load,
): Promise<RecoveryRun> {
  const name = stage.name(scenario.id, candidate.id, 'recovery', `r${run}`)
  const input = `${name}-in`
  const output = `${name}-out`
  await stage.createTopic(input)
  await stage.createTopic(output)
  try {
    const command = await candidate.program.command(
      argumentsOf(stage, scenario, candidate, { name, input, output }),
      [],
    )
    await using first = new SystemProcess(command)
    await first.running
    const arrivals = new Arrivals()
    const follower = await stage.reader.follow([output], (chunk) => {
      for (let index = 0; index < chunk.count; index++) arrivals.add(chunk.record(index).timestamp, chunk.arrivedAtMs)
    })
    const feeding = feed(stage, input, load)
    await sleep(load.seconds * killedAfter * 1_000)
    arrivals.killed()
    await first.kill()
    await using second = new SystemProcess(command)
    const records = await feeding
    const deadline = Date.now() + drainMs
    while (arrivals.recordsOut < records && Date.now() < deadline) await sleep(20)
    await follower.stop()
    if (follower.failure) throw follower.failure
    await second.stop()
    const { recordsOut, firstOutputMs, caughtUpMs } = arrivals
    return {
      scenario: scenario.id,
      candidate: candidate.id,
      run,
      recordsPerSecond: load.recordsPerSecond,
      records,
      recordsOut,
      firstOutputMs,
      caughtUpMs,
    }
  } finally {
    await stage.deleteTopicsOf(name)
  }
}
