// Loads a user's module and makes its plan.
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { MillraceError, messageOf } from '../base/errors.ts'
import { type Overrides, resolveSettings } from '../plan/options.ts'
import { makePlan, type Pipeline } from '../plan/plan.ts'
import { checkClusters } from '../plan/validate.ts'
import type { Plan, Settings } from '../worker/job.ts'

export interface Loaded {
  readonly plan: Plan
  readonly settings: Settings
}

/** @throws MODULE_INVALID, PLAN_INVALID, OPTION_INVALID */
export async function loadPipeline(module: string, overrides: Overrides): Promise<Loaded> {
  const path = resolve(module)
  let exported: { default?: unknown }
  try {
    exported = (await import(pathToFileURL(path).href)) as { default?: unknown }
  } catch (error) {
    if (error instanceof MillraceError) throw error
    throw new MillraceError('MODULE_INVALID', `${module} cannot be loaded: ${messageOf(error)}`, { cause: error })
  }
  const pipeline = exported.default
  if (!isPipeline(pipeline)) {
    throw new MillraceError(
      'MODULE_INVALID',
      `${module} has no pipeline as its default export; write \`export default definePipeline('name', (pipeline) => { … })\``,
    )
  }
  const plan = makePlan(pipeline)
  const settings = resolveSettings(plan.pipeline, pipeline.options, overrides, plan.hops.length > 0)
  checkClusters(plan.graph, settings.kafka.brokers)
  return { plan, settings }
}

function isPipeline(value: unknown): value is Pipeline {
  return typeof value === 'object' && value !== null && (value as { kind?: unknown }).kind === 'millrace-pipeline'
}
