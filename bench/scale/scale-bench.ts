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
import { type InputShape, Stage } from '../stage.ts'
import { disturbedCores } from '../tables.ts'
import type { ThroughputRun } from '../throughput.ts'
import { measureQuietly } from '../throughput-series.ts'
import { type Idle, measureIdle, measureStart, type Start } from './lifetimes.ts'
import { renderScale } from './report.ts'

const fileOf = (name: string): string => fileURLToPath(new URL(name, import.meta.url))

const partitionCounts = [1, 4, 16, 64, 200]
const valueBytes = [10, 100, 1_000, 10_000, 100_000]
/** Of the larger values there are fewer. */
const inputBytesMax = 2_000_000_000
const workerCounts = [1, 2, 4, 8]
const workersPartitions = 16
const starts = 5

export type CurveName = 'partitions' | 'bytes' | 'workers'

/** One point of a curve. */
interface Point {
  readonly x: number
  readonly shape: InputShape
  readonly candidate: Candidate
}

interface Curve {
  readonly name: CurveName
  readonly scenario: 'W0' | 'W2'
  readonly points: readonly Point[]
}

export interface ScaleRun {
  readonly curve: CurveName
  readonly x: number
  readonly result: ThroughputRun
}

export interface ScaleResults {
  readonly startedAt: string
  readonly machine: Machine
  readonly options: ScaleOptions
  /** Where a run was repeated, the quietest attempt. */
  readonly runs: readonly ScaleRun[]
  readonly failures: readonly string[]
  readonly starts: readonly Start[]
  readonly idle: Idle | undefined
}

function workers(count: number): Candidate {
  if (count === 1) return exactlyOnce
  const settings = [{ name: 'workers', value: String(count), why: 'measured' }]
  return { ...exactlyOnce, program: millraceWorkers, settings }
}

function curvesOf(records: number): Curve[] {
  const named = (candidate: Candidate, name: string): Candidate => ({ ...candidate, id: name, title: name })
  const fewer = (bytes: number): number => Math.min(records, Math.floor(inputBytesMax / bytes))
  return [
    {
      name: 'partitions',
      scenario: 'W2',
      points: partitionCounts.map((x) => ({
        x,
        shape: { records, partitions: x },
        candidate: named(exactlyOnce, `${x}-partitions`),
      })),
    },
    {
      name: 'workers',
      scenario: 'W2',
      points: workerCounts.map((x) => ({
        x,
        shape: { records, partitions: workersPartitions },
        candidate: named(workers(x), `${x}-workers`),
      })),
    },
    {
      name: 'bytes',
      scenario: 'W0',
      points: valueBytes.map((x) => ({
        x,
        shape: { records: fewer(x), bytes: x },
        candidate: named(exactlyOnce, `${x}-bytes`),
      })),
    },
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
  const runs: ScaleRun[] = []
  const failures: string[] = []
  await progress.series(curvesOf(options.records), (curve) =>
    measureCurve({ stage, options, progress }, curve, runs, failures),
  )
  const machine = describeMachine()
  const results = { startedAt, machine, options, runs, failures, starts: startTimes, idle: idles[0] }
  const text = renderScale(results)
  process.stdout.write(text)
  if (!options.quick) {
    writeFileSync(fileOf('../scale.json'), `${JSON.stringify(results, undefined, 1)}\n`)
    writeFileSync(fileOf('../SCALE.md'), text)
  }
  return failures.length === 0 && runs.every(({ result }) => result.exact)
}

/** Points that read the same input share it; it goes when the curve is done. A run that fails ends itself only. */
async function measureCurve(
  order: { readonly stage: Stage; readonly options: ScaleOptions; readonly progress: Progress },
  { name, scenario: id, points }: Curve,
  runs: ScaleRun[],
  failures: string[],
): Promise<void> {
  const { stage, options, progress } = order
  const scenario = scenarioOf(id)
  const inputs = new Map<string, Input>()
  for (const { x, shape } of points) {
    const key = JSON.stringify(shape)
    if (inputs.has(key) || progress.interrupted) continue
    inputs.set(key, await prepareInput(order, `input-${name}-${x}`, shape, [scenario]))
  }
  const numbers = Array.from({ length: options.runs }, (_, index) => index + 1)
  await progress.series(
    numbers.flatMap((run) => points.map((point) => ({ run, ...point }))),
    async ({ run, x, shape, candidate }) => {
      const input = inputs.get(JSON.stringify(shape))
      if (!input) throw new RangeError('no such input')
      try {
        const tried = await measureQuietly(order, { run, scenario, candidate }, input)
        const result = tried.toSorted((a, b) => disturbedCores(a) - disturbedCores(b))[0]
        if (result) runs.push({ curve: name, x, result })
      } catch (error) {
        if (progress.interrupted) return
        failures.push(`${candidate.title} run ${run}: ${error instanceof Error ? error.message : error}`)
        progress.say(failures.at(-1) ?? '')
      }
    },
  )
  // By its whole name: `…-1` is part of `…-16`.
  for (const { topic } of inputs.values()) await stage.deleteTopic(topic)
}
