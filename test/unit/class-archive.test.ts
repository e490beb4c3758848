// Goal: a broker never fails for want of the file that makes it start sooner, nor by one that is not whole. Method: what runs a
// broker and what tries its archive are played by the test.
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { archiveFlags, prepareArchive } from '../../connectors/kafka/testing/class-archive.ts'
import { kafkaCacheFolder } from '../../connectors/kafka/testing/kafka-jars.ts'
import { withEnvironment } from '../support/environment.ts'

/** A Java that takes every archive, and one that dies of each. */
const [java, dying] = ['true', 'false'].map((path) => ({ path, version: 17, says: path })) as [Java, Java]
type Java = Parameters<typeof archiveFlags>[0]

let cache = ''
beforeEach(async () => {
  cache = await mkdtemp(join(tmpdir(), 'millrace-archive-'))
})
afterEach(() => rm(cache, { recursive: true }))

interface Prepared {
  readonly flags: readonly string[]
  readonly runs: number
  readonly lines: readonly string[]
}

/** Prepared twice, as by two starts. */
function prepared(of: Java, record: (file: string) => Promise<void>): Promise<Prepared> {
  return withEnvironment({ MILLRACE_CACHE: cache }, async () => {
    await mkdir(kafkaCacheFolder(), { recursive: true })
    expect(archiveFlags(of)).toEqual([])
    const lines: string[] = []
    let runs = 0
    const run = async ([flag]: readonly string[]): Promise<void> => {
      runs++
      await record(String(flag?.split('=')[1]))
    }
    for (let start = 0; start < 2; start++) await prepareArchive(of, (line) => lines.push(line), run)
    return { flags: archiveFlags(of), runs, lines }
  })
}

test('made once: every later JVM is told of it', async () => {
  const { flags, runs } = await prepared(java, (file) => writeFile(file, 'classes'))
  expect(runs).toBe(1)
  const [archive] = flags.flatMap((flag) => flag.match(/^-XX:SharedArchiveFile=(.*)$/)?.[1] ?? [])
  expect(await readFile(String(archive), 'utf8')).toBe('classes')
})

test.each<[string, Java, (file: string) => Promise<void>, string]>([
  ['the JVM writes none', java, async () => undefined, 'no archive'],
  ['the broker does not run', java, () => Promise.reject(new Error('no memory')), 'no memory'],
  [
    'the broker is ended in the middle of writing it',
    java,
    async (file) => {
      await writeFile(file, 'clas')
      throw new Error('did not end')
    },
    'did not end',
  ],
  ['the JVM dies of what it wrote', dying, (file) => writeFile(file, 'clas'), 'cannot use'],
])('%s: said and done without, and not tried again', async (_, of, record, says) => {
  const { flags, runs, lines } = await prepared(of, record)
  expect([flags, runs]).toEqual([[], 1])
  expect(lines.join('\n')).toContain(says)
})
