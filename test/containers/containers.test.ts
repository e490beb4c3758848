/**
 * Goal: the image that our Dockerfile makes runs a pipeline exactly once, while a container is killed, its tasks are taken
 * over, and it comes back. Method: Kafka and two workers in containers, a shared volume for the checkpoints, bids that
 * flow in all the time, SIGKILL, and the verdict of the independent checker. Needs Docker; an image that cannot be pulled
 * is made here. `deployment.ts` starts the broker, so that without Docker this file still runs, and fails by its code.
 */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type { KafkaAccess } from '../../checker/kafka.ts'
import { JavaAdmin, JavaProducer, javaConsume, prepareProbes } from '../../connectors/kafka/testing/index.ts'
import { createTopics, topicsFor } from '../../pipelines/demo/topics.ts'
import { Deployment } from '../../scripts/images/deployment.ts'
import { docker } from '../../scripts/images/docker.ts'
import { withEnvironment } from '../support/environment.ts'
import { bidsThroughAKill, type Workers } from './bids-through-a-kill.ts'

const module = 'test/containers/pipeline.ts'
/** A dead container is noticed after 6 s, not 10: the broker allows no less. */
const settings = { MILLRACE_SESSION_TIMEOUT_MS: '6000', MILLRACE_CHECKPOINT_INTERVAL_MS: '200' }
const log = (line: string): void => void process.stderr.write(`  ${line}\n`)

let deployment: Deployment | undefined
beforeAll(async () => {
  deployment = await Deployment.open(log)
}, 20 * 60_000)
afterAll(async () => {
  await deployment?.close()
}, 60_000)

function opened(): Deployment {
  if (deployment === undefined) throw new Error('there is no deployment')
  return deployment
}

test('the image runs as nobody special, stops by SIGTERM and knows its health', async () => {
  const image = opened()
  expect(await image.inspectImage('{{.Config.User}}')).toBe('node')
  expect(await image.inspectImage('{{.Config.StopSignal}}')).toBe('SIGTERM')
  expect(await image.inspectImage('{{json .Config.Entrypoint}}')).toBe('["millrace"]')
  expect(await image.inspectImage('{{json .Config.Healthcheck.Test}}')).toContain('/healthz')
})

test("where there is no Java, Kafka's own client runs in its image: writes, reads, and vanishes when it is killed", async () => {
  const { brokers } = opened().broker
  await withEnvironment({ JAVA_HOME: '/nonexistent' }, async () => {
    expect((await prepareProbes()).kind).toBe('container')
    await using admin = await JavaAdmin.start({ brokers })
    await admin.createTopic('probed')
    await using producer = await JavaProducer.start({ brokers, transactionalId: 'probe' })
    await producer.begin()
    await producer.send({ topic: 'probed', value: 'committed' })
    await producer.commit()
    await producer.begin()
    await producer.send({ topic: 'probed', value: 'open' })
    await producer.flush()
    await producer.kill()
    const { records } = await javaConsume({ brokers, topics: ['probed'] })
    expect(records.map(({ value }) => String(value))).toEqual(['committed'])
    expect(await admin.listTransactions()).toMatchObject([{ transactionalId: 'probe', state: 'Ongoing' }])
    await admin.fenceProducers(['probe'])
  })
  expect(await docker(['ps', '-q', '--filter', 'name=millrace-probe'])).toBe('')
}, 120_000)

test('a container killed, taken over and started again loses, doubles and reorders nothing', async () => {
  const stage = opened()
  const start = async (kafka: KafkaAccess): Promise<Workers> => {
    await createTopics(kafka, topicsFor('own'))
    const [first, second] = await Promise.all([
      stage.startWorker('worker-1', module, settings),
      stage.startWorker('worker-2', module, settings),
    ])
    return { first, second, kill: () => second.kill(), comeBack: () => second.start() }
  }
  try {
    await bidsThroughAKill({ brokers: stage.broker.brokers, records: 60_000, start, log })
  } catch (error) {
    log(await stage.logs())
    throw error
  }
}, 300_000)
