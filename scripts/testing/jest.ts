// One Jest process for a list of test files, judged by its JSON result and not by its exit code alone: a suite that could
// not run, a Jest that died and one that does not end are failures too.
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { runNode, tool } from './child.ts'
import { count, failure, nothing, type Tally } from './tally.ts'

/** What a finished Jest may take to end by itself: longer means that a test left something open. */
const endMs = 20_000

interface JestResult {
  readonly numPassedTests: number
  readonly numFailedTests: number
  readonly numPendingTests: number
  readonly numTodoTests: number
  readonly testResults: readonly {
    readonly name: string
    readonly status: string
    readonly assertionResults: unknown[]
  }[]
}

export interface JestRun {
  readonly name: string
  /** Relative to the root. */
  readonly files: readonly string[]
  /** Files at a time; undefined: as Jest has it. */
  readonly workers: number | undefined
  readonly env: Readonly<Record<string, string>>
}

export async function runJest({ name, files, workers, env }: JestRun): Promise<Tally> {
  if (files.length === 0) return nothing
  const outputFile = join(tmpdir(), `millrace-jest-${process.pid}-${name}.json`)
  rmSync(outputFile, { force: true })
  let writtenMs: number | undefined
  let hung = false
  const giveUp = (): boolean => {
    if (!existsSync(outputFile)) return false
    writtenMs ??= performance.now()
    hung = performance.now() - writtenMs > endMs
    return hung
  }
  const node = ['--experimental-vm-modules', '--conditions=source', '--disable-warning=ExperimentalWarning']
  const jest = [
    '--json',
    `--outputFile=${outputFile}`,
    '--runTestsByPath',
    ...files,
    ...(workers === undefined ? [] : [`--maxWorkers=${workers}`]),
  ]
  // The JSON also goes to stdout, where nobody wants it; people's report is on stderr.
  const { status, output } = await runNode([...node, tool('jest/bin/jest.js'), ...jest], {
    output: 'errors',
    env,
    giveUp,
  })
  const result = read(outputFile)
  rmSync(outputFile, { force: true })
  if (!result) return failure(`${name}: Jest died without a result (exit code ${status})`)
  let tally = tallyOf(name, result)
  if (hung)
    tally = count(tally, failure(`${name}: Jest did not end ${endMs} ms after its last test: something was left open`))
  // With workers it does not wait, but says so.
  else if (output.includes('failed to exit gracefully'))
    tally = count(tally, failure(`${name}: Jest had to end a worker: something was left open`))
  else if (status !== 0 && tally.failed === 0) tally = count(tally, failure(`${name}: Jest ended with code ${status}`))
  return tally
}

function read(file: string): JestResult | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as JestResult
  } catch {
    return undefined
  }
}

function tallyOf(name: string, result: JestResult): Tally {
  const broken = result.testResults.filter((suite) => suite.status === 'failed' && suite.assertionResults.length === 0)
  const skipped = result.numPendingTests + result.numTodoTests
  return {
    passed: result.numPassedTests,
    failed: result.numFailedTests + broken.length,
    skipped,
    failures: [
      ...(result.numFailedTests > 0 ? [`${name}: ${result.numFailedTests} tests, see above`] : []),
      ...broken.map((suite) => `${suite.name} could not run`),
    ],
    notRun: skipped > 0 ? [`${skipped} tests of ${name} skip themselves`] : [],
  }
}
