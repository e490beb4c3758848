/** A system under test: one process of its own, told to stop in order, killed if it does not. Its CPU and memory are read from outside. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { Janitor } from '../connectors/kafka/testing/janitor.ts'
import { ProcessTree } from './proc.ts'
import type { FromSystem, Summary } from './systems/messages.ts'

/** How a system is started and spoken to. */
export interface SystemCommand {
  /** For messages. */
  readonly name: string
  readonly file: string
  readonly args: readonly string[]
  /**
   * `ipc`: Node's channel, messages of systems/messages.ts. `stdio`: the line `running` on standard output; SIGTERM ends it,
   * with status 0 if all went well; it ends by itself when its standard input does. `log`: the log lines of `millrace run` on
   * standard output; SIGTERM as with `stdio`, and its worker can be killed by itself.
   */
  readonly channel: 'ipc' | 'stdio' | 'log'
  readonly env?: Readonly<Record<string, string>>
}

const stopLimitMs = 40_000

export class SystemProcess implements AsyncDisposable {
  readonly #command: SystemCommand
  readonly #child: ChildProcess
  readonly #tree: ProcessTree
  readonly #exited: Promise<unknown>
  readonly #running = Promise.withResolvers<void>()
  #summary: Summary | undefined
  #workerPid: number | undefined

  constructor(command: SystemCommand) {
    const { name, file, args, channel, env } = command
    this.#command = command
    // What it says goes to stderr: stdout has the results.
    const child = spawn(file, args, {
      stdio: channel === 'ipc' ? ['ignore', 2, 2, 'ipc'] : ['pipe', 'pipe', 2],
      env: { ...process.env, ...env },
    })
    this.#child = child
    this.#tree = new ProcessTree(child.pid ?? 0)
    // The others end by themselves when this process does.
    const janitor = channel === 'log' ? Janitor.start('') : undefined
    if (child.pid !== undefined) janitor?.watchProcess(child.pid)
    child.once('exit', () => janitor?.dismiss())
    this.#exited = once(child, 'exit').then(([code, signal]) => {
      this.#running.reject(new Error(`${name} ended with ${code ?? signal} before it ran`))
    })
    this.#running.promise.catch(() => undefined)
    child.on('message', (message: FromSystem) => {
      if (message.kind === 'running') this.#running.resolve()
      else this.#summary = message
    })
    if (child.stdout) {
      const hear = channel === 'log' ? this.#hearLog.bind(this) : this.#hear.bind(this)
      createInterface({ input: child.stdout }).on('line', hear)
    }
  }

  #hear(line: string): void {
    if (line === 'running') this.#running.resolve()
  }

  #hearLog(line: string): void {
    if (line.includes('"event":"worker-started"')) this.#workerPid = Number(/"pid":(\d+)/.exec(line)?.[1])
    if (line.includes('"event":"worker-running"')) this.#running.resolve()
  }

  get alive(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  /** Resolves when it says that it reads. */
  get running(): Promise<void> {
    return this.#running.promise
  }

  get cpuUs(): number {
    return this.#tree.cpuUs
  }

  /** Ends it in order. @throws Error if it does not end well */
  async stop(): Promise<{ summary: Summary; peakRssBytes: number }> {
    const { peakRssBytes } = this.#tree
    const { name, channel } = this.#command
    if (channel === 'ipc') this.#child.send({ kind: 'stop' })
    else this.#child.kill('SIGTERM')
    const slow = setTimeout(() => this.#child.kill('SIGKILL'), stopLimitMs)
    await this.#exited
    clearTimeout(slow)
    const status = this.#child.exitCode ?? this.#child.signalCode
    if (channel !== 'ipc' && status === 0) this.#summary = { kind: 'summary', checkpoints: [], rollBacks: 0 }
    if (!this.#summary) throw new Error(`${name} ended with ${status}, not in order`)
    return { summary: this.#summary, peakRssBytes }
  }

  /** As a crash ends it, with all that it started. */
  async kill(): Promise<void> {
    this.#tree.kill()
    await this.#exited
  }

  /** The same of its worker only; its supervisor lives and sees to it. */
  killWorker(): void {
    if (this.#workerPid === undefined) throw new Error(`${this.#command.name} has no worker`)
    process.kill(this.#workerPid, 'SIGKILL')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.alive) await this.kill()
  }
}
