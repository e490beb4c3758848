// Most of a broker's start goes into reading Kafka's classes. They are laid out once per machine, Java and folder of jars in a
// file beside these, which JVMs map (AppCDS, JEP 350): a broker is ready in half the time. Where that is not possible for
// whatever reason, it is said, and brokers start without.
import { createHash, randomBytes } from 'node:crypto'
import { existsSync, readdirSync, statSync } from 'node:fs'
import { open, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { messageOf } from '../../../src/base/errors.ts'
import { kafkaCacheFolder, type Tool, withFileLock } from './kafka-jars.ts'
import { runCommand } from './run-command.ts'

/** Another process makes it: so long a broker waits for that, and starts without then. */
const othersTimeoutMs = 60_000
/** What a JVM says by itself goes to stderr: what a tool says on stdout is read. */
const logging = ['-Xlog:disable', '-Xlog:all=error:stderr']
const noTraces = ['-XX:ErrorFile=/dev/null', '-XX:-CreateCoredumpOnCrash']

/** Flags for a JVM with Kafka's jars (`libs`) in front of its class path; none where there is no archive (yet). */
export function archiveFlags(java: Tool, libs: string): readonly string[] {
  const archive = archiveOf(java, libs)
  // An empty file: this Java makes none.
  if (!existsSync(archive) || statSync(archive).size === 0) return []
  return [`-XX:SharedArchiveFile=${archive}`, ...logging]
}

/** Makes the archive unless it is there. `record` runs a broker with flags that make its JVM write one when it ends in an orderly way. */
export async function prepareArchive(
  java: Tool,
  libs: string,
  log: (line: string) => void,
  record: (flags: readonly string[]) => Promise<void>,
): Promise<void> {
  const archive = archiveOf(java, libs)
  if (existsSync(archive)) return
  try {
    await withFileLock(`${archive}.lock`, othersTimeoutMs, async () => {
      if (existsSync(archive)) return
      log("laying out Kafka's classes, so that brokers start sooner (once)")
      await make(java, libs, archive, record)
    })
  } catch (error) {
    log(`brokers start slower, Kafka's classes could not be laid out: ${messageOf(error)}`)
  }
}

async function make(
  java: Tool,
  libs: string,
  archive: string,
  record: (flags: readonly string[]) => Promise<void>,
): Promise<void> {
  await removePartials(archive)
  const partial = `${archive}.${randomBytes(6).toString('hex')}.partial`
  try {
    await record([`-XX:ArchiveClassesAtExit=${partial}`, ...logging])
    const problem = await problemOf(java, libs, partial)
    if (problem !== undefined) {
      // It would be no other the next time.
      await writeFile(archive, '')
      throw new Error(problem)
    }
    await using file = await open(partial, 'r')
    // A JVM dies of an archive that a power loss has cut off.
    await file.sync()
    await rename(partial, archive)
  } finally {
    await rm(partial, { force: true })
  }
}

/** Of processes that died: the lock is ours. */
async function removePartials(archive: string): Promise<void> {
  for (const name of await readdir(dirname(archive)))
    if (name.startsWith(basename(archive)) && name.endsWith('.partial')) await rm(join(dirname(archive), name))
}

/** Tried by itself: with `-Xshare:on` a JVM ends with an error if it cannot use it. */
async function problemOf(java: Tool, libs: string, archive: string): Promise<string | undefined> {
  if (!existsSync(archive)) return 'the JVM wrote no archive'
  const flags = ['-Xshare:on', `-XX:SharedArchiveFile=${archive}`, ...noTraces, '-cp', join(libs, '*')]
  const { status, stdout, stderr } = await runCommand(java.path, [...flags, '-version'])
  return status === 0 ? undefined : `the JVM cannot use its archive: ${(stdout + stderr).slice(0, 500)}`
}

/** Named by all that a JVM compares before it maps one: its own build, and the jars. */
function archiveOf({ says }: Tool, libs: string): string {
  const hash = createHash('sha256').update(says)
  for (const name of readdirSync(libs)) {
    const { size, mtimeMs } = statSync(join(libs, name))
    hash.update(`${name} ${size} ${mtimeMs}\n`)
  }
  return join(kafkaCacheFolder(), `classes-${hash.digest('hex').slice(0, 16)}.jsa`)
}
