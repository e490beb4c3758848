/**
 * One run at a fixed rate in which the system's process is killed and started again at once, as a supervisor would, or its worker
 * under a supervisor of its own: when a read_committed reader sees the first output of an input that was made after the kill, and
 * the last one that is late.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Candidate } from './candidates.ts'
import { feed, type Load } from './fixed-rate.ts'
import type { Scenario } from './scenarios/scenario.ts'
import type { Stage } from './stage.ts'
import { SystemProcess } from './system-process.ts'
import { argumentsOf } from './throughput.ts'

const killedAfter = 0.4
/** At the beginning code is compiled and connections open: no measure of the normal latency. */
const warmUpMs = 3_000
const drainMs = 90_000
/** So much more than the slowest output before the kill is late; less is a pause of anybody's. */
export const lateMs = 100
/** More than an interval. */
const quietMs = 2_000

export interface RecoveryRun {
  readonly scenario: string
  readonly candidate: string
  readonly run: number
  readonly recordsPerSecond: number
  readonly records: number
  readonly recordsOut: number
  /** What a reader found in the end is what the model gives, byte for byte. */
  readonly exact: boolean
  /** From SIGKILL to the first output of an input made after it; null: none came. */
  readonly firstOutputMs: number | null
  /** From SIGKILL to the last late output; null: none was. */
  readonly caughtUpMs: number | null
}

/** What the reader of the output saw. */
class Arrivals {
  recordsOut = 0
  killedAtMs = Number.POSITIVE_INFINITY
  firstOutputMs: number | null = null
  caughtUpMs: number | null = null
  readonly #countFromMs = Date.now() + warmUpMs
  #normalMs = 0

  add(timestamp: number, arrivedAtMs: number): void {
    this.recordsOut++
    const latencyMs = arrivedAtMs - timestamp
    const sinceKillMs = arrivedAtMs - this.killedAtMs
    if (sinceKillMs < 0) {
      if (timestamp >= this.#countFromMs) this.#normalMs = Math.max(this.#normalMs, latencyMs)
      return
    }
    if (timestamp >= this.killedAtMs) this.firstOutputMs ??= sinceKillMs
    if (latencyMs > this.#normalMs + lateMs) this.caughtUpMs = sinceKillMs
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
    feeding.catch(() => undefined)
    await sleep(load.seconds * killedAfter * 1_000)
    arrivals.killedAtMs = Date.now()
    const alone = candidate.program.supervises !== undefined
    if (alone) first.killWorker()
    else await first.kill()
    await using successor = alone ? undefined : new SystemProcess(command)
    const system = successor ?? first
    const records = await feeding
    const deadline = Date.now() + drainMs
    while (arrivals.recordsOut < records && system.alive && Date.now() < deadline) await sleep(20)
    // What is there twice may come later.
    await sleep(quietMs)
    await follower.stop()
    if (follower.failure) throw follower.failure
    if (system.alive) await system.stop()
    const { exact } = await (await scenario.expect(stage.reader, input)).check(output)
    const { recordsOut, firstOutputMs, caughtUpMs } = arrivals
    return {
      scenario: scenario.id,
      candidate: candidate.id,
      run,
      recordsPerSecond: load.recordsPerSecond,
      records,
      recordsOut,
      exact,
      firstOutputMs,
      caughtUpMs,
    }
  } finally {
    await stage.deleteTopicsOf(name)
  }
}
