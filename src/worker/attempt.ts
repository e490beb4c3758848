// One attempt: tasks, reader, transactions and coordinator, from a recovery until a roll-back or the end of the worker. A
// clean rebalance keeps the attempt (and the state of tasks that stay); a roll-back throws it away as a whole, so that no
// late result of it can touch the next.
import { assert } from '../base/assert.ts'
import { monotonicMs, startTimer, wallMs, yieldToLoop } from '../base/clock.ts'
import { MillraceError } from '../base/errors.ts'
import type { CheckpointId, TaskId } from '../base/ids.ts'
import { type SourcePosition, type StepListener, type TaskSnapshot, traced } from '../base/messages.ts'
import { CheckpointCoordinator, type CheckpointPhases } from '../checkpoint/coordinator.ts'
import { encodePointer, type Manifest, type Pointer, type SegmentRef } from '../checkpoint/file.ts'
import { BROADCAST_PARTITION, BroadcastHub } from '../dataflow/broadcast-hub.ts'
import type { Cluster, Fence, LogRange, PartitionReader, TransactionRecord, WorkerSink } from '../dataflow/ports.ts'
import { type Reading, Task } from '../dataflow/task.ts'
import type { ChainPart, StateBackend } from '../state/disk.ts'
import { CatchUp, type LagOf } from './catch-up.ts'
import { CheckpointWriter, type CheckpointWriterEnvironment, type WrittenCheckpoint } from './checkpoint-writer.ts'
import { names } from './job.ts'
import { nameOf, type RestoredTask } from './recovery.ts'
import type { WorkerStatus } from './status.ts'
import type { TaskPlan } from './topology.ts'

/** Work in one turn before timers, sockets and acks get theirs: without it a commit's round trips took twenty times as long. */
const SLICE_MS = 4
const IDLE_MS = 1_000

export interface AttemptEnvironment extends CheckpointWriterEnvironment {
  readonly cluster: Cluster
  readonly status: WorkerStatus
  readonly state: StateBackend
  readonly onStep: StepListener
  /** `hops`: no source is read. */
  readonly reads: 'all' | 'hops'
  /** The last id that this worker ever gave, in earlier attempts too: none is given twice (I5). */
  readonly last: CheckpointId
  /** A checkpoint is committed: its files, for the retention. */
  readonly onCommitted: (manifest: Manifest) => void
}

export type Interruption =
  | { readonly kind: 'rebalance' | 'expelled' | 'stop' }
  | { readonly kind: 'failed'; readonly error: Error }

interface Member {
  readonly plan: TaskPlan
  readonly task: Task
  pointer: Pointer | null
  chain: readonly SegmentRef[]
}

export class Attempt {
  readonly #env: AttemptEnvironment
  readonly #reader: PartitionReader
  readonly #hub: BroadcastHub
  readonly #sink: WorkerSink
  readonly #members = new Map<TaskId, Member>()
  #order: Task[] = []
  #coordinator: CheckpointCoordinator | undefined
  #last: CheckpointId
  #fence: Fence | undefined
  #transaction: TransactionRecord | undefined
  readonly #writer: CheckpointWriter
  #written: WrittenCheckpoint | undefined
  #snapshots: readonly TaskSnapshot[] = []
  #interruption: Interruption | undefined
  #reading = false
  #catchUp: CatchUp
  #heldBack: ReadonlySet<Task> = new Set()
  #turn = 0
  #wake: (() => void) | undefined

  constructor(env: AttemptEnvironment) {
    this.#env = env
    this.#last = env.last
    this.#writer = new CheckpointWriter(env)
    this.#catchUp = new CatchUp(env.plan.hops.length)
    const { cluster, plan, settings, instance } = env
    this.#reader = cluster.reader(
      () => this.wake(),
      (error) => this.#fail(error),
    )
    this.#hub = new BroadcastHub(this.#reader)
    this.#sink = cluster.transactionSink({
      mode: settings.mode,
      group: plan.group,
      transactionalIds: names.transactionalIds(plan.pipeline, instance),
      transactionTimeoutMs: settings.transactionTimeoutMs,
      compression: new Map(
        plan.sinks.flatMap((sink) => sink.topics.map((topic) => [topic, sink.compression] as const)),
      ),
      batchBytesMax: env.topology.batchBytesMax,
      onProgress: () => this.wake(),
      onStep: env.onStep,
      onFailure: (error) => this.#fail(error),
    })
  }

  /** The last checkpoint id given. */
  get last(): CheckpointId {
    return this.#last
  }

  get taskIds(): TaskId[] {
    return [...this.#members.keys()]
  }

  /** Files whose transactions this attempt confirmed itself. */
  get confirmedFiles(): Set<string> {
    return new Set([...this.#members.values()].flatMap(({ pointer }) => (pointer ? [pointer.file] : [])))
  }

  /**
   * Takes over an assignment. A task stays as it is only if its pointer equals, byte for byte, the one this worker confirmed
   * last and nothing was processed since; every other one is disposed and restored.
   */
  async assign(
    fence: Fence,
    restored: readonly RestoredTask[],
    chainOf: (task: RestoredTask) => readonly ChainPart[],
  ): Promise<void> {
    this.#fence = fence
    const wanted = new Map(restored.map((each) => [each.task.id, each]))
    for (const [id, member] of this.#members) {
      const again = wanted.get(id)
      const same = again && this.#kept(member, again)
      if (!same) await this.#drop(id, member)
    }
    if (!this.#coordinator) this.#sink.begin()
    let first = false
    const ranges = new Map<string, Promise<LogRange>>()
    for (const each of restored) {
      first ||= each.incomplete
      if (each.pointer && each.pointer.checkpoint > this.#last) this.#last = each.pointer.checkpoint
      if (!this.#members.has(each.task.id)) await this.#open(each, chainOf(each), ranges)
    }
    // I5: ids rise on every task, whoever owned it before.
    this.#order = this.#env.topology.tasks.flatMap((task) => this.#members.get(task.id)?.task ?? []).reverse()
    this.#coordinator?.dispose(new MillraceError('GENERATION_STALE', 'the assignment changed'))
    this.#coordinator = this.#newCoordinator()
    this.#env.status.tasks = this.#members.size
    this.#reading = !first
    this.#catchUp = new CatchUp(this.#env.plan.hops.length)
    if (first && this.#members.size > 0) void this.#firstCheckpoint(this.#coordinator)
  }

  #kept(member: Member, again: RestoredTask): boolean {
    if (!member.pointer || !again.pointer || again.incomplete || member.task.changed) return false
    return encodePointer(member.pointer) === encodePointer(again.pointer)
  }

  async #drop(id: TaskId, member: Member): Promise<void> {
    this.#members.delete(id)
    for (const { topic, partition } of member.plan.inputs) this.#reader.revoke(topic, partition)
    await member.task.close()
  }

  /** `ranges`: of broadcast topics, asked for once for all tasks of an assignment. */
  async #open(
    restored: RestoredTask,
    chain: readonly ChainPart[],
    ranges: Map<string, Promise<LogRange>>,
  ): Promise<void> {
    const { plan, settings, topology, log, reads } = this.#env
    const { task: taskPlan } = restored
    const disk = taskPlan.stage.keyed ? await this.#env.state.open(taskPlan.id) : null
    const wake = (): void => this.wake()
    const task = new Task({
      id: taskPlan.id,
      nodes: taskPlan.stage.nodes,
      inputs: taskPlan.inputs,
      broadcasts: taskPlan.broadcasts,
      reader: this.#reader,
      // What a drained pipeline does by the clock would never come to an end.
      timers: reads === 'all',
      environment: {
        mode: settings.mode,
        channelCapacityRecords: settings.channelCapacityRecords,
        hops: plan.hopTargets,
        disk,
        writer: (topic) => this.#sink.writer(topic, topology.topics.get(topic)?.partitions ?? 1),
        openTwoPhase: (operator, connector) =>
          connector.open({ pipeline: plan.pipeline, operator, partition: taskPlan.partition, log, wake }),
        wake,
      },
      onAck: (snapshot) => this.#coordinator?.acked(snapshot),
      onDelivered: (id, checkpoint) => this.#coordinator?.delivered(id, checkpoint),
      onFailure: (error) => this.#fail(error),
    })
    try {
      await task.restore(restored.positions, chain)
      await this.#subscribe(task, ranges)
      await task.open(new Map(restored.handles.map(({ operator, handle }) => [operator, [handle]])))
    } catch (error) {
      task.dispose()
      throw error
    }
    this.#members.set(taskPlan.id, { plan: taskPlan, task, pointer: restored.pointer, chain: restored.chain })
    const hops = new Set(plan.hops.map(({ topic }) => topic))
    this.#reader.assign(restored.positions.filter(({ topic }) => reads === 'all' || hops.has(topic)))
  }

  /** Broadcast topics are read up to where they end now before the task's own records. */
  async #subscribe(task: Task, ranges: Map<string, Promise<LogRange>>): Promise<void> {
    const { cluster, reads } = this.#env
    const found = await Promise.all(
      task.broadcasts.map(async (stream) => {
        const { topic } = stream
        const range = ranges.get(topic) ?? cluster.logRange(topic, BROADCAST_PARTITION)
        ranges.set(topic, range)
        return { stream, range: await range }
      }),
    )
    task.subscribe(found.map(({ stream, range }) => this.#hub.way(stream, range, reads)))
  }

  /** A new task's offsets are confirmed before its first record: −1 can then only mean that someone deleted them. */
  async #firstCheckpoint(coordinator: CheckpointCoordinator): Promise<void> {
    try {
      await coordinator.next()
      this.#reading = true
      this.wake()
    } catch {
      // The coordinator has reported the failure itself.
    }
  }

  #newCoordinator(): CheckpointCoordinator {
    const { settings } = this.#env
    const options = {
      intervalMs: settings.intervalMs,
      minPauseMs: settings.minPauseMs,
      timeoutMs: settings.checkpointTimeoutMs,
    }
    const actions = {
      inject: (id: CheckpointId) => this.#inject(id),
      prepare: async (id: CheckpointId) => {
        this.#transaction = await traced(this.#env.onStep, 'prepare', () => this.#sink.prepare(id), id)
      },
      write: (id: CheckpointId, snapshots: readonly TaskSnapshot[]) =>
        traced(this.#env.onStep, 'write', () => this.#write(id, snapshots), id),
      commit: (id: CheckpointId) => this.#commit(id),
      confirm: (id: CheckpointId) => traced(this.#env.onStep, 'confirm', () => this.#sink.confirm(id), id),
      committed: (id: CheckpointId, phases: CheckpointPhases) => this.#committed(id, phases),
      rollBack: (error: Error) => this.#fail(error),
    }
    return new CheckpointCoordinator(options, actions, [...this.#members.keys()], this.#last)
  }

  #inject(id: CheckpointId): void {
    this.#last = id
    this.#env.onStep('before', 'inject', id)
    this.#sink.startBarrier(id)
    for (const { task } of this.#members.values()) task.inject(id)
    this.#env.onStep('after', 'inject', id)
    this.wake()
  }

  async #write(id: CheckpointId, snapshots: readonly TaskSnapshot[]): Promise<void> {
    assert(this.#transaction, `I3: checkpoint ${id} was not prepared`)
    assert(
      snapshots.length === this.#members.size,
      `I11: ${snapshots.length} of ${this.#members.size} tasks in checkpoint ${id}`,
    )
    this.#snapshots = snapshots
    this.#written = await this.#writer.write(
      id,
      this.#transaction,
      snapshots.map((snapshot) => {
        const member = this.#members.get(snapshot.task)
        return { snapshot, parent: member?.pointer ?? null, chain: member?.chain ?? [] }
      }),
    )
  }

  async #commit(id: CheckpointId): Promise<void> {
    const written = this.#written
    assert(written && written.manifest.checkpoint === id, `I3: checkpoint ${id} has no durable file`)
    assert(this.#fence, 'I9: a commit without an assignment')
    const metadata = encodePointer(written.pointer)
    const offsets = written.manifest.tasks.flatMap((task) =>
      task.positions.map((position) => ({ ...position, metadata })),
    )
    await this.#sink.commit(id, offsets, this.#fence)
  }

  async #committed(id: CheckpointId, phases: CheckpointPhases): Promise<void> {
    const written = this.#written
    assert(written && written.manifest.checkpoint === id, `I4: checkpoint ${id} is committed without a file`)
    const { status, log } = this.#env
    for (const entry of written.manifest.tasks) {
      const member = this.#members.get(entry.task)
      if (!member) continue
      member.pointer = written.pointer
      member.chain = entry.chain
      const added = entry.chain.at(-1)
      await member.task.committed(added?.file === written.pointer.file ? nameOf(added) : null)
    }
    // The last agent has decided: the others follow (F05 counts on the handles being in the file).
    await traced(this.#env.onStep, 'commit-handles', () => this.#commitHandles(), id)
    this.#snapshots = []
    status.checkpointsCommitted++
    status.lastCheckpoint = id
    status.lastCheckpointBytes = written.bytes
    status.onCheckpoint(phases, written.bytes)
    log.debug({ checkpoint: id.toString(), bytes: written.bytes, ms: Math.round(phases.total) }, 'checkpoint committed')
    this.#env.onCommitted(written.manifest)
    this.wake()
  }

  async #commitHandles(): Promise<void> {
    for (const snapshot of this.#snapshots) await this.#members.get(snapshot.task)?.task.commitHandles(snapshot.handles)
  }

  #fail(error: Error): void {
    this.interrupt({ kind: 'failed', error })
  }

  /** The first failure wins; a failure wins over a rebalance or a stop. */
  interrupt(interruption: Interruption): void {
    if (this.#interruption?.kind === 'failed') return
    if (this.#interruption?.kind === 'stop' && interruption.kind === 'rebalance') return
    this.#interruption = interruption
    this.wake()
  }

  /** A new place in the group: a rebalance that was asked for is done. Failures stay. */
  rejoined(): void {
    if (this.#interruption?.kind !== 'failed' && this.#interruption?.kind !== 'stop') this.#interruption = undefined
  }

  wake(): void {
    const wake = this.#wake
    this.#wake = undefined
    wake?.()
  }

  /** Tasks of these stages read no more for now: their repartition topic's reader is too far behind. */
  holdBack(stages: ReadonlySet<string>): void {
    const held = [...this.#members.values()].filter(({ plan }) => stages.has(plan.stage.id)).map(({ task }) => task)
    if (held.length > 0 && this.#heldBack.size === 0)
      this.#env.log.info({ stages: [...stages] }, 'pausing sources: a repartition topic lags')
    this.#heldBack = new Set(held)
    this.wake()
  }

  get #changed(): boolean {
    return this.#sink.hasWrites || this.#order.some((task) => task.changed)
  }

  readonly #lag: LagOf = (topic, partition, offset) => this.#reader.lag(topic, partition, offset)

  /** Runs until something interrupts. */
  async run(): Promise<Interruption> {
    for (;;) {
      const interruption = this.#interruption
      if (interruption) return interruption
      await this.#loop()
    }
  }

  /**
   * Finishes what is under way and takes one checkpoint of everything since, confirmed. Gives what cut it short, if
   * anything did; then the attempt must be rolled back.
   */
  async drain(deadlineMs: number): Promise<Interruption | undefined> {
    this.#reading = false
    const asked = this.#interruption
    while (this.#coordinator) {
      const now = this.#interruption
      if (now && now !== asked && (now.kind === 'failed' || now.kind === 'expelled')) return now
      if (!this.#coordinator.inFlight) {
        if (!this.#changed && !this.#order.some((task) => task.busy)) return undefined
        if (!this.#order.some((task) => task.busy)) this.#coordinator.trigger()
      }
      if (monotonicMs() >= deadlineMs) {
        return {
          kind: 'failed',
          error: new MillraceError(
            'DRAIN_TIMEOUT',
            'the last checkpoint did not finish in time; what it held is processed again',
          ),
        }
      }
      await this.#loop()
    }
    return undefined
  }

  async #loop(): Promise<void> {
    const worked = this.#slice()
    this.#sink.flushIdle()
    this.#report()
    const coordinator = this.#coordinator
    const mayBegin = this.#reading && coordinator?.inFlight === false && this.#changed
    if (mayBegin && this.#order.some((task) => task.overBudget)) coordinator.trigger()
    if (mayBegin && this.#catchUp.reached(this.#order, this.#lag, this.#last)) coordinator.hasten()
    const due = coordinator?.dueInMs()
    if (this.#reading && due === 0 && this.#changed) coordinator?.trigger()
    if (worked) return yieldToLoop()
    // Batches that wait for more get their turn soon; an idle worker sleeps.
    const pause = this.#changed ? Math.min(due === undefined || due === 0 ? 20 : due, 20) : IDLE_MS
    await this.#sleep(Math.max(0, Math.min(pause, this.#nextTimerMs - wallMs())))
  }

  /** Of those that may fire now. */
  get #nextTimerMs(): number {
    if (!this.#reading || this.#sink.blocked) return Number.POSITIVE_INFINITY
    return Math.min(...this.#order.filter((task) => !this.#heldBack.has(task)).map((task) => task.nextTimerMs))
  }

  /** One slice of work: encode what is frozen, then records, later stages first. */
  #slice(): boolean {
    const end = monotonicMs() + SLICE_MS
    let worked = false
    for (const task of this.#order) if (task.encode(end)) worked = true
    const tasks = this.#order
    // Later stages first drains the pipeline; every fourth turn begins elsewhere, so that none starves.
    const start = this.#turn++ % 4 === 0 ? this.#turn % Math.max(1, tasks.length) : 0
    for (let i = 0; i < tasks.length; i++) {
      const task = tasks[(start + i) % tasks.length]
      if (!task) continue
      while (task.step(end, this.#readingOf(task)) === 'more') {
        worked = true
        if (monotonicMs() >= end) return true
      }
    }
    return worked
  }

  /** What is held back goes on with its broadcast streams: others may wait for their records behind it. */
  #readingOf(task: Task): Reading {
    if (!this.#reading || this.#sink.blocked || task.mustWait) return 'nothing'
    return this.#heldBack.has(task) ? 'broadcasts' : 'all'
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = startTimer(ms, () => this.wake())
      this.#wake = () => {
        timer.cancel()
        resolve()
      }
      if (this.#interruption && this.#reading) this.wake()
    })
  }

  #report(): void {
    const { status } = this.#env
    status.recordsIn = this.#order.reduce((sum, task) => sum + task.recordsIn, 0)
    status.recordsSkipped = this.#order.reduce((sum, task) => sum + task.recordsSkipped, 0)
    status.recordsOut = this.#sink.recordsWritten
    status.bytesOut = this.#sink.bytesWritten
    status.openTransactionAgeMs = this.#sink.openAgeMs
  }

  /** For the metrics page, computed when asked. */
  lags(): { topic: string; partition: number; lag: number }[] {
    const tasks = [...this.#members.values()].map(({ task }) => task)
    // Of a broadcast topic, the task that is furthest behind.
    const broadcasts = new Map<string, SourcePosition>()
    for (const position of tasks.flatMap((task) => task.broadcastPositions)) {
      const known = broadcasts.get(position.topic)
      if (!known || position.offset < known.offset) broadcasts.set(position.topic, position)
    }
    return [...tasks.flatMap((task) => task.positions), ...broadcasts.values()].map(({ topic, partition, offset }) => ({
      topic,
      partition,
      lag: Number(this.#reader.lag(topic, partition, offset) ?? 0n),
    }))
  }

  keyCount(): number {
    return this.#order.reduce((sum, task) => sum + task.keyCount, 0)
  }

  /** Throws everything away; open transactions are aborted. */
  async rollBack(): Promise<void> {
    this.#writer.stop()
    this.#reader.stop()
    this.#coordinator?.dispose(new MillraceError('TRANSACTION_FAILED', 'the attempt was rolled back'))
    for (const { task } of this.#members.values()) task.dispose()
    await this.#sink.abort()
    for (const { task } of this.#members.values()) await task.abort()
    this.#members.clear()
    this.#order = []
  }

  /** An orderly end, after a drain. */
  async close(): Promise<void> {
    this.#writer.stop()
    this.#reader.stop()
    this.#coordinator?.dispose(new MillraceError('GENERATION_STALE', 'the worker stops'))
    for (const { task } of this.#members.values()) await task.close()
    await this.#sink.close()
  }
}
