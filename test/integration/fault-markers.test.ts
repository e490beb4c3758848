// Goal: F49 and F50: a commit whose markers the brokers drop is repaired, and nothing is confirmed before. Method: three real
// brokers where the group's offsets and the output have one replica each. A worker lies still before EndTxn until the
// only replica's broker is dead and its partition has no leader; then Kafka records the commit and drops the marker, every
// time. The broker comes back; the checker's verdict.
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import { JavaAdmin } from '../../connectors/kafka/testing/index.ts'
import { Stage } from '../support/harness.ts'
import { Leaderless } from '../support/leaderless.ts'

const REPAIRED = 'repaired a commit marker that a broker had dropped'

let stage: Stage
let admin: JavaAdmin
let leaderless: Leaderless
beforeAll(async () => {
  stage = await Stage.open({ nodes: 3, heapMb: 400, settings: { 'offsets.topic.replication.factor': '1' } })
  admin = await JavaAdmin.start({ brokers: stage.broker.brokers })
  leaderless = new Leaderless(stage, admin)
  await leaderless.ready()
})
afterEach(() => stage.clear())
afterAll(async () => {
  await admin[Symbol.asyncDispose]()
  await stage[Symbol.asyncDispose]()
})

describe('a partition with one replica, whose broker is dead in the instant of the commit', () => {
  test.each([
    ['F49 markers-dropped-offsets', 'offsets', 'the worker goes on'],
    ['F50 markers-dropped-output', 'output', 'the worker goes on'],
    ['F50 markers-dropped-output', 'output', 'its successor finds it'],
  ] as const)('%s: the marker of the %s partition is repaired; %s', async (_, what, who) => {
    const chosen = await leaderless.aboutToCommit(what)
    const { job, worker } = chosen
    const node = await leaderless.commitWithoutLeader(chosen)
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
