// What the commands that look have in common: a pipeline's cluster and store, opened for reading.
import type { CheckpointStore } from '../base/checkpoint-store.ts'
import { MillraceError } from '../base/errors.ts'
import { createLogger } from '../base/log.ts'
import { Inspection } from '../worker/inspection.ts'
import type { Plan, Settings } from '../worker/job.ts'
import { storeOf } from '../worker/store.ts'
import { type FlagValues, overridesOf } from './arguments.ts'
import { loadPipeline } from './load.ts'

export interface Inspected {
  readonly inspection: Inspection
  readonly store: CheckpointStore
  readonly plan: Plan
  readonly settings: Settings
  readonly cluster: Awaited<ReturnType<Plan['factory']['connect']>>
}

export async function inspected<T>(
  module: string,
  values: FlagValues,
  work: (inspected: Inspected) => Promise<T>,
): Promise<T> {
  const { plan, settings } = await loadPipeline(module, overridesOf(values))
  const log = createLogger({ pipeline: plan.pipeline }, 'warn')
  const cluster = await plan.factory.connect(settings.kafka, `${settings.instance}-inspect`, log)
  try {
    const store = storeOf(cluster, plan, settings)
    // Opening makes a store where there is none: a mistyped folder would look like an empty one.
    if ((await store.list()).length === 0) {
      const text = `checkpoint store ${store.location} holds no checkpoint of '${plan.pipeline}'; is it the right one (checkpoint.store, MILLRACE_STORE, --store)?`
      throw new MillraceError('CHECKPOINT_MISSING', text)
    }
    const inspection = new Inspection({ cluster, plan, store, retained: settings.retained })
    return await work({ inspection, store, plan, settings, cluster })
  } finally {
    await cluster[Symbol.asyncDispose]()
  }
}

/** As JSON has it; what it has not is written as text: bigints in digits, bytes in base64. */
export function jsonText(value: unknown, indent?: number): string {
  return JSON.stringify(
    value,
    function (this: Record<string, unknown>, name, each: unknown) {
      const original = this[name]
      if (Buffer.isBuffer(original)) return original.toString('base64')
      return typeof each === 'bigint' ? each.toString() : each
    },
    indent,
  )
}
