/**
 * The upgrade of `npm run demo:savepoint`: when half of the bids are written, the pipeline is stopped and drained into a savepoint, and
 * its next version goes on from there; bids flow all the time. Everything is done by the command line, as a user would do it.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Feed } from './feed.ts'
import { DemoError } from './options.ts'
import type { PipelineProcess } from './pipeline-process.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const lookEveryMs = 20
const endLimitMs = 20_000

export interface UpgradeOptions {
  readonly feed: Feed
  /** The old version, its module and settings. */
  readonly pipeline: PipelineProcess
  readonly module: string
  readonly nextModule: string
  readonly env: Readonly<Record<string, string>>
  readonly folder: string
  /** Starts the next version and resolves when all of its workers run. */
  readonly startNext: () => Promise<void>
}

/** Resolves when the next version runs. @throws DemoError UPGRADE_FAILED */
export async function upgrade(options: UpgradeOptions, signal: AbortSignal): Promise<void> {
  const { feed, pipeline, module, nextModule, folder, startNext } = options
  while (feed.sent < feed.total / 2) await sleep(lookEveryMs, undefined, { signal })
  const place = join(folder, 'savepoint')
  await command(options, ['create', module, '--out', place, '--stop', '--drain'], signal)
  const exit = await Promise.race([pipeline.exited, sleep(endLimitMs, null, { signal })])
  if (exit?.code !== 0)
    throw new DemoError('UPGRADE_FAILED', `the old version ended with ${exit?.code ?? 'nothing'}, not with 0`)
  await command(options, ['diff', place, nextModule], signal)
  await command(options, ['restore', place, '--to', nextModule], signal)
  await startNext()
}

/** `millrace savepoint …`; what it says is shown. */
async function command({ env }: UpgradeOptions, argv: readonly string[], signal: AbortSignal): Promise<void> {
  console.log(`$ millrace savepoint ${argv.join(' ')}`)
  const flags = ['--conditions=source', '--disable-warning=ExperimentalWarning']
  const child = spawn(process.execPath, [...flags, 'src/cli/main.ts', 'savepoint', ...argv], {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'inherit', 'inherit'],
    signal,
  })
  const [code] = (await once(child, 'exit')) as [number | null]
  if (code !== 0) throw new DemoError('UPGRADE_FAILED', `millrace savepoint ${argv[0]} ended with ${code}`)
}
