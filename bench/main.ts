/**
 * `npm run bench`: Millrace beside a kafkajs transaction loop, on a real broker, workload by workload. Progress goes to stderr, the tables to stdout.
 */
import { runMillraceBench } from './millrace-bench.ts'
import { help, parseBenchOptions } from './options.ts'
import { Progress } from './progress.ts'

async function main(argv: readonly string[]): Promise<number> {
  if (argv.includes('--help')) {
    process.stdout.write(help)
    return 0
  }
  const progress = new Progress()
  const exact = await runMillraceBench(parseBenchOptions(argv), progress)
  if (progress.interrupted) return 130
  return exact ? 0 : 1
}

process.exitCode = await main(process.argv.slice(2))
