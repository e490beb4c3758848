/**
 * The upstream of the fault tests: numbers per key, seeded, written by Kafka's own client in every way that a reader has
 * to cope with: plain and transactional, committed and aborted, compressed and not, with tombstones among them.
 */

import { type JavaClientOptions, JavaProducer } from '../../connectors/kafka/testing/index.ts'
import { Random } from '../../pipelines/nexmark/generator.ts'
import { delay } from '../../src/base/clock.ts'
import { messageOf } from '../../src/base/errors.ts'

const KEYS = 12
const COMPRESSIONS = ['lz4', 'zstd', 'none'] as const
const ABORTED_ONE_IN = 4
const TOMBSTONE_ONE_IN = 25

/** Equal seeds, equal numbers in [0, 1). */
export function randomOf(seed: number): () => number {
  const random = new Random(seed)
  return () => random.next()
}

/** Java producers, one per way of writing; shared by the tests of a file, used by one wave at a time. */
export class Upstream implements AsyncDisposable {
  readonly #producers: readonly { readonly producer: JavaProducer; readonly transactional: boolean }[]
  #turn: Promise<unknown> = Promise.resolve()
  #next = 0

  private constructor(producers: readonly { producer: JavaProducer; transactional: boolean }[]) {
    this.#producers = producers
  }

  static async start(client: JavaClientOptions): Promise<Upstream> {
    const started = await Promise.all(
      COMPRESSIONS.map(async (compression, index) => {
        const transactional = index !== 1
        const id = transactional ? { transactionalId: `upstream-${index}` } : {}
        return { producer: await JavaProducer.start({ ...client, compression, ...id }), transactional }
      }),
    )
    return new Upstream(started)
  }

  /** Lets `write` have the next producer to itself, in a transaction if it has them. */
  write(end: 'commit' | 'abort', write: (producer: JavaProducer) => Promise<void>): Promise<void> {
    const work = this.#turn.then(async () => {
      const able = end === 'commit' ? this.#producers : this.#producers.filter((each) => each.transactional)
      const chosen = able[this.#next++ % able.length]
      if (!chosen) throw new Error('no producer')
      const { producer, transactional } = chosen
      if (transactional) await producer.begin()
      await write(producer)
      if (!transactional) await producer.flush()
      else if (end === 'abort') await producer.flush().then(() => producer.abort())
      else await producer.commit()
    })
    this.#turn = work.catch(() => undefined)
    return work
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#producers.map(({ producer }) => producer[Symbol.asyncDispose]()))
  }
}

/** What goes into one topic. */
export class Feed {
  readonly #upstream: Upstream
  readonly #topic: string
  readonly #random: () => number
  readonly #counts = new Map<string, number>()
  readonly #timestamp: () => number | undefined
  #streaming: { stop: boolean; done: Promise<void> } | undefined

  constructor(upstream: Upstream, topic: string, seed: number, timestamp: () => number | undefined = () => undefined) {
    this.#upstream = upstream
    this.#topic = topic
    this.#random = randomOf(seed)
    this.#timestamp = timestamp
  }

  /** Records in one go; now and then as many that are aborted before them. */
  async wave(records: number, pad = 0, keys: number = KEYS): Promise<void> {
    if (this.#random() < 1 / ABORTED_ONE_IN)
      await this.#upstream.write('abort', (to) => this.#send(to, records, pad, keys))
    await this.#upstream.write('commit', (to) => this.#send(to, records, pad, keys))
  }

  /** Only aborted ones. */
  abortedWave(records: number, pad = 0): Promise<void> {
    return this.#upstream.write('abort', (to) => this.#send(to, records, pad))
  }

  async #send(producer: JavaProducer, records: number, pad: number, keys: number = KEYS): Promise<void> {
    for (let i = 0; i < records; i++) {
      // Some keys are far busier than others.
      const key = `key-${Math.floor(keys * this.#random() * this.#random())}`
      const n = (this.#counts.get(key) ?? 0) + 1
      this.#counts.set(key, n)
      const tombstone = this.#random() < 1 / TOMBSTONE_ONE_IN
      const filler = pad > 0 ? { pad: 'x'.repeat(pad) } : {}
      const value = tombstone ? null : JSON.stringify({ k: key, n, ...filler })
      const timestamp = this.#timestamp()
      await producer.send({ topic: this.#topic, key, value, ...(timestamp === undefined ? {} : { timestamp }) })
    }
  }

  /** Wave after wave until `endStream`. */
  stream(records = 30, everyMs = 10): void {
    const streaming = { stop: false, done: Promise.resolve() }
    streaming.done = (async () => {
      while (!streaming.stop) {
        await this.wave(records)
        await delay(everyMs)
      }
    })()
    // Thrown by `endStream`; a test that waits for what the stream would have brought waits in vain, and says only that.
    streaming.done.catch((error: unknown) =>
      process.stderr.write(`the upstream of ${this.#topic} has ended: ${messageOf(error)}\n`),
    )
    this.#streaming = streaming
  }

  async endStream(): Promise<void> {
    if (!this.#streaming) return
    this.#streaming.stop = true
    await this.#streaming.done
    this.#streaming = undefined
  }

  /**
   * Ends the stream after a broker was killed under it. A broker can drop the markers of an upstream's commit as it can ours,
   * and then nobody reads beyond them; Kafka ends such a transaction with the next one of its producer: one of each.
   */
  async settle(): Promise<void> {
    await this.endStream()
    for (let i = 0; i < COMPRESSIONS.length; i++) await this.#upstream.write('commit', (to) => this.#send(to, 100, 0))
  }
}
