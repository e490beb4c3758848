import type { PlainWork } from '../output-check.ts'
import { jsonMap } from './json-map.ts'
import { keyedAggregate, keyedAggregateOnDisk } from './keyed-aggregate.ts'
import { passthrough } from './passthrough.ts'
import { rekeyedAggregate } from './rekeyed-aggregate.ts'
import type { Scenario } from './scenario.ts'

export const scenarios: readonly Scenario[] = [
  passthrough,
  jsonMap,
  keyedAggregate,
  keyedAggregateOnDisk,
  rekeyedAggregate,
]

/** @throws RangeError */
export function scenarioOf(id: string): Scenario {
  const found = scenarios.find((scenario) => scenario.id === id)
  if (found) return found
  throw new RangeError(`workload ${id}; there are ${scenarios.map((scenario) => scenario.id).join(', ')}`)
}

/** The plain code of a workload, for a loop. @throws RangeError */
export function plainWorkOf(id: string): PlainWork {
  const { plain } = scenarioOf(id)
  if (plain) return plain()
  throw new RangeError(`workload ${id} has no plain code: its records move between partitions`)
}
