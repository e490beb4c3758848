// millrace run: a supervisor and its workers.
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { MillraceError, messageOf } from '../base/errors.ts'
import { createLogger } from '../base/log.ts'
import type { Overrides } from '../plan/options.ts'
import { Supervisor } from '../worker/supervisor.ts'
import { loadPipeline } from './load.ts'
import type { WorkerArguments } from './worker-main.ts'

const OPTIONS = {
  workers: { type: 'string' },
  instance: { type: 'string' },
  brokers: { type: 'string' },
  store: { type: 'string' },
  'interval-ms': { type: 'string' },
  'http-port': { type: 'string' },
  leave: { type: 'boolean' },
} as const

export async function runCommand(argv: readonly string[]): Promise<number> {
  const { values, module } = parse(argv)
  const overrides: Overrides = {
    ...(values.instance === undefined ? {} : { instance: values.instance }),
    ...(values.brokers === undefined ? {} : { brokers: values.brokers }),
    ...(values.store === undefined ? {} : { store: values.store }),
    ...(values['interval-ms'] === undefined ? {} : { intervalMs: integer('interval-ms', values['interval-ms'], 1) }),
    ...(values['http-port'] === undefined ? {} : { httpPort: integer('http-port', values['http-port'], 0) }),
  }
  const workers = integer('workers', values.workers ?? '1', 1)
  const { plan, settings } = await loadPipeline(module, overrides)
  const log = createLogger({ pipeline: plan.pipeline })
  const supervisor = new Supervisor({
    plan,
    settings,
    workers,
    log,
    command: (slot) => {
      const given: WorkerArguments = { module, slot, overrides: { ...overrides, instance: settings.instance } }
      return { file: process.execPath, args: [...process.execArgv, workerEntry(), JSON.stringify(given)] }
    },
  })
  const stop = (): void => supervisor.stop(values.leave ? 'leave' : 'stop')
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
  return supervisor.run()
}

/** The worker's entry stands beside this file, as source or built. */
function workerEntry(): string {
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
  return fileURLToPath(new URL(`./worker-main.${extension}`, import.meta.url))
}

function parse(argv: readonly string[]): {
  values: ReturnType<typeof parseArgs<{ options: typeof OPTIONS }>>['values']
  module: string
} {
  try {
    const { values, positionals } = parseArgs({ args: [...argv], options: OPTIONS, allowPositionals: true })
    const [module] = positionals
    if (module === undefined || positionals.length > 1) throw new Error('one module is expected')
    return { values, module }
  } catch (error) {
    throw new MillraceError('USAGE', `millrace run: ${messageOf(error)}; see millrace --help`, { cause: error })
  }
}

export function integer(name: string, text: string, minimum: number): number {
  const value = Number(text)
  if (Number.isInteger(value) && value >= minimum) return value
  throw new MillraceError('USAGE', `--${name} ${text}: a whole number from ${minimum} up is expected`)
}
