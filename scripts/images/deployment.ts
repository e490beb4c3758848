// The containers of one run: Kafka by the broker kit, a network and a volume, workers of our Dockerfile. All names carry
// the run's own part, so that runs side by side do not meet, and everything is removed however the run ends: by `close`,
// or by the kit's janitor if this process dies first. Only the volume of such a run stays until the next run.
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { startBroker, type TestBroker } from '../../connectors/kafka/testing/index.ts'
import { Janitor } from '../../connectors/kafka/testing/janitor.ts'
import { assertDocker, docker } from './docker.ts'
import { kafkaImage } from './kafka-image.ts'
import { nodeImage } from './node-image.ts'
import { WorkerContainer } from './worker-container.ts'

const root = join(import.meta.dirname, '..', '..')
const buildLimitMs = 900_000
const label = 'millrace-test'

type Log = (line: string) => void

export class Deployment implements AsyncDisposable {
  readonly broker: TestBroker
  readonly #image: string
  readonly #run: string
  readonly #janitor: Janitor
  readonly #workers: WorkerContainer[] = []

  private constructor(broker: TestBroker, image: string, run: string, janitor: Janitor) {
    this.broker = broker
    this.#image = image
    this.#run = run
    this.#janitor = janitor
  }

  /** Makes what is missing: images, network, volume; starts Kafka. @throws ContainerError, BrokerKitError */
  static async open(log: Log): Promise<Deployment> {
    await assertDocker()
    const run = randomBytes(6).toString('hex')
    const [base, kafka] = [await nodeImage(log), await kafkaImage(log)]
    log('building the Dockerfile')
    // One name for all runs: the next build replaces it, and a container keeps the image that it was started from.
    const image = 'millrace-local/worker:test'
    await docker(['build', '--quiet', '--force-rm', '--build-arg', `BASE=${base}`, '-t', image, root], buildLimitMs)
    process.env.MILLRACE_KAFKA_IMAGE = kafka
    const broker = await startBroker({ kind: 'container', log })
    const janitor = Janitor.start('')
    const deployment = new Deployment(broker, await idOf(image), run, janitor)
    try {
      janitor.watchNetwork(deployment.#name)
      await removeVolumesLeftBehind()
      await docker(['network', 'create', '--label', label, deployment.#name])
      await docker(['volume', 'create', '--label', label, deployment.#name])
    } catch (error) {
      await deployment.close()
      throw error
    }
    return deployment
  }

  get #name(): string {
    return `millrace-test-${this.#run}`
  }

  /** The built image's settings, by a Go template. */
  inspectImage(format: string): Promise<string> {
    return docker(['image', 'inspect', '--format', format, this.#image])
  }

  /** Starts a worker whose instance id is its host name. `module` is a path in the repository: pipelines/ or test/containers/. */
  async startWorker(host: string, module: string, env: Readonly<Record<string, string>>): Promise<WorkerContainer> {
    const name = `${this.#name}-${host}`
    const mounts = ['pipelines', 'test/containers'].flatMap((folder) => [
      '-v',
      `${join(root, folder)}:/app/${folder}:ro`,
    ])
    const port = this.broker.brokers[0]?.split(':').at(-1)
    const settings = { KAFKA_BROKERS: `${gateway}:${port}`, ...env }
    const variables = Object.entries(settings).flatMap(([key, value]) => ['-e', `${key}=${value}`])
    const places = ['--network', this.#name, '--add-host', `${gateway}:host-gateway`, '--hostname', host]
    const volumes = ['-v', `${this.#name}:/app/.millrace`, ...mounts]
    this.#janitor.watchContainer(name)
    const worker = new WorkerContainer(name)
    this.#workers.push(worker)
    // As little as SECURITY.md says is enough.
    const rights = ['--cap-drop', 'ALL', '--read-only', '--tmpfs', '/tmp']
    const health = ['--health-interval', '1s', '--health-start-period', '60s']
    await docker([
      'run',
      '-d',
      '--name',
      name,
      ...places,
      ...rights,
      ...health,
      ...volumes,
      ...variables,
      this.#image,
      'run',
      module,
    ])
    return worker
  }

  /** What the workers wrote last, for the message of a failed test. */
  async logs(): Promise<string> {
    const all = await Promise.all(this.#workers.map(async (worker) => `── ${worker.name}\n${await worker.logs()}`))
    return all.join('\n')
  }

  async close(): Promise<void> {
    const quietly = (args: string[]): Promise<unknown> => docker(args).catch((error: unknown) => problems.push(error))
    const problems: unknown[] = []
    for (const { name } of this.#workers.splice(0)) {
      await quietly(['rm', '--force', '--volumes', name])
      this.#janitor.forgetContainer(name)
    }
    await quietly(['network', 'rm', this.#name])
    await quietly(['volume', 'rm', this.#name])
    await this.broker.close()
    this.#janitor.dismiss()
    if (problems.length > 0) throw new AggregateError(problems, problems.map(String).join('\n'))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

/** The host as containers see it, by a name that Docker fills in. The pipeline translates the broker's address to it. */
const gateway = 'host.docker.internal'

/** Another run's volume is in use, or is made again by its first worker: nothing of it is lost. */
async function removeVolumesLeftBehind(): Promise<void> {
  const names = await docker(['volume', 'ls', '--quiet', '--filter', `label=${label}`, '--filter', 'dangling=true'])
  for (const name of names.split('\n').filter(Boolean)) await docker(['volume', 'rm', name]).catch(() => undefined)
}

function idOf(image: string): Promise<string> {
  return docker(['image', 'inspect', '--format', '{{.Id}}', image])
}
