/**
 * `npm start`: shows that nothing is lost, doubled or reordered while workers are killed. The last line of stdout is the
 * verdict in one line, whatever happens. Ctrl-C (or SIGTERM, SIGHUP) ends everything in order, a second one at once.
 */
import { verdictErrorLine } from '../../checker/verdict.ts'
import { DemoError, parseDemoOptions } from './options.ts'
import type { PipelineProcess } from './pipeline-process.ts'
import { runDemo } from './run.ts'

const interruptedExitCode = 130
const usageExitCode = 2

async function main(): Promise<{ line: string; exitCode: number }> {
  const abort = new AbortController()
  let pipeline: PipelineProcess | null = null
  process.on('exit', () => pipeline?.killGroup())
  const interrupt = () => {
    if (abort.signal.aborted) process.exit(interruptedExitCode)
    console.log('stopping …')
    abort.abort(new DemoError('INTERRUPTED', 'stopped by a signal'))
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, interrupt)
  try {
    const options = parseDemoOptions(process.argv.slice(2))
    const onPipeline = (started: PipelineProcess) => {
      pipeline = started
    }
    return await runDemo({ options, signal: abort.signal, onPipeline })
  } catch (error) {
    return failure(abort.signal.aborted ? abort.signal.reason : error)
  }
}

function failure(error: unknown): { line: string; exitCode: number } {
  const code = codeOf(error)
  console.log(`error: ${error instanceof Error ? error.message : String(error)}`)
  if (code === 'INTERNAL' && error instanceof Error) console.log(error.stack)
  const exitCode = code === 'INTERRUPTED' ? interruptedExitCode : code === 'USAGE' ? usageExitCode : 1
  return { line: verdictErrorLine(code), exitCode }
}

/** Our own errors (checker, broker kit, demo) carry a code in capitals. */
function codeOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  return /^[A-Z][A-Z0-9_]+$/.test(code) ? code : 'INTERNAL'
}

const { line, exitCode } = await main()
console.log(line)
process.exitCode = exitCode
