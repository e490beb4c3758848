/**
 * Goal: the image that our Dockerfile makes runs a pipeline exactly once, while a container is killed, its tasks are taken
 * over, and it comes back. Method: Kafka and two workers in containers, a shared volume for the checkpoints, bids that
 * flow in all the time, SIGKILL, and the verdict of the independent checker. Needs Docker; an image that cannot be pulled
 * is made here. `deployment.ts` starts the broker, so that without Docker this file still runs, and fails by its code.
 */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { check } from '../../checker/check.ts'
import { KafkaAccess } from '../../checker/kafka.ts'
import { bidTotalsModel } from '../../checker/models/bid-totals-model.ts'
import { openReader } from '../../checker/reader.ts'
import { verdictLine, verdictTable } from '../../checker/verdict.ts'
import { JavaAdmin, JavaProducer, javaConsume, prepareProbes } from '../../connectors/kafka/testing/index.ts'
import { Feed } from '../../pipelines/demo/feed.ts'
import { OutputWatch } from '../../pipelines/demo/output-watch.ts'
import { createTopics, group, hopTopics, internalPrefix, topicsFor } from '../../pipelines/demo/topics.ts'
import { Deployment, type WorkerContainer } from '../../scripts/images/deployment.ts'
import { docker } from '../../scripts/images/docker.ts'
import { kafkaLibs } from '../../scripts/images/kafka-image.ts'
import { withEnvironment } from '../support/environment.ts'

const module = 'test/containers/pipeline.ts'
/** A dead container is noticed after 6 s, not 10: the broker allows no less. */
const settings = { MILLRACE_SESSION_TIMEOUT_MS: '6000', MILLRACE_CHECKPOINT_INTERVAL_MS: '200' }
const tasks = 8
const records = 60_000
const rate = 1_500
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

async function untilReady(worker: WorkerContainer, owned: number): Promise<void> {
  const met = async (): Promise<boolean> => {
    const { ready, tasks: have } = await worker.readiness()
    return ready && have === owned
  }
  await worker.until(`running ${owned} tasks`, met)
}

/** Kills the second worker, lets the first take over, brings the second back; then both run half of the tasks again. */
async function killAndReturn(first: WorkerContainer, second: WorkerContainer, feed: Feed): Promise<void> {
  await first.until('fed', async () => feed.sent > records / 6)
  const killedMs = performance.now()
  await second.kill()
  await untilReady(first, tasks)
  log(`killed; the other one runs all tasks after ${Math.round(performance.now() - killedMs)} ms`)
  const startedMs = performance.now()
  await second.start()
  await untilReady(second, tasks / 2)
  await untilReady(first, tasks / 2)
  log(`started again; both run after ${Math.round(performance.now() - startedMs)} ms`)
}

async function play(stage: Deployment): Promise<void> {
  await using kafka = await KafkaAccess.connect({ brokers: stage.broker.brokers })
  const topics = topicsFor('own')
  await createTopics(kafka, topics)
  const connection = { brokers: stage.broker.brokers }
  const libs = await kafkaLibs()
  const watch = new OutputWatch()
  await using stack = new AsyncDisposableStack()
  const over = new AbortController()
  stack.defer(() => watch.stop())
  stack.defer(() => over.abort(new Error('the test is over')))
  await watch.start(await openReader({ connection, kafkaLibs: libs }), topics.totals)
  const [first, second] = await Promise.all([
    stage.startWorker('worker-1', module, settings),
    stage.startWorker('worker-2', module, settings),
  ])
  await Promise.all([untilReady(first, tasks / 2), untilReady(second, tasks / 2)])
  expect(await first.exec(['id', '-u'])).not.toBe('0')
  const feed = new Feed(kafka, { topic: topics.bids, records, rate, seed: 1 })
  await Promise.all([feed.run(over.signal), killAndReturn(first, second, feed)])
  await first.until('done', async () => watch.records >= feed.sent)
  expect(await Promise.all([first, second].map((each) => each.inspect('{{.State.Health.Status}}')))).toEqual([
    'healthy',
    'healthy',
  ])
  expect(await Promise.all([first.stop(), second.stop()])).toEqual([0, 0])
  const hops = await hopTopics(kafka)
  const verdict = await check({
    ...{
      connection,
      kafkaLibs: libs,
      inputs: [topics.bids],
      output: topics.totals,
      model: bidTotalsModel,
      hops,
      group,
    },
    ...{ transactionalIdPrefix: internalPrefix, committed: 'check' },
  })
  for (const line of verdictTable(verdict)) log(line)
  expect(verdictLine(verdict)).toContain(`in=${records} out=${records} lost=0 duplicated=0 reordered=0 hanging=0`)
  expect(verdict.ok).toBe(true)
}

test('a container killed, taken over and started again loses, doubles and reorders nothing', async () => {
  const stage = opened()
  try {
    await play(stage)
  } catch (error) {
    log(await stage.logs())
    throw error
  }
}, 300_000)
