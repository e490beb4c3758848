// Goal: the upgrade that `npm run demo:savepoint` shows comes out as promised. Method: the demo itself, with fewer bids; the verdict is
// the independent checker's.
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from '@jest/globals'

const root = fileURLToPath(new URL('../..', import.meta.url))
const flags = ['--conditions=source', '--disable-warning=ExperimentalWarning']

test('a pipeline goes on from a savepoint as its next version: other code, backend, workers and partitions', async () => {
  const demo = ['pipelines/demo/main.ts', '--savepoint', '--records', '80000', '--rate', '10000']
  const { stdout } = await promisify(execFile)(process.execPath, [...flags, ...demo], { cwd: root })
  expect(stdout).toMatch(/new +totals\.lastBidder/)
  expect(stdout).toMatch(/auction\/5 {2}\d+ rows/)
  const [last] = stdout.trim().split('\n').slice(-1)
  expect(last).toMatch(/^verdict in=80000 out=80000 lost=0 duplicated=0 reordered=0 hanging=0 kills=0 /)
})
