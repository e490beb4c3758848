import { jsonMap } from './json-map.ts'
import { keyedAggregate } from './keyed-aggregate.ts'
import { passthrough } from './passthrough.ts'
import type { Scenario } from './scenario.ts'

export const scenarios: readonly Scenario[] = [passthrough, jsonMap, keyedAggregate]

/** @throws RangeError */
export function scenarioOf(id: string): Scenario {
  const found = scenarios.find((scenario) => scenario.id === id)
  if (found) return found
  throw new RangeError(`workload ${id}; there are ${scenarios.map((scenario) => scenario.id).join(', ')}`)
}
