// Transactions seen from outside: look before touching, confirm that a decision is visible everywhere, and repair markers
// that a broker dropped. (A partition without a leader in the instant of the commit loses its marker for ever, and the
// coordinator still records CompleteCommit: a broker bug, present in 4.3.1.)
import { delay, monotonicMs } from '../../src/base/clock.ts'
import { isCode, MillraceError } from '../../src/base/errors.ts'
import { partitionKey } from '../../src/base/ids.ts'
import type { Logger } from '../../src/base/log.ts'
import type { TransactionRecord } from '../../src/dataflow/ports.ts'
import type { KafkaCluster } from './cluster.ts'
import { LATEST, ListOffsets, Metadata } from './wire/cluster-requests.ts'
import { Code, kafkaError } from './wire/codes.ts'
import {
  type ActiveProducer,
  DescribeProducers,
  DescribeTransactions,
  InitProducerId,
  ListTransactions,
  type TransactionDescription,
  WriteTxnMarkers,
} from './wire/transaction-requests.ts'

/** When a confirmation has taken this long, dropped markers are looked for. */
const REPAIR_AFTER_MS = 5_000
const CONFIRM_DEADLINE_MS = 60_000
const LEADERS_DEADLINE_MS = 30_000
const PREPARE_DEADLINE_MS = 60_000

interface TopicPartition {
  readonly topic: string
  readonly partition: number
}

export class TransactionAdmin {
  readonly #cluster: KafkaCluster
  readonly #log: Logger

  constructor(cluster: KafkaCluster, log: Logger) {
    this.#cluster = cluster
    this.#log = log
  }

  /** The coordinator's record of an id; undefined: it does not know it. */
  async describe(id: string, signal?: AbortSignal): Promise<TransactionDescription | undefined> {
    const [description] = await this.#cluster.call(
      DescribeTransactions,
      { ids: [id] },
      {
        to: { kind: 'coordinator', type: 'transaction', key: id },
        purpose: 'transaction',
        what: `DescribeTransactions ${id}`,
        codeOf: (rows) => rows[0]?.code ?? 0,
        accept: (code) => code === Code.TRANSACTIONAL_ID_NOT_FOUND,
        signal,
      },
    )
    return description?.code === Code.NONE ? description : undefined
  }

  /** Ongoing is aborted (by `InitProducerId`, once); a decision under way is waited for; anything else is left alone. */
  async resolve(
    id: string,
    own?: { readonly producerId: bigint; readonly epoch: number },
  ): Promise<TransactionDescription | undefined> {
    let aborted: number | undefined
    const deadline = monotonicMs() + PREPARE_DEADLINE_MS
    for (;;) {
      const description = await this.describe(id)
      // Ongoing under another epoch than ours, or again under a newer one, is a successor's work.
      if (own && description && (description.producerId !== own.producerId || description.epoch !== own.epoch))
        return description
      if (description?.state === 'Ongoing' && aborted !== undefined && description.epoch > aborted + 1)
        return description
      if (description?.state === 'Ongoing') {
        aborted = description.epoch
        this.#log.info(
          { transactionalId: id, epoch: description.epoch },
          'aborting an open transaction of an earlier life',
        )
        await this.#awaitLeaders(description)
        await this.#abortOpen(description)
        continue
      }
      if (!description || !/^(Prepare|Ongoing)/.test(description.state)) return description
      if (monotonicMs() > deadline) {
        throw new MillraceError(
          'MARKERS_DROPPED',
          `transaction ${id} stays in ${description.state} for ${PREPARE_DEADLINE_MS} ms; check the brokers`,
        )
      }
      await delay(10)
    }
  }

  /**
   * Kafka forgets the marker of a partition that has no leader in that instant, an abort's as well as a commit's, and readers
   * would stand still before it for ever. So leaders are waited for, as long as the brokers themselves let it be open.
   */
  async #awaitLeaders({ transactionalId, partitions, timeoutMs }: TransactionDescription): Promise<void> {
    const deadline = monotonicMs() + Math.min(timeoutMs, LEADERS_DEADLINE_MS)
    for (let attempt = 0; monotonicMs() < deadline; attempt++) {
      // What was true some seconds ago does not count.
      const fresh = await this.#refresh(partitions)
      const groups = await this.#byLeader(partitions)
      const leaderless = groups.find(({ node }) => node === undefined)?.rows ?? []
      // A topic that is gone gets none.
      const waiting = leaderless.filter(({ topic }) => this.#cluster.topic(topic) !== undefined)
      if (fresh && waiting.length === 0) return
      const list = waiting.map((row) => partitionKey(row.topic, row.partition)).join(', ')
      const why = fresh ? `${list} has no leader` : 'no broker tells the leaders'
      if (attempt === 0) this.#log.warn({ transactionalId }, `${why}: waiting with the abort`)
      await delay(100)
    }
  }

  /** A new epoch ends the open transaction; only if it is still the described one: a successor is left alone. */
  async #abortOpen({ transactionalId: id, producerId, epoch, timeoutMs }: TransactionDescription): Promise<void> {
    const newer: readonly number[] = [
      Code.INVALID_PRODUCER_EPOCH,
      Code.PRODUCER_FENCED,
      Code.INVALID_PRODUCER_ID_MAPPING,
    ]
    const answer = await this.#cluster.call(
      InitProducerId,
      // Its own time-out: brokers refuse one above their maximum.
      { transactionalId: id, timeoutMs, expected: { producerId, epoch } },
      {
        to: { kind: 'coordinator', type: 'transaction', key: id },
        purpose: 'transaction',
        what: `InitProducerId ${id}`,
        codeOf: (response) => response.code,
        accept: (code) => newer.includes(code),
      },
    )
    if (answer.code !== Code.NONE) this.#log.info({ transactionalId: id }, 'a successor has taken the id over already')
  }

  /** Open ids that begin with `prefix`, from every broker: each lists only its own. */
  async open(prefix: string): Promise<string[]> {
    const pattern = `\\Q${prefix}\\E.*`
    const states = ['Ongoing']
    const answers = await Promise.all(
      this.#cluster.brokerIds.map((node) =>
        this.#cluster.call(
          ListTransactions,
          { states, pattern },
          { to: { kind: 'node', node }, what: 'ListTransactions', codeOf: (r) => r.code },
        ),
      ),
    )
    return answers
      .flatMap(({ transactions }) => transactions.map((each) => each.transactionalId))
      .filter((id) => id.startsWith(prefix))
  }

  /** Waits until every output partition shows the transaction's end; repairs dropped markers after a while. */
  async confirm(record: TransactionRecord, signal?: AbortSignal): Promise<void> {
    const started = monotonicMs()
    let pending: readonly TransactionRecord['partitions'][number][] = record.partitions
    for (let attempt = 0; pending.length > 0; attempt++) {
      if (signal?.aborted) throw new MillraceError('TRANSACTION_FAILED', 'the confirmation was given up')
      pending = await this.#stillOpen(record, pending)
      if (pending.length === 0) return
      const waited = monotonicMs() - started
      if (waited > CONFIRM_DEADLINE_MS) {
        const rows = await this.#withLeader(pending)
        if (rows.length === 0) throw unreachable(record, pending)
        throw dropped(record, rows)
      }
      if (waited > REPAIR_AFTER_MS && attempt % 8 === 0) await this.repair(record, pending)
      await delay(Math.min(1 + attempt * 2, 100), signal)
    }
  }

  /** Partitions that have a leader now: of the others nothing can be said. */
  async #withLeader<T extends TopicPartition>(partitions: readonly T[]): Promise<readonly T[]> {
    const groups = await this.#byLeader(partitions)
    return groups.flatMap((group) => (group.node === undefined ? [] : group.rows))
  }

  /** Passed: the last stable offset is behind our last record; or, where others hold it back, no open entry is ours. */
  async #stillOpen(
    record: TransactionRecord,
    partitions: TransactionRecord['partitions'],
  ): Promise<TransactionRecord['partitions']> {
    const open: TransactionRecord['partitions'][number][] = []
    for (const group of await this.#byLeader(partitions)) {
      if (group.node === undefined) {
        open.push(...group.rows)
        continue
      }
      const { rows, unknown } = await this.#behind(group.node, group.rows)
      // A broker that is not the leader any more answers DescribeProducers with a list of its own: not asked.
      open.push(...unknown)
      if (rows.length === 0) continue
      const entries = await this.#openEntries(group.node, record, rows)
      open.push(...rows.filter((row) => entries === undefined || entries.has(partitionKey(row.topic, row.partition))))
    }
    return open
  }

  async #byLeader<T extends TopicPartition>(
    partitions: readonly T[],
  ): Promise<{ node: number | undefined; rows: T[] }[]> {
    const groups = new Map<number | undefined, T[]>()
    for (const row of partitions) {
      const leader = await this.#cluster.leader(row.topic, row.partition).catch(() => undefined)
      groups.set(leader?.node, [...(groups.get(leader?.node) ?? []), row])
    }
    if (groups.has(undefined)) await this.#refresh(partitions)
    return [...groups].map(([node, rows]) => ({ node, rows }))
  }

  /** False: no broker could be asked. */
  async #refresh(partitions: readonly TopicPartition[]): Promise<boolean> {
    const topics = [...new Set(partitions.map((row) => row.topic))]
    return this.#cluster.refreshLeaders(topics).then(
      () => true,
      () => false,
    )
  }

  async #behind<T extends TopicPartition & { readonly lastOffset: string }>(
    node: number,
    rows: readonly T[],
  ): Promise<{ readonly rows: T[]; readonly unknown: T[] }> {
    try {
      const connection = await this.#cluster.node(node, 'control')
      const topics = [...Map.groupBy(rows, (row) => row.topic)].map(([topic, each]) => ({
        topic,
        partitions: each.map(({ partition }) => ({ partition, timestamp: LATEST })),
      }))
      const listed = await connection.send(ListOffsets, { isolation: 'read_committed', topics })
      const stable = new Map(
        listed
          .filter((row) => row.code === Code.NONE)
          .map((row) => [partitionKey(row.topic, row.partition), row.offset]),
      )
      if (listed.some((row) => row.code !== Code.NONE)) await this.#refresh(rows)
      const stableOf = (row: T): bigint | undefined => stable.get(partitionKey(row.topic, row.partition))
      return {
        rows: rows.filter((row) => (stableOf(row) ?? BigInt(row.lastOffset) + 1n) <= BigInt(row.lastOffset)),
        unknown: rows.filter((row) => stableOf(row) === undefined),
      }
    } catch (error) {
      await this.#lost(error, rows)
      return { rows: [], unknown: [...rows] }
    }
  }

  async #lost(error: unknown, rows: readonly TopicPartition[]): Promise<void> {
    if (!isCode(error, 'KAFKA_CONNECTION_LOST', 'KAFKA_REQUEST_TIMEOUT', 'KAFKA_RETRIABLE')) throw error
    await this.#refresh(rows)
  }

  /** Partitions where this transaction is still open, with the entry; undefined: the leader could not say. */
  async #openEntries(
    node: number,
    record: TransactionRecord,
    rows: readonly TopicPartition[],
  ): Promise<ReadonlyMap<string, ActiveProducer> | undefined> {
    try {
      const connection = await this.#cluster.node(node, 'control')
      const described = await connection.send(DescribeProducers, { partitions: rows })
      const open = new Map<string, ActiveProducer>()
      for (const row of described) {
        if (row.code === Code.TOPIC_AUTHORIZATION_FAILED)
          throw kafkaError(row.code, `DescribeProducers ${row.topic} (needs READ)`)
        if (row.code !== Code.NONE) {
          await this.#refresh(rows)
          return undefined
        }
        const entry = row.producers.find(
          (each) =>
            each.producerId === BigInt(record.producerId) && each.epoch === record.epoch && each.transactionStart >= 0n,
        )
        if (entry) open.set(partitionKey(row.topic, row.partition), entry)
      }
      return open
    } catch (error) {
      await this.#lost(error, rows)
      return undefined
    }
  }

  /**
   * Writes the markers that the coordinator owes. Only where it has recorded CompleteCommit for exactly this producer and
   * epoch, or where a later transaction of the id proves that this one was decided (the caller knows that it was).
   * @throws MARKERS_DROPPED without the right to it
   */
  async repair(record: TransactionRecord, partitions: readonly TopicPartition[]): Promise<void> {
    const description = await this.describe(record.transactionalId)
    const same =
      description && description.producerId === BigInt(record.producerId) && description.epoch === record.epoch
    if (same && description.state !== 'CompleteCommit') return
    for (const group of await this.#byLeader(partitions)) {
      if (group.node === undefined) continue
      const entries = await this.#openEntries(group.node, record, group.rows)
      for (const row of group.rows) {
        const entry = entries?.get(partitionKey(row.topic, row.partition))
        if (entry) await this.#writeMarker(group.node, record, row, entry)
      }
    }
  }

  async #writeMarker(
    node: number,
    record: TransactionRecord,
    row: TopicPartition,
    entry: ActiveProducer,
  ): Promise<void> {
    const connection = await this.#cluster.node(node, 'control')
    const answers = await connection.send(WriteTxnMarkers, {
      producerId: BigInt(record.producerId),
      epoch: record.epoch,
      coordinatorEpoch: entry.coordinatorEpoch,
      result: 'commit',
      partitions: [row],
    })
    const code = answers[0]?.code ?? Code.NONE
    if (code === Code.CLUSTER_AUTHORIZATION_FAILED) throw dropped(record, [row])
    const what =
      code === Code.NONE ? 'repaired a commit marker that a broker had dropped' : 'a commit marker is not repaired yet'
    this.#log.warn({ transactionalId: record.transactionalId, ...row, code }, what)
  }

  /** Which partition of the offsets topic keeps a group's offsets: Java's `Math.abs(group.hashCode()) % partitions`. */
  async offsetsPartition(group: string): Promise<TopicPartition> {
    const topic = '__consumer_offsets'
    const response = await this.#cluster.call(
      Metadata,
      { topics: [topic] },
      { to: { kind: 'any' }, what: topic, codeOf: (r) => r.topics[0]?.code ?? 0 },
    )
    let hash = 0
    for (let i = 0; i < group.length; i++) hash = (Math.imul(hash, 31) + group.charCodeAt(i)) | 0
    const positive = hash === -0x80000000 ? 0 : Math.abs(hash)
    return { topic, partition: positive % (response.topics[0]?.partitions.length || 1) }
  }

  /** Repairs the group's offsets partition for the transactions that are decided; true if a marker was written. */
  async repairOffsets(group: string, candidates: readonly TransactionRecord[]): Promise<boolean> {
    try {
      return await this.#repairOffsets(group, candidates)
    } catch (error) {
      // Without the right to look we wait: most delays end by themselves, and the deadline is loud.
      if (isCode(error, 'KAFKA_NOT_AUTHORIZED')) return false
      throw error
    }
  }

  async #repairOffsets(group: string, candidates: readonly TransactionRecord[]): Promise<boolean> {
    const partition = await this.offsetsPartition(group)
    const leader = await this.#cluster.leader(partition.topic, partition.partition)
    if (!leader) return false
    for (const record of candidates) {
      const entries = await this.#openEntries(leader.node, record, [partition])
      const entry = entries?.get(partitionKey(partition.topic, partition.partition))
      if (!entry) continue
      const description = await this.describe(record.transactionalId)
      const decided =
        description?.state === 'CompleteCommit' &&
        description.producerId === BigInt(record.producerId) &&
        description.epoch === record.epoch
      if (!decided) continue
      await this.#writeMarker(leader.node, record, partition, entry)
      await this.repair(record, record.partitions)
      return true
    }
    return false
  }
}

function unreachable(record: TransactionRecord, partitions: readonly TopicPartition[]): MillraceError {
  const list = partitions.map((row) => partitionKey(row.topic, row.partition)).join(', ')
  const text = `transaction ${record.transactionalId} is decided, but ${list} has had no leader for ${CONFIRM_DEADLINE_MS} ms: whether it is visible there cannot be seen. Start the brokers of these partitions`
  return new MillraceError('KAFKA_CONNECTION_LOST', text)
}

function dropped(record: TransactionRecord, partitions: readonly TopicPartition[]): MillraceError {
  const list = partitions.map((row) => partitionKey(row.topic, row.partition)).join(', ')
  const text =
    `transaction ${record.transactionalId} (producer ${record.producerId}, epoch ${record.epoch}) is decided, but its commit marker is missing on ${list}: ` +
    'a broker dropped it, and it could not be repaired. Grant ALTER on the cluster to this principal, or let an operator run, per partition, ' +
    '`kafka-transactions.sh --bootstrap-server … find-hanging --topic <topic> --partition <partition>` and write the COMMIT marker; never abort it'
  return new MillraceError('MARKERS_DROPPED', text)
}
