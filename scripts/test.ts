// npm test: types, unit, contract and property tests, then integration on real brokers, one group after the other.
//
//   npm test · npm run test:unit (types, unit, contract: seconds) · npm run test:containers (Docker and its compose)
//
// The last line is `N passed, N failed`, with `, N skipped` where something could not run here: what and why stands above
// it. The exit code is 0 only if something ran, nothing failed and every suite could run.
import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { endChildren, root } from './testing/child.ts'
import { runJest } from './testing/jest.ts'
import { noProcessLeft, runVariable } from './testing/leftovers.ts'
import { divide, findOffer } from './testing/needs.ts'
import { count, failure, nothing, summary, type Tally } from './testing/tally.ts'
import { runTypeTests } from './testing/types.ts'

/** All of it takes a third of that on two cores; a run that hangs must end and say so. */
const limitMs = Number(process.env.MILLRACE_TEST_LIMIT_MS ?? 60 * 60_000)

type Mode = 'all' | 'unit' | 'containers'
const groups: Readonly<Record<Mode, readonly string[]>> = {
  all: ['types', 'unit', 'contract', 'property', 'integration'],
  unit: ['types', 'unit', 'contract'],
  containers: ['containers'],
}

const cores = availableParallelism()
/** Files at a time. Of those with brokers two at a time are quicker, and starve upstreams and brokers … */
const workers: Readonly<Record<string, number>> = {
  ...{ unit: cores, contract: cores, property: cores },
  ...{ integration: 1, containers: 1 },
}
/** … but not where little happens at a time: these run in pairs. */
const PAIRED =
  /integration\/(bad-|broker-kit|features-records|inspection|kafka-store\.|reader-contract|reauth|secured\.)/

const run = randomBytes(8).toString('hex')
let total: Tally = nothing
let stopping = false

function end(): never {
  for (const line of total.notRun) process.stdout.write(`not run: ${line}\n`)
  for (const line of total.failures) process.stdout.write(`failed: ${line}\n`)
  process.stdout.write(`${summary(total)}\n`)
  process.exit(total.failed === 0 && total.passed > 0 ? 0 : 1)
}

function stopEarly(text: string): void {
  if (stopping) return
  stopping = true
  endChildren()
  total = count(total, failure(text))
  void noProcessLeft(run).then((tally) => {
    total = count(total, tally)
    end()
  })
}

function filesOf(group: string): string[] {
  const folder = join(root, 'test', group)
  if (!existsSync(folder)) return []
  const wanted = group === 'types' ? '.ts' : '.test.ts'
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith(wanted))
    .map((name) => `test/${group}/${name.replaceAll('\\', '/')}`)
    .sort()
}

async function runGroup(group: string): Promise<Tally> {
  process.stdout.write(`\n── ${group}\n`)
  const files = filesOf(group)
  if (files.length === 0) return failure(`test/${group} has no tests`)
  if (group === 'types') return runTypeTests(files)
  const { run: ready, left } = divide(files, await offer)
  const paired = ready.filter((file) => PAIRED.test(file))
  const others = ready.filter((file) => !PAIRED.test(file))
  const env = { [runVariable]: run }
  const tally = count(left, await runJest({ name: group, files: paired, workers: 2, env }))
  return count(tally, await runJest({ name: group, files: others, workers: workers[group], env }))
}

function modeOf(argument: string | undefined): Mode {
  if (argument === undefined) return 'all'
  if (argument === 'unit' || argument === 'containers') return argument
  process.stderr.write(`usage: npm test [unit | containers]; '${argument}' is neither\n`)
  process.exit(2)
}

const mode = modeOf(process.argv[2])
setTimeout(() => stopEarly(`the run took longer than ${limitMs} ms and was ended`), limitMs).unref()
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stopEarly(`ended by ${signal}`))
const offer = findOffer()
for (const group of groups[mode]) {
  const tally = await runGroup(group)
  // What is left of a group that was ended counts for nothing; `stopEarly` speaks the last word.
  if (stopping) await new Promise(() => undefined)
  total = count(total, tally)
}
if (mode === 'all') {
  const known: readonly string[] = [...groups.all, ...groups.containers]
  const strange = readdirSync(join(root, 'test')).filter((name) => !known.includes(name) && filesOf(name).length > 0)
  for (const name of strange) total = count(total, failure(`test/${name} belongs to no group of scripts/test.ts`))
  if (filesOf('containers').length > 0)
    total = count(total, {
      ...nothing,
      notRun: ['test/containers: npm run test:containers, which needs Docker and its compose'],
    })
}
total = count(total, await noProcessLeft(run))
process.stdout.write('\n')
end()
