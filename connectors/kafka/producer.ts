// Sends the batches of the worker's transactions: one request in flight per broker, many partitions in it, one batch each,
// all of one transaction. To one partition nothing of transaction n+1 goes out before all of n is acknowledged and all
// tasks delivered barrier n (I14): else n hides behind n+1's open transaction.
import { delay, jitter, monotonicMs } from '../../src/base/clock.ts'
import { isCode } from '../../src/base/errors.ts'
import { partitionKey } from '../../src/base/ids.ts'
import type { Logger } from '../../src/base/log.ts'
import type { StepListener } from '../../src/base/messages.ts'
import type { KafkaCluster } from './cluster.ts'
import type { BuilderPool, InFlight, OutputPartition, Transaction } from './output.ts'
import { Code, kafkaError, retryClass } from './wire/codes.ts'
import { Produce, type ProducedPartition } from './wire/data-requests.ts'
import { AddPartitionsToTxn } from './wire/transaction-requests.ts'

const REQUEST_BYTES_MAX = 8 * 1024 * 1024

interface Load {
  readonly transaction: Transaction
  readonly batches: readonly { readonly output: OutputPartition; readonly batch: InFlight }[]
}

export class Producer {
  readonly #cluster: KafkaCluster
  readonly #pool: BuilderPool
  readonly #log: Logger
  readonly #onAck: (bytes: number, records: number) => void
  readonly #onFailure: (error: Error) => void
  readonly #onStep: StepListener
  readonly #busy = new Set<number>()
  /** In the order of their checkpoints. */
  #transactions: readonly Transaction[] = []
  #leaders = new Map<string, number>()
  #adding = false
  #locating = false
  #stopped = false

  constructor(
    cluster: KafkaCluster,
    pool: BuilderPool,
    log: Logger,
    onAck: (bytes: number, records: number) => void,
    onFailure: (error: Error) => void,
    onStep: StepListener,
  ) {
    this.#onStep = onStep
    this.#cluster = cluster
    this.#pool = pool
    this.#log = log
    this.#onAck = onAck
    this.#onFailure = onFailure
  }

  use(transactions: readonly Transaction[]): void {
    this.#transactions = transactions
  }

  stop(): void {
    this.#stopped = true
    this.#transactions = []
  }

  /** Sends what may be sent. */
  kick(): void {
    if (this.#stopped) return
    const loads = new Map<number, { output: OutputPartition; transaction: Transaction }[]>()
    let unlocated = false
    for (const [index, transaction] of this.#transactions.entries()) {
      if (!transaction.identity) continue
      this.#addPartitions(transaction)
      for (const output of transaction.partitions.values()) {
        transaction.close(output, 'ripe')
        if (!this.#ready(output, transaction, this.#transactions[index - 1])) continue
        const node = this.#leaders.get(partitionKey(output.topic, output.partition))
        if (node === undefined) unlocated = true
        else if (!this.#busy.has(node)) loads.set(node, [...(loads.get(node) ?? []), { output, transaction }])
      }
    }
    if (unlocated) void this.#guard(this.#locate())
    for (const [node, ready] of loads) void this.#guard(this.#send(node, ready))
  }

  #ready(output: OutputPartition, transaction: Transaction, previous: Transaction | undefined): boolean {
    if (output.waiting.length === 0 && !output.inFlight) return false
    if (transaction.transactional && output.added !== 'yes') return false
    if (!previous) return true
    const before = previous.partitions.get(partitionKey(output.topic, output.partition))
    return previous.sealed && (before?.outstanding ?? 0) === 0
  }

  async #guard(work: Promise<void>): Promise<void> {
    try {
      await work
    } catch (error) {
      if (!this.#stopped) this.#onFailure(error instanceof Error ? error : new Error(String(error)))
    }
  }

  #addPartitions(transaction: Transaction): void {
    if (!transaction.transactional || this.#adding || !transaction.identity) return
    const fresh = [...transaction.partitions.values()].filter((output) => output.added === 'no')
    if (fresh.length === 0) return
    this.#adding = true
    for (const output of fresh) output.added = 'adding'
    transaction.openedAtMs ??= monotonicMs()
    void this.#guard(this.#sendPartitions(transaction, fresh))
  }

  async #sendPartitions(transaction: Transaction, fresh: readonly OutputPartition[]): Promise<void> {
    const identity = transaction.identity
    if (!identity) return
    this.#onStep('before', 'add-partitions', transaction.checkpoint)
    try {
      await this.#cluster.call(
        AddPartitionsToTxn,
        { ...identity, partitions: fresh },
        {
          to: { kind: 'coordinator', type: 'transaction', key: identity.transactionalId },
          purpose: 'transaction',
          what: `adding ${fresh.map((output) => `${output.topic}-${output.partition}`).join(', ')} to transaction ${identity.transactionalId}`,
          codeOf: (rows) => worstCode(rows),
        },
      )
      this.#onStep('after', 'add-partitions', transaction.checkpoint)
      for (const output of fresh) output.added = 'yes'
    } finally {
      this.#adding = false
    }
    this.kick()
  }

  async #locate(): Promise<void> {
    if (this.#locating) return
    this.#locating = true
    try {
      const outputs = this.#transactions.flatMap((transaction) => [...transaction.partitions.values()])
      for (const { topic, partition } of outputs) {
        const key = partitionKey(topic, partition)
        if (this.#leaders.has(key)) continue
        const leader = await this.#cluster.leader(topic, partition).catch(() => undefined)
        if (leader) this.#leaders.set(key, leader.node)
      }
      if (outputs.some(({ topic, partition }) => !this.#leaders.has(partitionKey(topic, partition)))) {
        await delay(50 + 50 * jitter())
        await this.#cluster.refreshLeaders([...new Set(outputs.map((output) => output.topic))]).catch(() => undefined)
      }
    } finally {
      this.#locating = false
    }
    this.kick()
  }

  #load(ready: readonly { output: OutputPartition; transaction: Transaction }[]): Load | undefined {
    const [first] = ready
    if (!first) return undefined
    const batches: { output: OutputPartition; batch: InFlight }[] = []
    let bytes = 0
    for (const { output, transaction } of ready) {
      if (transaction !== first.transaction || bytes >= REQUEST_BYTES_MAX) continue
      const batch = transaction.take(output)
      if (!batch) continue
      batches.push({ output, batch })
      bytes += batch.bytes.length
    }
    return { transaction: first.transaction, batches }
  }

  async #send(node: number, ready: readonly { output: OutputPartition; transaction: Transaction }[]): Promise<void> {
    const load = this.#load(ready)
    if (!load || load.batches.length === 0) return
    this.#busy.add(node)
    let retry: boolean
    try {
      const connection = await this.#cluster.node(node, 'produce')
      this.#onStep('before', 'produce', load.transaction.checkpoint)
      const answers = await connection.send(Produce, {
        transactionalId: load.transaction.transactional ? (load.transaction.identity?.transactionalId ?? null) : null,
        timeoutMs: 30_000,
        batches: load.batches.map(({ output, batch }) => ({
          topic: output.topic,
          partition: output.partition,
          batch: batch.bytes,
        })),
      })
      this.#onStep('after', 'produce', load.transaction.checkpoint)
      retry = this.#settle(load, answers)
    } catch (error) {
      if (!isCode(error, 'KAFKA_CONNECTION_LOST', 'KAFKA_REQUEST_TIMEOUT', 'KAFKA_RETRIABLE')) throw error
      this.#log.debug({ node, error: error.message }, 'produce failed, sending the same bytes again')
      this.#forget(load)
      retry = true
    } finally {
      this.#busy.delete(node)
    }
    if (retry) await delay(20 + 30 * jitter())
    this.kick()
  }

  /** Applies the answers; true if something has to be sent again. */
  #settle(load: Load, answers: readonly ProducedPartition[]): boolean {
    const byKey = new Map(answers.map((answer) => [partitionKey(answer.topic, answer.partition), answer]))
    let again = false
    for (const { output, batch } of load.batches) {
      const key = partitionKey(output.topic, output.partition)
      const answer = byKey.get(key)
      if (answer?.code === Code.NONE) {
        output.inFlight = undefined
        output.acked += batch.records
        output.lastOffset = answer.baseOffset + BigInt(batch.records - 1)
        this.#pool.give(batch.builder)
        this.#onAck(batch.raw, batch.records)
        continue
      }
      const code = answer?.code ?? Code.NETWORK_EXCEPTION
      if (!retryClass(code)) {
        const text = `writing ${batch.records} records (${batch.bytes.length} bytes) to ${key}${answer?.message ? ` (${answer.message})` : ''}`
        throw kafkaError(code, text)
      }
      this.#leaders.delete(key)
      again = true
    }
    if (again)
      void this.#cluster
        .refreshLeaders([...new Set(load.batches.map(({ output }) => output.topic))])
        .catch(() => undefined)
    return again
  }

  #forget(load: Load): void {
    for (const { output } of load.batches) this.#leaders.delete(partitionKey(output.topic, output.partition))
  }
}

/** The first non-zero code; OPERATION_NOT_ATTEMPTED (55) says nothing itself. */
function worstCode(rows: readonly { readonly code: number }[]): number {
  const codes = rows.map((row) => row.code).filter((code) => code !== Code.NONE)
  return codes.find((code) => code !== 55) ?? codes[0] ?? Code.NONE
}
