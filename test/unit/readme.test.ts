/**
 * Goal: the README says what the code does. Method: its tables are parsed and compared with the code: defaults (every name
 * in them is also tried out), error codes, metrics, exit codes; its examples are type-checked as a user's compiler would
 * do it, and planned by the command line; its links lead somewhere.
 */
import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { errorTable } from '../../src/base/errors.ts'
import { silentLogger } from '../../src/base/log.ts'
import { integerFlag, overridesOf, parseCommand, SETTINGS_FLAGS } from '../../src/cli/arguments.ts'
import { loadPipeline } from '../../src/cli/load.ts'
import { workerMetrics } from '../../src/observe/metrics.ts'
import { DEFAULTS, type PipelineOptions, resolveSettings } from '../../src/plan/options.ts'
import type { Settings } from '../../src/worker/job.ts'
import { Worker } from '../../src/worker/worker.ts'
import { withEnvironment } from '../support/environment.ts'

const root = join(import.meta.dirname, '..', '..')
const readme = readFileSync(join(root, 'README.md'), 'utf8')

/** The rows of the table with this head, cells without backticks. */
function tableOf(head: string): string[][] {
  const lines = readme.slice(readme.indexOf(head)).split('\n')
  expect(lines[0]).toBe(head)
  const end = lines.findIndex((line) => !line.startsWith('|'))
  return lines.slice(2, end).map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  )
}

const plain = (cell: string | undefined): string => (cell ?? '').replaceAll('`', '')

describe('settings', () => {
  const rows = tableOf('| setting | default | unit | module option | environment | flag | meaning |').map((cells) => {
    const [name = '', value = '', , option = '', variable = '', flag = ''] = cells.map(plain)
    return { name, value: Number(value), option, variable, flag }
  })
  /** Where the default depends on the plan there are two names for one setting. */
  const field = (name: string): keyof Settings => (name === 'intervalWithHopMs' ? 'intervalMs' : name) as keyof Settings
  const resolve = (name: string, options: PipelineOptions = {}, overrides = {}): unknown =>
    resolveSettings('p', { transactionTimeoutMs: 90_000, ...options }, overrides, name === 'intervalWithHopMs')[
      field(name)
    ]

  test('the table equals DEFAULTS', () => {
    expect(Object.fromEntries(rows.map(({ name, value }) => [name, value]))).toEqual(DEFAULTS)
  })

  test.each(rows)('$name: the module option $option is read', ({ name, option, value }) => {
    const options = option
      .split('.')
      .reverse()
      .reduce<unknown>((inner, key) => ({ [key]: inner }), value + 1)
    expect(resolve(name, options as PipelineOptions)).toBe(value + 1)
  })

  test.each(rows.filter(({ variable }) => variable !== ''))('$name: $variable wins over the module', async (row) => {
    await withEnvironment({ [row.variable]: String(row.value + 2) }, async () => {
      expect(resolve(row.name)).toBe(row.value + 2)
    })
  })

  test.each(rows.filter(({ flag }) => flag !== ''))('$name: $flag wins over everything', async (row) => {
    const { values } = parseCommand('run', ['module.ts', row.flag, String(row.value + 3)], SETTINGS_FLAGS)
    expect(integerFlag(values, row.flag.slice(2), 0)).toBe(row.value + 3)
    await withEnvironment({ [row.variable]: String(row.value + 2) }, async () => {
      expect(resolve(row.name, {}, overridesOf(values))).toBe(row.value + 3)
    })
  })

  test('every flag that overrides a setting is named', () => {
    for (const flag of Object.keys(SETTINGS_FLAGS)) expect(readme).toContain(`\`--${flag}\``)
  })
})

test('the error table equals the code’s', () => {
  const rows = tableOf('| code | meaning | disposition | exit code |')
  const found = rows.map(([code, meaning, disposition, exit]) => [
    plain(code),
    { meaning, disposition, exit: Number(exit) },
  ])
  expect(Object.fromEntries(found)).toEqual(errorTable)
})

test('the exit codes are those of the error table, and 0', () => {
  const rows = tableOf('| code | meaning |').map(([code]) => Number(code))
  const used = new Set(Object.values(errorTable).map(({ exit }) => exit))
  expect(rows).toEqual([0, ...[...used].sort()])
})

test('the metrics are those that a worker exposes', async () => {
  const { plan, settings } = await loadPipeline(join(root, 'pipelines', 'bid-totals.ts'), {})
  const worker = new Worker({ plan, settings, instance: 'a-0', log: silentLogger })
  const text = await workerMetrics(worker).text()
  const meanings = new Map([...text.matchAll(/^# HELP (\S+) (.+)$/gm)].map(([, name, help]) => [name, help]))
  const exposed = [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, type]) => [name, type, meanings.get(name)])
  const rows = tableOf('| metric | type | meaning |').map(([name, type, meaning]) => [plain(name), type, meaning])
  expect(exposed.length).toBeGreaterThan(10)
  expect(rows).toEqual(exposed)
})

test('links lead to files and headings', () => {
  const headings = [...readme.matchAll(/^#+ (.+)$/gm)].map(([, text = '']) =>
    text
      .toLowerCase()
      .replaceAll(' ', '-')
      .replace(/[^a-z0-9-]/g, ''),
  )
  for (const [, target = ''] of readme.matchAll(/\]\(([^)]+)\)/g)) {
    if (target.startsWith('#')) expect(headings).toContain(target.slice(1))
    else if (!target.startsWith('http')) expect([target, existsSync(join(root, target))]).toEqual([target, true])
  }
})

describe('examples', () => {
  const blocks = [...readme.matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map(([, text = '']) => text)
  const files = blocks.map((_, index) => `example-${index + 1}.ts`)
  const pipelines = files.filter((_, index) => blocks[index]?.includes('export default definePipeline('))
  const run = promisify(execFile)
  let folder = ''
  beforeAll(() => {
    // Inside the package, so that it is imported by its own name.
    mkdirSync(join(root, '.cache'), { recursive: true })
    folder = mkdtempSync(join(root, '.cache', 'readme-'))
    for (const [index, file] of files.entries()) writeFileSync(join(folder, file), blocks[index] ?? '')
    // A user's pipelines need no explicit types on what they export.
    const compilerOptions = { isolatedDeclarations: false, declaration: false, rootDir: root, noEmit: true }
    const tsconfig = {
      extends: join(root, 'tsconfig.json'),
      compilerOptions,
      include: ['*.ts', join(root, 'connectors', 'kafka', 'kafkajs.d.ts')],
    }
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(tsconfig))
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  test('all of them type-check', async () => {
    expect(blocks.length).toBeGreaterThan(5)
    const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
    const said = await run(process.execPath, [compiler, '--pretty', 'false', '-p', folder]).catch(
      (error: { stdout: string }) => error,
    )
    expect(said.stdout).toBe('')
  })

  test.each(pipelines)('%s is a valid plan', async (file) => {
    const command = ['--conditions=source', '--disable-warning=ExperimentalWarning', 'src/cli/main.ts', 'plan']
    const { stdout } = await run(process.execPath, [...command, relative(root, join(folder, file))], { cwd: root })
    expect(stdout).toMatch(/^pipeline [a-z]+ {3}group millrace\.[a-z]+ {3}exactly-once/)
  })
})
