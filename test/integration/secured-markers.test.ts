// Goal: commit markers that the brokers dropped are repaired only by who has the ACLs for it: without them the worker stops
// loudly and says what an operator can do, with them the next start repairs by itself, and nothing was lost meanwhile.
// Method: three real brokers with SASL_SSL and ACLs; a transaction is decided while one of its partitions has no leader,
// which drops the marker every time; the checker's verdict.
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { JavaAdmin, javaClientConfig } from '../../connectors/kafka/testing/index.ts'
import { asKafkas, planned } from '../support/access.ts'
import { Stage } from '../support/harness.ts'
import { Leaderless } from '../support/leaderless.ts'

let stage: Stage
let admin: JavaAdmin
beforeAll(async () => {
  stage = await Stage.open({ nodes: 3, heapMb: 400, security: 'sasl-ssl' })
  admin = await JavaAdmin.start({ brokers: stage.broker.brokers, config: javaClientConfig(stage.broker) })
})
afterEach(() => stage.clear())
afterAll(async () => {
  await admin[Symbol.asyncDispose]()
  await stage[Symbol.asyncDispose]()
})

test('a dropped commit marker: loud without the ACLs to repair it, repaired with them', async () => {
  const leaderless = new Leaderless(stage, admin)
  await leaderless.ready()
  const chosen = await leaderless.aboutToCommit('output', {
    before: async (job) => admin.createAcls(asKafkas((await planned(job)).required)),
    restart: 'no',
  })
  const { job, topic, partition, worker } = chosen
  const node = await leaderless.commitWithoutLeader(chosen)
  await node.start()
  const end = await worker.ended(100_000)
  expect(end).toMatchObject({ code: 3, error: 'MARKERS_DROPPED' })
  const said = worker.lines.findLast((line) => line.includes('MARKERS_DROPPED')) ?? ''
  for (const each of [`${topic}-${partition}`, 'Grant ALTER', 'kafka-transactions.sh', 'never abort'])
    expect(said).toContain(each)

  await admin.createAcls(asKafkas((await planned(job)).markerRepair))
  const successor = job.start('a')
  await successor.reachedEvent('running')
  expect(successor.lines.some((line) => line.includes('repaired a commit marker'))).toBe(true)
  await job.finish({ unplanned: ['MARKERS_DROPPED'] })
}, 240_000)
