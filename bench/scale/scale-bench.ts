/** `npm run bench -- scale`: what a record costs with more partitions, larger values, more workers; what a start takes, and idling. Writes bench/SCALE.md. */
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { runNode } from '../../scripts/testing/child.ts'
import { type Candidate, exactlyOnce } from '../candidates.ts'
import { describeMachine, type Machine } from '../environment.ts'
import { type Input, prepareInput } from '../input.ts'
import type { ScaleOptions } from '../options.ts'
import { millraceWorkers } from '../programs.ts'
import type { Progress } from '../progress.ts'
import { scenarioOf } from '../scenarios/all.ts'
import type { Scenario } from '../scenarios/scenario.ts'
import { type InputShape, Stage } from '../stage.ts'
import { measureThroughput, type ThroughputRun } from '../throughput.ts'
import { type Idle, measureIdle, measureStart, type Start } from './lifetimes.ts'
import { renderScale } from './report.ts'

const fileOf = (name: string): string => fileURLToPath(new URL(name, import.meta.url))

const partitionCounts = [1, 4, 16, 64, 200]
const valueBytes = [10, 100, 1_000, 10_000, 100_000]
/** Of the largest values there are fewer. */
const inputBytesMax = 1_000_000_000
const workerCounts = [1, 2, 4, 8]
const workersPartitions = 16
const starts = 5

/** One point of a curve. */
export interface Point {
  readonly curve: 'partitions' | 'bytes' | 'workers'
  readonly x: number
  readonly shape: InputShape
  readonly scenario: Scenario
  readonly candidate: Candidate
}

export interface ScaleResults {
  readonly startedAt: string
  readonly machine: Machine
  readonly options: ScaleOptions
  readonly runs: readonly { readonly point: Pick<Point, 'curve' | 'x'>; readonly result: ThroughputRun }[]
  readonly starts: readonly Start[]
  readonly idle: Idle | undefined
}

function pointsOf(records: number): Point[] {
  const workers = (count: number): Candidate =>
    count === 1
      ? exactlyOnce
      : {
          ...exactlyOnce,
          id: `workers-${count}`,
          program: millraceWorkers,
          settings: [{ name: 'workers', value: String(count), why: 'measured' }],
        }
  return [
    ...partitionCounts.map((x) => ({
      ...{ curve: 'partitions' as const, x, shape: { records, partitions: x } },
      ...{ scenario: scenarioOf('W2'), candidate: exactlyOnce },
    })),
    ...valueBytes.map((x) => ({
      ...{ curve: 'bytes' as const, x, shape: { records: Math.min(records, Math.floor(inputBytesMax / x)), bytes: x } },
      ...{ scenario: scenarioOf('W0'), candidate: exactlyOnce },
    })),
    ...workerCounts.map((x) => ({
      // The first ones are at work before the last have joined.
      ...{ curve: 'workers' as const, x, shape: { records: 2 * records, partitions: workersPartitions } },
      ...{ scenario: scenarioOf('W2'), candidate: workers(x) },
    })),
  ]
}

/** @returns whether every output was exact */
export async function runScaleBench(options: ScaleOptions, progress: Progress): Promise<boolean> {
  const { status, output } = await runNode([fileOf('../../scripts/build.ts')], { output: 'capture' })
  if (status !== 0) throw new Error(`the package does not build:\n${output}`)
  const startedAt = new Date().toISOString()
  await using stage = await Stage.open((line) => progress.say(`broker: ${line}`))
  const startTimes: Start[] = []
  await progress.series([...Array(starts).keys()], async (run) => {
    const start = await measureStart(stage, run)
    startTimes.push(start)
    progress.say(`start ${run + 1} · first output after ${start.firstOutputMs} ms`)
  })
  const idles: Idle[] = []
  await progress.series([0], async () => {
    const idle = await measureIdle(stage)
    idles.push(idle)
    const text = idle.processes.map(({ cores, rssMb }) => `${(cores * 100).toFixed(2)} % ${rssMb.toFixed(0)} MB`)
    progress.say(`idle · ${text.join(' · ')}`)
  })
  const runs = await measurePoints(stage, options, progress)
  const results = { startedAt, machine: describeMachine(), options, runs, starts: startTimes, idle: idles[0] }
  const text = renderScale(results)
  process.stdout.write(text)
  if (!options.quick) {
    writeFileSync(fileOf('../scale.json'), `${JSON.stringify(results, undefined, 1)}\n`)
    writeFileSync(fileOf('../SCALE.md'), text)
  }
  return runs.every(({ result }) => result.exact)
}

/** Points that read the same input share it. */
async function measurePoints(stage: Stage, options: ScaleOptions, progress: Progress): Promise<ScaleResults['runs']> {
  const points = pointsOf(options.records)
  const inputs = new Map<string, Input>()
  await progress.series(points, async ({ curve, x, shape, scenario }) => {
    const key = JSON.stringify(shape)
    if (!inputs.has(key))
      inputs.set(key, await prepareInput({ stage, progress }, `input-${curve}-${x}`, shape, [scenario]))
  })
  const runs: ScaleResults['runs'][number][] = []
  const numbers = Array.from({ length: options.runs }, (_, index) => index + 1)
  await progress.series(
    numbers.flatMap((run) => points.map((point) => ({ run, ...point }))),
    async ({ run, curve, x, shape, scenario, candidate }) => {
      const input = inputs.get(JSON.stringify(shape))
      if (!input) throw new RangeError('no such input')
      const id = `${candidate.id}-${curve}${x}`
      const named = { ...candidate, id }
      const result = await measureThroughput({
        ...{ stage, scenario, candidate: named, run, attempt: 1, input },
        onProgress: (written) => progress.live(`${id} run ${run} · ${Math.round((written / input.records) * 100)} %`),
      })
      runs.push({ point: { curve, x }, result })
      const { cpuUsPerRecord, cpuUsPerRecordLate, recordsPerSecond, exact } = result
      progress.say(
        `${curve} ${x} run ${run} · ${cpuUsPerRecord.toFixed(2)} µs, late ${cpuUsPerRecordLate.toFixed(2)} · ${Math.round(recordsPerSecond / 1_000)} k/s · ${exact ? 'exact' : `NOT EXACT: ${result.recordsOut} out`}`,
      )
    },
  )
  return runs
}
