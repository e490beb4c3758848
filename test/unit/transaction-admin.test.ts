/**
 * Goal: an open transaction is aborted only when every partition in it has a leader, because Kafka loses the marker of one
 * that has none. Method: the real code on a cluster in this process that answers as told and notes what it is asked.
 */
import { expect, test } from '@jest/globals'
import type { KafkaCluster } from '../../connectors/kafka/cluster.ts'
import { TransactionAdmin } from '../../connectors/kafka/transactions.ts'
import { Code } from '../../connectors/kafka/wire/codes.ts'
import type { Api } from '../../connectors/kafka/wire/primitives.ts'
import { silentLogger } from '../../src/base/log.ts'

interface Told {
  /** The leader of the only partition, as each metadata answer has it; the last one stays. */
  readonly leaders: readonly (number | undefined)[]
  /** So many metadata requests get no answer. */
  readonly silent?: number
  /** The topic is gone from then on. */
  readonly deleted?: boolean
}

/** An id with one open transaction on `out-0`; the first entry of `leaders` is what the client believes already. */
function clusterWith({ leaders, deleted, silent = 0 }: Told): { cluster: KafkaCluster; asked: string[] } {
  const asked: string[] = []
  const left = [...leaders]
  let state = 'Ongoing'
  const leaderNow = (): number | undefined => left[0]
  const answers: Readonly<Record<string, () => unknown>> = {
    DescribeTransactions: () => [
      {
        ...{ code: Code.NONE, transactionalId: 'id', state, timeoutMs: 60_000, producerId: 7n, epoch: 3 },
        partitions: state === 'Ongoing' ? [{ topic: 'out', partition: 0 }] : [],
      },
    ],
    InitProducerId: () => {
      asked.push(`abort while the leader is ${leaderNow()}`)
      state = 'CompleteAbort'
      return { code: Code.NONE }
    },
  }
  const cluster = {
    call: async (api: Api<never, unknown>) => answers[api.name]?.(),
    topic: () => (deleted ? undefined : {}),
    leader: async () => (leaderNow() === undefined ? undefined : { node: leaderNow(), epoch: 0 }),
    refreshLeaders: async () => {
      asked.push('metadata')
      if (asked.length <= silent) throw new Error('no broker answers')
      if (left.length > 1) left.shift()
    },
  }
  return { cluster: cluster as unknown as KafkaCluster, asked }
}

test('an abort waits for the leader of a partition that has none', async () => {
  const { cluster, asked } = clusterWith({ leaders: [undefined, undefined, undefined, 2] })
  const description = await new TransactionAdmin(cluster, silentLogger).resolve('id')
  expect(description?.state).toBe('CompleteAbort')
  expect(asked.at(-1)).toBe('abort while the leader is 2')
})

test('what the client remembers of leaders is not believed: one that is gone since is waited for', async () => {
  const { cluster, asked } = clusterWith({ leaders: [1, undefined, undefined, 2] })
  await new TransactionAdmin(cluster, silentLogger).resolve('id')
  expect(asked.filter((each) => each.startsWith('abort'))).toEqual(['abort while the leader is 2'])
})

test('while no broker tells the leaders, nothing is aborted', async () => {
  const { cluster, asked } = clusterWith({ leaders: [1, 2], silent: 2 })
  await new TransactionAdmin(cluster, silentLogger).resolve('id')
  expect(asked).toEqual(['metadata', 'metadata', 'metadata', 'abort while the leader is 2'])
})

test('a partition of a topic that was deleted is not waited for', async () => {
  const { cluster, asked } = clusterWith({ leaders: [undefined], deleted: true })
  await new TransactionAdmin(cluster, silentLogger).resolve('id')
  expect(asked.at(-1)).toBe('abort while the leader is undefined')
})
