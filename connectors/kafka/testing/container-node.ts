// One broker's container: its faults, and its life over kill and start.
import type { ContainerRuntimeClient, GenericContainer } from 'testcontainers'
import { BrokerKitError } from './errors.ts'
import type { Janitor } from './janitor.ts'
import { sees } from './readiness.ts'
import type { BrokerNode } from './test-broker.ts'
import { waitUntil } from './wait.ts'

const logLinesMax = 25

type ContainerClient = ContainerRuntimeClient['container']
type Container = ReturnType<ContainerClient['getById']>

/** What all nodes of one cluster share. */
export interface ContainerPlan {
  readonly client: ContainerClient
  readonly janitor: Janitor
  readonly startTimeoutMs: number
}

/** `internal` is where the plaintext internal listener is reached from here, for the readiness probe. */
export interface ContainerPlaces {
  readonly id: number
  readonly address: string
  readonly internal: string
  readonly name: string
}

export class ContainerNode implements BrokerNode {
  readonly id: number
  readonly address: string
  readonly #plan: ContainerPlan
  readonly #places: ContainerPlaces
  readonly #image: GenericContainer
  #container: Container | undefined
  #lastLines: string[] = []
  #running = false
  #paused = false
  /** Pause and resume return at once by contract; what comes after waits for them here. */
  #faults: Promise<void> = Promise.resolve()

  constructor(plan: ContainerPlan, places: ContainerPlaces, image: GenericContainer) {
    this.id = places.id
    this.address = places.address
    this.#plan = plan
    this.#places = places
    this.#image = image
  }

  /** The first start: makes the container and waits until it sees all of `ids`. */
  async create(ids: readonly number[]): Promise<void> {
    const { client, janitor, startTimeoutMs } = this.#plan
    janitor.watchContainer(this.#places.name)
    this.#image.withLogConsumer((stream) => {
      stream.on('data', (line: unknown) => {
        this.#lastLines = [...this.#lastLines, String(line).trimEnd()].slice(-logLinesMax)
      })
    })
    try {
      const started = await this.#image.start()
      this.#container = client.getById(started.getId())
      this.#running = true
    } catch (error) {
      throw this.#startFailed('did not start', error)
    }
    const ready = await waitUntil(() => sees(this.#places.internal, ids), { timeoutMs: startTimeoutMs })
    if (!ready) throw this.#startFailed(`was not ready after ${startTimeoutMs} ms`)
  }

  async start(): Promise<void> {
    await this.#faults
    if (this.#running) return
    await this.#existing().start()
    this.#running = true
    const timeoutMs = this.#plan.startTimeoutMs
    const ready = await waitUntil(() => sees(this.#places.internal, [this.id]), { timeoutMs })
    if (!ready) throw this.#startFailed(`was not ready again after ${timeoutMs} ms`)
  }

  async kill(): Promise<void> {
    await this.#end('SIGKILL')
  }

  async stop(): Promise<void> {
    if (this.#paused) this.resume()
    await this.#end('SIGTERM')
  }

  pause(): void {
    const container = this.#existing()
    this.#paused = true
    this.#enqueue(() => container.pause())
  }

  resume(): void {
    const container = this.#existing()
    this.#paused = false
    this.#enqueue(() => container.unpause())
  }

  /** The end: the container and its data are gone afterwards. */
  async remove(): Promise<void> {
    await this.#faults.catch(() => undefined) // The container goes whatever a fault said.
    await this.#container?.remove({ force: true, v: true })
    this.#container = undefined
    this.#running = false
    this.#plan.janitor.forgetContainer(this.#places.name)
  }

  async #end(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    await this.#faults
    if (!this.#running) return
    const container = this.#existing()
    const gone = container.wait()
    if (this.#paused)
      await container.kill({ signal }).catch(() => container.unpause().then(() => container.kill({ signal })))
    else await container.kill({ signal })
    await gone
    this.#running = false
    this.#paused = false
  }

  #enqueue(fault: () => Promise<unknown>): void {
    this.#faults = this.#faults.then(async () => void (await fault()))
    this.#faults.catch(() => undefined) // Whatever comes next awaits it and throws then.
  }

  #existing(): Container {
    if (this.#container !== undefined) return this.#container
    throw new BrokerKitError('BROKER_NOT_RUNNING', `the container of broker ${this.id} does not exist`)
  }

  #startFailed(what: string, cause?: unknown): BrokerKitError {
    const reason = cause instanceof Error ? `: ${cause.message}` : ''
    const message = `the container of broker ${this.id} ${what}${reason}; its last lines:\n${this.#lastLines.join('\n')}`
    return new BrokerKitError('BROKER_START_FAILED', message, { cause })
  }
}
