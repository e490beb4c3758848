/** A system under test: one process of its own, told to stop in order, killed if it does not. Its CPU and memory are read from outside. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { workerHeapFlags } from '../src/cli/heap-flags.ts'
import { peakRssBytes, processCpuUs } from './proc.ts'
import type { FromSystem, Summary, SystemArguments } from './systems/messages.ts'

export type SystemKind = 'millrace' | 'kafkajs-loop'

const stopLimitMs = 40_000

export class SystemProcess implements AsyncDisposable {
  readonly pid: number
  readonly #child: ChildProcess
  readonly #exited: Promise<unknown>
  readonly #running = Promise.withResolvers<void>()
  #summary: Summary | undefined

  constructor(kind: SystemKind, given: SystemArguments, nodeFlags: readonly string[] = []) {
    const entry = fileURLToPath(new URL(`./systems/${kind}.ts`, import.meta.url))
    // kafkajs arms timers with negative delays; Node says so on every one.
    const quiet = '--disable-warning=TimeoutNegativeWarning'
    // As `millrace run` starts a worker.
    const heap = kind === 'millrace' ? workerHeapFlags(1) : []
    const args = [...process.execArgv, quiet, ...heap, ...nodeFlags, entry, JSON.stringify(given)]
    // What it says goes to stderr: stdout has the results.
    const child = spawn(process.execPath, args, { stdio: ['ignore', 2, 2, 'ipc'] })
    this.#child = child
    this.pid = child.pid ?? 0
    this.#exited = once(child, 'exit').then(([code, signal]) => {
      this.#running.reject(new Error(`${kind} ended with ${code ?? signal} before it ran`))
    })
    this.#running.promise.catch(() => undefined)
    child.on('message', (message: FromSystem) => {
      if (message.kind === 'running') this.#running.resolve()
      else this.#summary = message
    })
  }

  get alive(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  /** Resolves when it says that it reads. */
  get running(): Promise<void> {
    return this.#running.promise
  }

  get cpuUs(): number {
    return processCpuUs(this.pid)
  }

  /** Ends it in order. @throws Error if it does not end well */
  async stop(): Promise<{ summary: Summary; peakRssBytes: number }> {
    const peak = peakRssBytes(this.pid)
    this.#child.send({ kind: 'stop' })
    const slow = setTimeout(() => this.#child.kill('SIGKILL'), stopLimitMs)
    await this.#exited
    clearTimeout(slow)
    if (!this.#summary)
      throw new Error(`a system ended with ${this.#child.exitCode ?? this.#child.signalCode}, without a summary`)
    return { summary: this.#summary, peakRssBytes: peak }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.alive) return
    this.#child.kill('SIGKILL')
    await this.#exited
  }
}
