// The cluster as we know it: brokers, leaders, coordinators, and one connection per broker and purpose. Membership has
// its own connection because a pending JoinGroup blocks everything behind it; so have fetch, produce, transactions and the store.
// `call` is the one retry loop of all control requests: it repeats what may be repeated, at the right broker, until a
// deadline, and turns every other answer into a coded error.
import { delay, jitter, monotonicMs, startTimer } from '../../src/base/clock.ts'
import { isCode, MillraceError, messageOf } from '../../src/base/errors.ts'
import type { Logger } from '../../src/base/log.ts'
import { type ClientOptions, openSocket } from './client.ts'
import {
  FindCoordinator,
  ListOffsets,
  Metadata,
  type MetadataResponse,
  type MetadataTopic,
} from './wire/cluster-requests.ts'
import { Code, kafkaError, type RetryClass, retryClass } from './wire/codes.ts'
import { Connection, type VersionRanges } from './wire/connection.ts'
import { Fetch, Produce } from './wire/data-requests.ts'
import { JoinGroup, OffsetFetch } from './wire/group-requests.ts'
import type { Api } from './wire/primitives.ts'
import {
  DescribeProducers,
  DescribeTransactions,
  EndTxn,
  InitProducerId,
  ListTransactions,
  TxnOffsetCommit,
} from './wire/transaction-requests.ts'

export type Purpose = 'control' | 'group' | 'transaction' | 'produce' | 'fetch' | 'store'

interface Address {
  readonly host: string
  readonly port: number
}

export type Target =
  | { readonly kind: 'any' }
  | { readonly kind: 'node'; readonly node: number }
  | { readonly kind: 'leader'; readonly topic: string; readonly partition: number }
  | { readonly kind: 'coordinator'; readonly type: 'group' | 'transaction'; readonly key: string }

export interface CallOptions<Response> {
  readonly to: Target
  readonly purpose?: Purpose
  /** The answer's error code; the first non-zero one where it has several. */
  readonly codeOf: (response: Response) => number
  /** What the request is about, for the error text. */
  readonly what: string
  /** Give up after this long. Default 60 000 ms: several broker session time-outs. */
  readonly deadlineMs?: number
  readonly timeoutMs?: number
  readonly signal?: AbortSignal | undefined
  /** Codes that the caller handles itself: the answer is returned as it is. */
  readonly accept?: (code: number) => boolean
}

const METADATA_MAX_AGE_MS = 60_000

/** Asked of every broker at the first contact: one that is too old says so then, and not in the middle of a commit. */
const NEEDED: readonly unknown[] = [
  ...[Metadata, FindCoordinator, ListOffsets, Fetch, Produce, JoinGroup, OffsetFetch, InitProducerId, TxnOffsetCommit],
  ...[EndTxn, DescribeTransactions, ListTransactions, DescribeProducers],
]

export class KafkaCluster {
  readonly clientId: string
  readonly #options: ClientOptions
  readonly #log: Logger
  readonly #connections = new Map<string, Promise<Connection>>()
  readonly #versions = new Map<string, VersionRanges>()
  readonly #coordinators = new Map<string, number>()
  #brokers = new Map<number, Address>()
  #topics = new Map<string, MetadataTopic>()
  #metadataAtMs = Number.NEGATIVE_INFINITY
  #closed = false

  constructor(options: ClientOptions, clientId: string, log: Logger) {
    this.#options = options
    this.clientId = clientId
    this.#log = log
  }

  /** First contact. @throws KAFKA_UNREACHABLE, KAFKA_AUTHENTICATION, KAFKA_TOO_OLD */
  async connect(): Promise<void> {
    const limit = this.#options.connectTimeoutMs ?? 30_000
    const deadline = monotonicMs() + limit
    for (;;) {
      try {
        await within(this.#refresh([]), deadline - monotonicMs())
        return
      } catch (error) {
        if (isCode(error, 'KAFKA_AUTHENTICATION', 'KAFKA_TOO_OLD', 'OPTION_INVALID')) throw error
        if (monotonicMs() >= deadline) {
          void this.close()
          const text = `no broker of ${this.#options.brokers.join(', ')} answered in ${limit} ms (${messageOf(error)}); check KAFKA_BROKERS, the network and the listener's protocol`
          throw new MillraceError('KAFKA_UNREACHABLE', text, { cause: error })
        }
        await delay(100 + 100 * jitter())
      }
    }
  }

  get brokerIds(): readonly number[] {
    return [...this.#brokers.keys()]
  }

  /** Topics by name; a missing one has code 3. Always asks the cluster. */
  async describeTopics(names: readonly string[]): Promise<ReadonlyMap<string, MetadataTopic>> {
    const response = await this.call(
      Metadata,
      { topics: names },
      { to: { kind: 'any' }, what: `metadata of ${names.join(', ')}`, codeOf: () => 0 },
    )
    this.#learn(response)
    return new Map(response.topics.map((topic) => [topic.name, topic]))
  }

  /** What the last metadata said of a topic. */
  topic(name: string): MetadataTopic | undefined {
    return this.#topics.get(name)
  }

  /** Leader and its epoch, from the cache or the cluster; undefined while there is none. */
  async leader(topic: string, partition: number): Promise<{ node: number; epoch: number } | undefined> {
    if (!this.#topics.has(topic) || monotonicMs() - this.#metadataAtMs > METADATA_MAX_AGE_MS)
      await this.#refresh([topic])
    const found = this.#topics.get(topic)?.partitions.find((each) => each.partition === partition)
    return found && found.leader >= 0 ? { node: found.leader, epoch: found.leaderEpoch } : undefined
  }

  /** Forget what we know of these topics' leaders. */
  async refreshLeaders(topics: readonly string[]): Promise<void> {
    await this.#refresh(topics)
  }

  async #refresh(topics: readonly string[]): Promise<void> {
    const wanted = new Set([...this.#topics.keys(), ...topics])
    let last: unknown = new MillraceError('OPTION_INVALID', 'no brokers are given; set KAFKA_BROKERS or kafka.brokers')
    for (const address of this.#addresses()) {
      try {
        const connection = await this.#connection(address, 'control')
        this.#learn(await connection.send(Metadata, { topics: [...wanted] }))
        this.#metadataAtMs = monotonicMs()
        return
      } catch (error) {
        if (isCode(error, 'KAFKA_AUTHENTICATION', 'KAFKA_TOO_OLD')) throw error
        last = error
      }
    }
    throw last
  }

  #learn(response: MetadataResponse): void {
    if (response.brokers.length > 0) this.#brokers = new Map(response.brokers.map((broker) => [broker.id, broker]))
    for (const topic of response.topics) {
      if (topic.code === Code.NONE) this.#topics.set(topic.name, topic)
      else this.#topics.delete(topic.name)
    }
  }

  /** Known brokers first, in random order, then the bootstrap list: a dead bootstrap broker must not matter. */
  #addresses(): Address[] {
    const known = [...this.#brokers.values()].sort(() => jitter() - 0.5)
    return [...known, ...this.#options.brokers.map(parseAddress)]
  }

  async #connection({ host, port }: Address, purpose: Purpose): Promise<Connection> {
    const address = `${host}:${port}`
    const key = `${address}/${purpose}`
    const existing = this.#connections.get(key)
    if (existing) {
      const connection = await existing.catch(() => undefined)
      if (connection && !connection.closed && monotonicMs() < connection.replaceAtMs) return connection
      if (this.#connections.get(key) === existing) this.#connections.delete(key)
      if (connection && connection.inFlight === 0) connection.close()
      const raced = this.#connections.get(key)
      if (raced) return raced
    }
    if (this.#closed) throw new MillraceError('KAFKA_CONNECTION_LOST', `the client to ${address} is closed`)
    const opening = this.#open(host, port, address)
    this.#connections.set(key, opening)
    opening.catch(() => this.#connections.get(key) === opening && this.#connections.delete(key))
    return opening
  }

  async #open(host: string, port: number, address: string): Promise<Connection> {
    const { translateAddress } = this.#options
    const place = translateAddress ? parseAddress(translateAddress(address)) : { host, port }
    const opened = await openSocket(place.host, place.port, this.clientId, this.#options)
    const known = this.#versions.get(address)
    const { socket, sessionLifetimeMs } = opened
    const connection = new Connection(socket, address, this.clientId, sessionLifetimeMs, known ?? new Map())
    opened.deliverTo(connection)
    if (this.#closed) connection.close()
    if (!known) {
      const versions = await connection.negotiate()
      for (const api of NEEDED) connection.version(api as Api<never, unknown>)
      this.#versions.set(address, versions)
    }
    return connection
  }

  /** The connection to a broker for one purpose; opened on first use, replaced when lost. */
  async node(node: number, purpose: Purpose): Promise<Connection> {
    const address = this.#brokers.get(node)
    if (!address) throw new MillraceError('KAFKA_CONNECTION_LOST', `broker ${node} is not in the metadata`)
    return this.#connection(address, purpose)
  }

  async #resolve(target: Target, purpose: Purpose): Promise<Connection> {
    switch (target.kind) {
      case 'any': {
        let last: unknown
        for (const address of this.#addresses()) {
          try {
            return await this.#connection(address, purpose)
          } catch (error) {
            last = error
          }
        }
        throw last
      }
      case 'node':
        return this.node(target.node, purpose)
      case 'leader': {
        const leader = await this.leader(target.topic, target.partition)
        if (!leader) throw kafkaError(Code.LEADER_NOT_AVAILABLE, `leader of ${target.topic}-${target.partition}`)
        return this.node(leader.node, purpose)
      }
      case 'coordinator':
        return this.node(await this.#coordinator(target.type, target.key), purpose)
    }
  }

  async #coordinator(type: 'group' | 'transaction', key: string): Promise<number> {
    const name = `${type}/${key}`
    const known = this.#coordinators.get(name)
    if (known !== undefined) return known
    const connection = await this.#resolve({ kind: 'any' }, 'control')
    const found = await connection.send(FindCoordinator, { key, type })
    if (found.code !== Code.NONE) throw kafkaError(found.code, `coordinator of ${type} ${key}`)
    this.#brokers.set(found.node, found)
    this.#coordinators.set(name, found.node)
    return found.node
  }

  forgetCoordinator(type: 'group' | 'transaction', key: string): void {
    this.#coordinators.delete(`${type}/${key}`)
  }

  /** Look the target up again before the next try. */
  async #forget(target: Target, how: RetryClass | 'connection'): Promise<void> {
    if (target.kind === 'coordinator' && how !== 'again') this.#coordinators.delete(`${target.type}/${target.key}`)
    if (target.kind === 'leader' && how !== 'again') await this.#refresh([target.topic]).catch(() => undefined)
    if (target.kind === 'node' && how === 'connection') await this.#refresh([]).catch(() => undefined)
  }

  /** One control request, repeated until it is answered for good. @throws by the classes of wire/codes.ts */
  async call<Request, Response>(
    api: Api<Request, Response>,
    request: Request,
    options: CallOptions<Response>,
  ): Promise<Response> {
    const deadline = monotonicMs() + (options.deadlineMs ?? 60_000)
    for (let attempt = 0; ; attempt++) {
      const outcome = await this.#try(api, request, options)
      if ('response' in outcome) return outcome.response
      if (outcome.retry === undefined || monotonicMs() >= deadline || this.#closed) throw outcome.error
      if (attempt > 0 && attempt % 50 === 0)
        this.#log.warn({ error: messageOf(outcome.error), attempt }, 'still retrying')
      const pause = outcome.retry === 'again' ? Math.min(2 ** Math.min(attempt, 6), 50) : 50 + 50 * jitter()
      await delay(pause, options.signal)
      if (options.signal?.aborted) throw outcome.error
      await this.#forget(options.to, outcome.retry)
    }
  }

  async #try<Request, Response>(
    api: Api<Request, Response>,
    request: Request,
    options: CallOptions<Response>,
  ): Promise<{ response: Response } | { error: Error; retry: RetryClass | 'connection' | undefined }> {
    try {
      const connection = await this.#resolve(options.to, options.purpose ?? 'control')
      const response = await connection.send(api, request, options.timeoutMs)
      const code = options.codeOf(response)
      if (code === Code.NONE || options.accept?.(code)) return { response }
      return { error: kafkaError(code, options.what), retry: retryClass(code) }
    } catch (error) {
      if (isCode(error, 'KAFKA_CONNECTION_LOST', 'KAFKA_REQUEST_TIMEOUT')) return { error, retry: 'connection' }
      if (isCode(error, 'KAFKA_RETRIABLE')) return { error, retry: retryClass(error.kafkaCode ?? 0) ?? 'connection' }
      throw error
    }
  }

  async close(): Promise<void> {
    this.#closed = true
    const open = [...this.#connections.values()]
    this.#connections.clear()
    for (const connection of await Promise.allSettled(open)) {
      if (connection.status === 'fulfilled') connection.value.close()
    }
  }
}

/** A peer that accepts and never answers must not cost more than the caller allows. */
function within(work: Promise<void>, limitMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const late = new MillraceError('KAFKA_CONNECTION_LOST', 'connected, but no answer')
    const timer = startTimer(Math.max(1, limitMs), () => reject(late))
    work.then(resolve, reject).finally(() => timer.cancel())
  })
}

function parseAddress(text: string): Address {
  const match = /^(?:.*:\/\/)?\[?([^\]]+?)\]?:(\d+)$/.exec(text.trim())
  if (!match) throw new MillraceError('OPTION_INVALID', `broker '${text}' is not of the form host:port`)
  return { host: match[1] ?? '', port: Number(match[2]) }
}
