// Most of a broker's start goes into reading Kafka's classes. They are laid out once per machine, Java and Kafka version, in a
// file beside the jars that the JVM maps (AppCDS, JEP 350): a broker is ready in half the time. A JVM that the file does not
// fit leaves it aside by itself.
import { createHash } from 'node:crypto'
import { existsSync, statSync } from 'node:fs'
import { rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { messageOf } from '../../../src/base/errors.ts'
import { kafkaCacheFolder, type Tool, withFileLock } from './kafka-jars.ts'
import { runCommand } from './run-command.ts'

const recordTimeoutMs = 180_000
/** What a JVM says by itself goes to stderr: what a tool says on stdout is read. */
const logging = ['-Xlog:disable', '-Xlog:all=error:stderr']

/** Flags for a JVM with Kafka's jars in front of its class path; none where there is no archive (yet). */
export function archiveFlags(java: Tool): readonly string[] {
  const archive = archiveOf(java)
  // An empty file: it could not be made, which is not tried again.
  if (!existsSync(archive) || statSync(archive).size === 0) return []
  return [`-XX:SharedArchiveFile=${archive}`, ...logging]
}

/** Makes the archive unless it is there. `record` runs a broker with flags that make its JVM write one when it ends in order. */
export async function prepareArchive(
  java: Tool,
  log: (line: string) => void,
  record: (flags: readonly string[]) => Promise<void>,
): Promise<void> {
  const archive = archiveOf(java)
  if (existsSync(archive)) return
  await withFileLock(`${archive}.lock`, recordTimeoutMs, async () => {
    if (existsSync(archive)) return
    log("laying out Kafka's classes, so that brokers start sooner (once)")
    const partial = `${archive}.${process.pid}.partial`
    const problem = await record([`-XX:ArchiveClassesAtExit=${partial}`, ...logging]).then(
      () => problemOf(java, partial),
      messageOf,
    )
    if (problem !== undefined) {
      log(`Kafka's classes could not be laid out, brokers start slower: ${problem}`)
      await writeFile(partial, '')
    }
    await rename(partial, archive)
  })
}

/** A JVM dies of an archive that is cut off: this one has to be a whole one. */
async function problemOf(java: Tool, archive: string): Promise<string | undefined> {
  if (!existsSync(archive)) return 'the JVM wrote no archive'
  const { status, stdout, stderr } = await runCommand(java.path, [`-XX:SharedArchiveFile=${archive}`, '-version'])
  return status === 0 ? undefined : `the JVM cannot use its archive: ${(stdout + stderr).slice(0, 500)}`
}

/** By all that Java says of its version: another build cannot map the file. */
function archiveOf({ says }: Tool): string {
  return join(kafkaCacheFolder(), `classes-${createHash('sha256').update(says).digest('hex').slice(0, 16)}.jsa`)
}
