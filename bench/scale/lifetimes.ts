/** A deployment as a user starts it, `millrace run` of the built package: until its first output is committed, and when it has nothing to do. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { ProcessTree } from '../proc.ts'
import type { Stage } from '../stage.ts'

const main = fileURLToPath(new URL('../../dist/src/cli/main.js', import.meta.url))
const module = fileURLToPath(new URL('./pipeline.ts', import.meta.url))

const waitingRecords = 1_000
const outputLimitMs = 30_000
/** Compilers and collectors have ended their work by then. */
const settleMs = 10_000
const idleMs = 20_000
const stopLimitMs = 40_000

export interface Start {
  /** From the process's start to the first output at a read_committed reader. */
  readonly firstOutputMs: number
}

export interface Idle {
  /** Of the supervisor, the worker and the spare process, in the order of their start. */
  readonly processes: readonly { readonly cores: number; readonly rssMb: number }[]
}

class Deployment implements AsyncDisposable {
  readonly #child: ChildProcess
  readonly tree: ProcessTree

  constructor(stage: Stage, name: string, httpPort: number) {
    const env = {
      ...process.env,
      KAFKA_BROKERS: stage.broker.brokers.join(','),
      MILLRACE_STORE: `${stage.folder}/${name}`,
      MILLRACE_HTTP_PORT: String(httpPort),
      BENCH_PIPELINE: name,
      BENCH_INPUT: `${name}-in`,
      BENCH_OUTPUT: `${name}-out`,
    }
    this.#child = spawn(process.execPath, [main, 'run', module, '--leave'], { env, stdio: ['ignore', 'ignore', 2] })
    this.tree = new ProcessTree(this.#child.pid ?? 0)
  }

  get alive(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.alive) return
    const exited = once(this.#child, 'exit')
    this.#child.kill('SIGTERM')
    // Its workers end with it.
    const slow = setTimeout(() => this.#child.kill('SIGKILL'), stopLimitMs)
    await exited
    clearTimeout(slow)
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  if (address === null || typeof address === 'string') throw new TypeError('a port has a number')
  return address.port
}

/** Input is waiting, topics are there, state is empty. */
export async function measureStart(stage: Stage, run: number): Promise<Start> {
  const name = stage.name('start', run)
  await stage.writeInput(`${name}-in`, { records: waitingRecords }, () => {})
  await stage.createTopic(`${name}-out`)
  let arrivedMs = 0
  const follower = await stage.reader.follow([`${name}-out`], (chunk) => {
    if (chunk.count > 0) arrivedMs ||= chunk.arrivedAtMs
  })
  try {
    const httpPort = await freePort()
    const begun = Date.now()
    await using deployment = new Deployment(stage, name, httpPort)
    while (arrivedMs === 0 && deployment.alive && Date.now() - begun < outputLimitMs) await sleep(5)
    if (arrivedMs === 0) throw new Error(`no output after ${Date.now() - begun} ms`)
    return { firstOutputMs: arrivedMs - begun }
  } finally {
    await follower.stop()
    await stage.deleteTopicsOf(name)
  }
}

export async function measureIdle(stage: Stage): Promise<Idle> {
  const name = stage.name('idle')
  await stage.writeInput(`${name}-in`, { records: waitingRecords }, () => {})
  await stage.createTopic(`${name}-out`)
  try {
    await using deployment = new Deployment(stage, name, await freePort())
    const deadline = Date.now() + outputLimitMs
    while ((await stage.offset(`${name}-out`, 'last-stable')) < waitingRecords) {
      if (!deployment.alive || Date.now() > deadline) throw new Error('it does not work off its input')
      await sleep(100)
    }
    await sleep(settleMs)
    const before = deployment.tree.each()
    const begun = performance.now()
    await sleep(idleMs)
    const ms = performance.now() - begun
    const after = deployment.tree.each()
    return {
      processes: after.map(({ pid, cpuUs, rssBytes }) => ({
        cores: (cpuUs - (before.find((each) => each.pid === pid)?.cpuUs ?? 0)) / 1_000 / ms,
        rssMb: rssBytes / 2 ** 20,
      })),
    }
  } finally {
    await stage.deleteTopicsOf(name)
  }
}
