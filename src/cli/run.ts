// millrace run: a supervisor and its workers.
import { fileURLToPath } from 'node:url'
import { createLogger } from '../base/log.ts'
import { Supervisor } from '../worker/supervisor.ts'
import { integerFlag, overridesOf, parseCommand, SETTINGS_FLAGS } from './arguments.ts'
import { workerHeapFlags } from './heap-flags.ts'
import { loadPipeline } from './load.ts'
import type { WorkerArguments } from './worker-main.ts'

const OPTIONS = { ...SETTINGS_FLAGS, workers: { type: 'string' }, leave: { type: 'boolean' } } as const

export async function runCommand(argv: readonly string[]): Promise<number> {
  const { values, module } = parseCommand('run', argv, OPTIONS)
  const overrides = overridesOf(values)
  const workers = integerFlag(values, 'workers', 1) ?? 1
  // Until something runs there is nothing to end in order; without handlers the first process of a container hears nothing.
  let stop = (): void => process.exit(0)
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => stop())
  const { plan, settings } = await loadPipeline(module, overrides)
  const log = createLogger({ pipeline: plan.pipeline })
  const given: WorkerArguments = { module, overrides: { ...overrides, instance: settings.instance } }
  // The workers, the spare one and the supervisor.
  const flags = [...process.execArgv, ...workerHeapFlags(workers + 2)]
  const supervisor = new Supervisor({
    plan,
    settings,
    workers,
    log,
    command: { file: process.execPath, args: [...flags, workerEntry(), JSON.stringify(given)] },
  })
  stop = () => supervisor.stop(values.leave === true ? 'leave' : 'stop')
  return supervisor.run()
}

/** The worker's entry stands beside this file, as source or built. */
function workerEntry(): string {
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
  return fileURLToPath(new URL(`./worker-main.${extension}`, import.meta.url))
}
