/**
 * Commit markers that Kafka drops every time: a transaction is decided while one of its partitions has no leader, because
 * the only replica's broker is dead. The coordinator takes such a partition for deleted and records the commit as complete.
 */
import { offsetsPartitionOf } from '../../checker/requests.ts'
import type { BrokerNode, JavaAdmin, JavaTransactionDescription } from '../../connectors/kafka/testing/index.ts'
import type { Job, Stage } from './harness.ts'
import { type TestWorker, until } from './test-worker.ts'

const INTERNAL_PARTITIONS = 10

const LIVES = [
  [
    { at: 'before:end-txn', nth: 3, do: 'hold' },
    { at: 'after:end-txn', do: 'none' },
  ],
] as const

export interface Chosen {
  readonly job: Job
  readonly topic: string
  readonly partition: number
}

export interface Held extends Chosen {
  readonly worker: TestWorker
  /** Of the transaction whose EndTxn waits. */
  readonly transactionalId: string
}

/** On three brokers where outputs (and the group's offsets, if those are chosen) have one replica each. */
export class Leaderless {
  readonly #stage: Stage
  readonly #admin: JavaAdmin

  constructor(stage: Stage, admin: JavaAdmin) {
    this.#stage = stage
    this.#admin = admin
  }

  /** The first question for a coordinator makes Kafka create the offsets topic. */
  async ready(): Promise<void> {
    const known = async (): Promise<boolean> => {
      await this.#stage.kafka.coordinatorOf('any').catch(() => undefined)
      return this.leaderOf('__consumer_offsets', 0).then(
        (leader) => leader >= 0,
        () => false,
      )
    }
    await until('the offsets topic is there', known)
  }

  #nodeOf(id: number): BrokerNode {
    const node = this.#stage.broker.nodes.find((each) => each.id === id)
    if (!node) throw new Error(`no broker ${id}`)
    return node
  }

  /** -1: none. */
  async leaderOf(topic: string, partition: number): Promise<number> {
    const { partitions } = await this.#admin.describeTopic(topic)
    return partitions.find((each) => each.partition === partition)?.leader ?? -1
  }

  /** The same of a partition that must have one: just created, or its brokers have not all heard of it. */
  async #ledBy(topic: string, partition: number): Promise<number> {
    let leader = -1
    const led = async (): Promise<boolean> => {
      leader = await this.leaderOf(topic, partition).catch(() => -1)
      return leader >= 0
    }
    await until(`${topic}-${partition} has a leader`, led)
    return leader
  }

  /** A job, and a partition of it whose only broker coordinates neither its transactions nor, for an output, its group. */
  async #choose(what: 'offsets' | 'output'): Promise<Chosen> {
    for (;;) {
      const job = await this.#stage.job(what, {
        partitions: 3,
        outputReplication: 1,
        // Long enough for every transaction to have records in every partition.
        env: {
          REF_LOW_REPLICATION: 'accept',
          MILLRACE_SESSION_TIMEOUT_MS: '20000',
          MILLRACE_CHECKPOINT_INTERVAL_MS: '500',
        },
      })
      const ids = [0, 1].map((slot) => offsetsPartitionOf(`${job.group}.a.${slot}`, INTERNAL_PARTITIONS))
      const transactions = await Promise.all(ids.map((id) => this.#ledBy('__transaction_state', id)))
      const ofGroup = offsetsPartitionOf(job.group, INTERNAL_PARTITIONS)
      const group = await this.#ledBy('__consumer_offsets', ofGroup)
      if (what === 'offsets' && !transactions.includes(group)) {
        return { job, topic: '__consumer_offsets', partition: ofGroup }
      }
      if (what === 'offsets') continue
      for (const partition of [0, 1, 2]) {
        const leader = await this.#ledBy(job.output, partition)
        if (leader !== group && !transactions.includes(leader)) return { job, topic: job.output, partition }
      }
    }
  }

  /** A worker that lies still before EndTxn, with something of its transaction in the chosen partition. */
  async aboutToCommit(
    what: 'offsets' | 'output',
    options: { readonly before?: (job: Job) => Promise<void>; readonly restart?: 'no' } = {},
  ): Promise<Held> {
    for (;;) {
      const chosen = await this.#choose(what)
      const { job, topic, partition } = chosen
      await options.before?.(job)
      const worker = job.start('a', { lives: LIVES, ...(options.restart ? { restart: options.restart } : {}) })
      job.feed.stream(300)
      await worker.held('before:end-txn')
      await job.feed.endStream()
      const held = await this.#transactionWithOffsets(job)
      const producers = await this.#admin.describeProducers(topic, partition)
      if (producers.some((each) => each.producerId === held.producerId && each.transactionStart !== null)) {
        return { ...chosen, worker, transactionalId: held.transactionalId }
      }
      // A slow machine: this transaction has nothing there.
      await worker.destroy()
    }
  }

  /** The one about to be committed has the group's offsets; the worker already writes its next one, which has not. */
  async #transactionWithOffsets(job: Job): Promise<JavaTransactionDescription> {
    const ids = [0, 1].map((slot) => `${job.group}.a.${slot}`)
    const all = await this.#admin.describeTransactions(ids)
    const [found, ...others] = all.filter((each) => each.partitions.some(({ topic }) => topic === '__consumer_offsets'))
    if (found && others.length === 0) return found
    throw new Error(`offsets in ${others.length + (found ? 1 : 0)} of ${ids.join(', ')}`)
  }

  /** Decides a transaction while a partition of it has no leader; gives the broker that has to come back. */
  async commitWithoutLeader({ topic, partition, worker, transactionalId }: Held): Promise<BrokerNode> {
    const node = this.#nodeOf(await this.#ledBy(topic, partition))
    await node.kill()
    await until(`${topic}-${partition} has no leader`, async () => (await this.leaderOf(topic, partition)) === -1)
    worker.signal('SIGCONT')
    await worker.reachedPoint('after:end-txn')
    // The coordinator takes the leaderless partition for deleted: done, it says, and will never write that marker.
    let state = 'unknown'
    const forgotten = async (): Promise<boolean> => {
      const [now] = await this.#admin.describeTransactions([transactionalId]).catch(() => [])
      state = now?.state ?? state
      return state === 'CompleteCommit'
    }
    const explain = (): string => `${transactionalId} is ${state}\n${worker.explain()}`
    await until('the transaction is recorded as complete', forgotten, 30_000, explain)
    return node
  }
}
