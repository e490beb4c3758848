// Restores a savepoint: a checkpoint per task, written into the pipeline's store and committed like `millrace reset` does it. Rows go
// to the task that owns their operator and key now; repartition topics begin anew.
//
// A restore is a new timeline: what the pipeline wrote after the savepoint is written again. Where nothing was, nothing is said.

import type { CheckpointStore } from '../base/checkpoint-store.ts'
import { nonce } from '../base/clock.ts'
import { MillraceError } from '../base/errors.ts'
import { type CheckpointId, checkpointId, partitionKey } from '../base/ids.ts'
import type { Logger } from '../base/log.ts'
import type { SourcePosition } from '../base/messages.ts'
import { encodeFile, encodePointer, fileName, parseFileName, type SegmentRef, segmentRef } from '../checkpoint/file.ts'
import { readSegments, type Savepoint } from '../checkpoint/savepoint.ts'
import type { Cluster, CommittedOffset, TopicInfo } from '../dataflow/ports.ts'
import { names, type Plan, type Settings, type Stage } from './job.ts'
import type { ResetTarget } from './reset.ts'
import { refused, taskPointers, unreadHops } from './savepoint.ts'
import { SavepointRows } from './savepoint-rows.ts'
import { checkStopped } from './stop-request.ts'
import { plannedTasks, prepareTopology, recreatedBroadcasts, type TaskPlan, type Topology } from './topology.ts'

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

/** @throws GROUP_NOT_EMPTY, SAVEPOINT_REFUSED, SAVEPOINT_INVALID, STATE_INCOMPATIBLE; all that {@link plannedTasks} throws */
export async function restoreSavepoint(options: RestoreOptions): Promise<RestoreResult> {
  const { cluster, plan, settings, store, savepoint, log } = options
  for (const name of new Set([savepoint.pipeline, plan.pipeline])) await checkStopped(cluster, names.group(name), name)
  await store.open(plan.pipeline)
  const open = (await cluster.openTransactions(names.prefix(plan.pipeline))).filter(
    (id) => names.instanceOf(plan.pipeline, id) !== undefined,
  )
  await cluster.resolveTransactions(open)
  // All that may be refused comes before anything is changed.
  await verify(options)
  const committed = await cluster.committedOffsets(plan.group, null)
  await checkSources(options, committed)
  const saved = new SavepointRows(options)
  const planned = await plannedTasks(cluster, plan, settings)
  checkHandles(options, planned)
  if (plan.hops.length > 0) await checkRows(saved, planned)
  for (const hop of plan.hops) await cluster.deleteTopic(hop.topic)
  const topology = await prepareTopology(cluster, plan, settings, log)
  const id = await nextId(store, savepoint, committed, topology)
  const tasks: { task: string; rows: number; positions: SourcePosition[] }[] = []
  const offsets: (SourcePosition & { metadata: string })[] = []
  for (const task of topology.tasks) {
    const positions: SourcePosition[] = []
    for (const { topic, partition } of task.inputs)
      positions.push(await positionOf(options, task.stage, topic, partition))
    const { metadata, rows } = await writeTask(options, saved, topology, task, id, positions, committed)
    offsets.push(...positions.map((position) => ({ ...position, metadata })))
    tasks.push({ task: task.id, rows, positions })
  }
  await cluster.resetOffsets(plan.group, offsets)
  return { checkpoint: id.toString(), tasks }
}

/** Every byte, before a decision is based on it. @throws SAVEPOINT_INVALID */
async function verify({ folder, savepoint }: RestoreOptions): Promise<void> {
  for (const task of savepoint.tasks) for await (const _ of readSegments(folder, task));
}

/** Rows that cannot be restored are found while the old code could still go on. @throws SAVEPOINT_REFUSED, STATE_INCOMPATIBLE */
async function checkRows(saved: SavepointRows, tasks: readonly TaskPlan[]): Promise<void> {
  for (const task of tasks) for await (const _ of saved.task(task, tasks));
}

/** Source topics as they are now, against what was saved and what was read since. @throws SAVEPOINT_REFUSED, TOPIC_UNKNOWN */
async function checkSources(options: RestoreOptions, committed: readonly CommittedOffset[]): Promise<void> {
  const { cluster, plan, savepoint, offsets, acceptRewrite } = options
  const other =
    savepoint.pipeline === plan.pipeline ? [] : await cluster.committedOffsets(names.group(savepoint.pipeline), null)
  const known = [...committed, ...other].filter(({ offset }) => offset >= 0n)
  const differing: string[] = []
  for (const stage of plan.stages) {
    for (const topic of stage.sources.flatMap(({ kind, topics }) => (kind === 'source' ? topics : []))) {
      const now = (await cluster.topics([topic])).get(topic)
      if (!now)
        throw new MillraceError(
          'TOPIC_UNKNOWN',
          `topic ${topic}, which '${plan.pipeline}' reads, is missing on the cluster`,
        )
      if (!offsets.has(topic)) checkTopic(savepoint, stage, now)
      for (let partition = 0; partition < now.partitions; partition++) {
        const { offset } = await positionOf(options, stage, topic, partition)
        const read = known.filter((row) => row.topic === topic && row.partition === partition)
        if (read.some((row) => row.offset !== offset)) differing.push(`${partitionKey(topic, partition)}@${offset}`)
      }
    }
  }
  await checkBroadcasts(options)
  const lost = await unreadHops(cluster, plan)
  differing.push(
    ...lost.map(({ topic, partition, records }) => `${partitionKey(topic, partition)} (${records} unread records go)`),
  )
  if (acceptRewrite) return
  if (differing.length > 0) {
    throw refused(
      `the restored pipeline goes on from ${differing.join(', ')}, which is not where it is now: output may be written again, or left out. If that is meant: --accept-rewrite`,
    )
  }
  if (known.length === 0)
    throw refused(
      `group ${names.group(savepoint.pipeline)} has no offsets any more, so nobody knows what was read since the savepoint: output may be written again. If that is meant: --accept-rewrite`,
    )
}

/** What was read of a broadcast topic is state. @throws SAVEPOINT_REFUSED */
async function checkBroadcasts({ cluster, plan, savepoint }: RestoreOptions): Promise<void> {
  const [topic] = recreatedBroadcasts(plan, savepoint.topics, await cluster.topics(plan.broadcastTopics))
  if (topic !== undefined)
    throw refused(
      `broadcast topic ${topic} was deleted and created again since the savepoint, or is on another cluster: the state that was made of it has no place in the new one. Give its operator a new name, and the old state up: --allow-dropped-state`,
    )
}

/** What other systems prepared for a decided checkpoint is theirs to commit, by the task and sink that have it. @throws SAVEPOINT_REFUSED */
function checkHandles({ savepoint, plan, acceptRewrite }: RestoreOptions, tasks: readonly TaskPlan[]): void {
  if (acceptRewrite) return
  const now = new Set(tasks.flatMap(({ id, stage }) => stage.nodes.map((node) => `sink '${node.id}' of task ${id}`)))
  const left = savepoint.tasks
    .flatMap(({ task, handles }) => handles.map(({ operator }) => `sink '${operator}' of task ${task}`))
    .filter((sink) => savepoint.pipeline !== plan.pipeline || !now.has(sink))
  if (left.length === 0) return
  throw refused(
    `${left.join(', ')} prepared a transaction that '${plan.pipeline}' would not commit. If the pipeline ran or stopped in order since (then it is committed), or is not needed: --accept-rewrite; otherwise start the old code once, and stop it`,
  )
}

/** @throws SAVEPOINT_REFUSED */
async function positionOf(
  options: RestoreOptions,
  stage: Stage,
  topic: string,
  partition: number,
): Promise<SourcePosition> {
  const { cluster, plan, savepoint, offsets } = options
  const at = (offset: bigint): SourcePosition => ({ topic, partition, offset, leaderEpoch: -1 })
  if (plan.hops.some((hop) => hop.topic === topic)) return at((await cluster.logRange(topic, partition)).start)
  const given = offsets.get(topic)
  if (given) return at(await givenOffset(cluster, topic, partition, given))
  const saved = savepoint.tasks
    .flatMap(({ positions }) => positions)
    .find((position) => position.topic === topic && position.partition === partition)
  if (saved) return saved
  const source = stage.sources.find((each) => each.topics.includes(topic))
  return at(await cluster.startOffset(topic, partition, source?.connector.start ?? 'earliest'))
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

/** @throws SAVEPOINT_REFUSED */
function checkTopic(savepoint: Savepoint, stage: Stage, now: TopicInfo): void {
  const was = savepoint.topics[now.name]
  if (!was) return
  if (was.id !== now.id) {
    throw refused(
      `topic ${now.name} was deleted and created again since the savepoint, or is on another cluster: its offsets mean other records. Say where to begin: --offsets ${now.name}=earliest (or another place)`,
    )
  }
  // Unread records lie where their keys were: they would meet the state of other keys.
  if (stage.keyed && was.partitions !== now.partitions) {
    throw refused(
      `topic ${now.name} of the keyed stage '${stage.id}' had ${was.partitions} partitions, now ${now.partitions}: its unread records are not where their keys belong now. Read the old partitions to their ends before the savepoint, and say where to begin: --offsets ${now.name}=latest (or another place)`,
    )
  }
}

async function nextId(
  store: CheckpointStore,
  savepoint: Savepoint,
  committed: readonly CommittedOffset[],
  topology: Topology,
): Promise<CheckpointId> {
  const stored = (await store.list()).flatMap((name) => parseFileName(name)?.checkpoint ?? [])
  const pointers = topology.tasks.flatMap((task) => taskPointers(committed, task).map(({ checkpoint }) => checkpoint))
  const saved = savepoint.tasks.map(({ checkpoint }) => checkpointId(checkpoint))
  const highest = [...stored, ...pointers, ...saved].reduce((a, b) => (a > b ? a : b), checkpointId(0))
  return checkpointId(highest + 1n)
}

/** A file for each segment: no more than one of them is in memory. The last one has the whole chain, and is the task's checkpoint. */
async function writeTask(
  options: RestoreOptions,
  rowsOf: SavepointRows,
  topology: Topology,
  task: TaskPlan,
  id: CheckpointId,
  positions: readonly SourcePosition[],
  committed: readonly CommittedOffset[],
): Promise<{ readonly metadata: string; readonly rows: number }> {
  const { plan, settings, store, savepoint } = options
  const topics = [...topology.topics].map(
    ([name, info]) => [name, { id: info.id, partitions: info.partitions }] as const,
  )
  const saved = savepoint.tasks.find((each) => each.task === task.id)
  let chain: readonly SegmentRef[] = []
  let metadata = ''
  let rows = 0
  for await (const writer of rowsOf.task(task, topology.tasks)) {
    const incarnation = nonce()
    const mark = chain.length === 0 ? 'base-whole' : 'delta'
    const file = encodeFile(
      fileName(id, 'savepoint', incarnation),
      {
        ...{ pipeline: plan.pipeline, checkpoint: id, instance: 'savepoint', incarnation, mode: settings.mode },
        transaction: null,
        topics: Object.fromEntries(topics),
      },
      [
        {
          task: task.id,
          parent: taskPointers(committed, task)[0] ?? null,
          positions,
          handles: savepoint.pipeline === plan.pipeline ? (saved?.handles ?? []) : [],
          segment: writer.finish('drop-empty'),
          chain: (at, position, parts) => (parts ? [...chain, segmentRef(at, position, parts, mark)] : chain),
        },
      ],
    )
    await store.create(file.pointer.file, file.parts)
    chain = file.manifest.tasks[0]?.chain ?? []
    metadata = encodePointer(file.pointer)
    rows += writer.rowCount
  }
  return { metadata, rows }
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
