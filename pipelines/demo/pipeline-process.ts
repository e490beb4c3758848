/**
 * The pipeline as a process of its own, exactly as a user starts it: `millrace run pipelines/bid-totals.ts --workers N`.
 *
 * It is the leader of a new process group, so that Ctrl-C in the terminal does not reach it (we end it in order) and a
 * last resort can kill it with all its workers. Its log lines go to a file and tell us which worker is which.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { createWriteStream, type WriteStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { DemoError } from './options.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const problemLinesMax = 20
const errorLevel = 50

export interface WorkerView {
  readonly slot: number
  /** `group.instance.id` and Kafka client id. */
  instance: string
  pid: number
  state: 'starting' | 'running' | 'killed'
  starts: number
}

export interface PipelineOptions {
  readonly module: string
  readonly workers: number
  readonly logFile: string
  readonly env: Readonly<Record<string, string>>
  /** Instead of the pinned Node on `src/cli/main.ts`. For tests of the demo itself. */
  readonly command?: readonly string[] | undefined
}

export interface PipelineExit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

export class PipelineProcess {
  readonly workers: Map<number, WorkerView> = new Map()
  readonly exited: Promise<PipelineExit>
  /** How it ended; null while it runs. */
  exit: PipelineExit | null = null
  /** The newest lines of its log that report a problem. */
  readonly problems: string[] = []
  readonly #child: ChildProcess
  readonly #log: WriteStream

  constructor(options: PipelineOptions) {
    this.#log = createWriteStream(options.logFile, { flags: 'a' })
    const flags = ['--conditions=source', '--disable-warning=ExperimentalWarning']
    const run = ['src/cli/main.ts', 'run', options.module, '--workers', String(options.workers)]
    const [command = process.execPath, ...args] = options.command ?? [process.execPath, ...flags, ...run]
    this.#child = spawn(command, args, {
      cwd: root,
      env: { ...process.env, ...options.env },
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.exited = new Promise((resolve) => {
      const ended = (exit: PipelineExit) => {
        this.exit ??= exit
        resolve(this.exit)
      }
      this.#child.on('error', (error) => {
        this.#problem(error.message)
        ended({ code: -1, signal: null })
      })
      this.#child.on('exit', (code, signal) => ended({ code, signal }))
    })
    const { stdout, stderr } = this.#child
    if (stdout) createInterface({ input: stdout }).on('line', (line) => this.#line(line))
    if (stderr) createInterface({ input: stderr }).on('line', (line) => this.#stderr(line))
  }

  #line(line: string): void {
    this.#log.write(`${line}\n`)
    const entry = jsonLine(line)
    if (entry === null) return
    if (Number(entry.level) >= errorLevel || entry.level === 'error' || entry.level === 'fatal') this.#problem(line)
    if (entry.event === 'worker-started' || entry.event === 'worker-running') this.#worker(entry.event, entry)
  }

  #stderr(line: string): void {
    this.#log.write(`${line}\n`)
    if (line.trim() !== '') this.#problem(line)
  }

  #problem(line: string): void {
    this.problems.push(line)
    if (this.problems.length > problemLinesMax) this.problems.shift()
  }

  #worker(event: 'worker-started' | 'worker-running', entry: Record<string, unknown>): void {
    const slot = Number(entry.slot)
    const instance = String(entry.instance)
    const pid = Number(entry.pid)
    const known = this.workers.get(slot)
    if (event === 'worker-started') {
      this.workers.set(slot, { slot, instance, pid, state: 'starting', starts: (known?.starts ?? 0) + 1 })
    } else if (known && known.state === 'starting') {
      known.state = 'running'
    }
  }

  get running(): WorkerView[] {
    return [...this.workers.values()].filter((worker) => worker.state === 'running')
  }

  /** @throws DemoError PIPELINE_EXITED once it has ended. */
  assertAlive(): void {
    if (this.exit === null) return
    const how = this.exit.signal ?? `exit code ${this.exit.code}`
    throw new DemoError('PIPELINE_EXITED', `the pipeline process ended by itself (${how})`)
  }

  /** SIGKILL to one worker, as a machine failure would. False if it was gone already. */
  killWorker(worker: WorkerView): boolean {
    try {
      process.kill(worker.pid, 'SIGKILL')
      worker.state = 'killed'
      return true
    } catch {
      return false
    }
  }

  /** Asks it to finish (SIGTERM) and waits; null if it did not within `graceMs`. */
  async stop(graceMs: number): Promise<PipelineExit | null> {
    if (this.exit === null) this.#child.kill('SIGTERM')
    const timeout = new AbortController()
    const late = sleep(graceMs, null, { signal: timeout.signal }).catch(() => null)
    const exit = await Promise.race([this.exited, late])
    timeout.abort()
    return exit
  }

  /** SIGKILL to the whole process group; harmless when nothing is left of it. Synchronous, for exit handlers. */
  killGroup(): void {
    if (this.#child.pid === undefined) return
    try {
      process.kill(-this.#child.pid, 'SIGKILL')
    } catch {
      // Nobody is left in the group.
    }
  }

  /** Kills what is left and closes the log. */
  async close(): Promise<void> {
    this.killGroup()
    await this.exited
    await new Promise<void>((resolve) => this.#log.end(resolve))
  }
}

function jsonLine(line: string): Record<string, unknown> | null {
  if (!line.startsWith('{')) return null
  try {
    const parsed: unknown = JSON.parse(line)
    return typeof parsed === 'object' && parsed !== null ? { ...parsed } : null
  } catch {
    return null
  }
}
