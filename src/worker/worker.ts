// A worker's life: connect, look before touching, join the group, recover, run; drain before every rejoin; roll back in
// place on any failure that a replay can cure. Roll-back and recovery are one code path.
//
//   start ─▶ join ─▶ recover ─▶ run ─┬─ rebalance ─▶ drain ─▶ join
//               ▲        ▲           ├─ failure ──▶ roll back ─▶ recover (or join, if the group moved on)
//               │        └───────────┤
//               └────────────────────┴─ stop ──▶ drain ─▶ end
import { AssertionError } from 'node:assert'
import type { CheckpointStore } from '../base/checkpoint-store.ts'
import { delay, monotonicMs, nonce } from '../base/clock.ts'
import { isCode, MillraceError, messageOf } from '../base/errors.ts'
import { checkpointId, partitionKey } from '../base/ids.ts'
import type { Logger } from '../base/log.ts'
import { type StepListener, traced } from '../base/messages.ts'
import { Retention } from '../checkpoint/retention.ts'
import type { Cluster, GroupMember, JoinedGeneration } from '../dataflow/ports.ts'
import { heapBackend, type StateBackend } from '../state/disk.ts'
import { Attempt, type Interruption } from './attempt.ts'
import { Generations } from './generations.ts'
import { names, type Plan, type Settings } from './job.ts'
import { newestTransactions, Recovery } from './recovery.ts'
import { RestartPolicy } from './restart.ts'
import { WorkerStatus } from './status.ts'
import { storeOf } from './store.ts'
import { prepareTopology, type TaskPlan, type Topology, taskOf } from './topology.ts'
import { Upkeep } from './upkeep.ts'

export interface WorkerOptions {
  readonly plan: Plan
  readonly settings: Settings
  /** Stable name with its slot: `group.instance.id`. */
  readonly instance: string
  readonly log: Logger
  /** Named events for a supervisor and for tests: running, checkpoint, … */
  readonly onEvent?: (event: WorkerEvent) => void
  /** `hops`: what is in repartition topics, and nothing new. Default `all`. */
  readonly reads?: 'all' | 'hops'
  /** Every effect of the protocol, before and after. */
  readonly onStep?: StepListener
}

export type WorkerEvent = {
  readonly event: 'joined' | 'running' | 'rolled-back' | 'stopped'
  readonly instance: string
  readonly generation: number
  /** What the group calls this worker: of `joined`. */
  readonly member?: string
}

export class Worker {
  readonly status: WorkerStatus
  readonly #options: WorkerOptions
  readonly #log: Logger
  readonly #incarnation = nonce()
  readonly #stopping = new AbortController()
  readonly #restarts: RestartPolicy
  readonly #onStep: StepListener
  #member: GroupMember | undefined
  /** The group's last word since the join: kept, because it is said once. */
  #signalled: Interruption | undefined
  #attempt: Attempt | undefined
  #stop: 'no' | 'stop' | 'leave' = 'no'
  #inRow = 0
  /** Ids of discarded checkpoints are not given again: their files may be there, under this life's name. */
  #lastCheckpoint = checkpointId(0)

  constructor(options: WorkerOptions) {
    this.#options = options
    this.#log = options.log
    this.#onStep = options.onStep ?? (() => {})
    this.#restarts = new RestartPolicy(options.settings.restart)
    this.status = new WorkerStatus(options.instance)
  }

  /** Asks for an orderly end: final checkpoint, confirmed. `leave` gives up the static place in the group. */
  stop(how: 'stop' | 'leave' = 'stop'): void {
    if (this.#stop === 'no') this.#log.info({}, 'stopping: final checkpoint')
    // A place that was given up stays given up, whoever else asks.
    this.#stop = this.#stop === 'leave' ? 'leave' : how
    this.#stopping.abort()
    this.#attempt?.interrupt({ kind: 'stop' })
  }

  #signal(interruption: Interruption): void {
    this.#signalled = interruption
    this.#attempt?.interrupt(interruption)
  }

  lags(): { topic: string; partition: number; lag: number }[] {
    return this.#attempt?.lags() ?? []
  }

  keyCount(): number {
    return this.#attempt?.keyCount() ?? 0
  }

  /** Resolves after an orderly stop; rejects with the coded error that ended the worker. */
  async run(): Promise<void> {
    const { plan, settings, instance } = this.#options
    const cluster = await plan.factory.connect(settings.kafka, instance, this.#log)
    const closers: (() => Promise<void>)[] = []
    try {
      const store = storeOf(cluster, plan, settings)
      const storeId = await store.open(plan.pipeline)
      const topology = await prepareTopology(cluster, plan, settings, this.#log)
      if (settings.mode === 'exactly-once') {
        await traced(this.#onStep, 'resolve', () => settleEarlierLife(cluster, store, plan.pipeline, instance))
      }
      const state = await this.#openState()
      closers.push(() => state.close())
      const ownedTasks = (): TaskPlan['id'][] => this.#attempt?.taskIds ?? []
      const generations = new Generations({ plan, settings, instance, cluster, storeId, topology, ownedTasks })
      await this.#live(cluster, store, state, topology, generations)
      this.status.phase = 'stopped'
    } catch (error) {
      this.status.phase = 'failed'
      this.status.lastError = messageOf(error)
      throw error
    } finally {
      for (const close of closers) await close()
      await cluster[Symbol.asyncDispose]()
    }
  }

  async #openState(): Promise<StateBackend> {
    const { plan, settings, instance, log } = this.#options
    if (settings.stateBackend === 'heap' || !plan.stages.some((stage) => stage.keyed)) return heapBackend
    // Loaded by those who use it.
    const { LevelBackend } = await import('../state/leveldb/backend.ts')
    const { stateFolder: folder, stateCacheBytesMax: cacheBytesMax } = settings
    return LevelBackend.open({ folder, cacheBytesMax, pipeline: plan.pipeline, instance, log, onStep: this.#onStep })
  }

  async #live(
    cluster: Cluster,
    store: CheckpointStore,
    state: StateBackend,
    topology: Topology,
    generations: Generations,
  ): Promise<void> {
    const { plan, settings, log } = { ...this.#options, log: this.#log }
    const retention = new Retention({
      cluster,
      group: plan.group,
      store,
      retained: settings.retained,
      instance: this.#options.instance,
      log,
    })
    const upkeep = new Upkeep({
      cluster,
      plan,
      topology,
      log,
      everyMs: settings.metadataMaxAgeMs,
      hopLagRecordsMax: settings.hopLagRecordsMax,
      onHeldBack: (stages) => this.#attempt?.holdBack(stages),
      onFailure: (error) => this.#attempt?.interrupt({ kind: 'failed', error }),
    })
    const member = generations.member
    this.#member = member
    member.onRebalance = (reason) => this.#signal({ kind: reason })
    member.onFenced = (error) => this.#signal({ kind: 'failed', error })
    try {
      let joined: Awaited<ReturnType<Generations['join']>> | undefined
      while (this.#stop === 'no') {
        this.status.phase = 'joining'
        if (!joined) {
          joined = await traced(this.#onStep, 'join', () => generations.join(this.#stopping.signal))
          this.#attempt?.rejoined()
          this.#emit('joined', joined)
          if (joined.stop) {
            this.#log.info({ event: 'stop-requested' }, 'the pipeline is to stop')
            this.stop('leave')
            continue
          }
        }
        const outcome = await this.#generation(cluster, store, state, topology, joined, retention, upkeep, member)
        if (outcome === 'rejoin') {
          joined = undefined
          this.#signalled = undefined
          this.status.rebalances++
        }
      }
      await this.#leave(member)
    } catch (error) {
      // While joining, a stop request gives up: nothing runs yet, nothing is lost.
      if (this.#stop !== 'no' && isCode(error, 'GENERATION_STALE')) return await this.#leave(member)
      // A loud stop is not started again: without its place `millrace reset` need not wait for the session to end.
      if (error instanceof MillraceError && (error.exitCode === 3 || error.exitCode === 2))
        await member.leave().catch(() => undefined)
      throw error
    } finally {
      await this.#attempt?.close().catch(() => undefined)
      upkeep.stop()
      retention.stop()
      member.close()
    }
  }

  async #leave(member: GroupMember): Promise<void> {
    if (this.#stop !== 'leave') return
    try {
      await traced(this.#onStep, 'leave', () => member.leave())
    } catch (error) {
      this.#log.warn({ error: messageOf(error) }, 'the place in the group was not given up; it ends with its session')
    }
  }

  /** One recovery and what runs after it. Says whether the place in the group is still good. */
  async #generation(
    cluster: Cluster,
    store: CheckpointStore,
    state: StateBackend,
    topology: Topology,
    joined: JoinedGeneration,
    retention: Retention,
    upkeep: Upkeep,
    member: GroupMember,
  ): Promise<'rejoin' | 'again'> {
    const { plan, settings, instance } = this.#options
    this.status.phase = 'restoring'
    this.status.generation = joined.fence.generation
    const tasks = tasksOf(topology, joined)
    if (joined.leader) void this.#sweep(cluster, joined)
    retention.lookAfter(joined.leader ? joined.instances : undefined)
    this.#attempt ??= new Attempt({
      cluster,
      plan,
      settings,
      topology,
      store,
      instance,
      incarnation: this.#incarnation,
      status: this.status,
      state,
      log: this.#log,
      onStep: this.#onStep,
      last: this.#lastCheckpoint,
      reads: this.#options.reads ?? 'all',
      onCommitted: (manifest) => {
        this.#inRow = 0
        retention.committed(manifest)
        upkeep.committed(manifest)
      },
    })
    const attempt = this.#attempt
    let interruption: Interruption
    try {
      const recovery = new Recovery({ cluster, plan, store, topology, log: this.#log, onStep: this.#onStep })
      const restored = await recovery.recover(tasks, attempt.confirmedFiles, this.#stopping.signal)
      await traced(this.#onStep, 'restore', () =>
        attempt.assign(joined.fence, restored, (task) => recovery.chainOf(task)),
      )
      // What the group said while there was no attempt to hear it.
      if (this.#signalled) attempt.interrupt(this.#signalled)
      if (this.#stop !== 'no') attempt.interrupt({ kind: 'stop' })
      this.status.phase = 'running'
      this.#log.info(
        { event: 'worker-running', generation: joined.fence.generation, tasks: tasks.map((task) => task.id) },
        'running',
      )
      this.#emit('running', joined)
      interruption = await attempt.run()
    } catch (error) {
      interruption = { kind: 'failed', error: error as Error }
    }
    if (interruption.kind === 'rebalance' || interruption.kind === 'stop')
      interruption = await this.#drain(attempt, interruption, member)
    return this.#after(attempt, interruption)
  }

  async #drain(attempt: Attempt, asked: Interruption, member: GroupMember): Promise<Interruption> {
    const { settings } = this.#options
    this.status.phase = 'draining'
    // What is accepted before the rejoin is safe; after the rebalance time-out the group expels us and refuses commits.
    const byGroup = member.lastHeartbeatMs + settings.rebalanceTimeoutMs - settings.heartbeatMs - 1_000
    const deadline = asked.kind === 'stop' ? monotonicMs() + settings.graceMs : byGroup
    const cut = await traced(this.#onStep, 'drain', () => attempt.drain(deadline))
    if (cut?.kind !== 'failed' || asked.kind === 'stop' || !isCode(cut.error, 'DRAIN_TIMEOUT')) return cut ?? asked
    // Too slow for the group: rolled back, then the worker joins again.
    return { kind: 'failed', error: new MillraceError('GENERATION_STALE', cut.error.message, { cause: cut.error }) }
  }

  async #after(attempt: Attempt, interruption: Interruption): Promise<'rejoin' | 'again'> {
    if (interruption.kind === 'rebalance') {
      this.#log.info({}, 'the group rebalances: drained, rejoining')
      return 'rejoin'
    }
    this.#attempt = undefined
    this.#lastCheckpoint = attempt.last
    if (interruption.kind === 'stop') {
      await attempt.close()
      return 'again'
    }
    const failure =
      interruption.kind === 'failed'
        ? interruption.error
        : new MillraceError('GENERATION_STALE', 'the group expelled this worker')
    const error = await this.#fencedBy(failure)
    // The grace period is over: the next start looks before it touches, as after a crash.
    if (this.#stop !== 'no' && isCode(error, 'DRAIN_TIMEOUT')) throw error
    await this.#rollBack(attempt, error)
    if (this.#stop !== 'no') return 'again'
    return isCode(error, 'GENERATION_STALE') ? 'rejoin' : 'again'
  }

  /**
   * What a worker sees that has lost its place without knowing: its ids taken over, its hop purged, its file cleaned up. Then
   * it is no data error, and nothing of the successor is touched.
   */
  async #fencedBy(error: Error): Promise<Error> {
    if (!isCode(error, 'TRANSACTION_FENCED', 'OFFSET_OUT_OF_RANGE', 'LOG_TRUNCATED', 'CHECKPOINT_MISSING')) return error
    try {
      await this.#member?.verify()
      return error
    } catch (other) {
      return isCode(other, 'INSTANCE_FENCED', 'GENERATION_STALE') ? other : error
    }
  }

  async #rollBack(attempt: Attempt, error: Error): Promise<void> {
    const fatal = error instanceof AssertionError || (error instanceof MillraceError && error.disposition === 'fatal')
    this.status.lastError = messageOf(error)
    this.status.rollBacks++
    this.status.checkpointsFailed++
    const stale = isCode(error, 'GENERATION_STALE')
    this.#log[fatal ? 'error' : 'warn'](
      { event: 'roll-back', error: messageOf(error), code: error instanceof MillraceError ? error.code : undefined },
      'rolling back',
    )
    // An unknown commit must not be touched any more: the next start looks at it first. And once another process has our
    // instance id, the transactional ids are its own: two deployments do not fight.
    if (!isCode(error, 'TRANSACTION_UNKNOWN', 'INSTANCE_FENCED')) {
      await traced(this.#onStep, 'roll-back', () => attempt.rollBack()).catch((secondary: unknown) => {
        if (!fatal) throw secondary
        this.#log.warn({ error: messageOf(secondary) }, 'the roll-back failed, too; the next start cleans up')
      })
    }
    if (fatal) throw error
    this.#options.onEvent?.({
      event: 'rolled-back',
      instance: this.#options.instance,
      generation: this.status.generation,
    })
    if (stale || ++this.#inRow <= this.#options.settings.tolerableFailed) return
    const wait = this.#restarts.next()
    if (wait === undefined) {
      throw new MillraceError(
        'RESTARTS_EXHAUSTED',
        `no restart is left (${this.#options.settings.restart.strategy}); the last failure: ${messageOf(error)}`,
        { cause: error },
      )
    }
    this.status.restarts++
    this.#log.warn({ waitMs: wait }, 'restarting after a pause')
    await delay(wait, this.#stopping.signal)
  }

  /** The leader, once per generation: transactions of instances that are no members any more would block their successors. */
  async #sweep(cluster: Cluster, joined: JoinedGeneration): Promise<void> {
    const { plan, settings } = this.#options
    if (settings.mode !== 'exactly-once') return
    try {
      // A leader that was paused since may be none any more.
      await this.#member?.verify()
      const open = await cluster.openTransactions(names.prefix(plan.pipeline))
      const foreign = open.filter((id) => {
        const instance = names.instanceOf(plan.pipeline, id)
        return instance !== undefined && !joined.instances.includes(instance)
      })
      if (foreign.length > 0) await cluster.resolveTransactions(foreign)
    } catch (error) {
      this.#log.warn(
        { error: messageOf(error) },
        'looking for abandoned transactions failed; they expire by themselves',
      )
    }
  }

  #emit(event: WorkerEvent['event'], joined: JoinedGeneration): void {
    const { generation, member } = joined.fence
    this.#options.onEvent?.({ event, instance: this.#options.instance, generation, member })
  }
}

/**
 * Look before touching: an earlier life's open transactions are aborted; one that was committed must be visible everywhere
 * before its id is used again, even if its tasks have another owner now: the id's next transaction would decide what hangs.
 */
async function settleEarlierLife(
  cluster: Cluster,
  store: CheckpointStore,
  pipeline: string,
  instance: string,
): Promise<void> {
  const decided = await cluster.resolveTransactions(names.transactionalIds(pipeline, instance))
  if (decided.length === 0) return
  for (const record of await newestTransactions(store, instance)) {
    const same = decided.some(
      (each) =>
        each.transactionalId === record.transactionalId &&
        each.producerId === record.producerId &&
        each.epoch === record.epoch,
    )
    if (same) await cluster.confirmTransaction(record)
  }
}

function tasksOf(topology: Topology, joined: JoinedGeneration): TaskPlan[] {
  const owners = taskOf(topology)
  return [
    ...new Set(joined.partitions.flatMap(({ topic, partition }) => owners.get(partitionKey(topic, partition)) ?? [])),
  ]
}
