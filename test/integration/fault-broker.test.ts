// Goal: brokers that die, forget markers, delete by age or carry the traces of others do not break the promise: F26, F49,
// F55, and a broker with a past. Method: one real broker as a local process, killed and started again on its data while
// workers run; the checker's verdict.
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import { listOffsets } from '../../checker/requests.ts'
import type { BrokerNode } from '../../connectors/kafka/testing/index.ts'
import { JavaProducer } from '../../connectors/kafka/testing/index.ts'
import { Stage } from '../support/harness.ts'
import { until } from '../support/test-worker.ts'

const OLD = Date.UTC(2001, 0, 1)

let stage: Stage
beforeAll(async () => {
  // Deletes what is older than a second, looking four times a second: only topics that say otherwise keep old records.
  const settings = {
    'log.retention.ms': '1000',
    'log.retention.check.interval.ms': '250',
    'log.initial.task.delay.ms': '250',
  }
  stage = await Stage.open({ settings })
})
afterEach(() => stage.clear())
afterAll(() => stage[Symbol.asyncDispose]())

function onlyNode(): BrokerNode {
  const [node] = stage.broker.nodes
  if (!node) throw new Error('no broker')
  return node
}

test('a broker with a past: burned producer ids, large aborted transactions upstream on every partition', async () => {
  const [node = 0] = await stage.kafka.nodes()
  // InitProducerId without a transactional id: null, and a time-out. Each takes an id.
  const body = Buffer.from([0xff, 0xff, 0, 0, 0xea, 0x60])
  for (let i = 0; i < 1_500; i++) await stage.kafka.send(node, { api: 22, version: 0, name: 'InitProducerId', body })
  const job = await stage.job('past', { key: 'hop', partitions: 4, seed: 11 })
  const PAD = 2_000
  for (let i = 0; i < 3; i++) {
    await job.feed.abortedWave(1_500, PAD)
    await job.feed.wave(100)
    await job.feed.abortedWave(300)
  }
  const victim = job.start('a', { lives: [[{ at: 'before:end-txn', nth: 2, do: 'kill' }]] })
  job.start('b')
  job.feed.stream()
  await victim.deaths(1)
  await victim.reachedEvent('running')
  await job.feed.abortedWave(1_500, PAD)
  const verdict = await job.finish()
  expect(verdict.counts.in).toBeGreaterThan(300)
})

describe('one broker, killed', () => {
  test('F26 broker-restart-leader: killed and started while two workers run', async () => {
    const job = await stage.job('f26', { key: 'hop' })
    const workers = [job.start('a'), job.start('b')]
    for (const worker of workers) await worker.reachedEvent('running')
    job.feed.stream()
    await job.progresses()
    await onlyNode().kill()
    await onlyNode().start()
    await job.progresses()
    await job.feed.settle()
    await job.finish()
  })

  test('F49 markers-dropped-offsets: killed right after EndTxn answered', async () => {
    const job = await stage.job('f49', { key: 'hop' })
    job.feed.stream()
    const node = onlyNode()
    const worker = job.start('a', { lives: [[{ at: 'after:end-txn', nth: 4, do: 'kill-other', pid: node.pid }]] })
    await worker.reachedPoint('after:end-txn')
    await until('the broker is gone', () => node.pid === undefined)
    await node.start()
    await job.progresses()
    await job.feed.settle()
    await job.finish()
  })

  test('F49 markers-dropped-offsets: worker and broker die together right after EndTxn answered', async () => {
    const job = await stage.job('f49', { key: 'hop' })
    job.feed.stream()
    const node = onlyNode()
    const worker = job.start('a', {
      restart: 'no',
      lives: [
        [
          { at: 'before:end-txn', nth: 4, do: 'none' },
          { at: 'after:end-txn', do: 'kill-other', pid: node.pid },
          { at: 'before:confirm', do: 'kill' },
        ],
      ],
    })
    await worker.ended()
    await until('the broker is gone', () => node.pid === undefined)
    await node.start()
    job.start('a')
    await job.feed.settle()
    await job.finish()
  })
})

test('a transaction upstream that ends under the next leader: its marker has the new epoch, and no restart takes that for a truncation', async () => {
  const job = await stage.job('epochs', { key: 'record', partitions: 1 })
  const worker = job.start('a')
  job.feed.stream()
  await job.progresses()
  await job.feed.endStream()
  await using producer = await JavaProducer.start({ brokers: stage.broker.brokers, transactionalId: 'over-the-change' })
  await producer.begin()
  await producer.send({ topic: job.input, key: 'key-0', value: null })
  await producer.flush()
  await onlyNode().kill()
  await onlyNode().start()
  await producer.commit()
  await job.caughtUp()
  worker.signal('SIGKILL')
  await worker.deaths(1)
  await job.feed.wave(50)
  await job.finish()
  expect(worker.ends.map(({ error }) => error)).not.toContain('LOG_TRUNCATED')
})

test('F55 hop-retention: a broker that deletes by age deletes nothing of a repartition topic', async () => {
  const job = await stage.job('f55', { key: 'hop', timestamp: () => OLD })
  const [hop = ''] = job.hops
  for (let i = 0; i < 5; i++) await job.feed.wave(100)
  // It has committed records into the hop and lies still before it has read them all.
  const worker = job.start('a', { lives: [[{ at: 'after:end-txn', nth: 2, do: 'hold' }]] })
  await worker.held('after:end-txn')
  await stage.createTopics([{ topic: 'forgetful', partitions: 1, configs: { 'retention.ms': '1000' } }])
  await using producer = await JavaProducer.start({ brokers: stage.broker.brokers })
  await producer.send({ topic: 'forgetful', value: 'old', timestamp: OLD })
  await producer.flush()
  const deleted = async (): Promise<boolean> =>
    ((await listOffsets(stage.kafka, ['forgetful'], 'earliest')).get('forgetful')?.[0] ?? 0) > 0
  await until('an old record elsewhere is deleted', deleted)
  const written = (await listOffsets(stage.kafka, [hop], 'high-watermark')).get(hop) ?? []
  expect(Math.max(...written)).toBeGreaterThan(0)
  expect((await listOffsets(stage.kafka, [hop], 'earliest')).get(hop)).toEqual(written.map(() => 0))
  worker.signal('SIGCONT')
  await job.feed.wave(100)
  await job.finish()
})
