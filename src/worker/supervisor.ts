// The supervisor of one deployment unit: N worker processes. It restarts a child that died at once under its instance id
// (no rebalance, generation kept) and speaks for it meanwhile, so that nobody waits for a time-out: its open transactions are
// aborted the moment its exit is seen, and its place is given up if it is to be away for a second or more. A child that ended
// on purpose (fenced, bad data, bad settings) is not restarted.
// One spare process waits with everything loaded: a successor need not start Node first.
import { type ChildProcess, spawn } from 'node:child_process'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { delay, monotonicMs } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import type { Logger } from '../base/log.ts'
import type { Cluster } from '../dataflow/ports.ts'
import { names, type Plan, type Settings } from './job.ts'

/** What the end of the supervisor waits for to speak for a child that died meanwhile. */
const SPEAK_AT_END_MS = 5_000
/** A child that lives shorter than this before it dies again is restarted with growing pauses. */
const STABLE_MS = 10_000
const PAUSE_MAX_MS = 10_000
/** A child that is away for so long gives up its place in the group. */
const PLACE_KEPT_MS = 1_000
/** The exit code of a process that could not reach the brokers. */
const EXIT_UNREACHABLE = 5

export interface SupervisorOptions {
  readonly plan: Plan
  readonly settings: Settings
  readonly workers: number
  /** Starts a worker process with an IPC channel, which waits for its slot: command and arguments. */
  readonly command: { readonly file: string; readonly args: readonly string[] }
  readonly log: Logger
}

/** What supervisor and child tell each other. */
export type ChildMessage =
  | { readonly kind: 'joined'; readonly member: string }
  | { readonly kind: 'running' }
  | { readonly kind: 'failed'; readonly code: string; readonly message: string }
export type SupervisorMessage =
  | { readonly kind: 'start'; readonly slot: number }
  | { readonly kind: 'stop'; readonly how: 'stop' | 'leave' }

interface Slot {
  readonly slot: number
  readonly instance: string
  child: ChildProcess | undefined
  startedMs: number
  deaths: number
  /** Number of its current life. */
  life: number
  failure: string | undefined
  /** The last life that has come so far. */
  runningLife: number
  /** What the group called the last life that joined it. */
  member: string | undefined
  ended: Promise<number>
}

export class Supervisor {
  readonly #options: SupervisorOptions
  readonly #slots: Slot[] = []
  #spare: ChildProcess | undefined
  #cluster: Cluster | undefined
  #stopping: 'no' | 'stop' | 'leave' = 'no'
  #exitCode = 0
  readonly #speaking = new Set<Promise<void>>()
  /** Ends the pauses before restarts. */
  readonly #patience = new AbortController()
  #over = false

  constructor(options: SupervisorOptions) {
    this.#options = options
  }

  /** Runs until all children ended; gives the exit code. */
  async run(): Promise<number> {
    const { workers, settings } = this.#options
    for (let index = 0; index < workers; index++) {
      const slot: Slot = {
        slot: index,
        instance: `${settings.instance}-${index}`,
        child: undefined,
        startedMs: 0,
        deaths: 0,
        life: 0,
        runningLife: -1,
        failure: undefined,
        member: undefined,
        ended: Promise.resolve(0),
      }
      this.#slots.push(slot)
      slot.ended = this.#keepAlive(slot)
    }
    try {
      const codes = await Promise.all(this.#slots.map((slot) => slot.ended))
      return this.#exitCode || Math.max(...codes)
    } finally {
      this.#spare?.kill()
      const patience = new AbortController()
      await Promise.race([Promise.all(this.#speaking), delay(SPEAK_AT_END_MS, patience.signal)])
      patience.abort()
      this.#over = true
      await this.#cluster?.[Symbol.asyncDispose]()
    }
  }

  stop(how: 'stop' | 'leave'): void {
    // A place that was given up stays given up.
    this.#stopping = this.#stopping === 'leave' ? 'leave' : how
    this.#patience.abort()
    for (const { child } of this.#slots) if (child) this.#send(child, { kind: 'stop', how: this.#stopping })
    this.#spare?.kill()
    this.#spare = undefined
  }

  async #keepAlive(slot: Slot): Promise<number> {
    for (;;) {
      const { code, signal } = await this.#spawn(slot)
      if (code === 0) return 0
      // Brokers that were there once will come back; a store that could not be opened once is a wrong folder.
      const ran = slot.runningLife >= 0
      const deliberate = code !== null && code !== 1 && !(code === EXIT_UNREACHABLE && ran)
      const hopeless = slot.failure === 'STORE_UNWRITABLE' && !ran
      const exhausted = slot.failure === 'RESTARTS_EXHAUSTED' || slot.failure === 'DRAIN_TIMEOUT' || hopeless
      const { log } = this.#options
      log[deliberate || exhausted ? 'error' : 'warn'](
        { event: 'worker-exited', instance: slot.instance, slot: slot.slot, code, signal, failure: slot.failure },
        'worker exited',
      )
      // One that ended on purpose has rolled back itself; of a fenced one the transactions are its rival's.
      if (deliberate || exhausted) {
        const exit = code ?? 1
        // A fenced slot leaves the others alone; every other loud end concerns the whole pipeline.
        if (exit !== 4) {
          this.#exitCode ||= exit
          this.stop('stop')
        }
        return exit
      }
      const { life } = slot
      this.#speak(slot, (cluster) => this.#resolve(cluster, slot, life))
      if (this.#stopping !== 'no') return code ?? 1
      await this.#pause(slot)
      // Nothing of it runs; what its last life left open is spoken for.
      if (this.#stopping !== 'no') return 0
    }
  }

  async #pause(slot: Slot): Promise<void> {
    const lived = monotonicMs() - slot.startedMs
    slot.deaths = lived > STABLE_MS ? 0 : slot.deaths + 1
    // The first deaths in a row cost no pause: a killed worker is back at once.
    if (slot.deaths <= 3) return
    const pauseMs = Math.min(PAUSE_MAX_MS, 250 * 2 ** (slot.deaths - 3))
    // The others shall not wait until its session ends.
    if (pauseMs >= PLACE_KEPT_MS) this.#speak(slot, (cluster) => this.#leaveFor(cluster, slot))
    await delay(pauseMs, this.#patience.signal)
  }

  /** Runs one life of a worker: by the spare if there is one. */
  #spawn(slot: Slot): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
    const { log } = this.#options
    slot.startedMs = monotonicMs()
    slot.life++
    const { life } = slot
    slot.failure = undefined
    const spare = this.#spare
    this.#spare = undefined
    const child = spare?.connected ? spare : this.#fork()
    slot.child = child
    log.info({ event: 'worker-started', pid: child.pid, instance: slot.instance, slot: slot.slot }, 'worker started')
    child.on('message', (message: ChildMessage) => {
      if (message.kind === 'failed') slot.failure = message.code
      if (message.kind === 'joined') slot.member = message.member
      if (message.kind !== 'running') return
      slot.runningLife = life
      // Not earlier: the new spare must not compete with the recovery.
      if (this.#stopping === 'no') this.#spare ??= this.#fork()
    })
    const ended = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) => {
      // Also said of a message that could not be sent: only one that was never there has ended.
      child.on('error', () => child.pid === undefined && resolve({ code: 1, signal: null }))
      child.on('exit', (code, signal) => resolve({ code, signal }))
    })
    this.#send(child, { kind: 'start', slot: slot.slot })
    if (this.#stopping !== 'no') this.#send(child, { kind: 'stop', how: this.#stopping })
    return ended
  }

  #fork(): ChildProcess {
    // Compiled modules are kept between lives: a process is up in half the time.
    const env = { NODE_COMPILE_CACHE: join(homedir(), '.cache', 'millrace'), ...process.env }
    const { file, args } = this.#options.command
    const child = spawn(file, args, { env, stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    child.on('error', (error) =>
      this.#options.log.error({ error: messageOf(error) }, 'a worker process cannot be started'),
    )
    return child
  }

  #send(child: ChildProcess, message: SupervisorMessage): void {
    // It may end in this instant: its exit says so.
    if (child.connected) child.send(message, () => {})
  }

  /** For a child whose exit was seen only: a stopped child is not dead. */
  #speak(slot: Slot, what: (cluster: Cluster) => Promise<unknown>): void {
    const speaking = this.#connected()
      .then((cluster) => cluster && what(cluster))
      .catch((error: unknown) => {
        const { log } = this.#options
        const text = 'could not speak for a dead worker; its successor, or the end of its session, will do it'
        log.warn({ instance: slot.instance, error: messageOf(error) }, text)
      })
      .then(() => void this.#speaking.delete(speaking))
    this.#speaking.add(speaking)
  }

  async #connected(): Promise<Cluster | undefined> {
    const { plan, settings, log } = this.#options
    const cluster =
      this.#cluster ?? (await plan.factory.connect(settings.kafka, `${settings.instance}-supervisor`, log))
    // Two children may have died at once: one connection is enough, and none outlives the supervisor.
    if (this.#over || (this.#cluster && this.#cluster !== cluster)) await cluster[Symbol.asyncDispose]()
    if (this.#over) return undefined
    this.#cluster ??= cluster
    return this.#cluster
  }

  /** Only until its successor runs: what is open from then on is the successor's. */
  async #resolve(cluster: Cluster, slot: Slot, life: number): Promise<void> {
    const { plan, settings } = this.#options
    if (settings.mode !== 'exactly-once' || slot.runningLife > life) return
    await cluster.resolveTransactions(names.transactionalIds(plan.pipeline, slot.instance))
  }

  async #leaveFor(cluster: Cluster, slot: Slot): Promise<void> {
    const { member, instance } = slot
    if (member === undefined) return
    slot.member = undefined
    await cluster.removeMember(this.#options.plan.group, member, instance)
  }
}
