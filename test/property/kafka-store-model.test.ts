/**
 * Goal: whatever becomes of its requests, a store in a topic has every file whole or not at all, and all workers see the same. Method:
 * two workers on a topic in memory that loses requests and answers, delivers late, compacts; workers that die and come again; a
 * plain map as the model. `SEED=… npm run test:unit` replays one run.
 */
import { expect, test } from '@jest/globals'
import { KafkaCheckpointStore } from '../../connectors/kafka/checkpoint-store.ts'
import { isCode } from '../../src/base/errors.ts'
import { silentLogger } from '../../src/base/log.ts'
import { FakeTopic, type Fault } from '../support/fake-topic.ts'
import { randomOf } from '../support/feed.ts'

const RUNS = 40
const STEPS = 40
const TRIES = 100

interface Worker {
  readonly clientId: string
  store: KafkaCheckpointStore
  die: () => void
}

class Run {
  readonly #random: () => number
  readonly #topic = new FakeTopic('checkpoints', 3)
  readonly #workers: Worker[]
  /** Files that are there. */
  readonly #files = new Map<string, Buffer>()
  /** Of workers that died while they created or deleted: there or not. */
  readonly #open = new Map<string, Buffer>()
  readonly #gone = new Set<string>()
  #names = 0

  constructor(seed: number) {
    this.#random = randomOf(seed)
    this.#topic.turns = () => Math.floor(this.#random() * 4)
    this.#workers = ['a-0', 'b-0'].map((clientId) => ({ clientId, ...this.#life(clientId) }))
  }

  #life(clientId: string): { store: KafkaCheckpointStore; die: () => void } {
    const { cluster, die } = this.#topic.client(clientId)
    const options = { topic: this.#topic.name, partitions: async () => 3, configs: new Map() }
    return { store: new KafkaCheckpointStore(cluster, this.#topic.admin, options, silentLogger), die }
  }

  #pick<T>(items: readonly T[]): T | undefined {
    return items[Math.floor(this.#random() * items.length)]
  }

  #faulty(): Fault {
    const dice = this.#random()
    return dice < 0.04 ? 'lost' : dice < 0.08 ? 'answer-lost' : dice < 0.12 ? 'late' : 'none'
  }

  async play(): Promise<void> {
    for (const { store } of this.#workers) await store.open('orders')
    this.#topic.fault = () => this.#faulty()
    for (let step = 0; step < STEPS; step++) {
      await Promise.all(this.#workers.map((worker) => this.#act(worker)))
      if (this.#random() < 0.3) this.#topic.arrive()
      if (this.#random() < 0.2) this.#topic.compact(Math.floor(this.#random() * 3))
      await this.#check()
    }
    await this.#end()
  }

  async #act(worker: Worker): Promise<void> {
    const dice = this.#random()
    const own = [...this.#files.keys()].filter((name) => name.startsWith(worker.clientId))
    const chosen = this.#pick(own)
    if (dice < 0.1) return this.#diesIn(worker)
    if (dice < 0.4 && chosen !== undefined) return this.#delete(worker, chosen)
    await this.#create(worker)
  }

  /** As a worker does it: the same name again, until it is there. */
  async #create({ clientId, store }: Worker): Promise<void> {
    const name = `${clientId}-${this.#names++}.ckpt`
    const content = Buffer.alloc(Math.floor(this.#random() * 5_000), name)
    await patiently(() => store.create(name, [content.subarray(0, 700), content.subarray(700)]))
    this.#files.set(name, content)
  }

  async #delete({ store }: Worker, name: string): Promise<void> {
    const content = this.#files.get(name) ?? Buffer.alloc(0)
    this.#files.delete(name)
    // Half done it may be gone or not; the next try ends it.
    this.#open.set(name, content)
    await patiently(() => store.delete(name))
    this.#open.delete(name)
    this.#gone.add(name)
  }

  /** In the middle of a create, after some requests; its next life knows nothing of it. */
  async #diesIn(worker: Worker): Promise<void> {
    const name = `${worker.clientId}-${this.#names++}.ckpt`
    const content = Buffer.alloc(4_000, name)
    this.#open.set(name, content)
    void worker.store.create(name, [content]).catch(() => undefined)
    for (let turns = Math.floor(this.#random() * 60); turns > 0; turns--) await Promise.resolve()
    worker.die()
    Object.assign(worker, this.#life(worker.clientId))
    await patiently(() => worker.store.open('orders').then(() => undefined))
  }

  async #check(): Promise<void> {
    for (const { store } of this.#workers) {
      const listed = new Set(await store.list())
      for (const name of this.#files.keys()) expect(listed.has(name)).toBe(true)
      for (let looks = 0; looks < 3; looks++) {
        const [name, content] = this.#pick([...this.#files]) ?? []
        if (name !== undefined && content) expect((await store.read(name))?.equals(content)).toBe(true)
      }
      for (const [name, content] of this.#open) expect((await store.read(name))?.equals(content) ?? true).toBe(true)
      for (const name of listed) expect(this.#files.has(name) || this.#open.has(name)).toBe(true)
      const gone = this.#pick([...this.#gone])
      if (gone !== undefined) expect(await store.readRange(gone, 0, 10)).toBeUndefined()
    }
  }

  /** Everything goes, and nothing is left of anything. */
  async #end(): Promise<void> {
    this.#topic.fault = () => 'none'
    for (const worker of this.#workers) await this.#create(worker)
    for (const name of [...this.#files.keys(), ...this.#open.keys()]) await this.#workers[0]?.store.delete(name)
    this.#files.clear()
    this.#open.clear()
    this.#topic.arrive()
    // What earlier lives have announced, the next life's first purge clears.
    for (const worker of this.#workers) {
      worker.die()
      Object.assign(worker, this.#life(worker.clientId))
      await this.#create(worker)
    }
    for (const [index, name] of [...this.#files.keys()].entries()) await this.#workers[index]?.store.delete(name)
    for (let turns = 0; turns < 500; turns++) await Promise.resolve()
    for (const partition of [1, 2]) {
      this.#topic.compact(partition)
      expect(this.#topic.valuesIn(partition)).toBe(0)
    }
    expect(await this.#workers[1]?.store.list()).toEqual([])
  }
}

/** @throws what is no fault of the network's */
async function patiently(work: () => Promise<void>): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      return await work()
    } catch (error) {
      const expected = isCode(error, 'STORE_UNWRITABLE', 'KAFKA_REQUEST_TIMEOUT')
      if (!expected || tries === TRIES) throw error
    }
  }
}

const seeds = process.env.SEED ? [Number(process.env.SEED)] : Array.from({ length: RUNS }, (_, index) => index + 1)

test.each(seeds)('SEED=%i', (seed) => new Run(seed).play())
