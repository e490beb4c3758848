// Goal: F49 and F50: a commit whose markers the brokers drop is repaired, and nothing is confirmed before. Method: three real
// brokers where the group's offsets and the output have one replica each. A worker lies still before EndTxn until the
// only replica's broker is dead and its partition has no leader; then Kafka records the commit and drops the marker, every
// time. The broker comes back; the checker's verdict.
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import { offsetsPartitionOf } from '../../checker/requests.ts'
import { type BrokerNode, JavaAdmin } from '../../connectors/kafka/testing/index.ts'
import { type Job, Stage } from '../support/harness.ts'
import { type TestWorker, until } from '../support/test-worker.ts'

const INTERNAL_PARTITIONS = 10
const REPAIRED = 'repaired a commit marker that a broker had dropped'

let stage: Stage
let admin: JavaAdmin
beforeAll(async () => {
  stage = await Stage.open({ nodes: 3, heapMb: 400, settings: { 'offsets.topic.replication.factor': '1' } })
  admin = await JavaAdmin.start({ brokers: stage.broker.brokers })
  // The first question for a coordinator makes Kafka create the offsets topic.
  const known = async (): Promise<boolean> => {
    await stage.kafka.coordinatorOf('any').catch(() => undefined)
    return leaderOf('__consumer_offsets', 0).then(
      (leader) => leader >= 0,
      () => false,
    )
  }
  await until('the offsets topic is there', known)
})
afterEach(() => stage.clear())
afterAll(async () => {
  await admin[Symbol.asyncDispose]()
  await stage[Symbol.asyncDispose]()
})

function nodeOf(id: number): BrokerNode {
  const node = stage.broker.nodes.find((each) => each.id === id)
  if (!node) throw new Error(`no broker ${id}`)
  return node
}

/** -1: none. */
async function leaderOf(topic: string, partition: number): Promise<number> {
  const { partitions } = await admin.describeTopic(topic)
  return partitions.find((each) => each.partition === partition)?.leader ?? -1
}

/** The same of a partition that must have one: just created, or its brokers have not all heard of it. */
async function ledBy(topic: string, partition: number): Promise<number> {
  let leader = -1
  const led = async (): Promise<boolean> => {
    leader = await leaderOf(topic, partition).catch(() => -1)
    return leader >= 0
  }
  await until(`${topic}-${partition} has a leader`, led)
  return leader
}

const lives = [
  [
    { at: 'before:end-txn', nth: 3, do: 'hold' },
    { at: 'after:end-txn', do: 'none' },
  ],
] as const

interface Chosen {
  readonly job: Job
  readonly topic: string
  readonly partition: number
}

/** A job, and a partition of it whose only broker coordinates neither its transactions nor, for an output, its group. */
async function choose(what: 'offsets' | 'output'): Promise<Chosen> {
  for (;;) {
    const job = await stage.job(what, {
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
    const transactions = await Promise.all(ids.map((id) => ledBy('__transaction_state', id)))
    const ofGroup = offsetsPartitionOf(job.group, INTERNAL_PARTITIONS)
    const group = await ledBy('__consumer_offsets', ofGroup)
    if (what === 'offsets' && !transactions.includes(group)) {
      return { job, topic: '__consumer_offsets', partition: ofGroup }
    }
    if (what === 'offsets') continue
    for (const partition of [0, 1, 2]) {
      const leader = await ledBy(job.output, partition)
      if (leader !== group && !transactions.includes(leader)) return { job, topic: job.output, partition }
    }
  }
}

/** A worker that lies still before EndTxn, with something of its transaction in the chosen partition. */
async function aboutToCommit(what: 'offsets' | 'output'): Promise<Chosen & { readonly worker: TestWorker }> {
  for (;;) {
    const chosen = await choose(what)
    const { job, topic, partition } = chosen
    const worker = job.start('a', { lives })
    job.feed.stream(300)
    await worker.held('before:end-txn')
    await job.feed.endStream()
    const producers = await admin.describeProducers(topic, partition)
    if (producers.some((each) => each.transactionStart !== null)) return { ...chosen, worker }
    // A slow machine: this transaction has nothing there.
    await worker.destroy()
  }
}

/** Decides a transaction while a partition of it has no leader; gives the broker that has to come back. */
async function commitWithoutLeader({ job, topic, partition }: Chosen, worker: TestWorker): Promise<BrokerNode> {
  const node = nodeOf(await ledBy(topic, partition))
  await node.kill()
  await until(`${topic}-${partition} has no leader`, async () => (await leaderOf(topic, partition)) === -1)
  worker.signal('SIGCONT')
  await worker.reachedPoint('after:end-txn')
  // The coordinator takes the leaderless partition for deleted: done, it says, and will never write that marker.
  const forgotten = async (): Promise<boolean> => {
    const all = await admin.listTransactions().catch(() => [])
    const states = all.filter((each) => each.transactionalId.startsWith(`${job.group}.`)).map((each) => each.state)
    return states.includes('CompleteCommit') && !states.some((state) => state.startsWith('Prepare'))
  }
  await until('the transaction is recorded as complete', forgotten)
  return node
}

describe('a partition with one replica, whose broker is dead in the instant of the commit', () => {
  test.each([
    ['F49 markers-dropped-offsets', 'offsets', 'the worker goes on'],
    ['F50 markers-dropped-output', 'output', 'the worker goes on'],
    ['F50 markers-dropped-output', 'output', 'its successor finds it'],
  ] as const)('%s: the marker of the %s partition is repaired; %s', async (_, what, who) => {
    const chosen = await aboutToCommit(what)
    const { job, worker } = chosen
    const node = await commitWithoutLeader(chosen, worker)
    if (who === 'its successor finds it') {
      worker.signal('SIGKILL')
      await worker.deaths(1)
    }
    await node.start()
    await job.finish()
    expect(worker.lines.some((line) => line.includes(REPAIRED))).toBe(true)
    expect(worker.count('rolled-back')).toBe(0)
  })
})
