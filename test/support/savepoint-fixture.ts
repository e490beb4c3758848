/**
 * Savepoints of earlier releases, which every later one must restore: folders in test/fixtures, each named after its format. Run by
 * itself, this file writes that of the current format: `node --conditions=source test/support/savepoint-fixture.ts <folder>`.
 *
 * They are of the reference pipeline with the record's own key: numbers, a list and a map for each of three keys.
 */
import { fileURLToPath } from 'node:url'
import { Cli } from './cli.ts'
import { REFERENCE } from './harness.ts'
import { Site } from './site.ts'
import { until } from './test-worker.ts'

export const fixtures: string = fileURLToPath(new URL('../fixtures', import.meta.url))
/** Numbers of each key in every fixture. */
export const fixtureCounts: Readonly<Record<string, number>> = { 'key-1': 7, 'key-2': 2, 'key-3': 1 }

export function referenceEnv(site: Site, pipeline: string, store: string): Record<string, string> {
  return {
    KAFKA_BROKERS: site.broker.brokers.join(','),
    MILLRACE_STORE: store,
    MILLRACE_INSTANCE: 'fixture',
    REF_PIPELINE: pipeline,
    REF_INPUT: `${pipeline}-in`,
    REF_OUTPUT: `${pipeline}-out`,
    REF_KEY: 'record',
  }
}

/** Works off what is in the input, until so many outputs are there. */
export async function runReference(
  site: Site,
  pipeline: string,
  env: Readonly<Record<string, string>>,
  outputs: number,
): Promise<void> {
  await using cli = new Cli(['run', REFERENCE, '--leave'], env)
  await until(
    'the outputs are there',
    async () => (await site.read(`${pipeline}-out`)).length >= outputs,
    30_000,
    () => cli.output,
  )
  const { code, output } = await cli.stop()
  if (code !== 0) throw new Error(output)
}

export async function numbersOf(site: Site, pipeline: string, counts: Readonly<Record<string, number>>): Promise<void> {
  const records = Object.entries(counts).flatMap(([key, count]) =>
    Array.from({ length: count }, (_, index) => ({
      topic: `${pipeline}-in`,
      key,
      value: JSON.stringify({ k: key, n: index + 1 }),
    })),
  )
  await site.send(records)
}

async function write(folder: string): Promise<void> {
  await using site = await Site.open()
  const pipeline = 'saved'
  for (const topic of ['in', 'out']) await site.createTopic(`${pipeline}-${topic}`)
  const env = referenceEnv(site, pipeline, `${folder}-store`)
  await numbersOf(site, pipeline, fixtureCounts)
  const outputs = Object.values(fixtureCounts).reduce((sum, count) => sum + count, 0)
  await runReference(site, pipeline, env, outputs)
  const { code, output } = await Cli.run(['savepoint', 'create', REFERENCE, '--out', folder], env)
  if (code !== 0) throw new Error(output)
}

const [, self = '', folder] = process.argv
if (self === fileURLToPath(import.meta.url) && folder !== undefined) await write(folder)
