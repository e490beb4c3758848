// How a Java probe is started: by the JDK of this machine; with Docker only, in Kafka's image. The probes are compiled once
// per machine and content, by this JDK or in an image that has one.
import { createHash, randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { chmod, mkdir, readdir, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { archiveFlags } from './class-archive.ts'
import { findDockerImage } from './docker-engine.ts'
import { BrokerKitError } from './errors.ts'
import { findJava, findJavac, kafkaCacheFolder, kafkaJars, packageRoot, type Tool, withFileLock } from './kafka-jars.ts'
import { runCommand } from './run-command.ts'

const compileTimeoutMs = 120_000
const pullTimeoutMs = 600_000
const jvm = ['-Xmx512m', '-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC']
// The encoding, because a container has the POSIX locale.
const javac = ['-proc:none', '-nowarn', '-encoding', 'UTF-8', '--release', '17']
/** Where Kafka's image has its jars, and where we show it the probes. */
const inImage = { libs: '/opt/kafka/libs', classes: '/millrace/classes', sources: '/millrace/sources' }

/** Compiles the probes where Kafka's image has no compiler; MILLRACE_JDK_IMAGE names another. */
const jdkImage = (): string => process.env.MILLRACE_JDK_IMAGE ?? 'eclipse-temurin:21-jdk'

export interface ProbeCommand {
  readonly file: string
  readonly args: readonly string[]
  /** What a SIGKILL to the process of `file` does not reach. */
  readonly kill?: () => Promise<void>
}

export interface ProbeLauncher {
  readonly kind: 'java' | 'container'
  command(args: readonly string[]): ProbeCommand
}

let preparing: Promise<ProbeLauncher> | undefined

/**
 * Finds a Java and Kafka's jars, or an image with both, and compiles the probes; once per process.
 *
 * @throws BrokerKitError PROBE_UNAVAILABLE, BROKER_JARS_UNAVAILABLE
 */
export function prepareProbes(): Promise<ProbeLauncher> {
  preparing ??= prepare().catch((error: unknown) => {
    preparing = undefined
    throw error
  })
  return preparing
}

async function prepare(): Promise<ProbeLauncher> {
  const [java, compiler] = await Promise.all([findJava(), findJavac()])
  if (!('missing' in java) && !('missing' in compiler)) return local(java, compiler.path)
  const docker = await findDockerImage()
  if (!('missing' in docker)) return containers(docker.image)
  const missing = [java, compiler].flatMap((tool) => ('missing' in tool ? [tool.missing] : []))
  throw new BrokerKitError('PROBE_UNAVAILABLE', `the Java probes need ${missing.join(', ')}; or ${docker.missing}`)
}

async function local(java: Tool, compiler: string): Promise<ProbeLauncher> {
  const libs = await kafkaJars()
  const classes = await compiled('java', async (sources, out) => {
    const args = [...javac, '-cp', join(libs, '*'), '-d', out, ...sources.map((name) => join(sourceFolder(), name))]
    return runCommand(compiler, args, { timeoutMs: compileTimeoutMs })
  })
  const classpath = [join(libs, '*'), classes].join(process.platform === 'win32' ? ';' : ':')
  const command = (args: readonly string[]): ProbeCommand => ({
    file: java.path,
    args: [...archiveFlags(java, libs), ...jvm, '-cp', classpath, 'JavaProbe', ...args],
  })
  return { kind: 'java', command }
}

async function containers(image: string): Promise<ProbeLauncher> {
  const classes = await compiled(`image-${image.replace(/[^a-z0-9.]+/gi, '-')}`, (sources, out) =>
    compileInContainer(image, sources, out),
  )
  const command = (args: readonly string[]): ProbeCommand => {
    const name = `millrace-probe-${randomBytes(8).toString('hex')}`
    const java = ['--entrypoint', 'java', image, ...jvm, '-cp', `${inImage.libs}/*:${inImage.classes}`, 'JavaProbe']
    // The host's network: brokers are reached under the addresses that they advertise to this machine.
    const run = ['run', '--rm', '-i', '--name', name, '--network', 'host', '-v', `${classes}:${inImage.classes}:ro`]
    const kill = async (): Promise<void> => void (await runCommand('docker', ['kill', name]))
    return { file: 'docker', args: [...run, ...java, ...args], kill }
  }
  return { kind: 'container', command }
}

/** In Kafka's image if it has a compiler, else in the JDK's, with the jars of Kafka's. */
async function compileInContainer(
  image: string,
  sources: readonly string[],
  out: string,
): ReturnType<typeof runCommand> {
  // The user inside is another one.
  await chmod(out, 0o777)
  const mounts = ['-v', `${sourceFolder()}:${inImage.sources}:ro`, '-v', `${out}:${inImage.classes}`]
  const files = sources.map((name) => `${inImage.sources}/${name}`)
  const compile = (libs: string): string[] => [...javac, '-cp', `${libs}/*`, '-d', inImage.classes, ...files]
  const run = (args: readonly string[]) =>
    runCommand('docker', ['run', '--rm', ...mounts, '--entrypoint', 'javac', ...args], { timeoutMs: pullTimeoutMs })
  const own = await run([image, ...compile(inImage.libs)])
  if (own.status === 0) return own
  const libs = join(kafkaCacheFolder(), 'image-libs')
  await rm(libs, { recursive: true, force: true })
  const made = await runCommand('docker', ['create', image])
  if (made.status !== 0) return made
  const container = made.stdout.trim()
  const copied = await runCommand('docker', ['cp', `${container}:${inImage.libs}`, libs])
  await runCommand('docker', ['rm', container])
  if (copied.status !== 0) return copied
  const other = await run(['-v', `${libs}:${inImage.libs}:ro`, jdkImage(), ...compile(inImage.libs)])
  return other.status === 0
    ? other
    : { ...other, stderr: `in ${image}: ${own.stderr}\nin ${jdkImage()}: ${other.stderr}` }
}

const sourceFolder = (): string => join(packageRoot(), 'scripts', 'broker')

type Compile = (sources: readonly string[], out: string) => ReturnType<typeof runCommand>

/** The folder of the probes' classes, kept in the cache by content. */
async function compiled(kind: string, compile: Compile): Promise<string> {
  const sources = (await readdir(sourceFolder())).filter((name) => name.endsWith('.java')).sort()
  const hash = createHash('sha256')
  for (const source of sources) hash.update(await readFile(join(sourceFolder(), source)))
  const cache = kafkaCacheFolder()
  await mkdir(cache, { recursive: true })
  const classes = join(cache, `probe-${kind}-${hash.digest('hex').slice(0, 16)}`)
  if (existsSync(classes)) return classes
  return withFileLock(join(cache, 'probe.lock'), pullTimeoutMs, async () => {
    if (existsSync(classes)) return classes
    const partial = `${classes}.${process.pid}.partial`
    await mkdir(partial, { recursive: true })
    const result = await compile(sources, partial)
    if (result.status !== 0) {
      await rm(partial, { recursive: true, force: true })
      throw new BrokerKitError('PROBE_UNAVAILABLE', `the Java probes do not compile: ${result.stderr.slice(0, 4000)}`)
    }
    await rename(partial, classes)
    return classes
  })
}
