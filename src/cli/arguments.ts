// Parsing of command lines, with one kind of error.
import { type ParseArgsConfig, parseArgs } from 'node:util'
import { MillraceError, messageOf } from '../base/errors.ts'
import type { Overrides } from '../plan/options.ts'

/** Flags that every command takes: they override settings. */
export const SETTINGS_FLAGS = {
  instance: { type: 'string' },
  brokers: { type: 'string' },
  store: { type: 'string' },
  'interval-ms': { type: 'string' },
  'http-port': { type: 'string' },
} as const

export type FlagValues = Readonly<Record<string, string | boolean | undefined>>

/** What follows the module, in this order. */
export interface MoreArguments {
  readonly required?: readonly string[]
  readonly optional?: readonly string[]
}

/** One module, what follows it, and flags. @throws USAGE */
export function parseCommand(
  command: string,
  argv: readonly string[],
  options: NonNullable<ParseArgsConfig['options']>,
  { required = [], optional = [] }: MoreArguments = {},
): { readonly values: FlagValues; readonly module: string; readonly rest: readonly string[] } {
  try {
    const { values, positionals } = parseArgs({ args: [...argv], options, allowPositionals: true })
    const [module, ...rest] = positionals
    const fits = rest.length >= required.length && rest.length <= required.length + optional.length
    if (module === undefined || !fits) throw new Error(`${['one module', ...required].join(', ')} is expected`)
    return { values: values as FlagValues, module, rest }
  } catch (error) {
    throw new MillraceError('USAGE', `millrace ${command}: ${messageOf(error)}; see millrace --help`, { cause: error })
  }
}

export function textFlag(values: FlagValues, name: string): string | undefined {
  const value = values[name]
  return typeof value === 'string' ? value : undefined
}

/** @throws USAGE */
export function integerFlag(values: FlagValues, name: string, minimum: number): number | undefined {
  const text = textFlag(values, name)
  if (text === undefined) return undefined
  const value = Number(text)
  if (Number.isInteger(value) && value >= minimum) return value
  throw new MillraceError('USAGE', `--${name} ${text}: a whole number from ${minimum} up is expected`)
}

export function overridesOf(values: FlagValues): Overrides {
  const given = {
    instance: textFlag(values, 'instance'),
    brokers: textFlag(values, 'brokers'),
    store: textFlag(values, 'store'),
    intervalMs: integerFlag(values, 'interval-ms', 1),
    httpPort: integerFlag(values, 'http-port', 0),
  }
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined))
}
