/**
 * The command line as a user runs it: `src/cli/main.ts` as a child process, its output collected line by line, its end
 * awaited. Whatever a test leaves running is ended by process id, the workers too.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { isAlive } from '../../connectors/kafka/testing/kafka-jars.ts'
import { until } from './test-worker.ts'

const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url))
const FLAGS = ['--conditions=source', '--disable-warning=ExperimentalWarning']
const LINES_MAX = 2_000

/** Short times, so that what takes half a minute in production takes a second here. */
const QUICK = {
  MILLRACE_HTTP_PORT: '0',
  MILLRACE_CHECKPOINT_INTERVAL_MS: '50',
  MILLRACE_HEARTBEAT_MS: '100',
  MILLRACE_SESSION_TIMEOUT_MS: '3000',
}

export interface Ended {
  readonly code: number | null
  readonly output: string
  readonly afterMs: number
}

interface LogLine {
  readonly event?: string
  readonly pid?: number
  readonly slot?: number
  readonly [field: string]: unknown
}

export class Cli implements AsyncDisposable {
  readonly lines: string[] = []
  readonly #child: ChildProcess
  readonly #ended: Promise<Ended>
  readonly #workers = new Set<number>()
  #running = true

  constructor(argv: readonly string[], env: Readonly<Record<string, string>> = {}) {
    const began = performance.now()
    const compileCache = join(tmpdir(), 'millrace-test-compile-cache')
    const child = spawn(process.execPath, [...FLAGS, MAIN, ...argv], {
      env: { ...process.env, NODE_COMPILE_CACHE: compileCache, ...QUICK, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.#child = child
    for (const stream of [child.stdout, child.stderr])
      createInterface({ input: stream }).on('line', (line) => this.#line(line))
    this.#ended = new Promise((resolve, reject) => {
      child.on('error', reject)
      // `close`, not `exit`: its last lines are here then.
      child.on('close', (code) => {
        this.#running = false
        resolve({ code, output: this.output, afterMs: performance.now() - began })
      })
    })
    this.#ended.catch(() => undefined)
  }

  /** Runs a command to its end. */
  static async run(argv: readonly string[], env?: Readonly<Record<string, string>>, limitMs?: number): Promise<Ended> {
    await using cli = new Cli(argv, env)
    return await cli.ended(limitMs)
  }

  #line(line: string): void {
    this.lines.push(line)
    if (this.lines.length > LINES_MAX) this.lines.shift()
    const fields = parse(line)
    if (fields?.event === 'worker-started' && fields.pid !== undefined) this.#workers.add(fields.pid)
  }

  get running(): boolean {
    return this.#running
  }

  get output(): string {
    return this.lines.join('\n')
  }

  /** Log lines with this event. */
  events(event: string): LogLine[] {
    return this.lines.flatMap((line) => {
      const fields = parse(line)
      return fields?.event === event ? [fields] : []
    })
  }

  /** Its output has this; fails at once if it ends without. */
  async printed(text: string | RegExp, times = 1, timeoutMs = 30_000): Promise<void> {
    const matches = (line: string): boolean => (typeof text === 'string' ? line.includes(text) : text.test(line))
    const happened = (): boolean => this.lines.filter(matches).length >= times
    await until(
      `'${text}' is printed`,
      () => happened() || !this.#running,
      timeoutMs,
      () => this.output,
    )
    if (!happened()) throw new Error(`it ended without printing '${text}':\n${this.output}`)
  }

  /** So many workers (or more) have said that they run. */
  runs(workers = 1): Promise<void> {
    return this.printed('"worker-running"', workers)
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  #newest(slot: number): number | undefined {
    return this.events('worker-started').findLast((line) => line.slot === slot)?.pid
  }

  /** A signal to the newest process of a worker slot. */
  signalWorker(signal: NodeJS.Signals, slot = 0): void {
    const pid = this.#newest(slot)
    if (pid === undefined) throw new Error(`worker ${slot} was not started:\n${this.output}`)
    if (isAlive(pid)) process.kill(pid, signal)
  }

  /** SIGKILL to a worker, which comes back and runs. */
  async killWorker(slot = 0): Promise<void> {
    const killed = this.#newest(slot)
    this.signalWorker('SIGKILL', slot)
    const back = (): boolean => {
      const pid = this.#newest(slot)
      return pid !== killed && this.events('worker-running').some((line) => line.pid === pid)
    }
    await until(
      `worker ${slot} runs again`,
      () => back() || !this.#running,
      30_000,
      () => this.output,
    )
    if (!back()) throw new Error(`it ended before worker ${slot} ran again:\n${this.output}`)
  }

  async ended(limitMs = 30_000): Promise<Ended> {
    await until(
      'the command ends',
      () => !this.#running,
      limitMs,
      () => this.output,
    )
    return this.#ended
  }

  /** SIGTERM, and its end. */
  stop(limitMs?: number): Promise<Ended> {
    this.signal('SIGTERM')
    return this.ended(limitMs)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#running) this.#child.kill('SIGKILL')
    for (const pid of this.#workers) if (isAlive(pid)) process.kill(pid, 'SIGKILL')
    await until('its processes are gone', () => !this.#running && ![...this.#workers].some(isAlive))
  }
}

function parse(line: string): LogLine | undefined {
  if (!line.startsWith('{')) return undefined
  try {
    return JSON.parse(line) as LogLine
  } catch {
    return undefined
  }
}
