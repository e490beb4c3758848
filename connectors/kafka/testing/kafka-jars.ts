// Java, Maven and Kafka's jars on this machine. The jars are resolved once per machine and Kafka version into
// `<package>/.cache/kafka-<version>/libs` (or below MILLRACE_CACHE), by Maven, from scripts/broker/pom.xml.
import { existsSync, readFileSync } from 'node:fs'
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { BrokerKitError } from './errors.ts'
import { runCommand } from './run-command.ts'
import { waitUntil } from './wait.ts'

/** The Kafka version of the jars and of the container image. */
export const kafkaVersion = '4.3.1'

const javaVersionMin = 17
const resolveTimeoutMs = 300_000

/** A program that was found. */
export interface Tool {
  readonly path: string
  readonly version: number
  /** Its version in its own words. */
  readonly says: string
}

/** A tool that is new enough, or in words what is missing. */
export type FoundTool = Tool | { readonly missing: string }

/** `$JAVA_HOME/bin/java`, else `java` on PATH. */
export function findJava(): Promise<FoundTool> {
  return findJavaTool('java', `Java ${javaVersionMin} or newer`)
}

/** `$JAVA_HOME/bin/javac`, else `javac` on PATH: only the Java probes need it. */
export function findJavac(): Promise<FoundTool> {
  return findJavaTool('javac', `a JDK ${javaVersionMin} or newer (its compiler, javac)`)
}

/** `mvn` on PATH. */
export async function findMaven(): Promise<FoundTool> {
  const result = await runCommand('mvn', ['-v', '-B'], { timeoutMs: 30_000 })
  const says = result.stdout
  if (result.status === 0) return { path: 'mvn', version: Number(/Maven (\d+)/.exec(says)?.[1] ?? 0), says }
  return { missing: "Maven (no 'mvn' on PATH), which fetches Kafka's jars" }
}

/** The folder that holds package.json: of the repository, or of the installed package. */
export function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url))
  while (!isPackage(join(folder, 'package.json'))) {
    const parent = dirname(folder)
    if (parent === folder) throw new Error('no package.json of millrace above the broker kit')
    folder = parent
  }
  return folder
}

/** `<package>/.cache/kafka-<version>`; MILLRACE_CACHE replaces `<package>/.cache`. */
export function kafkaCacheFolder(): string {
  const base = process.env.MILLRACE_CACHE ?? join(packageRoot(), '.cache')
  return join(base, `kafka-${kafkaVersion}`)
}

/** The folder of jars if it was resolved before. */
export function resolvedJars(): string | undefined {
  const libs = join(kafkaCacheFolder(), 'libs')
  return existsSync(libs) ? libs : undefined
}

/**
 * The folder of Kafka's jars, resolved now if need be (seconds to minutes, once).
 *
 * @throws BrokerKitError BROKER_JARS_UNAVAILABLE with Maven's own words.
 */
export async function kafkaJars(log: (line: string) => void = () => undefined): Promise<string> {
  const known = resolvedJars()
  if (known !== undefined) return known
  const cache = kafkaCacheFolder()
  await mkdir(cache, { recursive: true })
  return withFileLock(join(cache, 'libs.lock'), resolveTimeoutMs, async () => {
    const resolvedMeanwhile = resolvedJars()
    if (resolvedMeanwhile !== undefined) return resolvedMeanwhile
    log(`resolving Kafka ${kafkaVersion} by Maven (once)`)
    return resolveJars(cache)
  })
}

async function resolveJars(cache: string): Promise<string> {
  const partial = join(cache, `libs.${process.pid}.partial`)
  await rm(partial, { recursive: true, force: true })
  const pom = join(packageRoot(), 'scripts', 'broker', 'pom.xml')
  const goal = ['dependency:copy-dependencies', '-DincludeScope=runtime', `-DoutputDirectory=${partial}`]
  const args = ['-q', '-B', '-f', pom, `-Dkafka.version=${kafkaVersion}`, ...goal]
  const result = await runCommand('mvn', args, { timeoutMs: resolveTimeoutMs })
  if (result.status !== 0) {
    const said = `${result.stdout}\n${result.stderr}`.trim().slice(0, 2000)
    const message = `Maven could not fetch Kafka's jars (is its repository reachable, are its settings right?): ${said}`
    throw new BrokerKitError('BROKER_JARS_UNAVAILABLE', message)
  }
  const libs = join(cache, 'libs')
  await rename(partial, libs) // Whole or not at all: a process that died half-way leaves no half folder of jars.
  return libs
}

/**
 * Runs `work` while holding a lock file with our process id. A lock whose process is dead is taken over; two that take
 * over the same dead lock at the same moment may both work, so what `work` makes must appear by an atomic rename.
 */
export async function withFileLock<T>(path: string, timeoutMs: number, work: () => Promise<T>): Promise<T> {
  const got = await waitUntil(() => tryLock(path), { timeoutMs, everyMs: 200 })
  if (!got) throw new BrokerKitError('BROKER_START_FAILED', `${path} stayed locked for ${timeoutMs} ms; remove it`)
  try {
    return await work()
  } finally {
    await rm(path, { force: true })
  }
}

async function tryLock(path: string): Promise<boolean> {
  try {
    const file = await open(path, 'wx')
    await file.writeFile(String(process.pid))
    await file.close()
    return true
  } catch (error) {
    if (!isErrno(error, 'EEXIST')) throw error
    const owner = Number(await readFile(path, 'utf8').catch(() => ''))
    // An empty file is a lock whose owner is just writing its id, or died before it could; the wait's limit ends that.
    if (owner > 0 && !isAlive(owner)) await rm(path, { force: true })
    return false
  }
}

/** True if a process with this id exists, ours or another's. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return isErrno(error, 'EPERM')
  }
}

/** By its code alone: under Jest, errors of Node's own modules are of another realm's class. */
function isErrno(error: unknown, code: string): boolean {
  return (error as { readonly code?: unknown } | null)?.code === code
}

function isPackage(path: string): boolean {
  if (!existsSync(path)) return false
  const manifest = JSON.parse(readFileSync(path, 'utf8')) as { name?: unknown }
  return manifest.name === 'millrace'
}

async function findJavaTool(tool: 'java' | 'javac', wanted: string): Promise<FoundTool> {
  const home = process.env.JAVA_HOME
  const path = home === undefined || home === '' ? tool : join(home, 'bin', tool)
  const result = await runCommand(path, ['-version'], { timeoutMs: 30_000 })
  if (result.status !== 0) return { missing: `${wanted} ('${path}' does not run; it is sought in JAVA_HOME and PATH)` }
  // `openjdk version "17.0.15" …` on stderr, `javac 17.0.15`; Java 8 calls itself 1.8.
  const says = result.stderr + result.stdout
  const version = Number(/(?:version "|javac )(?:1\.)?(\d+)/.exec(says)?.[1] ?? 0)
  if (version >= javaVersionMin) return { path, version, says }
  return { missing: `${wanted} ('${path}' is version ${version})` }
}
