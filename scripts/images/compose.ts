// docker-compose.yml as a user starts it, with a project name, ports and a volume of its own.
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { Janitor } from '../../connectors/kafka/testing/janitor.ts'
import { freePorts } from '../../connectors/kafka/testing/ports.ts'
import { runCommand } from '../../connectors/kafka/testing/run-command.ts'
import { assertDocker, ContainerError, docker, runDocker } from './docker.ts'
import { kafkaImage } from './kafka-image.ts'
import { nodeImage } from './node-image.ts'
import { WorkerContainer } from './worker-container.ts'

const root = join(import.meta.dirname, '..', '..')
const commandLimitMs = 900_000

export class Compose implements AsyncDisposable {
  /** Of this host's programs. */
  readonly brokers: readonly string[]
  readonly #command: readonly string[]
  readonly #project = `millrace-test-${randomBytes(6).toString('hex')}`
  readonly #env: NodeJS.ProcessEnv
  readonly #janitor = Janitor.start('')

  private constructor(command: readonly string[], env: NodeJS.ProcessEnv, port: number) {
    this.#command = command
    this.#env = env
    this.brokers = [`localhost:${port}`]
  }

  /** Makes the images that are missing and starts all services. @throws ContainerError */
  static async up(log: (line: string) => void): Promise<Compose> {
    await assertDocker()
    const command = await composeCommand()
    const [kafka, first, second] = (await freePorts(3)) as [number, number, number]
    const ports = { KAFKA_PORT: String(kafka), WORKER_1_PORT: String(first), WORKER_2_PORT: String(second) }
    // One name for all runs, as in deployment.ts, and not the one that a user builds.
    const made = { MILLRACE_IMAGE: 'millrace-local/compose:test' }
    const images = { ...made, NODE_IMAGE: await nodeImage(log), KAFKA_IMAGE: await kafkaImage(log) }
    const compose = new Compose(command, { ...ports, ...images }, kafka)
    log('docker compose up --build')
    try {
      await compose.run('up', '--build', '-d')
      const label = `label=com.docker.compose.project=${compose.#project}`
      for (const id of (await docker(['ps', '--all', '--quiet', '--filter', label])).split('\n'))
        compose.#janitor.watchContainer(id)
      compose.#janitor.watchNetwork(`${compose.#project}_default`)
      return compose
    } catch (error) {
      await compose[Symbol.asyncDispose]().catch((left: unknown) => log(`not removed: ${String(left)}`))
      throw error
    }
  }

  /** `docker compose <args>`, and what it wrote to stdout. @throws ContainerError DOCKER_FAILED */
  run(...args: readonly string[]): Promise<string> {
    const place = ['--project-name', this.#project, '--file', join(root, 'docker-compose.yml')]
    return runDocker([...this.#command, ...place, ...args], commandLimitMs, this.#env)
  }

  /** Of a service that was started. */
  async container(service: string): Promise<WorkerContainer> {
    return new WorkerContainer(await this.run('ps', '--quiet', service))
  }

  /** Containers, network and volume go. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.run('down', '--volumes', '--timeout', '1')
    this.#janitor.dismiss()
  }
}

/** The plugin, else the program of before. @throws ContainerError DOCKER_UNAVAILABLE */
async function composeCommand(): Promise<readonly string[]> {
  const ways = [['docker', 'compose'], ['docker-compose']]
  for (const way of ways) {
    const [program, ...args] = way as [string, ...string[]]
    if ((await runCommand(program, [...args, 'version'])).status === 0) return way
  }
  throw new ContainerError(
    'DOCKER_UNAVAILABLE',
    'missing: docker compose. Install its plugin, or docker-compose; on Debian: apt-get install docker-compose',
  )
}
