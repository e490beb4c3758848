// The process of one worker. Arguments: one JSON object; its slot comes by message, so that a spare process can load
// everything in advance. Ends with the exit code of the error that ended it.
import { errorTable, MillraceError, messageOf } from '../base/errors.ts'
import { createLogger } from '../base/log.ts'
import { serveHttp } from '../observe/http.ts'
import type { Overrides } from '../plan/options.ts'
import type { ChildMessage, SupervisorMessage } from '../worker/supervisor.ts'
import { Worker } from '../worker/worker.ts'
import { loadPipeline } from './load.ts'

export interface WorkerArguments {
  readonly module: string
  readonly overrides: Overrides
}

/** Waits to be told which slot to fill; undefined: the supervisor has no use for this process any more. */
function firstSlot(): Promise<number | undefined> {
  return new Promise((resolve) => {
    process.on('message', (message: SupervisorMessage) => resolve(message.kind === 'start' ? message.slot : undefined))
    process.on('disconnect', () => resolve(undefined))
    // Ctrl-C reaches the whole process group; a spare has nothing to finish.
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => resolve(undefined))
  })
}

async function main(): Promise<void> {
  const { module, overrides } = JSON.parse(process.argv[2] ?? '{}') as WorkerArguments
  const received = firstSlot()
  const { plan, settings } = await loadPipeline(module, overrides)
  const slot = await received
  if (slot === undefined) return
  const instance = `${settings.instance}-${slot}`
  const log = createLogger({ pipeline: plan.pipeline, instance, slot, pid: process.pid })
  const tell = (message: ChildMessage): void => {
    if (process.connected) process.send?.(message)
  }
  const worker = new Worker({
    plan,
    settings,
    instance,
    log,
    onStep: (when, step, checkpoint) => log.debug({ step: `${when}:${step}`, checkpoint: checkpoint?.toString() }),
    onEvent: ({ event }) => {
      if (event === 'running') tell({ kind: 'running' })
    },
  })
  const stop = (how: 'stop' | 'leave'): void => worker.stop(how)
  process.on('message', (message: SupervisorMessage) => message.kind === 'stop' && stop(message.how))
  process.on('SIGTERM', () => stop('stop'))
  process.on('SIGINT', () => stop('stop'))
  // A child whose supervisor is gone drains and exits.
  process.on('disconnect', () => stop('stop'))
  const http = settings.httpPort > 0 ? await serveHttp(settings.httpPort + slot, worker, log) : undefined
  try {
    await worker.run()
    log.info({ event: 'worker-stopped' }, 'stopped')
  } catch (error) {
    const code = error instanceof MillraceError ? error.code : 'INTERNAL'
    log.error(
      { code, error: messageOf(error), stack: error instanceof MillraceError ? undefined : (error as Error).stack },
      'the worker ends',
    )
    tell({ kind: 'failed', code, message: messageOf(error) })
    process.exitCode = error instanceof MillraceError ? errorTable[error.code].exit : 1
  } finally {
    http?.close()
    if (process.connected) process.disconnect()
  }
}

await main().catch((error: unknown) => {
  process.stderr.write(`${messageOf(error)}\n`)
  process.exitCode = error instanceof MillraceError ? error.exitCode : 1
  if (process.connected) process.disconnect()
})
// What is left (sockets that a dying broker keeps half open) must not keep a finished worker alive.
process.exit(process.exitCode ?? 0)
