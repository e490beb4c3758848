/** The pipeline of a workload, as its arguments have it. */
import type { Pipeline } from 'millrace'
import { scenarioOf } from '../scenarios/all.ts'
import type { SystemArguments } from './messages.ts'

/** A checkpoint interval that no run reaches. */
const NEVER_MS = 3_600_000

/** @throws RangeError */
export function pipelineOf(given: SystemArguments): Pipeline {
  const { scenario, brokers, pipeline, input, output, mode, intervalMs, store } = given
  const cacheBytesMax = given.settings['state.cacheBytesMax']
  const { pipeline: plainly, fieldsNamed: naming } = scenarioOf(scenario)
  const define = given.fieldsNamed ? naming : plainly
  if (!define) throw new RangeError(`workload ${scenario} has no variant that names its fields`)
  return define(
    { pipeline, input, output },
    {
      kafka: { brokers },
      checkpoint: { mode, store, intervalMs: intervalMs === 0 ? NEVER_MS : intervalMs },
      state: {
        backend: given.settings['state.backend'] === 'leveldb' ? 'leveldb' : 'heap',
        folder: `${store}-state`,
        ...(cacheBytesMax ? { cacheBytesMax: Number(cacheBytesMax) } : {}),
      },
      http: { port: 0 },
    },
  )
}
