/**
 * A worker's process for tests: a `Worker` of a pipeline module, made as src/cli/worker-main.ts makes it, that does
 * something to itself or to a broker at named effects of the protocol. Arguments: one JSON object. What happens at a
 * point happens inside the worker, synchronously, so that it is exactly there.
 */
import { writeSync } from 'node:fs'
import { errorTable, MillraceError, messageOf } from '../../src/base/errors.ts'
import { createLogger } from '../../src/base/log.ts'
import type { ProtocolStep } from '../../src/base/messages.ts'
import { loadPipeline } from '../../src/cli/load.ts'
import { Worker } from '../../src/worker/worker.ts'

export type PointName = `${'before' | 'after'}:${ProtocolStep}`

export interface Point {
  readonly at: PointName
  /** At which occurrence in this life (behind the point before it in the list); default the first. */
  readonly nth?: number
  /**
   * `kill`: SIGKILL to itself. `hold`: SIGSTOP to itself. `term`: asks itself for an orderly end. `fail`: the effect
   * fails with an error that rolls back. `kill-other`: SIGKILL to `pid`, a broker. `none`: only reports it.
   */
  readonly do: 'kill' | 'hold' | 'term' | 'leave' | 'fail' | 'kill-other' | 'none'
  readonly pid?: number | undefined
}

export interface CrashWorkerArguments {
  readonly module: string
  readonly instance: string
  readonly points: readonly Point[]
}

/** A line of the harness's own among the log lines; written at once, whatever happens next. */
function tell(fields: object): void {
  writeSync(1, `${JSON.stringify(fields)}\n`)
}

function act(point: Point, stop: (how: 'stop' | 'leave') => void): void {
  switch (point.do) {
    case 'kill':
      process.kill(process.pid, 'SIGKILL')
      return
    case 'hold':
      process.kill(process.pid, 'SIGSTOP')
      return
    case 'term':
      stop('stop')
      return
    case 'leave':
      stop('leave')
      return
    case 'fail':
      throw new MillraceError('TRANSACTION_FAILED', `the test lets ${point.at} fail`)
    case 'none':
      return
    case 'kill-other':
      if (point.pid !== undefined) process.kill(point.pid, 'SIGKILL')
      return
  }
}

async function main(): Promise<void> {
  const { module, instance, points } = JSON.parse(process.argv[2] ?? '{}') as CrashWorkerArguments
  const { plan, settings } = await loadPipeline(module, { instance })
  const log = createLogger({ pipeline: plan.pipeline, instance, pid: process.pid })
  const waiting = [...points]
  let occurrences = 0
  const worker = new Worker({
    plan,
    settings,
    instance,
    log,
    onEvent: (event) => tell({ test: 'event', ...event }),
    onStep: (when, step) => {
      const at: PointName = `${when}:${step}`
      const [point] = waiting
      if (point?.at !== at || ++occurrences < (point.nth ?? 1)) return
      waiting.shift()
      occurrences = 0
      tell({ test: 'point', at, do: point.do })
      act(point, (how) => worker.stop(how))
    },
  })
  process.on('message', (message: { how: 'stop' | 'leave' }) => worker.stop(message.how))
  process.on('SIGTERM', () => worker.stop('stop'))
  process.on('disconnect', () => worker.stop('stop'))
  tell({ test: 'listening' })
  try {
    await worker.run()
  } catch (error) {
    const code = error instanceof MillraceError ? error.code : 'INTERNAL'
    tell({ test: 'failed', code, message: messageOf(error), stack: (error as Error).stack })
    process.exitCode = error instanceof MillraceError ? errorTable[error.code].exit : 1
  }
}

await main()
process.exit(process.exitCode ?? 0)
