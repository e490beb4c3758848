// millrace plan: what would run, without connecting to anything.
import { describePlan, planMermaid, planText } from '../plan/describe.ts'
import { overridesOf, parseCommand, SETTINGS_FLAGS } from './arguments.ts'
import { loadPipeline } from './load.ts'

const OPTIONS = { ...SETTINGS_FLAGS, json: { type: 'boolean' }, mermaid: { type: 'boolean' } } as const

export async function planCommand(argv: readonly string[]): Promise<number> {
  const { values, module } = parseCommand('plan', argv, OPTIONS)
  const { plan, settings } = await loadPipeline(module, overridesOf(values))
  const description = describePlan(plan, settings)
  if (values.json === true) process.stdout.write(`${JSON.stringify(description, null, 2)}\n`)
  else process.stdout.write(values.mermaid === true ? planMermaid(description) : planText(description))
  return 0
}
