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

export async function prepareInput(
  { stage, progress }: { readonly stage: Stage; readonly progress: Progress },
  name: string,
  shape: InputShape,
  workloads: readonly Scenario[],
): Promise<Input> {
  const { records } = shape
  const topic = stage.name(name)
  await stage.writeInput(topic, shape, (written) =>
    progress.live(`${name} · ${Math.round((written / records) * 100)} %`),
  )
  const expected = new Map<string, Expected>()
  for (const scenario of workloads) {
    progress.live(`what ${scenario.id} must give`)
    const must = await scenario.expect(stage.reader, topic)
    if (must.records !== records) throw new Error(`the input has ${must.records} records`)
    expected.set(scenario.id, must)
  }
  const input = { topic, records, partitions: shape.partitions ?? partitions, expected }
  progress.say(`${name} · ${records} records in ${input.partitions} partitions`)
  return input
}

/** @throws RangeError if the input was not prepared for the workload */
export function expectedOf(input: Input, scenario: Scenario): Expected {
  const expected = input.expected.get(scenario.id)
  if (expected) return expected
  throw new RangeError(`the input was not prepared for ${scenario.id}`)
}
