/** The command line of `npm start`, and the error that carries a code into the last line. */
import { parseArgs } from 'node:util'

export interface DemoOptions {
  /** Bids to write. */
  readonly records: number
  /** Bids per second. */
  readonly rate: number
  /** Workers to kill while the input flows. */
  readonly kills: number
  /** Worker processes. */
  readonly workers: number
  /** Of the bids, the victims and the moments. */
  readonly seed: number
  /** The pipeline is replaced by its next version, by way of a savepoint; nobody is killed. */
  readonly savepoint: boolean
}

export const demoDefaults: DemoOptions = {
  records: 600_000,
  rate: 15_000,
  kills: 5,
  workers: 2,
  seed: 1,
  savepoint: false,
}

export const demoUsage: string = `npm start -- [--records ${demoDefaults.records}] [--rate ${demoDefaults.rate}] [--kills ${demoDefaults.kills}] [--workers ${demoDefaults.workers}] [--seed ${demoDefaults.seed}]
  --savepoint replaces the pipeline by its next version on the way, and kills nobody (\`npm run demo:savepoint\`)
  KAFKA_BROKERS=host:port,… takes that cluster instead of starting a broker`

/** Why there can be no verdict; `code` is in the last line, the message says what to do. */
export class DemoError extends Error {
  readonly code: string

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'DemoError'
    this.code = code
  }
}

type NumberName = Exclude<keyof DemoOptions, 'savepoint'>

/** @throws DemoError USAGE */
export function parseDemoOptions(argv: readonly string[]): DemoOptions {
  const flag = { type: 'string' } as const
  const options = {
    ...{ records: flag, rate: flag, kills: flag, workers: flag, seed: flag },
    savepoint: { type: 'boolean' },
  } as const
  let values: Partial<Record<NumberName, string>> & { savepoint?: boolean }
  try {
    values = parseArgs({ args: [...argv], options, strict: true }).values
  } catch (cause) {
    const said = cause instanceof Error ? cause.message : String(cause)
    throw new DemoError('USAGE', `${said}\n${demoUsage}`, { cause })
  }
  const savepoint = values.savepoint === true
  const number = (name: NumberName, min: number, max: number): number => {
    const text = values[name]
    if (text === undefined) return demoDefaults[name]
    const value = Number(text.replaceAll('_', ''))
    if (Number.isInteger(value) && value >= min && value <= max) return value
    throw new DemoError('USAGE', `--${name} is a whole number from ${min} to ${max}, not ${text}\n${demoUsage}`)
  }
  return {
    records: number('records', 1, 50_000_000),
    rate: number('rate', 1, 1_000_000),
    kills: savepoint ? 0 : number('kills', 0, 1_000),
    workers: number('workers', 1, 16),
    seed: number('seed', 0, 2 ** 32 - 1),
    savepoint,
  }
}
