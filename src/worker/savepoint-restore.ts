// Restores a savepoint: a checkpoint per task, written into the pipeline's store and committed like `millrace reset` does it. Rows go
// to the task that owns their operator and key now; repartition topics begin anew.
//
// A restore is a new timeline: what the pipeline wrote after the savepoint is written again. Where nothing was, nothing is said.
import { nonce } from '../base/clock.ts'
import { MillraceError } from '../base/errors.ts'
import { type CheckpointId, checkpointId, partitionKey } from '../base/ids.ts'
import type { Logger } from '../base/log.ts'
import type { SourcePosition } from '../base/messages.ts'
import { partitionOf } from '../base/murmur2.ts'
import { encodeFile, encodePointer, fileName, parseFileName, segmentRef } from '../checkpoint/file.ts'
import { readSegments, type SavedTask, type Savepoint } from '../checkpoint/savepoint.ts'
import type { CheckpointStore } from '../checkpoint/store.ts'
import type { Cluster, CommittedOffset } from '../dataflow/ports.ts'
import { SegmentReader, SegmentWriter, type StateIdentity } from '../state/segment.ts'
import { names, type Plan, type Settings } from './job.ts'
import type { ResetTarget } from './reset.ts'
import { checkStopped, nameOf, pointersOf, refused } from './savepoint.ts'
import { statesOfStage } from './savepoint-plan.ts'
import { prepareTopology, type TaskPlan, type Topology } from './topology.ts'

/** In front of a key's bytes where its serde is nullable (state/serde.ts). */
const NULL_KEY = 0

export interface RestoreOptions {
  readonly cluster: Cluster
  readonly plan: Plan
  readonly settings: Settings
  readonly store: CheckpointStore
  readonly folder: string
  readonly savepoint: Savepoint
  /** Source topics that begin somewhere else. */
  readonly offsets: ReadonlyMap<
    string,
    Exclude<ResetTarget, { file: unknown }> | { readonly file: Readonly<Record<string, string>> }
  >
  /** What was written after the savepoint is written again. */
  readonly acceptRewrite: boolean
  readonly log: Logger
}

export interface RestoreResult {
  readonly checkpoint: string
  readonly tasks: readonly {
    readonly task: string
    readonly rows: number
    readonly positions: readonly SourcePosition[]
  }[]
}

/** @throws GROUP_NOT_EMPTY, SAVEPOINT_REFUSED, SAVEPOINT_INVALID */
export async function restoreSavepoint(options: RestoreOptions): Promise<RestoreResult> {
  const { cluster, plan, settings, store, savepoint, acceptRewrite, log } = options
  await checkStopped(cluster, plan.group, plan.pipeline)
  await store.open(plan.pipeline)
  const open = (await cluster.openTransactions(names.prefix(plan.pipeline))).filter(
    (id) => names.instanceOf(plan.pipeline, id) !== undefined,
  )
  await cluster.resolveTransactions(open)
  if (!acceptRewrite) await checkNothingSince(cluster, savepoint, options)
  // What is in them belongs to another time; and their partitions may be others now.
  for (const hop of plan.hops) await cluster.deleteTopic(hop.topic)
  const topology = await prepareTopology(cluster, plan, settings, log)
  const committed = await cluster.committedOffsets(plan.group, null)
  const positions = new Map<TaskPlan, SourcePosition[]>()
  for (const task of topology.tasks) positions.set(task, await positionsOf(options, task, topology))
  const id = await nextId(store, savepoint, committed, topology)
  const tasks: { task: string; rows: number; positions: SourcePosition[] }[] = []
  const offsets: (SourcePosition & { metadata: string })[] = []
  for (const task of topology.tasks) {
    const writer = await rowsFor(options, task, topology)
    const chosen = positions.get(task) as SourcePosition[]
    const metadata = await writeTask(options, topology, task, id, chosen, writer, committed)
    offsets.push(...chosen.map((position) => ({ ...position, metadata })))
    tasks.push({ task: task.id, rows: writer.rowCount, positions: chosen })
  }
  await cluster.resetOffsets(plan.group, offsets)
  return { checkpoint: id.toString(), tasks }
}

/** @throws SAVEPOINT_REFUSED */
async function checkNothingSince(
  cluster: Cluster,
  savepoint: Savepoint,
  { plan, offsets }: RestoreOptions,
): Promise<void> {
  const groups = [...new Set([names.group(savepoint.pipeline), plan.group])]
  const rows = (await Promise.all(groups.map((group) => cluster.committedOffsets(group, null)))).flat()
  const saved = savepoint.tasks
    .flatMap(({ positions }) => positions)
    .filter(({ topic }) => !savepoint.hops.includes(topic))
  const beyond = saved.filter(({ topic, partition, offset }) =>
    rows.some((row) => row.topic === topic && row.partition === partition && row.offset > offset),
  )
  const moved = [...offsets.keys()]
  if (beyond.length === 0 && moved.length === 0) return
  const where = [
    ...beyond.map(({ topic, partition, offset }) => `${topic}-${partition}@${offset}`),
    ...moved.map((topic) => `--offsets ${topic}`),
  ]
  throw refused(
    `a restore goes on from ${where.join(', ')}, while the pipeline has read other records since: their output may be written again, or left out. If that is meant: --accept-rewrite`,
  )
}

/** @throws SAVEPOINT_REFUSED */
async function positionsOf(options: RestoreOptions, task: TaskPlan, topology: Topology): Promise<SourcePosition[]> {
  const { cluster, plan, savepoint, offsets } = options
  const hops = new Set(plan.hops.map((hop) => hop.topic))
  const chosen: SourcePosition[] = []
  for (const { topic, partition } of task.inputs) {
    const at = (offset: bigint): SourcePosition => ({ topic, partition, offset, leaderEpoch: -1 })
    const given = offsets.get(topic)
    const saved = savepoint.tasks
      .flatMap(({ positions }) => positions)
      .find((position) => position.topic === topic && position.partition === partition)
    if (hops.has(topic)) chosen.push(at((await cluster.logRange(topic, partition)).start))
    else if (given) chosen.push(at(await givenOffset(cluster, topic, partition, given)))
    else {
      checkCount(savepoint, task, topic, topology)
      const source = task.stage.sources.find((each) => each.topics.includes(topic))
      chosen.push(saved ?? at(await cluster.startOffset(topic, partition, source?.connector.start ?? 'earliest')))
    }
  }
  return chosen
}

async function givenOffset(
  cluster: Cluster,
  topic: string,
  partition: number,
  given: NonNullable<ReturnType<RestoreOptions['offsets']['get']>>,
): Promise<bigint> {
  if (typeof given !== 'object' || 'timestamp' in given) return cluster.startOffset(topic, partition, given)
  const text = given.file[String(partition)]
  const { start, end } = await cluster.logRange(topic, partition)
  const offset = text !== undefined && /^\d+$/.test(text) ? BigInt(text) : -1n
  if (offset >= start && offset <= end) return offset
  throw refused(
    `the offsets file has ${text === undefined ? 'nothing' : `'${text}'`} for ${topic}-${partition}; the log holds ${start} to ${end}`,
  )
}

/** Unread records of a keyed stage lie where their keys were: they would meet the state of other keys. */
function checkCount(savepoint: Savepoint, task: TaskPlan, topic: string, topology: Topology): void {
  const was = savepoint.topics[topic]
  const now = topology.topics.get(topic)
  if (!task.stage.keyed || !was || !now || was.partitions === now.partitions) return
  throw refused(
    `topic ${topic} of the keyed stage '${task.stage.id}' had ${was.partitions} partitions, now ${now.partitions}: its unread records are not where their keys belong now. Read the old partitions to their ends before the savepoint, and say where to begin: --offsets ${topic}=latest (or another place)`,
  )
}

async function nextId(
  store: CheckpointStore,
  savepoint: Savepoint,
  committed: readonly CommittedOffset[],
  topology: Topology,
): Promise<CheckpointId> {
  const stored = (await store.list()).flatMap((name) => parseFileName(name)?.checkpoint ?? [])
  const pointers = topology.tasks.flatMap((task) => pointersOf(committed, task).map(({ checkpoint }) => checkpoint))
  const saved = savepoint.tasks.map(({ checkpoint }) => checkpointId(checkpoint))
  const highest = [...stored, ...pointers, ...saved].reduce((a, b) => (a > b ? a : b), checkpointId(0))
  return checkpointId(highest + 1n)
}

async function writeTask(
  { plan, settings, store, savepoint }: RestoreOptions,
  topology: Topology,
  task: TaskPlan,
  id: CheckpointId,
  positions: readonly SourcePosition[],
  writer: SegmentWriter,
  committed: readonly CommittedOffset[],
): Promise<string> {
  const topics = [...topology.topics].map(
    ([name, info]) => [name, { id: info.id, partitions: info.partitions }] as const,
  )
  const incarnation = nonce()
  const name = fileName(id, 'savepoint', incarnation)
  const saved = savepoint.tasks.find((each) => each.task === task.id)
  const file = encodeFile(
    name,
    {
      ...{
        pipeline: plan.pipeline,
        checkpoint: id,
        instance: 'savepoint',
        incarnation,
        mode: settings.mode,
        transaction: null,
      },
      topics: Object.fromEntries(topics),
    },
    [
      {
        task: task.id,
        parent: pointersOf(committed, task)[0] ?? null,
        positions,
        handles: savepoint.pipeline === plan.pipeline ? (saved?.handles ?? []) : [],
        segment: writer.finish('drop-empty'),
        chain: (at, position, parts) => (parts ? [segmentRef(at, position, parts, 'base-whole')] : []),
      },
    ],
  )
  await store.create(name, file.parts)
  return encodePointer(file.pointer)
}

/** All rows that belong to a task now. */
async function rowsFor(
  { folder, savepoint }: RestoreOptions,
  task: TaskPlan,
  topology: Topology,
): Promise<SegmentWriter> {
  const writer = new SegmentWriter()
  const declared = new Map(statesOfStage(task.stage).map((each) => [nameOf(each), writer.register(each)] as const))
  const tasksNow = topology.tasks.filter((each) => each.stage === task.stage).length
  for (const saved of savepoint.tasks) {
    if (!saved.states.some((each) => declared.has(nameOf(each)))) continue
    const tasksThen = savepoint.tasks.filter((each) => each.stage === saved.stage).length
    // With as many tasks as before every key is where it was.
    if (tasksThen === tasksNow && saved.partition !== task.partition) continue
    const belongs = tasksThen === tasksNow ? () => true : ownedBy(task.partition, tasksNow, saved)
    await copyRows(folder, saved, writer, declared, belongs)
  }
  return writer
}

type Belongs = (key: Buffer, identity: StateIdentity) => boolean

/** Keys are where the default partitioner puts them: murmur2 of their bytes. */
function ownedBy(partition: number, tasks: number, saved: SavedTask): Belongs {
  return (key, identity) => {
    const nullable = identity.key.startsWith('nullable(')
    if (nullable && key[0] === NULL_KEY) {
      throw refused(
        `operator '${identity.operator}' has state for records without a key in task ${saved.task}: it belongs to no partition of another number of them`,
      )
    }
    const start = nullable ? 1 : 0
    return partitionOf(key, start, key.length - start, tasks) === partition
  }
}

async function copyRows(
  folder: string,
  saved: SavedTask,
  writer: SegmentWriter,
  declared: ReadonlyMap<string, number>,
  belongs: Belongs,
): Promise<void> {
  for await (const segment of readSegments(folder, saved)) {
    const reader = new SegmentReader([segment], (identity) => {
      const state = declared.get(nameOf(identity))
      if (state === undefined) return { apply() {} }
      return {
        apply: (op, key, at, value) => {
          if (belongs(key, identity)) writer.raw(state, op, key, at, value)
        },
      }
    })
    reader.replay(Number.POSITIVE_INFINITY)
  }
}

/** For messages: where a restored pipeline goes on. */
export function describePositions(positions: readonly SourcePosition[]): string {
  return positions.map(({ topic, partition, offset }) => `${partitionKey(topic, partition)}@${offset}`).join(', ')
}

/** @throws MillraceError USAGE */
export function parseOffsets(text: string): { readonly topic: string; readonly to: string } {
  const at = text.indexOf('=')
  if (at > 0 && at < text.length - 1) return { topic: text.slice(0, at), to: text.slice(at + 1) }
  throw new MillraceError('USAGE', `--offsets ${text}: topic=earliest|latest|<timestamp in ms>|<file.json> is expected`)
}
