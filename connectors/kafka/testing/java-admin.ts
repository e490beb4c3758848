// Kafka's own admin client, long-lived: one Java process, one command at a time.
import type { JavaClientOptions, JavaOffset } from './java-probe.ts'
import { configFlags, ProbeProcess } from './probe-process.ts'

export interface JavaPartition {
  readonly topic: string
  readonly partition: number
}

export interface JavaTopicDescription {
  readonly name: string
  readonly topicId: string
  /** `leader` is -1 while there is none. */
  readonly partitions: readonly { partition: number; leader: number; replicas: number[]; isr: number[] }[]
}

export interface JavaPartitionRange {
  readonly partition: number
  readonly earliest: bigint
  /** The last stable offset with 'read_committed', the high watermark with 'read_uncommitted'. */
  readonly latest: bigint
}

export interface JavaTransactionListing {
  readonly transactionalId: string
  readonly producerId: number
  /** Kafka's words: Ongoing, PrepareCommit, PrepareAbort, CompleteCommit, CompleteAbort, Empty, … */
  readonly state: string
}

export interface JavaTransactionDescription extends JavaTransactionListing {
  readonly coordinator: number
  readonly producerEpoch: number
  readonly timeoutMs: number
  /** null when none is open. */
  readonly startMs: number | null
  readonly partitions: readonly JavaPartition[]
}

export interface JavaProducerState {
  readonly producerId: number
  readonly producerEpoch: number
  readonly lastSequence: number
  readonly lastTimestamp: number
  /** -1 when unknown. */
  readonly coordinatorEpoch: number
  /** The first offset of the transaction that is open in this partition; null when none is. */
  readonly transactionStart: number | null
}

export interface JavaGroupDescription {
  readonly group: string
  readonly state: string
  readonly type: string
  readonly assignor: string
  readonly coordinator: number
  readonly members: readonly {
    readonly memberId: string
    readonly instanceId: string | null
    readonly clientId: string
    readonly host: string
    readonly assignment: readonly JavaPartition[]
  }[]
}

export interface JavaGroupOffset extends JavaOffset {
  readonly metadata: string
  readonly leaderEpoch: number
}

/** Names as Kafka's own: `resourceType` TOPIC, GROUP, CLUSTER, TRANSACTIONAL_ID; `operation` READ, IDEMPOTENT_WRITE, … */
export interface JavaAcl {
  /** `User:<name>`. */
  readonly principal: string
  readonly resourceType: string
  /** `kafka-cluster` for CLUSTER. */
  readonly name: string
  /** Default 'LITERAL'. */
  readonly patternType?: 'LITERAL' | 'PREFIXED'
  readonly operation: string
  /** Default 'ALLOW'. */
  readonly permission?: 'ALLOW' | 'DENY'
  /** Default '*'. */
  readonly host?: string
}

/** Every method throws {@link JavaProbeError} with the Java class of what Kafka answered; the admin stays usable. */
export class JavaAdmin implements AsyncDisposable {
  readonly #probe: ProbeProcess

  private constructor(probe: ProbeProcess) {
    this.#probe = probe
  }

  static async start(options: JavaClientOptions): Promise<JavaAdmin> {
    const flags = ['--bootstrap', options.brokers.join(','), ...configFlags(options.config)]
    return new JavaAdmin(await ProbeProcess.start('admin', flags))
  }

  /** `rf`: default, the cluster's. Resolves when the leaders of all partitions answer. */
  async createTopic(
    name: string,
    options: { partitions?: number; rf?: number; configs?: Readonly<Record<string, string>> } = {},
  ): Promise<void> {
    await this.#ask('create-topic', { name, ...options })
    // It asks again until they do. A producer that comes before may wedge: its second batch is taken, and the first one refused for ever.
    await this.listOffsets(name, 'read_uncommitted')
  }

  async describeTopic(name: string): Promise<JavaTopicDescription> {
    return (await this.#ask('describe-topic', { name })) as JavaTopicDescription
  }

  async deleteTopic(name: string): Promise<void> {
    await this.#ask('delete-topic', { name })
  }

  async createPartitions(topic: string, total: number): Promise<void> {
    await this.#ask('create-partitions', { topic, total })
  }

  async deleteRecords(topic: string, partition: number, before: bigint): Promise<void> {
    await this.#ask('delete-records', { topic, partition, before: Number(before) })
  }

  async listOffsets(
    topic: string,
    isolation: 'read_committed' | 'read_uncommitted' = 'read_committed',
  ): Promise<readonly JavaPartitionRange[]> {
    const list = (await this.#ask('list-offsets', { topic, isolation })) as RangeLine[]
    return list.map((each) => ({
      partition: each.partition,
      earliest: BigInt(each.earliest),
      latest: BigInt(each.latest),
    }))
  }

  /** Sets the configs, or back to the default where the value is null. */
  async alterConfigs(
    resource: { resourceType?: 'topic' | 'broker' | 'group'; name: string },
    configs: Readonly<Record<string, string | null>>,
  ): Promise<void> {
    await this.#ask('alter-configs', { ...resource, configs })
  }

  async describeConfigs(resource: {
    resourceType?: 'topic' | 'broker' | 'group'
    name: string
  }): Promise<Readonly<Record<string, string | null>>> {
    return (await this.#ask('describe-configs', resource)) as Record<string, string | null>
  }

  async createAcls(acls: readonly JavaAcl[]): Promise<void> {
    await this.#ask('create-acls', { acls })
  }

  async deleteAcls(acls: readonly JavaAcl[]): Promise<void> {
    await this.#ask('delete-acls', { acls })
  }

  async listTransactions(): Promise<readonly JavaTransactionListing[]> {
    return (await this.#ask('list-transactions')) as JavaTransactionListing[]
  }

  async describeTransactions(transactionalIds: readonly string[]): Promise<readonly JavaTransactionDescription[]> {
    return (await this.#ask('describe-transactions', { transactionalIds })) as JavaTransactionDescription[]
  }

  async describeProducers(topic: string, partition: number): Promise<readonly JavaProducerState[]> {
    return (await this.#ask('describe-producers', { topic, partition })) as JavaProducerState[]
  }

  /** Writes an abort marker into one partition (WriteTxnMarkers): the repair of a hanging transaction. */
  async abortTransaction(
    at: JavaPartition & { producerId: number; producerEpoch: number; coordinatorEpoch?: number },
  ): Promise<void> {
    await this.#ask('abort-transaction', at)
  }

  /** Fences the producers of these transactional ids, aborting what they have open. */
  async fenceProducers(transactionalIds: readonly string[]): Promise<void> {
    await this.#ask('fence-producer', { transactionalIds })
  }

  async terminateTransaction(transactionalId: string): Promise<void> {
    await this.#ask('terminate-transaction', { transactionalId })
  }

  async listGroups(): Promise<
    readonly { group: string; protocol: string; type: string | null; state: string | null }[]
  > {
    return (await this.#ask('list-groups')) as { group: string; protocol: string; type: string; state: string }[]
  }

  async describeGroup(group: string): Promise<JavaGroupDescription> {
    return (await this.#ask('describe-group', { group })) as JavaGroupDescription
  }

  /** `requireStable` refuses (by retrying, then failing) while a transaction that commits offsets is open. */
  async listGroupOffsets(group: string, requireStable: boolean = false): Promise<readonly JavaGroupOffset[]> {
    const list = (await this.#ask('list-group-offsets', { group, requireStable })) as GroupOffsetLine[]
    return list.map((each) => ({ ...each, offset: BigInt(each.offset) }))
  }

  async alterGroupOffsets(group: string, offsets: readonly (JavaOffset & { metadata?: string })[]): Promise<void> {
    const list = offsets.map((each) => ({ ...each, offset: Number(each.offset) }))
    await this.#ask('alter-group-offsets', { group, offsets: list })
  }

  async deleteGroup(group: string): Promise<void> {
    await this.#ask('delete-group', { group })
  }

  async deleteGroupOffsets(group: string, partitions: readonly JavaPartition[]): Promise<void> {
    await this.#ask('delete-group-offsets', { group, partitions })
  }

  close(): Promise<void> {
    return this.#probe.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#probe[Symbol.asyncDispose]()
  }

  async #ask(verb: string, command: object = {}): Promise<unknown> {
    const answer = await this.#probe.request({ verb, ...command })
    return answer.ok
  }
}

interface RangeLine {
  readonly partition: number
  readonly earliest: number
  readonly latest: number
}

interface GroupOffsetLine extends Omit<JavaGroupOffset, 'offset'> {
  readonly offset: number
}
