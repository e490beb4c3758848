// Kafka's own Java client as an independent witness: reads, writes and codes records, knowing nothing of our code.
import { configFlags, type ProbeLine, ProbeProcess } from './probe-process.ts'
import type { TestBroker } from './test-broker.ts'

/** How every probe reaches the cluster. */
export interface JavaClientOptions {
  /** Bootstrap addresses, `host:port` each. */
  readonly brokers: readonly string[]
  /** Java client properties, such as those of {@link javaClientConfig}. */
  readonly config?: Readonly<Record<string, string>>
}

export type JavaHeader = readonly [name: string, value: Buffer | null]

export interface JavaRecord {
  readonly topic: string
  readonly partition: number
  readonly offset: bigint
  /** Milliseconds since the epoch, as the record carries it. */
  readonly timestamp: number
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: readonly JavaHeader[]
  /** The wall clock when the poll that brought it returned, milliseconds since the epoch. */
  readonly at: number
}

export interface JavaConsumeOptions extends JavaClientOptions {
  readonly topics: readonly string[]
  /** Default 'read_committed'. */
  readonly isolation?: 'read_committed' | 'read_uncommitted'
  /** Takes each record instead of the result's list: for more than fits into memory. Must not throw. */
  readonly onRecord?: (record: JavaRecord) => void
}

export interface JavaConsumed {
  /** Partition by partition in order of offset; empty when `onRecord` took them. */
  readonly records: readonly JavaRecord[]
  /** Where each `topic-partition` ended when reading began: the last stable offset with 'read_committed'. */
  readonly end: ReadonlyMap<string, bigint>
}

/**
 * Java client properties that let `user` in at a broker with security; none for a plaintext broker.
 *
 * @param user default: the super user
 * @param password default: the right one
 */
export function javaClientConfig(broker: TestBroker, user?: string, password?: string): Record<string, string> {
  const security = broker.security
  if (security === undefined) return {}
  const name = user ?? security.superUser
  const secret = password ?? security.users[name]
  if (secret === undefined) throw new TypeError(`no such user at this broker: '${name}'`)
  const login = 'org.apache.kafka.common.security.scram.ScramLoginModule required'
  return {
    'security.protocol': 'SASL_SSL',
    'sasl.mechanism': 'SCRAM-SHA-256',
    'sasl.jaas.config': `${login} username="${name}" password="${secret}";`,
    'ssl.truststore.type': 'PEM',
    'ssl.truststore.certificates': security.ca,
  }
}

/**
 * Reads all partitions of the topics from their beginning to the end they have now.
 *
 * @throws JavaProbeError when the topic is unknown, the batch checksums are wrong, or the cluster refuses
 */
export async function javaConsume(options: JavaConsumeOptions): Promise<JavaConsumed> {
  const records: JavaRecord[] = []
  const end = new Map<string, bigint>()
  const onRecord = options.onRecord ?? ((record: JavaRecord) => void records.push(record))
  const onLine = (line: ProbeLine): void => {
    if (line.end === undefined) return onRecord(parseRecord(line))
    const offsets = Object.entries(line.end as Record<string, number>)
    for (const [partition, offset] of offsets) end.set(partition, BigInt(offset))
  }
  await using probe = await ProbeProcess.start('consume', consumeFlags(options, '--until-end'), onLine)
  await probe.finished()
  return { records, end }
}

/** A reader that goes on until closed. */
export interface JavaFollower extends AsyncDisposable {
  /** Stops reading. @throws JavaProbeError if the reader had failed before */
  close(): Promise<void>
}

/** Reads from the beginning and goes on with what comes; resolves once partitions are assigned. */
export async function javaFollow(
  options: JavaConsumeOptions & { readonly onRecord: (record: JavaRecord) => void },
): Promise<JavaFollower> {
  const following = Promise.withResolvers<void>()
  const onLine = (line: ProbeLine): void => {
    if (line.following === true) following.resolve()
    else options.onRecord(parseRecord(line))
  }
  const probe = await ProbeProcess.start('consume', consumeFlags(options, '--follow'), onLine)
  await Promise.race([following.promise, probe.finished()])
  return { close: () => probe.close(), [Symbol.asyncDispose]: () => probe[Symbol.asyncDispose]() }
}

export interface JavaOutgoing {
  readonly topic: string
  /** Default: by the key, as Kafka's own partitioner does. */
  readonly partition?: number
  readonly key?: Uint8Array | string | null
  readonly value?: Uint8Array | string | null
  /** Milliseconds since the epoch; default: now. */
  readonly timestamp?: number
  readonly headers?: readonly (readonly [name: string, value: Uint8Array | string | null])[]
}

export interface JavaProduceOptions extends JavaClientOptions {
  readonly compression?: 'none' | 'gzip' | 'snappy' | 'lz4' | 'zstd'
  /** Makes the producer transactional: each record needs a `begin` before it. */
  readonly transactionalId?: string
}

/** A Java producer, long-lived. Records go in order; errors of a send appear at the next flush, commit or close. */
export class JavaProducer implements AsyncDisposable {
  readonly #probe: ProbeProcess

  private constructor(probe: ProbeProcess) {
    this.#probe = probe
  }

  static async start(options: JavaProduceOptions): Promise<JavaProducer> {
    const flags = ['--bootstrap', options.brokers.join(','), ...configFlags(options.config)]
    if (options.compression !== undefined) flags.push('--compression', options.compression)
    if (options.transactionalId !== undefined) flags.push('--transactional-id', options.transactionalId)
    return new JavaProducer(await ProbeProcess.start('produce', flags))
  }

  /** Hands a record over; resolves when the pipe takes more, not when the broker has it: see {@link flush}. */
  send(record: JavaOutgoing): Promise<void> {
    return this.#probe.send({
      t: record.topic,
      p: record.partition,
      k: base64(record.key),
      v: base64(record.value),
      ts: record.timestamp,
      h: (record.headers ?? []).map(([name, value]) => [name, base64(value)]),
    })
  }

  begin(): Promise<void> {
    return this.#ask({ txn: 'begin' })
  }

  commit(): Promise<void> {
    return this.#ask({ txn: 'commit' })
  }

  abort(): Promise<void> {
    return this.#ask({ txn: 'abort' })
  }

  /** Commits offsets of a consumer group with the open transaction. */
  sendOffsets(group: string, offsets: readonly JavaOffset[]): Promise<void> {
    const list = offsets.map((each) => ({ t: each.topic, p: each.partition, o: Number(each.offset) }))
    return this.#ask({ offsets: { group, list } })
  }

  /** Resolves when the brokers have acknowledged all records sent so far. */
  flush(): Promise<void> {
    return this.#ask({ flush: true })
  }

  /** Flushes and ends; an open transaction is aborted. */
  close(): Promise<void> {
    return this.#probe.close()
  }

  /** SIGKILL: an open transaction stays open until its timeout. */
  kill(): Promise<void> {
    return this.#probe.kill()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#probe[Symbol.asyncDispose]()
  }

  async #ask(line: ProbeLine): Promise<void> {
    await this.#probe.request(line)
  }
}

export interface JavaOffset {
  readonly topic: string
  readonly partition: number
  readonly offset: bigint
}

/** Writes the records and waits for their acknowledgement; with `transactionalId`, in one committed transaction. */
export async function javaProduce(
  options: JavaProduceOptions,
  records: Iterable<JavaOutgoing> | AsyncIterable<JavaOutgoing>,
): Promise<void> {
  await using producer = await JavaProducer.start(options)
  if (options.transactionalId !== undefined) await producer.begin()
  for await (const record of records) await producer.send(record)
  if (options.transactionalId !== undefined) await producer.commit()
  else await producer.flush()
  await producer.close()
}

/** Base64, null for null and undefined; strings are UTF-8. */
export function base64(bytes: Uint8Array | string | null | undefined): string | null {
  return bytes === null || bytes === undefined ? null : Buffer.from(bytes).toString('base64')
}

/** The bytes of a base64 field of a probe's line. */
export function fromBase64(text: unknown): Buffer | null {
  return typeof text === 'string' ? Buffer.from(text, 'base64') : null
}

function consumeFlags(options: JavaConsumeOptions, mode: '--until-end' | '--follow'): string[] {
  const where = ['--bootstrap', options.brokers.join(','), '--topics', options.topics.join(',')]
  return [...where, '--isolation', options.isolation ?? 'read_committed', mode, ...configFlags(options.config)]
}

interface RecordLine {
  readonly t: string
  readonly p: number
  readonly o: number
  readonly ts: number
  readonly k: string | null
  readonly v: string | null
  readonly h: readonly [string, string | null][]
  readonly at: number
}

function parseRecord(line: ProbeLine): JavaRecord {
  const record = line as unknown as RecordLine
  return {
    topic: record.t,
    partition: record.p,
    offset: BigInt(record.o),
    timestamp: record.ts,
    key: fromBase64(record.k),
    value: fromBase64(record.v),
    headers: record.h.map(([name, value]) => [name, fromBase64(value)]),
    at: record.at,
  }
}
