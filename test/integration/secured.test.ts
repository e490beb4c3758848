// Goal: on a broker with SASL_SSL (SCRAM) and ACLs, where everything is denied that was not allowed, the ACLs that `millrace
// plan` lists are enough, and each of them is needed. Method: a real broker; the ACLs are taken from the command's JSON; the checker's verdict.
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import { type JavaAcl, JavaAdmin, javaClientConfig } from '../../connectors/kafka/testing/index.ts'
import { asKafkas, planned, REFERENCE } from '../support/access.ts'
import { Cli } from '../support/cli.ts'
import { Stage } from '../support/harness.ts'
import { until } from '../support/test-worker.ts'

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

const nameOf = (acl: JavaAcl): string => `${acl.operation} on ${acl.resourceType} ${acl.name}`

describe('access', () => {
  test('the ACLs of millrace plan are enough for a whole run with a crash on the way', async () => {
    const job = await stage.job('enough', { key: 'hop' })
    await admin.createAcls(asKafkas((await planned(job)).required))
    // Above 64 KiB: TLS, too, reads right into a large response.
    await job.feed.wave(60, 4_000)
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

  test('they are enough for millrace reset, too', async () => {
    const job = await stage.job('resettable', { partitions: 1 })
    await admin.createAcls(asKafkas((await planned(job)).required))
    await job.feed.wave(20)
    const worker = job.start('a')
    await job.caughtUp()
    worker.leave()
    await worker.ended()
    const ended = await Cli.run(['reset', REFERENCE, '--to', 'earliest', '--state', 'drop'], job.env)
    expect(ended.output).toContain(`${job.input}-0: `)
    expect(ended.code).toBe(0)
  })

  test('a wrong password is told from a missing right and from an unreachable broker', async () => {
    const job = await stage.job('stranger')
    const kafka = JSON.parse(job.env.REF_KAFKA ?? '{}') as { sasl: object }
    const REF_KAFKA = JSON.stringify({ ...kafka, sasl: { ...kafka.sasl, password: 'guessed' } })
    const { code, output } = await Cli.run(['run', REFERENCE], { ...job.env, REF_KAFKA })
    for (const each of ['KAFKA_AUTHENTICATION', stage.broker.brokers[0] ?? '']) expect(output).toContain(each)
    expect(code).toBe(2)
  })

  test('a certificate of an authority that is not trusted is refused', async () => {
    const job = await stage.job('untrusted')
    const kafka = JSON.parse(job.env.REF_KAFKA ?? '{}') as { sasl: object }
    const { code, output } = await Cli.run(['run', REFERENCE], {
      ...job.env,
      REF_KAFKA: JSON.stringify({ ...kafka, ssl: true }),
    })
    expect(output).toContain('KAFKA_AUTHENTICATION')
    expect(code).toBe(2)
  })
})

test('with checkpoints in a topic: what is listed for it is enough, and each of it is needed', async () => {
  const job = await stage.job('stored', { partitions: 1, env: { MILLRACE_STORE: 'kafka' } })
  const acls = asKafkas((await planned(job)).required)
  await admin.createAcls(acls)
  const ofStore = acls.filter(({ name }) => name === `${job.group}.checkpoints`)
  // CREATE comes first: the topic is not there yet.
  expect(ofStore.map(({ operation }) => operation)).toEqual(['CREATE', 'READ', 'WRITE', 'DESCRIBE_CONFIGS', 'DELETE'])
  const survived: string[] = []
  for (const acl of ofStore) {
    await job.feed.wave(20)
    await admin.deleteAcls([acl])
    const worker = job.start('a', { restart: 'no' })
    const said = (): string => worker.lines.findLast((line) => line.startsWith('{"test":"failed"')) ?? ''
    await until('it ends', () => worker.finished, 20_000, worker.explain).catch(() => undefined)
    const { error, code } = worker.ends.at(-1) ?? {}
    if (error !== 'KAFKA_NOT_AUTHORIZED' || code !== 2 || !said().includes(acl.name))
      survived.push(`${nameOf(acl)}: ${error} ${said()}`)
    await worker.destroy()
    await admin.createAcls([acl])
  }
  expect(survived).toEqual([])
  job.workers.splice(0)
  job.start('a')
  await job.finish()
})

test.each(['plain', 'scram-sha-512'])('%s gets in, too, and is refused with a wrong password', async (mechanism) => {
  const job = await stage.job(mechanism, { partitions: 1 })
  await admin.createAcls(asKafkas((await planned(job)).required))
  await job.feed.wave(20)
  const kafka = JSON.parse(job.env.REF_KAFKA ?? '{}') as { sasl: object }
  const asked = (sasl: object): string => JSON.stringify({ ...kafka, sasl: { ...kafka.sasl, mechanism, ...sasl } })
  const refused = await Cli.run(['run', REFERENCE], { ...job.env, REF_KAFKA: asked({ password: 'guessed' }) })
  expect(refused.output).toContain('KAFKA_AUTHENTICATION')
  expect(refused.code).toBe(2)
  const worker = job.start('a', { env: { REF_KAFKA: asked({}) } })
  await job.caughtUp()
  await worker.stop()
  expect((await job.verdict()).ok).toBe(true)
})
