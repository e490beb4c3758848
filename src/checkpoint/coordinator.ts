// The worker's checkpoint coordinator: when to begin a checkpoint, and the effects of protocol.ts carried out one after the
// other. One coordinator lives as long as one attempt (assignment or recovery); after `dispose` nothing of it acts any more,
// so late results of an old attempt are ignored.
import { monotonicMs, startTimer, type Timer } from '../base/clock.ts'
import { MillraceError } from '../base/errors.ts'
import { type CheckpointId, checkpointId, type TaskId } from '../base/ids.ts'
import type { TaskSnapshot } from '../base/messages.ts'
import { type CheckpointEffect, type CheckpointEvent, type CheckpointState, step } from './protocol.ts'

export interface CheckpointOptions {
  /** Between the starts of two checkpoints, at most: the first ones come earlier. */
  readonly intervalMs: number
  /** Between the end of one and the start of the next. */
  readonly minPauseMs: number
  /** From the trigger to the durable file; then the worker rolls back. */
  readonly timeoutMs: number
}

/** What the worker does for a checkpoint. Rejections roll the worker back. */
export interface CheckpointActions {
  /** Barrier n into every source of every task, in one turn. */
  inject(id: CheckpointId): void
  /** Pre-commit: all output of n acknowledged. */
  prepare(id: CheckpointId): Promise<void>
  /** The file of n, durable. */
  write(id: CheckpointId, snapshots: readonly TaskSnapshot[]): Promise<void>
  /** Offsets and pointer into the transaction, and its decision. */
  commit(id: CheckpointId): Promise<void>
  /** n is visible everywhere. */
  confirm(id: CheckpointId): Promise<void>
  /** n is committed: participants may commit, files may go. */
  committed(id: CheckpointId, phases: CheckpointPhases): Promise<void>
  rollBack(error: Error): void
}

/** Milliseconds spent in each phase of a checkpoint. */
export interface CheckpointPhases {
  readonly align: number
  readonly snapshot: number
  readonly write: number
  readonly commit: number
  readonly confirm: number
  readonly total: number
}

const FIRST_AFTER_MS = 30

interface Waiter {
  resolve(): void
  reject(error: Error): void
}

export class CheckpointCoordinator {
  readonly #options: CheckpointOptions
  readonly #actions: CheckpointActions
  readonly #tasks: readonly TaskId[]
  #state: CheckpointState
  #snapshots: TaskSnapshot[] = []
  #startedMs: number
  #finishedMs = Number.NEGATIVE_INFINITY
  #marks: number[] = []
  #timer: Timer | undefined
  #waiters: Waiter[] = []
  #finishing = false
  #disposed = false
  /** Why no checkpoint of this coordinator will be committed any more. */
  #end: Error | undefined

  constructor(options: CheckpointOptions, actions: CheckpointActions, tasks: readonly TaskId[], last: CheckpointId) {
    this.#options = options
    this.#actions = actions
    this.#tasks = tasks
    this.#state = { phase: 'idle', last }
    // The first checkpoint of an attempt comes early: after a crash its output is what everybody waits for.
    this.#startedMs = monotonicMs() - options.intervalMs + Math.min(options.intervalMs, FIRST_AFTER_MS)
  }

  get inFlight(): boolean {
    return this.#finishing || (this.#state.phase !== 'idle' && this.#state.phase !== 'failed')
  }

  /** Milliseconds until the next checkpoint is due, 0 when it is; undefined while one is under way. */
  dueInMs(): number | undefined {
    if (this.#state.phase !== 'idle' || this.#finishing || this.#disposed) return undefined
    const now = monotonicMs()
    const byInterval = this.#startedMs + this.#options.intervalMs - now
    const byPause = this.#finishedMs + this.#options.minPauseMs - now
    return Math.max(0, byInterval, byPause)
  }

  /** The next checkpoint need not wait for its interval; `minPauseMs` still holds. */
  hasten(): void {
    this.#startedMs = Number.NEGATIVE_INFINITY
  }

  /** Begins a checkpoint, if none is under way. */
  trigger(): void {
    if (this.#state.phase !== 'idle' || this.#finishing || this.#disposed) return
    const id = checkpointId(this.#state.last + 1n)
    this.#startedMs = monotonicMs()
    this.#marks = [this.#startedMs]
    this.#snapshots = []
    this.#timer = startTimer(this.#options.timeoutMs, () => this.#expire(id))
    this.#handle({ kind: 'trigger', id, tasks: this.#tasks })
  }

  /** Resolves when the checkpoint under way (or, if none is, a new one) is committed. */
  next(): Promise<void> {
    if (this.#end) return Promise.reject(this.#end)
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject })
      this.trigger()
    })
  }

  delivered(task: TaskId, id: CheckpointId): void {
    this.#handle({ kind: 'delivered', id, task })
  }

  acked(snapshot: TaskSnapshot): void {
    const current = this.#state.phase === 'snapshotting' && this.#state.id === snapshot.checkpoint
    const repeated = this.#snapshots.some((each) => each.task === snapshot.task)
    if (current && !repeated) this.#snapshots.push(snapshot)
    this.#handle({ kind: 'acked', id: snapshot.checkpoint, task: snapshot.task })
  }

  #expire(id: CheckpointId): void {
    const phase = this.#state.phase
    // A decided checkpoint cannot be given up any more: its confirmation has a deadline of its own.
    if (phase !== 'snapshotting' && phase !== 'writing') return
    const missing =
      this.#state.phase === 'snapshotting' ? [...this.#state.waiting].join(', ') || 'the sink' : 'the store'
    const text = `checkpoint ${id} was not complete after ${this.#options.timeoutMs} ms (waiting for ${missing})`
    this.#handle({ kind: 'failed', id, error: new MillraceError('CHECKPOINT_TIMEOUT', text) })
  }

  #handle(event: CheckpointEvent): void {
    if (this.#disposed) return
    const { state, effects } = step(this.#state, event)
    this.#state = state
    for (const effect of effects) this.#perform(effect)
  }

  #perform(effect: CheckpointEffect): void {
    switch (effect.kind) {
      case 'inject':
        this.#actions.inject(effect.id)
        return
      case 'prepare':
        this.#mark()
        return this.#await(effect.id, 'prepared', this.#actions.prepare(effect.id))
      case 'write':
        this.#mark()
        return this.#await(effect.id, 'complete', this.#actions.write(effect.id, this.#snapshots))
      case 'commit':
        this.#mark()
        this.#timer?.cancel()
        return this.#await(effect.id, 'decided', this.#actions.commit(effect.id))
      case 'confirm':
        this.#mark()
        return this.#await(effect.id, 'confirmed', this.#actions.confirm(effect.id))
      case 'committed':
        this.#mark()
        void this.#finish(effect.id)
        return
      case 'roll-back':
        this.#timer?.cancel()
        this.#release(effect.error)
        this.#actions.rollBack(effect.error)
        return
    }
  }

  #await(id: CheckpointId, kind: 'prepared' | 'complete' | 'decided' | 'confirmed', work: Promise<void>): void {
    work.then(
      () => this.#handle({ kind, id }),
      (error: Error) => this.#handle({ kind: 'failed', id, error }),
    )
  }

  #mark(): void {
    this.#marks.push(monotonicMs())
  }

  async #finish(id: CheckpointId): Promise<void> {
    this.#finishing = true
    const at = (index: number): number => this.#marks[index] ?? 0
    const phases = {
      align: at(1) - at(0),
      snapshot: at(2) - at(1),
      write: at(3) - at(2),
      commit: at(4) - at(3),
      confirm: at(5) - at(4),
      total: at(5) - at(0),
    }
    try {
      await this.#actions.committed(id, phases)
      this.#finishing = false
      this.#finishedMs = monotonicMs()
      this.#release()
    } catch (error) {
      if (this.#disposed) return
      this.#release(error as Error)
      this.#actions.rollBack(error as Error)
    }
  }

  #release(error?: Error): void {
    this.#end ??= error
    const waiters = this.#waiters
    this.#waiters = []
    for (const waiter of waiters) {
      if (error) waiter.reject(error)
      else waiter.resolve()
    }
  }

  /** The attempt is over: nothing of it acts any more. */
  dispose(error: Error): void {
    this.#disposed = true
    this.#timer?.cancel()
    this.#release(error)
  }
}
