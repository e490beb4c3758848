/**
 * One run at full speed: a fresh process reads the whole input and writes an output topic of its own. CPU and time are taken
 * between the moments at which 10 % and 90 % of the output were written: start and end do not count.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Candidate } from './candidates.ts'
import { expectedOf, type Input } from './input.ts'
import { machineCpu } from './proc.ts'
import type { Scenario } from './scenarios/scenario.ts'
import type { Stage } from './stage.ts'
import { SystemProcess } from './system-process.ts'
import type { CheckpointTimes, SystemArguments } from './systems/messages.ts'

const sampleMs = 50
const windowFrom = 0.1
const windowTo = 0.9
/** No more output for so long: a last checkpoint has come by then. */
const quietMs = 1_500
const stallMs = 120_000

interface Sample {
  readonly atMs: number
  /** High watermarks: records and transaction markers, visible or not. */
  readonly written: number
  readonly systemUs: number
  readonly brokerUs: number | undefined
  readonly benchUs: number
  readonly busyUs: number
  readonly stolenUs: number
}

export interface ThroughputRun {
  readonly scenario: string
  readonly candidate: string
  readonly run: number
  /** How often it was repeated because something else used the machine. */
  readonly attempt: number
  readonly records: number
  readonly windowMs: number
  readonly cpuUsPerRecord: number
  /** The same of the window's second half, 50 to 90 %: less of the compiler's work is in it. */
  readonly cpuUsPerRecordLate: number
  readonly recordsPerSecond: number
  readonly brokerUsPerRecord: number | null
  /** Cores that other processes used in the window. */
  readonly foreignCores: number
  readonly stolenCores: number
  readonly peakRssMb: number
  readonly exact: boolean
  readonly recordsOut: number
  readonly checkpoints: readonly CheckpointTimes[]
  readonly rollBacks: number
}

export interface ThroughputOrder {
  readonly stage: Stage
  readonly scenario: Scenario
  readonly candidate: Candidate
  readonly run: number
  readonly attempt: number
  readonly input: Input
  readonly nodeFlags?: readonly string[]
  readonly onProgress: (written: number) => void
}

export async function measureThroughput(order: ThroughputOrder): Promise<ThroughputRun> {
  const { stage, scenario, candidate, run, attempt, input } = order
  const { records } = input
  // Nothing of a run with fewer records is met again.
  const name = stage.name(scenario.id, candidate.id, `r${run}`, `a${attempt}`, `n${records}`)
  const output = `${name}-out`
  await stage.createTopic(output, input.partitions)
  try {
    const given = argumentsOf(stage, scenario, candidate, { name, input: input.topic, output })
    await using system = new SystemProcess(await candidate.program.command(given, order.nodeFlags ?? []))
    const samples = await watch(order, system, output)
    const { summary, peakRssBytes } = await system.stop()
    const verdict = await expectedOf(input, scenario).check(output)
    return {
      scenario: scenario.id,
      candidate: candidate.id,
      run,
      attempt,
      records,
      ...evaluate(samples, records),
      peakRssMb: peakRssBytes / 2 ** 20,
      ...verdict,
      checkpoints: summary.checkpoints,
      rollBacks: summary.rollBacks,
    }
  } finally {
    await stage.deleteTopicsOf(name)
  }
}

/** What a system is told: its workload, its topics, and its name, from which all others derive. */
export function argumentsOf(
  stage: Stage,
  scenario: Scenario,
  { mode, intervalMs, settings, onDisk = [], fieldsNamed = false }: Candidate,
  { name, input, output }: { readonly name: string; readonly input: string; readonly output: string },
): SystemArguments {
  const { brokers } = stage.broker
  return {
    scenario: scenario.id,
    brokers,
    pipeline: name,
    input,
    output,
    mode,
    intervalMs,
    fieldsNamed,
    store: `${stage.folder}/${name}`,
    settings: Object.fromEntries((scenario.onDisk ? onDisk : settings).map((setting) => [setting.name, setting.value])),
  }
}

async function watch(order: ThroughputOrder, system: SystemProcess, output: string): Promise<Sample[]> {
  const { stage, onProgress } = order
  const { records } = order.input
  await system.running
  const samples: Sample[] = []
  let changedAtMs = performance.now()
  for (;;) {
    if (!system.alive) throw new Error('the system under test ended by itself')
    const written = await stage.offset(output, 'high-watermark')
    const { busyUs, stolenUs } = machineCpu()
    const { user, system: kernel } = process.cpuUsage()
    const sample = {
      atMs: performance.now(),
      written,
      systemUs: system.cpuUs,
      brokerUs: stage.brokerCpuUs,
      benchUs: user + kernel,
      busyUs,
      stolenUs,
    }
    if (written !== samples.at(-1)?.written) changedAtMs = sample.atMs
    samples.push(sample)
    onProgress(written)
    const quiet = sample.atMs - changedAtMs
    if (written >= records && quiet >= quietMs && (await stage.offset(output, 'last-stable')) === written)
      return samples
    if (quiet > stallMs) throw new Error(`no output for ${stallMs / 1_000} s: ${written} of ${records}`)
    await sleep(sampleMs)
  }
}

/** Markers are spread evenly over the output: a share of the offsets is the same share of the records. */
function evaluate(samples: readonly Sample[], records: number) {
  const total = samples.at(-1)?.written ?? 0
  const reached = (share: number): Sample => {
    const found = samples.find((sample) => sample.written >= share * total)
    if (!found) throw new Error('no output was seen')
    return found
  }
  const from = reached(windowFrom)
  const middle = reached((windowFrom + windowTo) / 2)
  const to = reached(windowTo)
  const recordsBetween = (one: Sample, other: Sample): number => ((other.written - one.written) / total) * records
  const count = recordsBetween(from, to)
  const windowMs = to.atMs - from.atMs
  const systemUs = to.systemUs - from.systemUs
  const brokerUs = to.brokerUs === undefined || from.brokerUs === undefined ? undefined : to.brokerUs - from.brokerUs
  const ownUs = systemUs + (brokerUs ?? 0) + to.benchUs - from.benchUs
  return {
    windowMs,
    cpuUsPerRecord: systemUs / count,
    cpuUsPerRecordLate: (to.systemUs - middle.systemUs) / recordsBetween(middle, to),
    recordsPerSecond: (count / windowMs) * 1_000,
    brokerUsPerRecord: brokerUs === undefined ? null : brokerUs / count,
    foreignCores: Math.max(0, to.busyUs - from.busyUs - ownUs) / 1_000 / windowMs,
    stolenCores: (to.stolenUs - from.stolenUs) / 1_000 / windowMs,
  }
}
