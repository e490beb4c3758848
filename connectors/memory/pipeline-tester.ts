/**
 * A pipeline in memory, for unit tests of pipelines: its real tasks, operators, state and checkpoints, without a broker. Records are fed,
 * the clock is the test's, checkpoints are taken and crashes happen when the test says so. Values in state are frozen.
 *
 *   send ─▶ topics in memory ─▶ tasks ─▶ what they write is held back ─▶ checkpoint ─▶ it is in its topics, and stays through crashes
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { withWallClock, yieldToLoop } from '../../src/base/clock.ts'
import { MillraceError } from '../../src/base/errors.ts'
import { type CheckpointId, checkpointId, type TaskId } from '../../src/base/ids.ts'
import { silentLogger } from '../../src/base/log.ts'
import type { TaskSnapshot } from '../../src/base/messages.ts'
import { partitionOf } from '../../src/base/murmur2.ts'
import { BROADCAST_PARTITION, BroadcastHub } from '../../src/dataflow/broadcast-hub.ts'
import type { LogRange, PartitionReader, TransactionHandle } from '../../src/dataflow/ports.ts'
import { Task } from '../../src/dataflow/task.ts'
import { makePlan, type Pipeline } from '../../src/plan/plan.ts'
import { heapBackend, type StateBackend } from '../../src/state/disk.ts'
import type { Serde } from '../../src/state/serde.ts'
import { nextChain } from '../../src/state/task-state.ts'
import type { Plan } from '../../src/worker/job.ts'
import { stateRows } from '../../src/worker/state-rows.ts'
import { stagePartitions, stageTasks, type TaskPlan } from '../../src/worker/topology.ts'
import { MemoryLog } from './log.ts'
import { MemoryReader } from './reader.ts'
import { carriedOver, type Saved } from './tester-savepoint.ts'
import { bytesBy, HeldWriter } from './writer.ts'

export interface TesterOptions {
  /** Of source and sink topics: for all, or by name. Default 1. Repartition topics have as many as the pipeline says. */
  readonly partitions?: number | Readonly<Record<string, number>>
  /** Where keyed state is. Default `heap`. */
  readonly backend?: 'heap' | 'leveldb'
  /** What the clock shows at the beginning, in ms since 1970. Default 0. */
  readonly nowMs?: number
}

/** What is different after a crash. */
export interface Restart {
  readonly backend?: 'heap' | 'leveldb'
  readonly pipeline?: Pipeline
}

export interface TestRecord {
  readonly key?: unknown
  readonly value: unknown
  /** Default: by the key, as Kafka's own partitioner does; without a key 0. */
  readonly partition?: number
  /** In ms since 1970. Default: the tester's clock. */
  readonly timestamp?: number
}

export interface TestOutput {
  readonly key: unknown
  readonly value: unknown
  readonly partition: number
  /** In ms since 1970. */
  readonly timestamp: number
}

interface Member {
  readonly plan: TaskPlan
  readonly task: Task
  readonly writers: HeldWriter[]
}

const LEVEL_CACHE_BYTES = 1024 * 1024

export class PipelineTester implements AsyncDisposable {
  readonly #options: TesterOptions
  #plan: Plan
  readonly #logs = new Map<string, MemoryLog>()
  #tasks: readonly TaskPlan[]
  #members: Member[] = []
  #readers: MemoryReader[] = []
  #backend: StateBackend = heapBackend
  #folder = ''
  #saved = new Map<TaskId, Saved>()
  #checkpoint = checkpointId(0)
  #acks: TaskSnapshot[] = []
  #failure: Error | undefined
  #now: number

  private constructor(pipeline: Pipeline, options: TesterOptions) {
    this.#options = options
    this.#plan = makePlan(pipeline)
    this.#now = options.nowMs ?? 0
    this.#tasks = this.#tasksOf(this.#plan)
  }

  /** Opens the topics that are not there yet. */
  #tasksOf({ stages, hops, sourceTopics, broadcastTopics, sinks }: Plan): TaskPlan[] {
    for (const topic of broadcastTopics) this.#open(topic, 1)
    for (const topic of [...sourceTopics, ...sinks.flatMap((sink) => sink.topics)])
      this.#open(topic, countOf(topic, this.#options))
    for (const hop of hops) {
      const from = stages.find(({ id }) => id === hop.from)
      this.#open(hop.topic, hop.partitions ?? (from ? stagePartitions(from, this.#infos) : 1))
    }
    return stages.flatMap((stage) => stageTasks(stage, this.#infos))
  }

  /** @throws PLAN_INVALID */
  static async start(pipeline: Pipeline, options: TesterOptions = {}): Promise<PipelineTester> {
    const tester = new PipelineTester(pipeline, options)
    try {
      await tester.#start(options.backend ?? 'heap')
      return tester
    } catch (error) {
      await tester.#end()
      throw error
    }
  }

  #open(topic: string, partitions: number): void {
    if (!this.#logs.has(topic)) this.#logs.set(topic, new MemoryLog(topic, partitions))
  }

  get #infos(): Map<string, { name: string; id: string; partitions: number; replication: number }> {
    const info = ({ topic, partitions }: MemoryLog) => ({ name: topic, id: topic, partitions, replication: 1 })
    return new Map([...this.#logs].map(([topic, log]) => [topic, info(log)]))
  }

  async #start(backend: 'heap' | 'leveldb'): Promise<void> {
    this.#failure = undefined
    this.#acks = []
    if (backend === 'leveldb') {
      this.#folder = await mkdtemp(join(tmpdir(), 'millrace-tester-'))
      const { LevelBackend } = await import('../../src/state/leveldb/backend.ts')
      const place = { folder: this.#folder, pipeline: this.#plan.pipeline, instance: 'tester' }
      this.#backend = await LevelBackend.open({ ...place, cacheBytesMax: LEVEL_CACHE_BYTES, log: silentLogger })
    }
    this.#members = []
    for (const plan of this.#tasks) this.#members.push(await this.#openTask(plan))
  }

  async #openTask(plan: TaskPlan): Promise<Member> {
    const writers: HeldWriter[] = []
    const fail = (error: Error): void => {
      this.#failure ??= error
    }
    const reader = new MemoryReader([...this.#logs.values()], () => {}, fail)
    this.#readers.push(reader)
    const task = new Task({
      id: plan.id,
      nodes: plan.stage.nodes,
      inputs: plan.inputs,
      broadcasts: plan.broadcasts,
      reader: reader as PartitionReader,
      timers: true,
      environment: {
        mode: 'exactly-once',
        freezes: true,
        channelCapacityRecords: 10_000,
        hops: this.#plan.hopTargets,
        disk: plan.stage.keyed ? await this.#backend.open(plan.id) : null,
        writer: (topic) => {
          const writer = new HeldWriter(this.#log(topic))
          writers.push(writer)
          return writer
        },
        openTwoPhase: (operator, connector) =>
          connector.open({
            pipeline: this.#plan.pipeline,
            operator,
            partition: plan.partition,
            log: silentLogger,
            wake: () => {},
          }),
        wake: () => {},
      },
      onAck: (snapshot) => this.#acks.push(snapshot),
      onDelivered: () => {},
      onFailure: fail,
    })
    const saved = this.#saved.get(plan.id)
    const beginning = plan.inputs.map(({ topic, partition }) => ({ topic, partition, offset: 0n, leaderEpoch: -1 }))
    const positions = saved?.positions ?? beginning
    await task.restore(
      positions,
      (saved?.chain ?? []).map(({ ref, mark, bytes }) => ({ ref, mark, bytes: bytes.length, read: async () => bytes })),
    )
    const hub = new BroadcastHub(reader)
    const rangeOf = (topic: string): LogRange => ({ start: 0n, end: this.#log(topic).end(BROADCAST_PARTITION) })
    task.subscribe(task.broadcasts.map((stream) => hub.way(stream, rangeOf(stream.topic), 'all')))
    const handles = Map.groupBy(saved?.handles ?? [], ({ operator }) => operator)
    await task.open(
      new Map([...handles].map(([operator, all]) => [operator, all.map(({ handle }): TransactionHandle => handle)])),
    )
    reader.assign(positions)
    return { plan, task, writers }
  }

  /** The clock, in ms since 1970: of timers, and of records that say no time of their own. */
  get nowMs(): number {
    return this.#now
  }

  /** Moves the clock on and works off what is due. */
  async advance(ms: number): Promise<void> {
    this.#now += ms
    await this.run()
  }

  /** Appends records to a source topic, written by the serdes of its source. They are read by `run`. @throws TOPIC_UNKNOWN, and what a serde throws */
  send(topic: string, ...records: readonly TestRecord[]): void {
    const source = this.#plan.graph.nodes.find(
      (node) => node.kind === 'source' && node.connector.topics.includes(topic),
    )
    if (source?.kind !== 'source')
      throw new MillraceError(
        'TOPIC_UNKNOWN',
        `the pipeline does not read '${topic}'; it reads ${this.#plan.sourceTopics.join(', ')}`,
      )
    const { key: keySerde, value: valueSerde } = source.connector
    for (const { key = null, value, partition, timestamp = this.#now } of records)
      this.sendBytes(topic, bytesBy(keySerde, key), bytesBy(valueSerde, value), {
        timestamp,
        ...(partition === undefined ? {} : { partition }),
      })
  }

  /** The same, of bytes as they are; null is null. */
  sendBytes(
    topic: string,
    key: Buffer | null,
    value: Buffer | null,
    at: Pick<TestRecord, 'partition' | 'timestamp'> = {},
  ): void {
    const log = this.#log(topic)
    const partition = at.partition ?? (key ? partitionOf(key, 0, key.length, log.partitions) : 0)
    log.append(partition, [{ key, value, timestamp: at.timestamp ?? this.#now }])
  }

  #log(topic: string): MemoryLog {
    const log = this.#logs.get(topic)
    if (log) return log
    throw new MillraceError(
      'TOPIC_UNKNOWN',
      `topic '${topic}' is not the pipeline's; it has ${[...this.#logs.keys()].join(', ')}`,
    )
  }

  /** Works until nothing is left to do: what it wrote is not in its topics yet. @throws what failed a task, as a worker would log it */
  async run(): Promise<void> {
    for (;;) {
      let worked = false
      for (const { task } of this.#members) while (this.#step(task)) worked = true
      if (this.#failure) throw this.#failure
      if (!worked && !this.#members.some(({ task }) => task.busy)) return
      await yieldToLoop()
    }
  }

  #step(task: Task): boolean {
    return (
      withWallClock(
        () => this.#now,
        () => task.step(Number.POSITIVE_INFINITY, 'all'),
      ) === 'more' && !this.#failure
    )
  }

  /** A checkpoint of all tasks, committed: what was written before it is in its topics now. @throws what failed a task */
  async checkpoint(): Promise<void> {
    await this.run()
    const id = checkpointId(this.#checkpoint + 1n)
    this.#acks = []
    for (const { task } of this.#members) task.inject(id)
    while (this.#acks.length < this.#members.length) {
      for (const { task } of this.#members) {
        withWallClock(
          () => this.#now,
          () => task.step(Number.POSITIVE_INFINITY, 'nothing'),
        )
        while (task.encode(Number.POSITIVE_INFINITY));
      }
      if (this.#failure) throw this.#failure
      await yieldToLoop()
    }
    await this.#commit(id)
  }

  async #commit(id: CheckpointId): Promise<void> {
    this.#checkpoint = id
    for (const member of this.#members) {
      const ack = this.#acks.find(({ task }) => task === member.plan.id) as TaskSnapshot
      const ref = `${member.plan.id}@${id}`
      const added = ack.segment && { ref, mark: ack.mark, bytes: Buffer.concat(ack.segment) }
      const chain = nextChain(this.#saved.get(member.plan.id)?.chain ?? [], added)
      this.#saved.set(member.plan.id, { positions: ack.positions, chain, handles: ack.handles })
      for (const writer of member.writers) writer.commit()
      await member.task.committed(ack.segment && ref)
      await member.task.commitHandles(ack.handles)
    }
  }

  /** Runs and takes checkpoints until everything sent has come out at the end, through all repartition topics. @throws what failed a task */
  async settle(): Promise<void> {
    do {
      await this.checkpoint()
      await this.run()
    } while (this.#members.some(({ task }) => task.changed))
  }

  /**
   * All tasks end as by SIGKILL, and go on from the last checkpoint: what was written since is gone. `backend`: another one from here
   * on; `pipeline`: the next version of the code. @throws STATE_INCOMPATIBLE, PLAN_INVALID
   */
  async crash(next: TesterOptions['backend'] | Restart = {}): Promise<void> {
    const { backend, pipeline } = typeof next === 'string' ? { backend: next, pipeline: undefined } : next
    const before = this.#folder === '' ? 'heap' : 'leveldb'
    await this.#end()
    if (pipeline) {
      this.#plan = makePlan(pipeline)
      this.#tasks = this.#tasksOf(this.#plan)
    }
    await this.#start(backend ?? before)
  }

  /**
   * Settles, takes a savepoint, and goes on from it as `millrace savepoint restore` does: with the next version of the code (another number of
   * partitions of a `keyBy`, too), another backend, more partitions of source topics. @throws SAVEPOINT_REFUSED, STATE_INCOMPATIBLE
   */
  async restore(next: Restart & Pick<TesterOptions, 'partitions'> = {}): Promise<void> {
    await this.settle()
    const before = { plan: this.#plan, tasks: this.#tasks }
    const backend = next.backend ?? (this.#folder === '' ? 'heap' : 'leveldb')
    const plan = next.pipeline ? makePlan(next.pipeline) : before.plan
    const old = new Map(plan.hops.map(({ topic }) => [topic, this.#logs.get(topic)]))
    for (const topic of old.keys()) this.#logs.delete(topic)
    const grown = { ...this.#options, ...(next.partitions === undefined ? {} : { partitions: next.partitions }) }
    for (const topic of plan.sourceTopics)
      if (!plan.broadcastTopics.includes(topic)) this.#logs.get(topic)?.grow(countOf(topic, grown))
    const tasks = this.#tasksOf(plan)
    try {
      this.#saved = await carriedOver(before, this.#saved, this.#checkpoint, { plan, tasks })
    } catch (error) {
      for (const [topic, log] of old) if (log) this.#logs.set(topic, log)
      throw error
    }
    await this.#end()
    this.#plan = plan
    this.#tasks = tasks
    await this.#start(backend)
  }

  async #end(): Promise<void> {
    for (const reader of this.#readers) reader.stop()
    for (const { task } of this.#members) await task.abort()
    this.#readers = []
    this.#members = []
    await this.#backend.close()
    this.#backend = heapBackend
    if (this.#folder !== '') await rm(this.#folder, { recursive: true, force: true })
    this.#folder = ''
  }

  /** What is committed in a sink's topic, partition by partition, as its sink's serdes read it (bytes, if they only write). @throws TOPIC_UNKNOWN */
  output(topic: string): TestOutput[] {
    const log = this.#log(topic)
    const sink = this.#plan.sinks.find(({ topics }) => topics.includes(topic))
    const outputs: TestOutput[] = []
    for (let partition = 0; partition < log.partitions; partition++) {
      for (const { key, value, timestamp = 0 } of log.records(partition))
        outputs.push({ key: readBy(sink?.key, key), value: readBy(sink?.value, value), partition, timestamp })
    }
    return outputs
  }

  /** A state of an operator as of the last checkpoint, by key; maps as pairs, lists as arrays. @throws USAGE, STATE_INCOMPATIBLE */
  state(operator: string, state: string): { readonly key: unknown; readonly value: unknown }[] {
    return this.#tasks.flatMap(({ id }) =>
      stateRows(
        this.#plan,
        (this.#saved.get(id)?.chain ?? []).map(({ bytes }) => bytes),
        operator,
        state,
      ),
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end()
  }
}

function countOf(topic: string, { partitions = 1 }: TesterOptions): number {
  return typeof partitions === 'number' ? partitions : (partitions[topic] ?? 1)
}

function readBy(serde: unknown, bytes: Buffer | null): unknown {
  const { decode, nullable } = (serde ?? {}) as Partial<Serde<unknown>>
  if (bytes === null && (nullable || !decode)) return null
  if (bytes === null || !decode) return bytes
  return decode.call(serde, bytes, 0, bytes.length)
}
