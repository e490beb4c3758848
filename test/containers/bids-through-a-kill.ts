/** Bids flow through two workers in containers; one is killed with all of its processes, the other takes over, it comes back. Then the checker's verdict. */
import { expect } from '@jest/globals'
import { check } from '../../checker/check.ts'
import { KafkaAccess } from '../../checker/kafka.ts'
import { bidTotalsModel } from '../../checker/models/bid-totals-model.ts'
import { openReader } from '../../checker/reader.ts'
import { verdictLine, verdictTable } from '../../checker/verdict.ts'
import { Feed } from '../../pipelines/demo/feed.ts'
import { OutputWatch } from '../../pipelines/demo/output-watch.ts'
import { group, hopTopics, internalPrefix, topicsFor } from '../../pipelines/demo/topics.ts'
import { kafkaLibs } from '../../scripts/images/kafka-image.ts'
import type { WorkerContainer } from '../../scripts/images/worker-container.ts'

/** Of the pipeline: four partitions, two stages. */
const tasks = 8
const rate = 1_500

/** Two workers that read the demo's topics. */
export interface Workers {
  readonly first: WorkerContainer
  readonly second: WorkerContainer
  /** SIGKILL to the second one. */
  kill(): Promise<void>
  /** The second one again, under its name. */
  comeBack(): Promise<void>
}

interface Run {
  readonly brokers: readonly string[]
  readonly records: number
  /** With the topics that the workers need. */
  start(kafka: KafkaAccess): Promise<Workers>
  log(line: string): void
}

export async function bidsThroughAKill({ brokers, records, start, log }: Run): Promise<void> {
  await using kafka = await KafkaAccess.connect({ brokers })
  const topics = topicsFor('own')
  const connection = { brokers }
  const libs = await kafkaLibs()
  const watch = new OutputWatch()
  await using stack = new AsyncDisposableStack()
  const over = new AbortController()
  stack.defer(() => watch.stop())
  stack.defer(() => over.abort(new Error('the test is over')))
  const workers = await start(kafka)
  const both = [workers.first, workers.second]
  await Promise.all(both.map((each) => untilReady(each, tasks / 2)))
  await watch.start(await openReader({ connection, kafkaLibs: libs }), topics.totals)
  expect(await workers.first.exec(['id', '-u'])).not.toBe('0')
  const feed = new Feed(kafka, { topic: topics.bids, records, rate, seed: 1 })
  await Promise.all([feed.run(over.signal), killAndReturn(workers, feed, log)])
  await workers.first.until('done', async () => watch.records >= feed.sent)
  const health = await Promise.all(both.map((each) => each.inspect('{{.State.Health.Status}}')))
  expect(health).toEqual(['healthy', 'healthy'])
  expect(await Promise.all(both.map((each) => each.stop()))).toEqual([0, 0])
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

async function untilReady(worker: WorkerContainer, owned: number): Promise<void> {
  const met = async (): Promise<boolean> => {
    const { ready, tasks: have } = await worker.readiness()
    return ready && have === owned
  }
  await worker.until(`running ${owned} tasks`, met)
}

/** In the end both run half of the tasks again. */
async function killAndReturn(workers: Workers, feed: Feed, log: (line: string) => void): Promise<void> {
  const { first, second } = workers
  await first.until('fed', async () => feed.sent > feed.total / 6)
  const killedMs = performance.now()
  await workers.kill()
  await untilReady(first, tasks)
  log(`killed; the other one runs all tasks after ${Math.round(performance.now() - killedMs)} ms`)
  const startedMs = performance.now()
  await workers.comeBack()
  await untilReady(second, tasks / 2)
  await untilReady(first, tasks / 2)
  log(`started again; both run after ${Math.round(performance.now() - startedMs)} ms`)
}
