/**
 * `npm run bench`: Millrace beside a kafkajs transaction loop; `npm run bench -- peers`: beside Kafka Streams, Flink and
 * transaction loops. On a real broker, workload by workload. Progress goes to stderr, the tables to stdout.
 */
import { runMillraceBench } from './millrace-bench.ts'
import { help, parseBenchOptions, parsePeersOptions, parseScaleOptions } from './options.ts'
import { runPauseBench } from './pause.ts'
import { runPeersBench } from './peers/peers-bench.ts'
import { Progress } from './progress.ts'
import { runScaleBench } from './scale/scale-bench.ts'
import { runStateBench } from './state/state-bench.ts'

async function main([first, ...rest]: readonly string[]): Promise<number> {
  if (process.argv.includes('--help')) {
    process.stdout.write(help)
    return 0
  }
  if (first === 'pause') {
    runPauseBench()
    return 0
  }
  const progress = new Progress()
  const exact = await run(first, rest, progress)
  if (progress.interrupted) return 130
  return exact ? 0 : 1
}

function run(first: string | undefined, rest: readonly string[], progress: Progress): Promise<boolean> {
  if (first === 'peers') return runPeersBench(parsePeersOptions(rest), progress)
  if (first === 'state') return runStateBench(rest, progress)
  if (first === 'scale') return runScaleBench(parseScaleOptions(rest), progress)
  return runMillraceBench(parseBenchOptions(process.argv.slice(2)), progress)
}

process.exitCode = await main(process.argv.slice(2))
