// Goal: a broker never fails for want of the file that makes it start sooner, nor by one that is not whole. Method: what runs a
// broker and what tries its archive are played by the test.
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
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
let libs = ''
beforeEach(async () => {
  cache = await mkdtemp(join(tmpdir(), 'millrace-archive-'))
  libs = join(cache, 'jars')
  await mkdir(libs)
  await writeFile(join(libs, 'kafka.jar'), 'a')
})
afterEach(() => rm(cache, { recursive: true }))

interface Prepared {
  readonly flags: readonly string[]
  readonly runs: number
  readonly lines: string
  /** In the cache folder. */
  readonly files: readonly string[]
}

/** Prepared twice, as by two starts. */
function prepared(of: Java, record: (file: string) => Promise<void>): Promise<Prepared> {
  return withEnvironment({ MILLRACE_CACHE: cache }, async () => {
    await mkdir(kafkaCacheFolder(), { recursive: true })
    const lines: string[] = []
    let runs = 0
    const run = async ([flag]: readonly string[]): Promise<void> => {
      runs++
      await record(String(flag?.split('=')[1]))
    }
    for (let start = 0; start < 2; start++) await prepareArchive(of, libs, (line) => lines.push(line), run)
    return { flags: archiveFlags(of, libs), runs, lines: lines.join('\n'), files: await readdir(kafkaCacheFolder()) }
  })
}

/** As a JVM writes it: for reading only. */
const write = (file: string, text: string): Promise<void> => writeFile(file, text, { mode: 0o444 })

test('made once: every later JVM is told of it, unless Java or the jars are others', async () => {
  const { flags, runs, files } = await prepared(java, (file) => write(file, 'classes'))
  expect([runs, files]).toEqual([1, [expect.stringMatching(/\.jsa$/)]])
  const [archive] = flags.flatMap((flag) => flag.match(/^-XX:SharedArchiveFile=(.*)$/)?.[1] ?? [])
  expect(await readFile(String(archive), 'utf8')).toBe('classes')
  const other = () => withEnvironment({ MILLRACE_CACHE: cache }, async () => archiveFlags(java, libs))
  expect(await other()).toEqual(flags)
  await writeFile(join(libs, 'kafka.jar'), 'other')
  expect(await other()).toEqual([])
})

test('what a process that died left of it is removed', async () => {
  let partial = ''
  await prepared(java, async (file) => {
    partial = file
    throw new Error('died')
  })
  const left = partial.replace(/[^.]*\.partial$/, 'left.partial')
  await writeFile(left, 'clas')
  expect((await prepared(java, (file) => write(file, 'classes'))).files).toEqual([expect.stringMatching(/\.jsa$/)])
})

test.each<[string, Java, (file: string) => Promise<void>, string]>([
  ['the JVM writes none', java, async () => undefined, 'no archive'],
  ['the JVM dies of what it wrote', dying, (file) => write(file, 'clas'), 'cannot use'],
])('%s: said and done without, and not tried again', async (_, of, record, says) => {
  const { flags, runs, lines, files } = await prepared(of, record)
  expect([flags, runs, files]).toEqual([[], 1, [expect.stringMatching(/\.jsa$/)]])
  expect(lines).toContain(says)
})

test.each<[string, (file: string) => Promise<void>, string]>([
  ['the broker does not run', () => Promise.reject(new Error('no memory')), 'no memory'],
  [
    'the broker is ended in the middle of writing it',
    async (file) => {
      await write(file, 'clas')
      throw new Error('did not end')
    },
    'did not end',
  ],
])('%s: said and done without, and tried by the next one', async (_, record, says) => {
  const { flags, runs, lines, files } = await prepared(java, record)
  expect([flags, runs, files]).toEqual([[], 2, []])
  expect(lines).toContain(says)
})

test('the folder cannot be written: said and done without', async () => {
  const lines: string[] = []
  const nowhere = { MILLRACE_CACHE: join(cache, 'nowhere') }
  await withEnvironment(nowhere, () =>
    prepareArchive(
      java,
      libs,
      (line) => lines.push(line),
      async () => undefined,
    ),
  )
  expect(lines.join('\n')).toMatch(/could not be laid out: .*ENOENT/)
})
