/** A topic to read, written once for all runs, and what each workload must make of it. */
import type { Expected } from './output-check.ts'
import type { Progress } from './progress.ts'
import type { Scenario } from './scenarios/scenario.ts'
import { type InputShape, partitions, type Stage } from './stage.ts'

export interface Input {
  readonly topic: string
  readonly records: number
  readonly partitions: number
  /** By workload. */
  readonly expected: ReadonlyMap<string, Expected>
}

export interface Place {
  readonly stage: Stage
  readonly progress: Progress
}

/** Written, and read once by each workload. */
export async function prepareInput(
  place: Place,
  name: string,
  shape: InputShape,
  workloads: readonly Scenario[],
): Promise<Input> {
  const input = await writeInput(place, name, shape)
  const expected = new Map<string, Expected>()
  for (const scenario of workloads) expected.set(scenario.id, await expectedFrom(place, input, scenario))
  return { ...input, expected }
}

export async function writeInput({ stage, progress }: Place, name: string, shape: InputShape): Promise<Input> {
  const { records } = shape
  const topic = stage.name(name)
  await stage.writeInput(topic, shape, (written) =>
    progress.live(`${name} · ${Math.round((written / records) * 100)} %`),
  )
  const input = { topic, records, partitions: shape.partitions ?? partitions, expected: new Map() }
  progress.say(`${name} · ${records} records in ${input.partitions} partitions`)
  return input
}

/** What the workload must make of it: the input is read. */
export async function expectedFrom(
  { stage, progress }: Place,
  { topic, records }: Input,
  scenario: Scenario,
): Promise<Expected> {
  progress.live(`what ${scenario.id} must give`)
  const must = await scenario.expect(stage.reader, topic)
  if (must.records !== records) throw new Error(`the input has ${must.records} records`)
  return must
}

/** @throws RangeError if the input was not prepared for the workload */
export function expectedOf(input: Input, scenario: Scenario): Expected {
  const expected = input.expected.get(scenario.id)
  if (expected) return expected
  throw new RangeError(`the input was not prepared for ${scenario.id}`)
}
