#!/usr/bin/env node
// The command line: millrace run | plan | reset | savepoint | checkpoints | state.
import { MillraceError, messageOf } from '../base/errors.ts'
import { checkpointsCommand } from './checkpoints.ts'
import { planCommand } from './plan.ts'
import { resetCommand } from './reset.ts'
import { runCommand } from './run.ts'
import { savepointCommand } from './savepoint.ts'
import { stateCommand } from './state.ts'

const HELP = `millrace — exactly-once Kafka pipelines

  millrace run <module> [--workers N] [--instance NAME] [--brokers HOST:PORT,…] [--store DIR|kafka]
                        [--interval-ms N] [--http-port N] [--leave]
      Runs a pipeline: a supervisor and N worker processes (default 1). SIGTERM stops it in an orderly way; --leave
      gives up the workers' places in the group then.

  millrace plan <module> [--json | --mermaid]
      Prints stages, topics, ids and the ACLs that the pipeline needs. Connects to nothing.

  millrace reset <module> --to earliest|latest|<timestamp in ms>|<file.json> [--state keep|drop]
      Chooses where a stopped pipeline goes on, after a loud stop about offsets.

  millrace savepoint create <module> --out DIR [--stop] [--drain]
      Copies every task's newest committed checkpoint into a folder of its own, for any later code and parallelism. --stop
      asks all workers to stop first; --drain then reads repartition topics to their ends (required where there are some).
  millrace savepoint list <dir> | inspect <dir> | diff <dir> <module>    [--json]
      What is there, what is in it (all of it is verified), and what a restore would restore, add, drop or refuse.
  millrace savepoint restore <dir> --to <module> [--allow-dropped-state] [--renamed] [--accept-rewrite]
                             [--offsets <topic>=earliest|latest|<timestamp in ms>|<file.json>,…]
      Lets a stopped pipeline go on from a savepoint, with changed code, backend, number of workers or of partitions.

  millrace checkpoints list|inspect|verify|prune <module> [<checkpoint>] [--json]
      What the store holds and what of it is needed; reads all that a restore would read; deletes what nothing needs.

  millrace state get|scan <module> <operator> <state> [--key KEY]
      State as of the newest committed checkpoints, a line of JSON per key. For pipelines that run, too.

Settings: flag, then MILLRACE_* (KAFKA_BROKERS), then the module, then the default.
Exit codes: 0 done · 1 run-time failure · 2 usage, plan or configuration · 3 loud stop about data · 4 instance fenced ·
5 broker unreachable.
`

async function main(argv: readonly string[]): Promise<number> {
  const [command, ...rest] = argv
  switch (command) {
    case 'run':
      return runCommand(rest)
    case 'plan':
      return planCommand(rest)
    case 'reset':
      return resetCommand(rest)
    case 'checkpoints':
      return checkpointsCommand(rest)
    case 'savepoint':
      return savepointCommand(rest)
    case 'state':
      return stateCommand(rest)
    case undefined:
    case 'help':
    case '--help':
    case '-h':
      process.stdout.write(HELP)
      return command === undefined ? 2 : 0
    default:
      throw new MillraceError('USAGE', `unknown command '${command}'; see millrace --help`)
  }
}

/** Commands that only look: without a reader they are done. */
const LOOKING: readonly (string | undefined)[] = ['plan', 'state', 'help']

// `millrace … | head`: nobody reads any more. What was begun goes on to its end.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
  if (LOOKING.includes(process.argv[2])) process.exit(0)
})

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  process.stderr.write(`millrace: ${messageOf(error)}\n`)
  process.exitCode = error instanceof MillraceError ? error.exitCode : 1
}
