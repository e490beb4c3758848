// millrace reset: where a stopped pipeline goes on.
import { readFile } from 'node:fs/promises'
import { MillraceError, messageOf } from '../base/errors.ts'
import { createLogger } from '../base/log.ts'
import { type ResetTarget, resetPipeline } from '../worker/reset.ts'
import { overridesOf, parseCommand, SETTINGS_FLAGS, textFlag } from './arguments.ts'
import { loadPipeline } from './load.ts'

const OPTIONS = { ...SETTINGS_FLAGS, to: { type: 'string' }, state: { type: 'string' } } as const

export async function resetCommand(argv: readonly string[]): Promise<number> {
  const { values, module } = parseCommand('reset', argv, OPTIONS)
  const to = await parseTarget(textFlag(values, 'to'))
  const state = parseState(textFlag(values, 'state'))
  const { plan, settings } = await loadPipeline(module, overridesOf(values))
  const result = await resetPipeline({
    plan,
    settings,
    to,
    state,
    log: createLogger({ pipeline: plan.pipeline }, 'warn'),
  })
  const rows = result.offsets.map(
    ({ topic, partition, from, to: next }) => `  ${topic}-${partition}: ${from} → ${next}`,
  )
  const text = [
    `checkpoint ${result.checkpoint} written${state ? `, state ${state === 'keep' ? 'kept' : 'dropped'}` : ''}`,
    ...rows,
  ]
  process.stdout.write(
    `${text.join('\n')}\nRecords before and behind these offsets may be written again or left out: that was your choice.\n`,
  )
  return 0
}

function parseState(text: string | undefined): 'keep' | 'drop' | undefined {
  if (text === undefined || text === 'keep' || text === 'drop') return text
  throw new MillraceError('USAGE', `--state ${text}: keep or drop is expected`)
}

async function parseTarget(text: string | undefined): Promise<ResetTarget> {
  if (text === 'earliest' || text === 'latest') return text
  if (text === undefined)
    throw new MillraceError('USAGE', 'millrace reset: --to earliest|latest|<timestamp in ms>|<file.json> is required')
  if (/^\d+$/.test(text)) return { timestamp: Number(text) }
  try {
    const parsed = JSON.parse(await readFile(text, 'utf8')) as Record<string, Record<string, string>>
    if (typeof parsed !== 'object' || parsed === null) throw new Error('an object is expected')
    return { file: parsed }
  } catch (error) {
    throw new MillraceError(
      'USAGE',
      `--to ${text}: not earliest, latest or a timestamp, and as a file of offsets ({"topic": {"0": "123"}}) it cannot be read: ${messageOf(error)}`,
      { cause: error },
    )
  }
}
