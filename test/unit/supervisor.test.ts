/**
 * Goal: a supervisor restarts what died, under its slot, speaks for it, and gives up where a restart cannot help; nothing of
 * it is left behind. Method: real processes that play a script per slot and life, and a cluster that notes what is asked.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { kafkaSink, kafkaSource } from '../../connectors/kafka/index.ts'
import { silentLogger } from '../../src/base/log.ts'
import type { ClusterFactory } from '../../src/dataflow/ports.ts'
import { definePipeline, utf8 } from '../../src/index.ts'
import { resolveSettings } from '../../src/plan/options.ts'
import { makePlan } from '../../src/plan/plan.ts'
import { Supervisor } from '../../src/worker/supervisor.ts'

/** What one life of a slot does once it has been told its slot. */
type Life = 'die' | 'join and die' | 'run' | 'run and die' | `exit ${number}` | `fail ${string} ${number}`

/** Notes `slot life pid` and plays; a stop ends it with 0 and is noted, too. */
const program = `
const { appendFileSync, readFileSync } = require('node:fs')
const { lives, journal } = JSON.parse(process.argv[1])
const note = (line) => appendFileSync(journal, line + '\\n')
process.on('disconnect', () => process.exit(9))
process.on('message', (message) => {
  if (message.kind === 'stop') {
    note('stop ' + message.how)
    process.exit(0)
  }
  const before = readFileSync(journal, 'utf8').split('\\n').filter((line) => line.startsWith('life ' + message.slot + ' '))
  const life = lives[message.slot][before.length] ?? 'run'
  note('life ' + message.slot + ' ' + process.pid)
  const [verb, word, code] = life.split(' ')
  if (verb === 'join') process.send({ kind: 'joined', member: 'member of ' + process.pid }, () => process.kill(process.pid, 'SIGKILL'))
  if (verb === 'die') process.kill(process.pid, 'SIGKILL')
  if (verb === 'exit') process.exit(Number(word))
  if (verb === 'fail') process.send({ kind: 'failed', code: word, message: 'it failed' }, () => process.exit(Number(code)))
  if (verb === 'run') process.send({ kind: 'running' }, () => { if (word) process.kill(process.pid, 'SIGKILL') })
})`

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-supervisor-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

class Deployment {
  readonly resolved: string[] = []
  readonly removed: string[] = []
  readonly closed: string[] = []
  readonly supervisor: Supervisor
  readonly #journal: string

  private constructor(journal: string, lives: readonly (readonly Life[])[]) {
    this.#journal = journal
    const cluster = {
      resolveTransactions: async (ids: readonly string[]) => {
        this.resolved.push(...ids)
        return []
      },
      removeMember: async (group: string, member: string, instance: string) =>
        void this.removed.push(`${group} ${member} ${instance}`),
      [Symbol.asyncDispose]: async () => void this.closed.push('closed'),
    }
    const factory: ClusterFactory = { kind: 'fake', connect: async () => cluster as never }
    const pipeline = definePipeline('tested', (p) => {
      const source = kafkaSource({ topic: 'in', key: utf8, value: utf8 })
      p.from('in', source).to('out', kafkaSink({ topic: 'out', key: utf8, value: utf8 }))
    })
    this.supervisor = new Supervisor({
      plan: { ...makePlan(pipeline), factory },
      settings: resolveSettings('tested', {}, { instance: 'host', brokers: 'none:1' }, false),
      workers: lives.length,
      command: { file: process.execPath, args: ['-e', program, JSON.stringify({ lives, journal })] },
      log: silentLogger,
    })
  }

  static async start(...lives: readonly (readonly Life[])[]): Promise<Deployment> {
    const journal = join(folder, 'journal')
    await writeFile(journal, '')
    return new Deployment(journal, lives)
  }

  async lines(): Promise<string[]> {
    return (await readFile(this.#journal, 'utf8')).split('\n').filter((line) => line !== '')
  }

  async livesOf(slot: number): Promise<number> {
    return (await this.lines()).filter((line) => line.startsWith(`life ${slot} `)).length
  }

  async until(condition: () => Promise<boolean>): Promise<void> {
    while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 20))
  }

  /** No process of the journal is alive. */
  async allGone(): Promise<boolean> {
    const pids = (await this.lines()).flatMap((line) => (line.startsWith('life') ? [Number(line.split(' ')[2])] : []))
    return pids.every((pid) => {
      try {
        process.kill(pid, 0)
        return false
      } catch {
        return true
      }
    })
  }
}

const idsOf = (slot: number): string[] => [0, 1].map((index) => `millrace.tested.host-${slot}.${index}`)

describe('a child that died', () => {
  test('comes back under its slot, is spoken for, and the others go on', async () => {
    const deployment = await Deployment.start(['run and die', 'die', 'run'], ['run'])
    const code = deployment.supervisor.run()
    await deployment.until(async () => (await deployment.livesOf(0)) === 3 && (await deployment.livesOf(1)) === 1)
    await deployment.until(async () => deployment.resolved.length === 4)
    expect(deployment.resolved).toEqual([...idsOf(0), ...idsOf(0)])
    deployment.supervisor.stop('stop')
    expect(await code).toBe(0)
    expect(await deployment.livesOf(1)).toBe(1)
    expect(deployment.closed).toEqual(['closed'])
    expect(await deployment.allGone()).toBe(true)
  })

  test('again and again gives up its place in the group once it is to be away for longer than a second', async () => {
    const lives: Life[] = ['run and die', 'join and die', 'join and die', 'die', 'die', 'die']
    const deployment = await Deployment.start(lives, ['run'])
    const code = deployment.supervisor.run()
    await deployment.until(async () => (await deployment.livesOf(0)) === 4)
    expect(deployment.removed).toEqual([])
    await deployment.until(async () => deployment.removed.length > 0)
    // The last life that joined, though it never ran.
    const joined = (await deployment.lines()).filter((line) => line.startsWith('life 0 '))[2] ?? ''
    expect(deployment.removed).toEqual([`millrace.tested member of ${joined.split(' ')[2]} host-0`])
    deployment.supervisor.stop('stop')
    expect(await code).toBe(0)
    expect(deployment.removed).toHaveLength(1)
  })

  test('with exit code 1 comes back too: its restart strategy did not give up', async () => {
    const deployment = await Deployment.start(['exit 1', 'run'])
    const code = deployment.supervisor.run()
    await deployment.until(async () => (await deployment.livesOf(0)) === 2)
    deployment.supervisor.stop('stop')
    expect(await code).toBe(0)
  })

  test('during the stop is not started again', async () => {
    const deployment = await Deployment.start(['run'], ['run'])
    const code = deployment.supervisor.run()
    await deployment.until(async () => (await deployment.lines()).length === 2)
    deployment.supervisor.stop('leave')
    expect(await code).toBe(0)
    expect((await deployment.lines()).filter((line) => line === 'stop leave')).toHaveLength(2)
    expect(await deployment.allGone()).toBe(true)
  })
})

describe('a child that ended on purpose', () => {
  test('with 0 is not started again', async () => {
    const deployment = await Deployment.start(['exit 0'])
    expect(await deployment.supervisor.run()).toBe(0)
    expect(await deployment.livesOf(0)).toBe(1)
    expect(deployment.resolved).toEqual([])
  })

  test.each([2, 3, 5])('with %i ends the whole deployment with that code', async (exit) => {
    const deployment = await Deployment.start([`exit ${exit}`], ['run'])
    expect(await deployment.supervisor.run()).toBe(exit)
    expect(await deployment.livesOf(0)).toBe(1)
    expect(deployment.resolved).toEqual([])
    expect(await deployment.allGone()).toBe(true)
  })

  test('fenced: its slot is given up, the others go on, and its transactions are its rival’s', async () => {
    const deployment = await Deployment.start(['exit 4'], ['run'])
    const code = deployment.supervisor.run()
    await deployment.until(async () => (await deployment.livesOf(1)) === 1 && (await deployment.livesOf(0)) === 1)
    await deployment.until(() => deployment.allGone().then((gone) => !gone))
    expect(await deployment.lines()).not.toContain('stop stop')
    deployment.supervisor.stop('stop')
    expect(await code).toBe(4)
    expect(deployment.resolved).toEqual([])
  })

  test.each(['RESTARTS_EXHAUSTED', 'DRAIN_TIMEOUT', 'STORE_UNWRITABLE'])(
    'with %s and code 1 ends the deployment',
    async (failure) => {
      const deployment = await Deployment.start([`fail ${failure} 1`], ['run'])
      expect(await deployment.supervisor.run()).toBe(1)
      expect(await deployment.livesOf(0)).toBe(1)
    },
  )

  test('unable to reach the brokers that it has reached before, it comes back', async () => {
    const deployment = await Deployment.start(['run and die', 'exit 5', 'run'])
    const code = deployment.supervisor.run()
    await deployment.until(async () => (await deployment.livesOf(0)) === 3)
    deployment.supervisor.stop('stop')
    expect(await code).toBe(0)
  })

  test('with another failure and code 1 it comes back', async () => {
    const deployment = await Deployment.start(['fail KAFKA_ERROR 1', 'run'])
    const code = deployment.supervisor.run()
    await deployment.until(async () => (await deployment.livesOf(0)) === 2)
    deployment.supervisor.stop('stop')
    expect(await code).toBe(0)
  })
})

test('asked to stop in the pause before a restart, it ends with 0 and starts nothing', async () => {
  const deployment = await Deployment.start(['die', 'die', 'die', 'die', 'die', 'die', 'die', 'die', 'run'])
  const code = deployment.supervisor.run()
  // The pause behind the seventh death takes four seconds.
  await deployment.until(async () => (await deployment.livesOf(0)) === 7 && (await deployment.allGone()))
  deployment.supervisor.stop('stop')
  expect(await code).toBe(0)
  expect(await deployment.livesOf(0)).toBe(7)
})

test('asked to leave and then to stop, it leaves', async () => {
  const deployment = await Deployment.start(['run'])
  const code = deployment.supervisor.run()
  await deployment.until(async () => (await deployment.livesOf(0)) === 1)
  deployment.supervisor.stop('leave')
  deployment.supervisor.stop('stop')
  expect(await code).toBe(0)
  expect(await deployment.lines()).not.toContain('stop stop')
})

test('asked twice to stop, it stops once', async () => {
  const deployment = await Deployment.start(['run'])
  const code = deployment.supervisor.run()
  await deployment.until(async () => (await deployment.livesOf(0)) === 1)
  deployment.supervisor.stop('stop')
  deployment.supervisor.stop('stop')
  expect(await code).toBe(0)
})
