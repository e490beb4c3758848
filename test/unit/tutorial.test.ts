/**
 * Goal: the README's "State, step by step" is what a reader finds who does it. Method: the section is done as it stands: each step's change is
 * made in the two files of step 1, they are run, and the lines that are new are those that the text names. The last step is
 * `pipelines/tutorial.ts`, and the test of step 6 is one of those below.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, jest, test } from '@jest/globals'
import { PipelineTester } from '../../connectors/memory/index.ts'
import spending from '../../pipelines/tutorial.ts'
import type { Pipeline } from '../../src/index.ts'

const root = join(import.meta.dirname, '..', '..')
const read = (...path: string[]): string => readFileSync(join(root, ...path), 'utf8')
const [, section = ''] = /^## State, step by step\n([\s\S]*?)^## /m.exec(read('README.md')) ?? []
const steps = section.split(/^(?=\*\*\d\. )/m).slice(1)

const blocks = (text: string, language: string): string[] =>
  [...text.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, 'gm'))].map(([, block = '']) => block)

/** Output lines that a step says are new: inline code that begins with a customer. */
const told = (step: string): string[] => [...step.matchAll(/`((?:ann|bob): [^`]+)`/g)].map(([, line = '']) => line)

interface Files {
  readonly pipeline: string
  readonly trial: string
}

/** Makes the changes of a step. Those of one block stand between empty lines, each in one of the files, at one place. */
function changed(files: Files, step: string): Files {
  for (const change of blocks(step, 'diff').flatMap((block) => block.split('\n\n'))) {
    const lines = change.split('\n').filter((line) => line !== '')
    const side = (dropped: string): string =>
      lines
        .filter((line) => !line.startsWith(dropped))
        .map((line) => `${line.slice(1)}\n`)
        .join('')
    const [before, after] = [side('+'), side('-')]
    const places = `${files.pipeline}\0${files.trial}`.split(before).length - 1
    expect([before, places]).toEqual([before, 1])
    files = {
      pipeline: files.pipeline.replace(before, () => after),
      trial: files.trial.replace(before, () => after),
    }
  }
  return files
}

/** What a listing says apart from imports, line breaks, and the type that a default export needs here. */
const essence = (listing: string): string =>
  listing
    .slice(listing.indexOf('\ninterface '))
    .replace('const spending: Pipeline = ', 'export default ')
    .replace('export default spending\n', '')
    .replace(/\s/g, '')
    .replace(/,(?=[)}\]])/g, '')

/** The files as they are after each step. */
const stages: Files[] = []
let folder = ''
beforeAll(() => {
  expect(steps).toHaveLength(8)
  const [pipeline = ''] = blocks(section, 'ts')
  const [trial = ''] = blocks(section, 'typescript')
  for (const step of steps) stages.push(changed(stages.at(-1) ?? { pipeline, trial }, step))
  // Inside the package, so that it is imported by its own name.
  mkdirSync(join(root, '.cache'), { recursive: true })
  folder = mkdtempSync(join(root, '.cache', 'tutorial-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Writes the files of a step. The steps leave imports out, so all have those of the last one. */
function written(step: number): string {
  const { pipeline = '', trial = '' } = stages[step - 1] ?? {}
  const [imports = ''] = /^import [\s\S]*?(?=\ninterface )/m.exec(read('pipelines', 'tutorial.ts')) ?? []
  const at = join(folder, `step-${step}`)
  mkdirSync(at, { recursive: true })
  writeFileSync(join(at, 'spending.ts'), imports + pipeline.slice(pipeline.indexOf('\ninterface ')))
  writeFileSync(join(at, 'try.ts'), trial)
  return at
}

async function printed(step: number): Promise<string[]> {
  const log = jest.spyOn(console, 'log').mockImplementation(() => {})
  try {
    await import(join(written(step), 'try.ts'))
    return log.mock.calls.map(([line]) => String(line))
  } finally {
    log.mockRestore()
  }
}

test('each step prints what it says is new, and nothing else changes', async () => {
  const expected: string[] = []
  // The output of step 8 is that of a migration, below.
  for (const [index, step] of steps.slice(0, 7).entries()) {
    expected.push(...told(step))
    expect([...(await printed(index + 1))].sort()).toEqual([...expected].sort())
  }
})

test('the last step is pipelines/tutorial.ts', () => {
  expect(essence(read('pipelines', 'tutorial.ts'))).toBe(essence(stages.at(-1)?.pipeline ?? ''))
})

test('the test of step 6 is the one below', () => {
  const [shown = 'none'] = blocks(steps[5] ?? '', 'typescript')
  expect(read('test', 'unit', 'tutorial.test.ts')).toContain(`\n${shown}`)
})

test('a crash and a savepoint lose nothing and double nothing', async () => {
  await using tester = await PipelineTester.start(spending)
  const pay = (cents: number): void => tester.send('payments', { key: 'ann', value: { shop: 'bakery', cents } })
  pay(300)
  await tester.checkpoint()
  pay(200)
  await tester.run() // the state has 200, and no checkpoint has it
  await tester.crash() // back to the checkpoint: 200 will be read again
  await tester.settle()
  expect(tester.state('watch', 'total')).toEqual([{ key: 'ann', value: 500 }])
  await tester.restore({ backend: 'leveldb' })
  await tester.advance(3_600_000) // the timer is still there
  await tester.settle()
  expect(tester.output('notes')).toHaveLength(4) // two payments, one new shop, one receipt
})

test('the code of step 8 reads the state of step 7', async () => {
  const old = (await import(join(written(7), 'spending.ts'))) as { default: Pipeline }
  await using tester = await PipelineTester.start(old.default, { backend: 'leveldb' })
  const pay = (shop: string, cents: number): void => tester.send('payments', { key: 'ann', value: { shop, cents } })
  pay('bakery', 300)
  await tester.restore({ pipeline: spending })
  pay('garage', 200)
  await tester.settle()
  await tester.advance(3_600_000)
  await tester.settle()
  expect(tester.output('notes').at(-1)).toMatchObject({ value: 'ann: receipt: 300 at a shop, 200 at garage' })
})
