// The process of one worker. Arguments: one JSON object; its slot comes by message, so that a spare process can load
// everything in advance. Ends with the exit code of the error that ended it.
import { errorTable, MillraceError, messageOf } from '../base/errors.ts'
import { createLogger } from '../base/log.ts'
import { serveHttp } from '../observe/http.ts'
import type { Overrides } from '../plan/options.ts'
import type { ChildMessage, SupervisorMessage } from '../worker/supervisor.ts'
import { Worker } from '../worker/worker.ts'
import { shrinkWhenIdle } from './idle-heap.ts'
import { loadPipeline } from './load.ts'

export interface WorkerArguments {
  readonly module: string
  readonly overrides: Overrides
}

/** What the supervisor and the system say, from the first line on: modules take a while to load. */
class Orders {
  readonly slot: Promise<number>
  /** Nothing runs yet that would have to end in order. */
  #obey: (how: 'stop' | 'leave') => void = () => process.exit(0)

  constructor() {
    this.slot = new Promise((resolve) => {
      process.on('message', (message: SupervisorMessage) => {
        if (message.kind === 'start') resolve(message.slot)
        else this.#obey(message.how)
      })
    })
    // A child whose supervisor is gone drains and exits. Ctrl-C reaches the whole process group.
    process.on('disconnect', () => this.#obey('stop'))
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => this.#obey('stop'))
  }

  /** From now on there is a worker to stop. */
  hear(obey: (how: 'stop' | 'leave') => void): void {
    this.#obey = obey
  }
}

async function main(): Promise<void> {
  const { module, overrides } = JSON.parse(process.argv[2] ?? '{}') as WorkerArguments
  const orders = new Orders()
  const { plan, settings } = await loadPipeline(module, overrides)
  const slot = await orders.slot
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
    onEvent: ({ event, member }) => {
      if (event === 'joined' && member !== undefined) tell({ kind: 'joined', member })
      if (event === 'running') tell({ kind: 'running' })
    },
  })
  orders.hear((how) => worker.stop(how))
  const http = settings.httpPort > 0 ? await serveHttp(settings.httpPort + slot, worker, log) : undefined
  const shrinking = shrinkWhenIdle(worker.status)
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
    shrinking.cancel()
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
