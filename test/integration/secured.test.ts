// Goal: on a broker with SASL_SSL (SCRAM) and ACLs, where everything is denied that was not allowed, the ACLs that `millrace
// plan` lists are enough, and each of them is needed; dropped commit markers are repaired with the ACLs for it and are
// a loud stop without. Method: a real broker; the ACLs are taken from the command's JSON; the checker's verdict.
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import { listOffsets } from '../../checker/requests.ts'
import { type BrokerNode, type JavaAcl, JavaAdmin, javaClientConfig } from '../../connectors/kafka/testing/index.ts'
import type { Acl, PlanDescription } from '../../src/plan/describe.ts'
import { Cli } from '../support/cli.ts'
import { type Job, Stage } from '../support/harness.ts'
import { until } from '../support/test-worker.ts'

const MODULE = fileURLToPath(new URL('../support/reference-pipeline.ts', import.meta.url))

let stage: Stage
let admin: JavaAdmin
beforeAll(async () => {
  stage = await Stage.open({ security: 'sasl-ssl' })
  admin = await JavaAdmin.start({ brokers: stage.broker.brokers, config: javaClientConfig(stage.broker) })
})
afterEach(() => stage.clear())
afterAll(async () => {
  await admin[Symbol.asyncDispose]()
  await stage[Symbol.asyncDispose]()
})

function onlyNode(): BrokerNode {
  const [node] = stage.broker.nodes
  if (!node) throw new Error('no broker')
  return node
}

async function planned(job: Job): Promise<PlanDescription['acls']> {
  const { code, output } = await Cli.run(['plan', MODULE, '--json'], job.env)
  if (code !== 0) throw new Error(output)
  return (JSON.parse(output) as PlanDescription).acls
}

/** One ACL of Kafka's for each operation. */
function asKafkas(acls: readonly Acl[]): JavaAcl[] {
  return acls.flatMap(({ resource, pattern, name, operations }) =>
    operations.map((operation) => ({
      principal: 'User:app',
      resourceType: resource.toUpperCase().replaceAll('-', '_'),
      name,
      patternType: pattern === 'prefixed' ? ('PREFIXED' as const) : ('LITERAL' as const),
      operation,
    })),
  )
}

/** All input is committed; what a transaction without its markers committed does not count. */
async function readToEnd(job: Job): Promise<boolean> {
  try {
    const ends = (await listOffsets(stage.kafka, [job.input], 'last-stable')).get(job.input) ?? []
    return (await job.progress()) >= ends.reduce((sum, end) => sum + end, 0)
  } catch {
    await stage.kafka.refresh().catch(() => undefined)
    return false
  }
}

const nameOf = (acl: JavaAcl): string => `${acl.operation} on ${acl.resourceType} ${acl.name}`

describe('access', () => {
  test('the ACLs of millrace plan are enough for a whole run with a crash on the way', async () => {
    const job = await stage.job('enough', { key: 'hop' })
    await admin.createAcls(asKafkas((await planned(job)).required))
    await job.feed.wave(60)
    const victim = job.start('a', { lives: [[{ at: 'after:txn-offset-commit', nth: 3, do: 'kill' }]] })
    job.start('b')
    job.feed.stream()
    await victim.deaths(1)
    await victim.reachedEvent('running')
    await job.feed.wave(60)
    const verdict = await job.finish()
    expect(verdict.counts.out).toBeGreaterThan(100)
  })

  test('each ACL of millrace plan is needed: without it the start ends with a code that names right and subject', async () => {
    const job = await stage.job('needed', { key: 'hop', partitions: 1 })
    const acls = asKafkas((await planned(job)).required)
    // CREATE first: the repartition topic is not there yet.
    acls.sort((a, b) => Number(b.operation === 'CREATE') - Number(a.operation === 'CREATE'))
    await admin.createAcls(acls)
    const survived: string[] = []
    for (const acl of acls) {
      // There is always something to read and to write.
      await job.feed.wave(20)
      await admin.deleteAcls([acl])
      const worker = job.start('a', { restart: 'no' })
      await until('it ends', () => worker.finished || worker.count('running') > 1, 20_000, worker.explain).catch(() =>
        survived.push(`${nameOf(acl)} (it hangs)`),
      )
      const end = worker.ends.at(-1)
      const said = worker.lines.findLast((line) => line.startsWith('{"test":"failed"')) ?? ''
      if (end?.error !== 'KAFKA_NOT_AUTHORIZED' || end.code !== 2 || !said.includes(acl.name.replace(/\.$/, '')))
        survived.push(`${nameOf(acl)}: ${JSON.stringify(end)} ${said}`)
      await worker.destroy()
      await admin.createAcls([acl])
    }
    expect(survived).toEqual([])
    job.workers.splice(0)
    job.start('a')
    await job.finish()
  })

  test('a wrong password is told from a missing right and from an unreachable broker', async () => {
    const job = await stage.job('stranger')
    const kafka = JSON.parse(job.env.REF_KAFKA ?? '{}') as { sasl: object }
    const REF_KAFKA = JSON.stringify({ ...kafka, sasl: { ...kafka.sasl, password: 'guessed' } })
    const { code, output } = await Cli.run(['run', MODULE], { ...job.env, REF_KAFKA })
    for (const each of ['KAFKA_AUTHENTICATION', stage.broker.brokers[0] ?? '']) expect(output).toContain(each)
    expect(code).toBe(2)
  })

  test('a certificate of an authority that is not trusted is refused', async () => {
    const job = await stage.job('untrusted')
    const kafka = JSON.parse(job.env.REF_KAFKA ?? '{}') as { sasl: object }
    const { code, output } = await Cli.run(['run', MODULE], {
      ...job.env,
      REF_KAFKA: JSON.stringify({ ...kafka, ssl: true }),
    })
    expect(output).toContain('KAFKA_AUTHENTICATION')
    expect(code).toBe(2)
  })
})

describe('commit markers that a broker dropped', () => {
  /**
   * The broker is killed right after EndTxn answered, which loses the markers in most cases; again until it did. Gives what
   * the worker, alive or newly started, made of it.
   */
  async function dropMarkers(job: Job): Promise<'repaired' | string> {
    for (let attempt = 0; attempt < 10; attempt++) {
      await job.feed.wave(100)
      const node = onlyNode()
      const points = [{ at: 'after:end-txn', nth: 3, do: 'kill-other', pid: node.pid }] as const
      const worker = job.start('a', { restart: 'no', lives: [points] })
      await worker.reachedPoint('after:end-txn')
      await until('the broker is gone', () => node.pid === undefined)
      await node.start()
      await job.feed.wave(100)
      const repaired = (): boolean => worker.lines.some((line) => line.includes('repaired a commit marker'))
      const through = async (): Promise<boolean> => worker.finished || repaired() || (await readToEnd(job))
      await until('it goes on or stops', through, 100_000, worker.explain)
      if (repaired()) return 'repaired'
      if (worker.finished) return worker.lines.findLast((line) => line.startsWith('{"test":"failed"')) ?? 'nothing'
      await worker.stop()
    }
    return 'never dropped'
  }

  test('without the rights to repair: stops loudly with the partitions and what an operator can do; with them: repaired', async () => {
    const job = await stage.job('markers', { key: 'hop', partitions: 2 })
    const acls = await planned(job)
    await admin.createAcls(asKafkas(acls.required))
    const said = await dropMarkers(job)
    expect(said).toMatch(/MARKERS_DROPPED|OFFSETS_UNSTABLE/)
    expect(said).toContain('kafka-transactions.sh')
    expect(job.workers.at(-1)?.ends.at(-1)?.code).toBe(3)
    // The operator grants the rights: the next start repairs by itself.
    await admin.createAcls(asKafkas(acls.markerRepair))
    const worker = job.start('a')
    await worker.reachedEvent('running')
    expect(worker.lines.some((line) => line.includes('repaired a commit marker'))).toBe(true)
    await job.finish({ unplanned: ['MARKERS_DROPPED', 'OFFSETS_UNSTABLE'] })
  })
})
