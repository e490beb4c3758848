/**
 * The checker on the command line. The last line of stdout is the machine line.
 *
 *   node --conditions=source checker/main.ts --brokers host:port --model bid-totals --input bids --output bid-totals \
 *     [--group g] [--hop t]… [--transactions prefix] [--libs folder] [--reader auto|java|raw] [--no-probe] [--committed]
 */
import { parseArgs } from 'node:util'
import { type CheckOptions, check } from './check.ts'
import { CheckerError, messageOf } from './errors.ts'
import { bidTotalsModel } from './models/bid-totals-model.ts'
import { keyedCountModel } from './models/keyed-count-model.ts'
import { passThroughModel } from './models/pass-through-model.ts'
import { type Verdict, verdictErrorLine, verdictLine, verdictTable } from './verdict.ts'

type Scope = Omit<CheckOptions<unknown, unknown>, 'model'>

const models: Readonly<Record<string, (scope: Scope) => Promise<Verdict>>> = {
  'bid-totals': (scope) => check({ ...scope, model: bidTotalsModel }),
  'keyed-count': (scope) => check({ ...scope, model: keyedCountModel }),
  'pass-through': (scope) => check({ ...scope, model: passThroughModel }),
}

function usage(message: string): CheckerError {
  return new CheckerError('USAGE', message)
}

function parse(argv: readonly string[]) {
  const options = {
    brokers: { type: 'string', default: process.env.KAFKA_BROKERS ?? '' },
    model: { type: 'string', default: 'bid-totals' },
    input: { type: 'string', multiple: true },
    output: { type: 'string' },
    hop: { type: 'string', multiple: true },
    group: { type: 'string' },
    transactions: { type: 'string' },
    libs: { type: 'string' },
    reader: { type: 'string', default: 'auto' },
    'no-probe': { type: 'boolean', default: false },
    committed: { type: 'boolean', default: false },
  } as const
  try {
    return parseArgs({ args: [...argv], options, strict: true }).values
  } catch (cause) {
    throw new CheckerError('USAGE', messageOf(cause), { cause })
  }
}

function readerOf(name: string): 'auto' | 'java' | 'raw' {
  if (name === 'auto' || name === 'java' || name === 'raw') return name
  throw usage(`--reader is auto, java or raw, not ${name}`)
}

async function main(argv: readonly string[]): Promise<number> {
  const values = parse(argv)
  const judge = models[values.model]
  if (!judge) throw usage(`--model is one of ${Object.keys(models).join(', ')}`)
  if (values.brokers === '') throw usage('--brokers (or KAFKA_BROKERS) is missing')
  if (!values.input || values.output === undefined) throw usage('--input and --output are missing')
  const verdict = await judge({
    connection: { brokers: values.brokers.split(',') },
    kafkaLibs: values.libs,
    reader: readerOf(values.reader),
    inputs: values.input,
    output: values.output,
    probe: values['no-probe'] ? 'skip' : 'write',
    committed: values.committed ? 'check' : 'ignore',
    ...(values.hop ? { hops: values.hop } : {}),
    ...(values.group === undefined ? {} : { group: values.group }),
    ...(values.transactions === undefined ? {} : { transactionalIdPrefix: values.transactions }),
  })
  for (const line of verdictTable(verdict)) console.log(line)
  console.log(verdictLine(verdict))
  return verdict.ok ? 0 : 1
}

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  const code = error instanceof CheckerError ? error.code : 'INTERNAL'
  console.error(`checker: ${messageOf(error)}`)
  console.log(verdictErrorLine(code))
  process.exitCode = code === 'USAGE' ? 2 : 1
}
