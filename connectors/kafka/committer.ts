// How a transaction ends: the offsets and the pointer join it, EndTxn decides, and what was decided is read back. With
// `at-least-once` the offsets are committed by themselves.
import { assert } from '../../src/base/assert.ts'
import { monotonicMs } from '../../src/base/clock.ts'
import { isCode, MillraceError } from '../../src/base/errors.ts'
import { type CheckpointId, partitionKey } from '../../src/base/ids.ts'
import { type StepListener, traced } from '../../src/base/messages.ts'
import type { Fence, Position, TransactionRecord } from '../../src/dataflow/ports.ts'
import type { KafkaCluster } from './cluster.ts'
import { fetchOffsets } from './offsets.ts'
import type { Transaction } from './output.ts'
import type { TransactionAdmin } from './transactions.ts'
import { Code } from './wire/codes.ts'
import { OffsetCommit, type PartitionCode } from './wire/group-requests.ts'
import { AddOffsetsToTxn, EndTxn, type ProducerIdentity, TxnOffsetCommit } from './wire/transaction-requests.ts'

const DECISION_DEADLINE_MS = 120_000
/** Answers to EndTxn that say nothing of what became of the transaction. */
const UNDECIDED: readonly number[] = [
  Code.INVALID_PRODUCER_EPOCH,
  Code.INVALID_TXN_STATE,
  Code.INVALID_PRODUCER_ID_MAPPING,
  Code.PRODUCER_FENCED,
]

/** An input position with the pointer to the state that belongs to it. */
export type CommitRow = Position & { readonly metadata: string }

export class Committer {
  readonly #cluster: KafkaCluster
  readonly #admin: TransactionAdmin
  readonly #group: string
  readonly #onStep: StepListener

  constructor(cluster: KafkaCluster, admin: TransactionAdmin, group: string, onStep: StepListener) {
    this.#cluster = cluster
    this.#admin = admin
    this.#group = group
    this.#onStep = onStep
  }

  async commitOffsets(transaction: Transaction, offsets: readonly CommitRow[], fence: Fence): Promise<void> {
    const request = { group: this.#group, ...fence, offsets }
    checkAnswers(offsets, await this.#cluster.call(OffsetCommit, request, this.#toGroup('OffsetCommit')))
    transaction.phase = 'decided'
  }

  async decide(transaction: Transaction, offsets: readonly CommitRow[], fence: Fence): Promise<void> {
    const { identity, checkpoint } = transaction
    assert(identity, 'I6: a commit without a producer')
    const group = this.#group
    transaction.openedAtMs ??= monotonicMs()
    const addOffsets = () =>
      this.#cluster.call(AddOffsetsToTxn, { ...identity, group }, toCoordinator(identity, 'AddOffsetsToTxn'))
    await traced(this.#onStep, 'add-offsets', addOffsets, checkpoint)
    const request = { ...identity, membership: { group, ...fence }, offsets }
    const commitOffsets = () => this.#cluster.call(TxnOffsetCommit, request, this.#toGroup('TxnOffsetCommit'))
    // Every code is 0 here, or the call threw: EndTxn would commit the other partitions (I11).
    checkAnswers(offsets, await traced(this.#onStep, 'txn-offset-commit', commitOffsets, checkpoint))
    transaction.phase = 'deciding'
    await traced(this.#onStep, 'end-txn', () => this.#endTransaction(identity, offsets), checkpoint)
    transaction.phase = 'decided'
  }

  #toGroup(what: string): {
    to: { kind: 'coordinator'; type: 'group'; key: string }
    purpose: 'transaction'
    what: string
    codeOf: (rows: readonly PartitionCode[]) => number
  } {
    return {
      to: { kind: 'coordinator', type: 'group', key: this.#group },
      purpose: 'transaction',
      what: `${what} of group ${this.#group}`,
      codeOf: (rows) => rows.find((row) => row.code !== Code.NONE)?.code ?? Code.NONE,
    }
  }

  /** I7: on an unknown outcome the same EndTxn again, never an abort; "fenced" and the like prove nothing: read the pointer. */
  async #endTransaction(identity: ProducerIdentity, offsets: readonly CommitRow[]): Promise<void> {
    const { transactionalId } = identity
    try {
      const { code } = await this.#cluster.call(
        EndTxn,
        { ...identity, result: 'commit' },
        {
          ...toCoordinator(identity, 'EndTxn'),
          accept: (each) => UNDECIDED.includes(each),
          deadlineMs: DECISION_DEADLINE_MS,
        },
      )
      if (code === Code.NONE) return
      const stored = await fetchOffsets(this.#cluster, this.#group, offsets)
      if (offsets.every((row) => samePartition(stored, row)?.metadata === row.metadata)) return
      throw new MillraceError(
        'TRANSACTION_FENCED',
        `transaction ${transactionalId} was ended by someone else before it was committed (Kafka code ${code})`,
        { kafkaCode: code },
      )
    } catch (error) {
      if (!isCode(error, 'KAFKA_CONNECTION_LOST', 'KAFKA_REQUEST_TIMEOUT', 'KAFKA_RETRIABLE', 'OFFSETS_UNSTABLE'))
        throw error
      const text = `the outcome of committing ${transactionalId} is unknown after ${DECISION_DEADLINE_MS} ms; the process ends, the next start finds out`
      throw new MillraceError('TRANSACTION_UNKNOWN', text, { cause: error })
    }
  }

  /** Returns when everything the transaction decided is visible: its records, and the offsets with our pointer. */
  async confirm(
    checkpoint: CheckpointId,
    record: TransactionRecord,
    rows: readonly CommitRow[],
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const [stored] = await Promise.all([
      fetchOffsets(this.#cluster, this.#group, rows, {
        signal,
        repair: () => this.#admin.repairOffsets(this.#group, [record]),
      }),
      this.#admin.confirm(record, signal),
    ])
    for (const row of rows) {
      const found = samePartition(stored, row)
      if (found?.metadata === row.metadata) continue
      assert(
        found && found.offset >= row.offset,
        `I4: the pointer of ${row.topic}-${row.partition} reads back as ${found?.metadata} at ${found?.offset}, behind ${row.offset}`,
      )
      // Ours was decided and passed: somebody who took the partition over has committed behind it.
      const text = `${row.topic}-${row.partition} was taken over by another worker while checkpoint ${checkpoint} was being confirmed`
      throw new MillraceError('GENERATION_STALE', text)
    }
  }
}

function toCoordinator({ transactionalId }: ProducerIdentity, what: string) {
  return {
    to: { kind: 'coordinator', type: 'transaction', key: transactionalId },
    purpose: 'transaction',
    what: `${what} ${transactionalId}`,
    codeOf: (response: { readonly code: number }) => response.code,
  } as const
}

function checkAnswers(offsets: readonly CommitRow[], answered: readonly PartitionCode[]): void {
  const known = new Set(answered.map((row) => partitionKey(row.topic, row.partition)))
  for (const row of offsets)
    assert(known.has(partitionKey(row.topic, row.partition)), `I11: no answer for ${row.topic}-${row.partition}`)
}

function samePartition<T extends { readonly topic: string; readonly partition: number }>(
  rows: readonly T[],
  { topic, partition }: CommitRow,
): T | undefined {
  return rows.find((row) => row.topic === topic && row.partition === partition)
}
