// Goal: the promise holds on a cluster as in production (three brokers, replication 3, min ISR 2): the main faults again,
// F01, F06, F12, F26, F34. Method: three real brokers as local processes; workers and brokers that are killed, stopped or
// not told; the checker's verdict.
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import { offsetsPartitionOf } from '../../checker/requests.ts'
import { type BrokerNode, JavaAdmin } from '../../connectors/kafka/testing/index.ts'
import type { PointName } from '../support/crash-worker.ts'
import { Stage } from '../support/harness.ts'
import { END_TXN, TcpProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/test-worker.ts'

const INTERNAL_PARTITIONS = 10

let stage: Stage
let admin: JavaAdmin
beforeAll(async () => {
  stage = await Stage.open({ nodes: 3, heapMb: 400 })
  admin = await JavaAdmin.start({ brokers: stage.broker.brokers })
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

async function described(topic: string) {
  const { partitions } = await admin.describeTopic(topic)
  return { partitions, configs: await admin.describeConfigs({ name: topic }) }
}

async function leaderOf(topic: string, partition: number): Promise<number> {
  const { partitions } = await admin.describeTopic(topic)
  return partitions.find((each) => each.partition === partition)?.leader ?? -1
}

describe('replication 3, min ISR 2', () => {
  test.each<PointName>(['after:produce', 'before:end-txn', 'after:end-txn'])(
    'F01 crash-every-await: SIGKILL %s',
    async (at) => {
      const job = await stage.job('crash', { key: 'hop' })
      await job.feed.wave(60)
      const victim = job.start('a', { lives: [[{ at, nth: 4, do: 'kill' }]] })
      job.start('b')
      job.feed.stream()
      await victim.deaths(1)
      await victim.reachedEvent('running')
      await job.finish()
    },
  )

  test.each<PointName>(['before:end-txn', 'after:end-txn'])('F12 zombie-writer: stopped %s', async (at) => {
    const job = await stage.job('f12', { key: 'hop', env: { MILLRACE_SESSION_TIMEOUT_MS: '1000' } })
    await job.feed.wave(60)
    job.feed.stream()
    const zombie = job.start('a', { lives: [[{ at, nth: 4, do: 'hold' }]] })
    await zombie.held(at)
    const successor = job.start('b')
    await successor.reachedEvent('running')
    await job.progresses()
    zombie.signal('SIGCONT')
    await zombie.reachedEvent('running', 2)
    await job.progresses()
    await job.finish()
  })

  test('F06 commit-reply-lost: at every broker', async () => {
    const proxies = await Promise.all(stage.broker.brokers.map((address) => TcpProxy.start(address)))
    const route = Object.fromEntries(stage.broker.brokers.map((address, i) => [address, proxies[i]?.address]))
    let answers = 0
    for (const proxy of proxies) proxy.loses = (api) => api === END_TXN && ++answers % 3 === 0
    const job = await stage.job('f06', { key: 'hop', env: { REF_ROUTE: JSON.stringify(route) } })
    await job.feed.wave(60)
    job.feed.stream()
    const worker = job.start('a')
    const lost = (): number => proxies.reduce((sum, proxy) => sum + proxy.lost, 0)
    await until('five answers are lost', () => lost() >= 5, 30_000, worker.explain)
    await job.finish()
    expect(worker.count('rolled-back')).toBe(0)
    for (const proxy of proxies) await proxy[Symbol.asyncDispose]()
  })
})

describe('replication 3, min ISR 2: workers and brokers come and go', () => {
  test('F34 rebalance-mid-checkpoint: a third worker comes and goes', async () => {
    const job = await stage.job('f34', { key: 'hop' })
    await job.feed.wave(60)
    job.feed.stream()
    const steady = [job.start('a'), job.start('b')]
    for (const worker of steady) await worker.reachedEvent('running')
    for (let i = 0; i < 2; i++) {
      const guest = job.start('c')
      await guest.reachedEvent('running')
      await job.progresses()
      guest.leave()
      await guest.ended()
      await job.progresses()
    }
    await job.finish()
    for (const worker of steady) expect(worker.ends).toHaveLength(1)
  })

  test('F26 broker-restart-leader: the broker that coordinates the group, with all else that it leads', async () => {
    const job = await stage.job('f26', { key: 'hop' })
    await job.feed.wave(60)
    const workers = [job.start('a'), job.start('b')]
    for (const worker of workers) await worker.reachedEvent('running')
    job.feed.stream()
    await job.progresses()
    const node = nodeOf(await leaderOf('__consumer_offsets', offsetsPartitionOf(job.group, INTERNAL_PARTITIONS)))
    await node.kill()
    // The survivors take over, and the pipeline goes on without it.
    await job.progresses(50)
    await node.start()
    await job.feed.settle()
    await job.finish()
    for (const worker of workers) expect(worker.ends).toHaveLength(1)
  })

  test('checkpoints in a topic: the leader of its index dies, and the workers write and purge on', async () => {
    const job = await stage.job('stored', { key: 'hop', env: { MILLRACE_STORE: 'kafka' } })
    const workers = [job.start('a'), job.start('b')]
    for (const worker of workers) await worker.reachedEvent('running')
    job.feed.stream()
    await job.progresses()
    const topic = `${job.group}.checkpoints`
    const { partitions, configs } = await described(topic)
    expect(partitions.map(({ replicas }) => replicas.length)).toEqual([3, 3, 3, 3])
    expect(configs['min.insync.replicas']).toBe('2')
    const node = nodeOf(partitions.find(({ partition }) => partition === 0)?.leader ?? 1)
    await node.kill()
    await job.progresses(50)
    await node.start()
    const starts = async (): Promise<bigint[]> => (await admin.listOffsets(topic)).map(({ earliest }) => earliest)
    await until('old checkpoints are purged', async () => (await starts()).some((start) => start > 0n))
    await job.feed.settle()
    await job.finish()
    for (const worker of workers) expect(worker.ends).toHaveLength(1)
  })
})
