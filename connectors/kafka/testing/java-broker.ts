// Brokers as local Java processes: no Docker, quick to kill, SIGSTOP works.
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { makeCertificates } from './certificates.ts'
import { archiveFlags, prepareArchive } from './class-archive.ts'
import { BrokerKitError } from './errors.ts'
import { Janitor } from './janitor.ts'
import { findJava, kafkaJars, type Tool } from './kafka-jars.ts'
import { freePorts } from './ports.ts'
import { sees } from './readiness.ts'
import { runCommand } from './run-command.ts'
import {
  formatArguments,
  keystorePem,
  log4jConfiguration,
  type NodePlaces,
  newClusterId,
  newPasswords,
  serverProperties,
  superUser,
} from './server-properties.ts'
import type { BrokerNode, BrokerRequest, BrokerSecurity, TestBroker } from './test-broker.ts'
import { waitUntil } from './wait.ts'

const startTimeoutMs = 120_000
const stopTimeoutMs = 60_000
/** The JVM's quick compiler alone: a broker of a test ends before the thorough one has paid off. */
const quickCompiler = ['-XX:TieredStopAtLevel=1']
const collector = ['-XX:+UseG1GC', '-XX:MaxGCPauseMillis=20', '-XX:InitiatingHeapOccupancyPercent=35']

/** What all nodes of one cluster share. */
interface ClusterPlan {
  readonly folder: string
  readonly java: Tool
  readonly libs: string
  readonly request: BrokerRequest
  readonly janitor: Janitor
  /** Flags for a JVM of Kafka's classes. */
  readonly classFlags: readonly string[]
}

/**
 * Starts one broker or three. The folder with data and logs is kept if the start fails: the error names it.
 *
 * @throws BrokerKitError BROKER_START_FAILED, BROKER_JARS_UNAVAILABLE, BROKER_NONE_AVAILABLE (no Java)
 */
export async function startJavaBroker(request: BrokerRequest): Promise<TestBroker> {
  const java = await findJava()
  if ('missing' in java) throw new BrokerKitError('BROKER_NONE_AVAILABLE', `missing: ${java.missing}`)
  const libs = await kafkaJars(request.log)
  if (request.forLoad) return startNodes(java, libs, request, [])
  await prepareArchive(java, libs, request.log, async (classFlags) => {
    const one = { ...request, nodes: 1, settings: {}, security: 'plaintext' } as const
    await using broker = await startNodes(java, libs, one, classFlags)
    for (const node of broker.nodes) await node.stop()
  })
  return startNodes(java, libs, request, archiveFlags(java, libs))
}

async function startNodes(
  java: Tool,
  libs: string,
  request: BrokerRequest,
  classFlags: readonly string[],
): Promise<TestBroker> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-broker-'))
  const janitor = Janitor.start(folder)
  const plan = { folder, java, libs, request, janitor, classFlags }
  const places = await choosePlaces(request.nodes)
  const nodes = places.map((place) => new JavaNode(plan, place, places.length))
  try {
    const security = await format(plan, places)
    await Promise.all(nodes.map((node) => node.start()))
    const everyone = places.map((place) => place.id)
    await Promise.all(nodes.map((node) => node.ready(everyone)))
    return javaBroker(plan, nodes, security)
  } catch (error) {
    await Promise.all(nodes.map((node) => node.kill()))
    janitor.dismiss()
    throw error
  }
}

function javaBroker(plan: ClusterPlan, nodes: readonly JavaNode[], security: BrokerSecurity | undefined): TestBroker {
  let closing: Promise<void> | undefined
  const end = async (): Promise<void> => {
    await Promise.all(nodes.map((node) => node.kill())) // The data goes away: a controlled shutdown is a waste of time.
    await rm(plan.folder, { recursive: true, force: true, maxRetries: 5 })
    plan.janitor.dismiss()
  }
  const close = (): Promise<void> => {
    closing ??= end()
    return closing
  }
  return {
    kind: 'java',
    brokers: nodes.map((node) => node.address),
    nodes,
    ...(security === undefined ? {} : { security }),
    close,
    [Symbol.asyncDispose]: close,
  }
}

async function choosePlaces(count: number): Promise<NodePlaces[]> {
  const ports = await freePorts(count * 3)
  return Array.from({ length: count }, (_, index) => {
    const [client, internal, controller] = ports.slice(index * 3).map((port) => `127.0.0.1:${port}`)
    if (client === undefined || internal === undefined || controller === undefined) throw new Error('ports ran out')
    const addresses = { client, internal, controller }
    return { id: index + 1, listen: addresses, advertise: addresses }
  })
}

/** Writes configuration and TLS files of all nodes and formats their log folders, one after the other (two cores). */
async function format(plan: ClusterPlan, places: readonly NodePlaces[]): Promise<BrokerSecurity | undefined> {
  const { folder, request } = plan
  const keyFile = join(folder, 'server.pem')
  const caFile = join(folder, 'ca.pem')
  await writeFile(join(folder, 'log4j2.xml'), log4jConfiguration)
  const secure = request.security === 'sasl-ssl'
  const passwords = secure ? newPasswords(request.users) : {}
  const certificates = secure ? makeCertificates() : undefined
  if (certificates !== undefined) {
    await writeFile(keyFile, keystorePem(certificates), { mode: 0o600 })
    await writeFile(caFile, certificates.ca)
  }
  const clusterId = newClusterId()
  for (const place of places) {
    const home = join(folder, `node-${place.id}`)
    await mkdir(home)
    const propertiesFile = join(home, 'server.properties')
    const files = { logDir: join(home, 'data'), keyFile, caFile }
    await writeFile(propertiesFile, serverProperties(place, places, request, files, passwords))
    await formatOne(plan, formatArguments(clusterId, propertiesFile, passwords))
  }
  if (certificates === undefined) return undefined
  return { ca: certificates.ca, users: passwords, superUser, mechanism: 'scram-sha-256' }
}

async function formatOne(plan: ClusterPlan, formatArgs: readonly string[]): Promise<void> {
  const jvm = [
    ...archiveFlags(plan.java, plan.libs),
    ...quickCompiler,
    '-Xmx256m',
    '-XX:+UseSerialGC',
    '-cp',
    join(plan.libs, '*'),
  ]
  const result = await runCommand(plan.java.path, [...jvm, 'kafka.tools.StorageTool', ...formatArgs])
  if (result.status === 0) return
  const said = `${result.stdout}\n${result.stderr}`.trim().slice(-2000)
  throw new BrokerKitError('BROKER_START_FAILED', `formatting a log folder in ${plan.folder} failed: ${said}`)
}

class JavaNode implements BrokerNode {
  readonly id: number
  readonly address: string
  readonly #internal: string
  readonly #plan: ClusterPlan
  readonly #clusterSize: number
  readonly #home: string
  #child: ChildProcess | undefined
  #paused = false

  constructor(plan: ClusterPlan, places: NodePlaces, clusterSize: number) {
    this.id = places.id
    this.address = places.advertise.client
    this.#internal = places.advertise.internal
    this.#plan = plan
    this.#clusterSize = clusterSize
    this.#home = join(plan.folder, `node-${places.id}`)
  }

  get pid(): number | undefined {
    return this.#child?.pid
  }

  async start(): Promise<void> {
    if (this.#child !== undefined) return
    this.#spawn()
    // The first of a new cluster cannot be ready before the others run: then the caller waits for all of them.
    if (this.#clusterSize === 1 || this.#startedBefore) await this.ready([this.id])
    this.#startedBefore = true
  }

  #startedBefore = false

  /** Resolves when this node answers and sees all of `ids` registered. */
  async ready(ids: readonly number[]): Promise<void> {
    const answered = async (): Promise<boolean> => this.#child === undefined || (await sees(this.#internal, ids))
    const inTime = await waitUntil(answered, { timeoutMs: startTimeoutMs, everyMs: 100 })
    if (inTime && this.#child !== undefined) return
    const what = inTime ? 'ended while it started' : `was not ready after ${startTimeoutMs} ms`
    const lines = await this.#lastLogLines()
    throw new BrokerKitError('BROKER_START_FAILED', `broker ${this.id} ${what}; its log ${this.#logFile}:\n${lines}`)
  }

  async kill(): Promise<void> {
    await this.#signalAndWait('SIGKILL')
  }

  async stop(): Promise<void> {
    if (this.#child !== undefined && this.#paused) this.resume()
    await this.#signalAndWait('SIGTERM')
  }

  pause(): void {
    this.#running('pause').kill('SIGSTOP')
    this.#paused = true
  }

  resume(): void {
    this.#running('resume').kill('SIGCONT')
    this.#paused = false
  }

  #running(verb: string): ChildProcess {
    if (this.#child === undefined) {
      throw new BrokerKitError('BROKER_NOT_RUNNING', `cannot ${verb} broker ${this.id}: it does not run`)
    }
    return this.#child
  }

  get #logFile(): string {
    return join(this.#home, 'broker.log')
  }

  #spawn(): void {
    const { java, libs, request, janitor, folder, classFlags } = this.#plan
    const heap = [`-Xmx${request.heapMb}m`, `-Xms${Math.min(request.heapMb, 256)}m`]
    const logging = `-Dlog4j2.configurationFile=${join(folder, 'log4j2.xml')}`
    const compiler = request.forLoad ? [] : quickCompiler
    const jvm = [
      ...classFlags,
      ...compiler,
      ...heap,
      ...collector,
      '-Djava.awt.headless=true',
      logging,
      '-cp',
      join(libs, '*'),
    ]
    const logFile = openSync(this.#logFile, 'a')
    // A group of its own: Ctrl-C and `timeout` signal whole groups and would take the broker along.
    const options = { detached: true, cwd: this.#home, stdio: ['ignore', logFile, logFile] as ('ignore' | number)[] }
    const child = spawn(java.path, [...jvm, 'kafka.Kafka', join(this.#home, 'server.properties')], options)
    closeSync(logFile)
    this.#child = child
    this.#paused = false
    const gone = (): void => {
      if (child.pid !== undefined) janitor.forgetProcess(child.pid)
      if (this.#child === child) this.#child = undefined
    }
    child.once('exit', gone)
    child.once('error', gone)
    if (child.pid !== undefined) janitor.watchProcess(child.pid)
    child.unref() // A forgotten broker does not keep a finished program alive; the janitor ends it then.
  }

  async #signalAndWait(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child
    if (child === undefined) return
    child.ref()
    child.kill(signal)
    const gone = await waitUntil(() => this.#child !== child, { timeoutMs: stopTimeoutMs, everyMs: 10 })
    if (gone) return
    const message = `broker ${this.id} (process ${child.pid}) did not end within ${stopTimeoutMs} ms of ${signal}`
    throw new BrokerKitError('BROKER_STOP_FAILED', message)
  }

  async #lastLogLines(): Promise<string> {
    const text = await readFile(this.#logFile, 'utf8').catch(() => '')
    return text.trimEnd().split('\n').slice(-25).join('\n')
  }
}
