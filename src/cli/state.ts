// millrace state get | scan: state as of the newest committed checkpoints, as lines of JSON.
import { MillraceError } from '../base/errors.ts'
import { parseCommand, SETTINGS_FLAGS, textFlag } from './arguments.ts'
import { inspected, jsonText } from './inspect.ts'

const OPTIONS = { ...SETTINGS_FLAGS, key: { type: 'string' } } as const

export async function stateCommand([name = '', ...argv]: readonly string[]): Promise<number> {
  if (name !== 'get' && name !== 'scan')
    throw new MillraceError('USAGE', `millrace state ${name}: get or scan is expected`)
  const names = { required: ['operator', 'state'] }
  const { values, module, rest } = parseCommand(`state ${name}`, argv, OPTIONS, names)
  const [operator = '', state = ''] = rest
  const key = textFlag(values, 'key')
  if (name === 'get' && key === undefined) throw new MillraceError('USAGE', 'millrace state get: --key is required')
  return inspected(module, values, async ({ inspection }) => {
    let found = 0
    for await (const row of inspection.state(operator, state)) {
      if (key !== undefined && !isKey(row.key, key)) continue
      found++
      process.stdout.write(`${jsonText(row)}\n`)
    }
    return name === 'get' && found === 0 ? 1 : 0
  })
}

/** Text as it is, everything else as JSON has it. */
const isKey = (key: unknown, text: string): boolean => (typeof key === 'string' ? key : jsonText(key)) === text
