/**
 * One worker slot of a test's deployment: a process that is started again when it dies, as a supervisor would, each life
 * with the points that the test planned for it. How every life ended is remembered: an end that nobody planned is a failure.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { waitUntil } from '../../connectors/kafka/testing/wait.ts'
import type { CrashWorkerArguments, Point, PointName } from './crash-worker.ts'

const ENTRY = fileURLToPath(new URL('./crash-worker.ts', import.meta.url))
const FLAGS = ['--conditions=source', '--disable-warning=ExperimentalWarning']
const LIVES_MAX = 30
const LOG_LINES_MAX = 400

/** Waits for a condition, with a message if it does not come. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  timeoutMs = 30_000,
  explain: () => string = () => '',
): Promise<void> {
  if (!(await waitUntil(condition, { timeoutMs, everyMs: 10 }))) {
    throw new Error(`not within ${timeoutMs} ms: ${what}\n${explain()}`)
  }
}

export interface End {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  /** The error's code, if it ended with one. */
  readonly error: string | undefined
}

export interface TestEvent {
  readonly event: string
  readonly generation: number
  readonly life: number
}

export interface WorkerPlan {
  readonly module: string
  readonly instance: string
  readonly env: Readonly<Record<string, string>>
  /** Points of the first life, the second, …; later lives have none. */
  readonly lives?: readonly (readonly Point[])[]
  /** `no`: a death is the end; the test itself starts a successor. Default yes. */
  readonly restart?: 'yes' | 'no'
}

export class TestWorker {
  readonly instance: string
  readonly ends: End[] = []
  readonly events: TestEvent[] = []
  /** Points that were reached, over all lives. */
  readonly reached: PointName[] = []
  readonly lines: string[] = []
  readonly #plan: WorkerPlan
  #child: ChildProcess | undefined
  #life = 0
  #failure: string | undefined
  #finished = false
  /** The process handles signals: before, SIGTERM would end it as it ends any. */
  #listening = false

  constructor(plan: WorkerPlan) {
    this.instance = plan.instance
    this.#plan = plan
    this.#spawn()
  }

  get pid(): number {
    const pid = this.#child?.pid
    if (pid === undefined) throw new Error(`${this.instance} does not run`)
    return pid
  }

  /** True when no process of it is left and none will be started. */
  get finished(): boolean {
    return this.#finished
  }

  /** Every planned point was reached. */
  get pointsReached(): boolean {
    return this.reached.length >= (this.#plan.lives ?? []).reduce((sum, points) => sum + points.length, 0)
  }

  #spawn(): void {
    const { module, instance, env, lives } = this.#plan
    const points = lives?.[this.#life] ?? []
    this.#life++
    this.#listening = false
    const given: CrashWorkerArguments = { module, instance, points }
    const compileCache = join(tmpdir(), 'millrace-test-compile-cache')
    const child = spawn(process.execPath, [...FLAGS, ENTRY, JSON.stringify(given)], {
      env: { ...process.env, NODE_COMPILE_CACHE: compileCache, ...env },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    })
    this.#child = child
    for (const stream of [child.stdout, child.stderr]) {
      if (stream) createInterface({ input: stream }).on('line', (line) => this.#line(line))
    }
    child.on('error', () => undefined)
    // `close`, not `exit`: its last lines are here then.
    child.on('close', (code, signal) => this.#ended(code, signal))
  }

  #line(line: string): void {
    this.lines.push(line)
    if (this.lines.length > LOG_LINES_MAX) this.lines.shift()
    if (!line.startsWith('{"test":')) return
    const told = JSON.parse(line) as {
      test: string
      event?: string
      generation?: number
      at?: PointName
      code?: string
    }
    if (told.test === 'point' && told.at) this.reached.push(told.at)
    if (told.test === 'listening') this.#listening = true
    if (told.test === 'failed') this.#failure = told.code
    if (told.test === 'event')
      this.events.push({ event: told.event ?? '', generation: told.generation ?? -1, life: this.#life })
  }

  #ended(code: number | null, signal: NodeJS.Signals | null): void {
    this.ends.push({ code, signal, error: this.#failure })
    this.#failure = undefined
    this.#child = undefined
    const again = this.#plan.restart !== 'no' && (signal === 'SIGKILL' || code === 1)
    if (again && !this.#finished && this.#life < LIVES_MAX) this.#spawn()
    else this.#finished = true
  }

  count(event: string): number {
    return this.events.filter((each) => each.event === event).length
  }

  async reachedEvent(event: string, times = 1): Promise<void> {
    await until(`${this.instance} is '${event}' ${times} times`, () => this.count(event) >= times, 30_000, this.explain)
  }

  async deaths(times: number): Promise<void> {
    const happened = (): boolean => this.ends.filter((end) => end.signal === 'SIGKILL').length >= times
    await until(`${this.instance} died ${times} times`, happened, 30_000, this.explain)
  }

  async reachedPoint(at: PointName, times = 1): Promise<void> {
    const happened = (): boolean => this.reached.filter((each) => each === at).length >= times
    await until(`${this.instance} reaches ${at}`, happened, 30_000, this.explain)
  }

  /** The point is reached and the process lies still there. */
  async held(at: PointName): Promise<void> {
    await this.reachedPoint(at)
    await until(`${this.instance} is stopped`, () => this.stopped)
  }

  get stopped(): boolean {
    const stat = readFileSync(`/proc/${this.pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2).startsWith('T')
  }

  signal(signal: NodeJS.Signals): void {
    process.kill(this.pid, signal)
  }

  leave(): void {
    this.#child?.send({ how: 'leave' })
  }

  /** Orderly end; gives how it ended. */
  async stop(timeoutMs = 30_000): Promise<End | undefined> {
    await until(`${this.instance} handles signals`, () => this.#finished || this.#listening, timeoutMs, this.explain)
    if (!this.#finished) this.signal('SIGTERM')
    return this.ended(timeoutMs)
  }

  async ended(timeoutMs = 30_000): Promise<End | undefined> {
    await until(`${this.instance} has ended`, () => this.#finished, timeoutMs, this.explain)
    return this.ends.at(-1)
  }

  /** Whatever state it is in. */
  async destroy(): Promise<void> {
    this.#finished = true
    this.#child?.kill('SIGKILL')
    await until(`${this.instance} is gone`, () => this.#child === undefined)
  }

  explain = (): string => `${this.instance}: ${JSON.stringify(this.ends)}\n${this.lines.slice(-40).join('\n')}`
}
