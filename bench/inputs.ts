/** Inputs of several sizes: each is made when it is first wanted, and read by a workload when that first wants it. */
import { waitUntil } from '../connectors/kafka/testing/wait.ts'
import { withoutCheckpoints } from './candidates.ts'
import { expectedFrom, type Input, type Place, writeInput } from './input.ts'
import { scenarioOf } from './scenarios/all.ts'
import type { Scenario } from './scenarios/scenario.ts'
import { SystemProcess } from './system-process.ts'
import { argumentsOf } from './throughput.ts'

const copyLimitMs = 300_000

export class Inputs {
  readonly #place: Place
  readonly #bySize = new Map<number, Input>()

  constructor(place: Place) {
    this.#place = place
  }

  async of(records: number, scenario: Scenario): Promise<Input> {
    const known = this.#bySize.get(records) ?? (await this.#make(records))
    this.#bySize.set(records, known)
    const must = known.expected.get(scenario.id) ?? (await expectedFrom(this.#place, known, scenario))
    const input = { ...known, expected: new Map([...known.expected, [scenario.id, must]]) }
    this.#bySize.set(records, input)
    return input
  }

  /** A part of it that is there already is read several times: that is much quicker than making bids. */
  async #make(records: number): Promise<Input> {
    const parts = [...this.#bySize.values()].filter((each) => records % each.records === 0)
    const part = parts.toSorted((a, b) => b.records - a.records)[0]
    if (!part) return writeInput(this.#place, `input-${records}`, { records })
    const times = records / part.records
    const topic = this.#place.stage.name(`input-${records}`)
    await this.#place.stage.createTopic(topic, part.partitions)
    for (let time = 1; time <= times; time++) await this.#copy(part, topic, time)
    this.#place.progress.say(
      `${records} records in ${part.partitions} partitions, ${times} times those of ${part.topic}`,
    )
    return { ...part, topic, records, expected: new Map() }
  }

  /** Records keep their partition and order. The count of what came is checked when a workload's expectation is made. */
  async #copy(part: Input, topic: string, time: number): Promise<void> {
    const { stage, progress } = this.#place
    const name = stage.name('copy', topic, time)
    const given = argumentsOf(stage, scenarioOf('W0'), withoutCheckpoints, { name, input: part.topic, output: topic })
    await using system = new SystemProcess(await withoutCheckpoints.program.command(given, []))
    await system.running
    const copied = async (): Promise<boolean> => {
      const written = await stage.offset(topic, 'high-watermark')
      progress.live(`${topic} · ${written} records`)
      return written >= time * part.records
    }
    if (!(await waitUntil(copied, { timeoutMs: copyLimitMs, everyMs: 100 })))
      throw new Error(`${topic} was not copied within ${copyLimitMs / 1_000} s`)
    await system.stop()
  }
}
