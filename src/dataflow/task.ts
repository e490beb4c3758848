// A task: one stage, one partition. It reads its partitions' batches, pushes record by record through its chain, and at a
// barrier notes its positions, sends the barrier down, freezes its state and encodes it in slices while it reads on.
//
//   inject ─▶ positions noted, barrier through the chain ─▶ terminals reached, state frozen ─▶ encoded ─▶ ack
import { AssertionError } from 'node:assert'
import { assert } from '../base/assert.ts'
import { monotonicMs, wallMs } from '../base/clock.ts'
import { isCode, MillraceError, messageOf } from '../base/errors.ts'
import { type CheckpointId, type OperatorId, operatorId, type TaskId } from '../base/ids.ts'
import type { SourcePosition, TaskSnapshot } from '../base/messages.ts'
import { StateCleaner } from '../state/cleaner.ts'
import type { ChainPart } from '../state/disk.ts'
import type { Serde } from '../state/serde.ts'
import { TaskState } from '../state/task-state.ts'
import type { ColumnarBatch } from './batch.ts'
import type { BroadcastStream, BroadcastWay, Subscription } from './broadcast-hub.ts'
import { buildChain, buildPath, type Chain, type ChainEnvironment } from './chain.ts'
import { type Downstream, RECORDS_PER_LOOK } from './element.ts'
import type { PlanNode, StatelessNode } from './graph.ts'
import type { BroadcastSide } from './operators/broadcast-side.ts'
import type { PartitionReader, ReaderElement, TransactionHandle } from './ports.ts'
import { type RecordOrigin, StreamRecord, TaskContext } from './record.ts'
import { ValuesAhead } from './values-ahead.ts'

/** One topic partition that the task reads. */
export interface TaskInput {
  readonly operator: OperatorId
  readonly topic: string
  readonly partition: number
  readonly key: Serde<unknown>
  readonly value: Serde<unknown>
  readonly onDecodeError: 'fail' | 'skip'
}

/** What the task reads as a whole, beside its inputs, for one of its operators. */
export interface TaskBroadcast extends TaskInput {
  /** The keyed operator. */
  readonly connected: OperatorId
  readonly path: readonly StatelessNode[]
}

export interface TaskOptions {
  readonly id: TaskId
  readonly nodes: readonly PlanNode[]
  readonly inputs: readonly TaskInput[]
  readonly broadcasts: readonly TaskBroadcast[]
  readonly reader: PartitionReader
  /** False: none fires. */
  readonly timers: boolean
  readonly environment: Omit<ChainEnvironment, 'context' | 'onFreeze' | 'onTerminal'>
  /** All of the task's part of a checkpoint is encoded. */
  readonly onAck: (snapshot: TaskSnapshot) => void
  /** The barrier reached all ends of the task's chain. */
  readonly onDelivered: (task: TaskId, checkpoint: CheckpointId) => void
  readonly onFailure: (error: Error) => void
}

interface Input extends TaskInput {
  readonly origin: RecordOrigin
  readonly entry: Downstream
  readonly poll: () => ReaderElement | undefined
  next: bigint
  leaderEpoch: number
  batch: ColumnarBatch | undefined
  cursor: number
}

interface BroadcastInput extends Input {
  readonly side: BroadcastSide
  subscription: Subscription | undefined
  /** No record of the task's own inputs comes before this offset was read. */
  until: bigint
}

/** What a task takes in: all, broadcast streams alone, or nothing. */
export type Reading = 'all' | 'broadcasts' | 'nothing'

interface Snapshot {
  readonly checkpoint: CheckpointId
  readonly positions: readonly SourcePosition[]
  terminalsLeft: number
  handles: TaskSnapshot['handles'] | undefined
}

export type StepResult = 'more' | 'idle' | 'blocked'

export class Task {
  readonly id: TaskId
  recordsIn = 0
  recordsSkipped = 0
  readonly #options: TaskOptions
  readonly #context = new TaskContext(operatorId('start'))
  readonly #chain: Chain
  readonly #state: TaskState
  readonly #cleaners: readonly StateCleaner[]
  readonly #inputs: Input[]
  readonly #broadcasts: BroadcastInput[]
  #snapshot: Snapshot | undefined
  #turn = 0
  #progressed = false
  #disposed = false

  constructor(options: TaskOptions) {
    this.id = options.id
    this.#options = options
    const sources = [...new Set(options.inputs.map((input) => input.operator))]
    this.#chain = buildChain(options.nodes, sources, {
      ...options.environment,
      context: this.#context,
      onFreeze: ({ stores }) => {
        for (const store of stores) this.#state.freeze(store)
      },
      onTerminal: () => this.#terminal(),
    })
    const { disk, wake } = options.environment
    const stores = this.#chain.keyed.flatMap((operator) => operator.stores)
    this.#state = new TaskState(stores, { disk, wake, onFailure: (error) => this.#failed(error) })
    this.#cleaners = stores.flatMap((store) =>
      store.expiringStates.length > 0 ? [new StateCleaner(store, disk, wake)] : [],
    )
    this.#inputs = options.inputs.map((input) => {
      const entry = this.#chain.entries.get(input.operator)
      assert(entry, `task ${this.id}: no chain behind source '${input.operator}'`)
      return this.#openInput(input, entry, () => options.reader.poll(input.topic, input.partition))
    })
    this.#broadcasts = options.broadcasts.map((broadcast) => this.#openBroadcast(broadcast))
  }

  #openInput(input: TaskInput, entry: Downstream, poll: Input['poll']): Input {
    const { operator, key, value } = input
    const origin = { operator, context: this.#context, key, value, ahead: ValuesAhead.of(value) }
    return { ...input, origin, entry, poll, next: 0n, leaderEpoch: -1, batch: undefined, cursor: 0 }
  }

  #openBroadcast(broadcast: TaskBroadcast): BroadcastInput {
    const operator = this.#chain.keyed.find(({ id }) => id === broadcast.connected)
    const side = operator?.broadcast
    assert(operator && side, `task ${this.id}: operator '${broadcast.connected}' has no broadcast side`)
    const end = { push: (record: StreamRecord) => operator.pushBroadcast(record, side), barrier() {} }
    const entry = buildPath(broadcast.path, this.#context, end)
    const opened: BroadcastInput = {
      ...this.#openInput(broadcast, entry, () => opened.subscription?.poll(opened.next)),
      ...{ side, subscription: undefined, until: 0n },
    }
    side.place = () => opened.subscription && { offset: opened.next, leaderEpoch: opened.leaderEpoch }
    return opened
  }

  /** Its own records come later. */
  get #awaitsBroadcast(): boolean {
    return this.#broadcasts.some(({ next, until }) => next < until)
  }

  /** Broadcast topics, and where the restored state says that they go on; undefined: at their beginning. */
  get broadcasts(): BroadcastStream[] {
    return this.#broadcasts.map(({ topic, side }) => ({ topic, place: side.noted }))
  }

  /** Reads them, in the order of `broadcasts`, and before anything else up to `until`. */
  subscribe(ways: readonly BroadcastWay[]): void {
    for (const [index, { subscription, from, until }] of ways.entries()) {
      const input = this.#broadcasts[index]
      assert(input, `task ${this.id} has ${this.#broadcasts.length} broadcast streams`)
      Object.assign(input, { subscription, until, next: from.offset, leaderEpoch: from.leaderEpoch })
    }
  }

  /** Puts positions and state back; the chain is not running yet. */
  async restore(positions: readonly SourcePosition[], chain: readonly ChainPart[]): Promise<void> {
    for (const input of this.#inputs) {
      const position = positions.find((each) => each.topic === input.topic && each.partition === input.partition)
      assert(position, `I11: task ${this.id} has no position for ${input.topic}-${input.partition}`)
      input.next = position.offset
      input.leaderEpoch = position.leaderEpoch
    }
    await this.#state.restore(chain)
    for (const operator of this.#chain.keyed) await operator.restored()
  }

  /** Tells the other systems' sinks what the checkpoint decided, then runs the `open` hooks. */
  async open(handles: ReadonlyMap<string, readonly TransactionHandle[]>): Promise<void> {
    for (const operator of this.#chain.twoPhase) {
      await operator.sink.recover(handles.get(operator.id) ?? [])
      await operator.sink.begin()
    }
    for (const operator of this.#chain.keyed) this.#guard(() => operator.open())
  }

  get positions(): SourcePosition[] {
    return this.#inputs.map(positionOf)
  }

  get broadcastPositions(): SourcePosition[] {
    return this.#broadcasts.filter(({ subscription }) => subscription).map(positionOf)
  }

  /** Something changed since the last barrier. */
  get changed(): boolean {
    return this.#progressed || this.#state.changed || this.#chain.twoPhase.some((operator) => operator.hasWrites)
  }

  /** Calls are under way whose results are still to come, or a sink takes no more for now. */
  get busy(): boolean {
    return this.#chain.buffering.some((operator) => operator.full || !operator.empty)
  }

  get keyCount(): number {
    return this.#state.keyCount
  }

  /** Works until `deadlineMs` (monotonic) at the longest. `reading` nothing: only what is already inside goes on. */
  step(deadlineMs: number, reading: Reading): StepResult {
    let result: StepResult = 'idle'
    this.#guard(() => {
      // Asynchronous functions run between turns; downstream of them, functions run in `drain`.
      this.#throwLatched()
      for (const operator of this.#chain.buffering) operator.drain()
      this.#throwLatched()
      this.#context.released = null
      if (reading === 'nothing') return
      for (const input of this.#broadcasts) {
        if (!this.#consume(input, deadlineMs)) continue
        result = 'more'
        return
      }
      if (reading === 'broadcasts' || this.#awaitsBroadcast) return
      if (this.#chain.buffering.some((operator) => operator.full)) {
        result = 'blocked'
        return
      }
      if (this.#fireTimers(deadlineMs)) result = 'more'
      if (this.#clean(deadlineMs)) result = 'more'
      for (let tried = 0; tried < this.#inputs.length; tried++) {
        const input = this.#inputs[this.#turn++ % this.#inputs.length]
        if (input && this.#consume(input, deadlineMs)) {
          result = 'more'
          return
        }
      }
    })
    return result
  }

  /** Wall time of the next timer that may fire, or of what is to be cleaned up next; Infinity: none. */
  get nextTimerMs(): number {
    const waits = this.mustWait || this.#awaitsBroadcast || this.#chain.buffering.some((operator) => operator.full)
    if (!this.#options.timers || waits) return Number.POSITIVE_INFINITY
    const timers = this.#chain.keyed.map((operator) => operator.nextTimerMs)
    return Math.min(...timers, ...this.#cleaners.map(({ nextMs }) => nextMs))
  }

  /** Expired state goes by the clock, too: what is stopped for a savepoint does not change any more. */
  #clean(deadlineMs: number): boolean {
    let cleaned = false
    if (!this.#options.timers) return false
    for (const cleaner of this.#cleaners) {
      if (cleaner.run(wallMs(), () => monotonicMs() >= deadlineMs)) cleaned = true
    }
    return cleaned
  }

  #fireTimers(deadlineMs: number): boolean {
    let fired = false
    if (!this.#options.timers) return false
    for (const operator of this.#chain.keyed) {
      // Most have none: no look at the clock for them.
      if (operator.nextTimerMs === Number.POSITIVE_INFINITY) continue
      if (operator.fire(wallMs(), () => monotonicMs() >= deadlineMs)) fired = true
      this.#throwLatched()
    }
    return fired
  }

  /** True if something was there to do. */
  #consume(input: Input, deadlineMs: number): boolean {
    if (!input.batch && !this.#nextBatch(input)) return false
    const batch = input.batch
    if (!batch) return true
    const { entry, origin } = input
    const skip = input.onDecodeError === 'skip'
    let cursor = input.cursor
    try {
      while (cursor < batch.count) {
        const end = Math.min(batch.count, cursor + RECORDS_PER_LOOK)
        entry.prefetch?.(origin, batch, cursor, end)
        origin.ahead?.expect(batch, cursor, end)
        for (; cursor < end; cursor++) {
          const record = new StreamRecord(origin, batch, cursor)
          if (skip && !this.#decodable(record)) continue
          entry.push(record)
          this.#throwLatched()
        }
        if (monotonicMs() >= deadlineMs || this.#chain.buffering.some((operator) => operator.full)) break
      }
    } catch (error) {
      throw this.#located(error, `${batch.topic}-${batch.partition}@${batch.offsetOf(cursor)}`)
    }
    this.recordsIn += cursor - input.cursor
    this.#progressed = true
    input.leaderEpoch = batch.leaderEpoch
    input.cursor = cursor
    // I10: after the last offset of the batch, whether or not its last records survived compaction.
    const next = cursor < batch.count ? batch.offsetOf(cursor) : batch.nextOffset
    assert(next >= input.next, `I10: ${batch.topic}-${batch.partition} goes back from ${input.next} to ${next}`)
    input.next = next
    if (cursor === batch.count) {
      input.batch = undefined
      origin.ahead?.forget()
      // A chain without queues is through with it; a broadcast batch is of other tasks, too.
      if (this.#chain.buffering.length === 0 && !('side' in input)) batch.release()
    }
    return true
  }

  /** A record that could not be decoded fails the task, whoever caught the error. */
  #throwLatched(): void {
    if (this.#context.latched) throw this.#context.latched
  }

  #nextBatch(input: Input): boolean {
    const element = input.poll()
    if (!element) return false
    if (element.kind === 'progress') {
      if (element.nextOffset > input.next) {
        input.next = element.nextOffset
        // The marker may have been written under a newer leader than the last record: the broker compares both.
        input.leaderEpoch = element.leaderEpoch
        this.#progressed = true
      }
      return true
    }
    const { batch } = element
    // A restored position may lie inside a batch: the broker sends it whole.
    let cursor = 0
    while (cursor < batch.count && batch.offsetOf(cursor) < input.next) cursor++
    input.batch = batch
    input.cursor = cursor
    return true
  }

  #decodable(record: StreamRecord): boolean {
    try {
      void record.key
      void record.value
      return true
    } catch (error) {
      if (!(error instanceof MillraceError) || error.code !== 'DECODE_FAILED') throw error
      this.#context.latched = null
      this.recordsSkipped++
      return false
    }
  }

  #located(error: unknown, reading: string): unknown {
    const where = this.#context.released?.where ?? reading
    const placeless = isCode(error, 'KEY_INVALID', 'CALL_OVER')
    if (error instanceof AssertionError || (error instanceof MillraceError && !placeless)) return error
    const code = error instanceof MillraceError ? error.code : 'OPERATOR_FAILED'
    const text = `operator '${this.#context.current}' failed at ${where}: ${messageOf(error)}`
    return new MillraceError(code, text, { cause: error })
  }

  #guard(run: () => void): void {
    if (this.#disposed) return
    try {
      run()
    } catch (error) {
      const located = this.#located(error, this.id)
      this.#options.onFailure(located instanceof Error ? located : new Error(String(located)))
    }
  }

  /** What nobody waits for went wrong. */
  #failed(error: unknown): void {
    if (!this.#disposed) this.#options.onFailure(error instanceof Error ? error : new Error(String(error)))
  }

  /** The barrier enters between two records (I1). */
  inject(checkpoint: CheckpointId): void {
    assert(!this.#snapshot, `I1: barrier ${checkpoint} while ${this.#snapshot?.checkpoint} is under way in ${this.id}`)
    this.#progressed = false
    this.#snapshot = {
      checkpoint,
      positions: this.positions,
      terminalsLeft: this.#chain.terminals,
      handles: this.#chain.twoPhase.length > 0 ? undefined : [],
    }
    this.#state.begin()
    this.#guard(() => {
      for (const entry of this.#chain.entries.values()) entry.barrier(checkpoint)
    })
  }

  #terminal(): void {
    const snapshot = this.#snapshot
    assert(snapshot, `I1: a barrier came through task ${this.id} that was not injected`)
    if (--snapshot.terminalsLeft > 0) return
    this.#options.onDelivered(this.id, snapshot.checkpoint)
    if (this.#chain.twoPhase.length > 0) void this.#collectHandles(snapshot)
  }

  async #collectHandles(snapshot: Snapshot): Promise<void> {
    try {
      const handles: { operator: string; handle: TransactionHandle }[] = []
      for (const operator of this.#chain.twoPhase) {
        const handle = await operator.prepared()
        if (Object.keys(handle).length > 0) handles.push({ operator: operator.id, handle })
      }
      snapshot.handles = handles
      this.#options.environment.wake()
    } catch (error) {
      this.#failed(error)
    }
  }

  /** Encodes the frozen state until `deadlineMs`; true while there is more to do. */
  encode(deadlineMs: number): boolean {
    const snapshot = this.#snapshot
    if (!snapshot || snapshot.terminalsLeft > 0 || this.#disposed) return false
    let done = false
    this.#guard(() => {
      done = this.#state.encode(() => monotonicMs() >= deadlineMs)
      if (!done || !snapshot.handles) return
      this.#snapshot = undefined
      const { checkpoint, positions, handles } = snapshot
      const { keepsSegments } = this.#state
      this.#options.onAck({ task: this.id, checkpoint, positions, handles, keepsSegments, ...this.#state.take() })
    })
    // Who waits for the disk is woken.
    return !done && !this.#state.waiting
  }

  /** State takes more memory than it may: a checkpoint lets go of it. */
  get overBudget(): boolean {
    return this.#state.overBudget
  }

  /** So much more that it must not read before a checkpoint is through. */
  get mustWait(): boolean {
    return this.#state.mustWait
  }

  /** The snapshot acked last is committed; `segment`: the name of its state's segment, null if it has none. @throws STATE_DISK */
  committed(segment: string | null): Promise<void> {
    return this.#state.committed(segment)
  }

  /** Commits prepared handles of other systems: only after the worker's own transaction is committed. */
  async commitHandles(handles: TaskSnapshot['handles']): Promise<void> {
    for (const { operator, handle } of handles) {
      await this.#chain.twoPhase.find((each) => each.id === operator)?.sink.commit(handle)
    }
  }

  /** An orderly end: runs the `close` hooks. */
  async close(): Promise<void> {
    for (const operator of this.#chain.keyed) this.#guard(() => operator.close())
    await this.#state.close()
    this.dispose()
    for (const operator of this.#chain.twoPhase) await operator.sink.close()
  }

  /** Late results of asynchronous calls are ignored from here on. */
  dispose(): void {
    this.#disposed = true
    for (const { subscription } of this.#broadcasts) subscription?.leave()
    this.#state.dispose()
    for (const operator of this.#chain.asyncMaps) operator.dispose()
  }

  /** A roll-back: what other systems have open is aborted. */
  async abort(): Promise<void> {
    this.dispose()
    for (const operator of this.#chain.twoPhase) {
      await operator.dispose()
      await operator.sink.abort()
    }
    for (const operator of this.#chain.twoPhase) await operator.sink.close()
  }
}

const positionOf = ({ topic, partition, next, leaderEpoch }: Input): SourcePosition => ({
  topic,
  partition,
  offset: next,
  leaderEpoch,
})
