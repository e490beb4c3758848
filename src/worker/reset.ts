// The exit of every loud stop about offsets: a new checkpoint, written on behalf of a stopped pipeline, whose positions are
// the chosen ones. It is committed like any other (offsets with a pointer), so that the next start finds nothing strange.
import type { CheckpointStore } from '../base/checkpoint-store.ts'
import { nonce } from '../base/clock.ts'
import { isCode, MillraceError } from '../base/errors.ts'
import { checkpointId } from '../base/ids.ts'
import type { Logger } from '../base/log.ts'
import type { SourcePosition } from '../base/messages.ts'
import {
  decodeFile,
  decodePointer,
  encodeFile,
  encodePointer,
  fileName,
  type Manifest,
  type NewTask,
  type Pointer,
  parseFileName,
  verifyFile,
} from '../checkpoint/file.ts'
import type { Cluster, CommittedOffset } from '../dataflow/ports.ts'
import { names, type Plan, type Settings } from './job.ts'
import { checkStopped } from './stop-request.ts'
import { storeOf } from './store.ts'
import { prepareTopology, recreatedBroadcasts, type TaskPlan, type Topology } from './topology.ts'

/** `file`: offsets by topic and partition; partitions that it does not name keep their committed offset. */
export type ResetTarget =
  | 'earliest'
  | 'latest'
  | { readonly timestamp: number }
  | { readonly file: Readonly<Record<string, Readonly<Record<string, string>>>> }

export interface ResetOptions {
  readonly plan: Plan
  readonly settings: Settings
  readonly to: ResetTarget
  /** Required for a pipeline with keyed state. */
  readonly state: 'keep' | 'drop' | undefined
  readonly log: Logger
}

export interface ResetResult {
  readonly checkpoint: string
  readonly offsets: readonly {
    readonly topic: string
    readonly partition: number
    readonly from: string
    readonly to: string
  }[]
}

/** @throws OPTION_INVALID, GROUP_NOT_EMPTY, CHECKPOINT_MISSING, CHECKPOINT_CORRUPT */
export async function resetPipeline(options: ResetOptions): Promise<ResetResult> {
  const { plan, settings, log } = options
  checkStateChoice(options)
  const cluster = await plan.factory.connect(settings.kafka, `${settings.instance}-reset`, log)
  try {
    await checkStopped(cluster, plan.group, plan.pipeline)
    const store = storeOf(cluster, plan, settings)
    await store.open(plan.pipeline)
    const topology = await prepareTopology(cluster, plan, settings, log)
    checkTarget(options, topology)
    const open = (await cluster.openTransactions(names.prefix(plan.pipeline))).filter(
      (id) => names.instanceOf(plan.pipeline, id) !== undefined,
    )
    await cluster.resolveTransactions(open)
    const committed = await cluster.committedOffsets(plan.group, null)
    return await writeReset(options, cluster, store, topology, committed)
  } finally {
    await cluster[Symbol.asyncDispose]()
  }
}

function checkStateChoice({ plan, state }: ResetOptions): void {
  const keyed = plan.graph.nodes.some((node) => node.kind === 'keyed')
  if (keyed && state === undefined) {
    throw new MillraceError(
      'OPTION_INVALID',
      `'${plan.pipeline}' has keyed state; say what becomes of it: --state keep (state and new offsets together) or --state drop`,
    )
  }
  if (state === 'keep' && plan.hops.length > 0) {
    const hops = plan.hops.map((hop) => hop.topic).join(', ')
    throw new MillraceError(
      'OPTION_INVALID',
      `--state keep is not possible with repartition topics (${hops}): what is still in them would be processed before the new offsets. Use --state drop`,
    )
  }
}

/** A mistyped name must not leave its partition where it was. */
function checkTarget({ to, plan }: ResetOptions, topology: Topology): void {
  if (typeof to !== 'object' || 'timestamp' in to) return
  const read = new Set(
    topology.tasks.flatMap(({ inputs }) => inputs.map((input) => `${input.topic}-${input.partition}`)),
  )
  const named = Object.entries(to.file).flatMap(([topic, rows]) =>
    Object.keys(rows).map((partition) => `${topic}-${partition}`),
  )
  const strange = named.filter((each) => !read.has(each))
  if (strange.length === 0) return
  throw new MillraceError(
    'OPTION_INVALID',
    `the offsets file names ${strange.join(', ')}, which '${plan.pipeline}' does not read; it reads ${[...read].join(', ')}`,
  )
}

async function writeReset(
  options: ResetOptions,
  cluster: Cluster,
  store: CheckpointStore,
  topology: Topology,
  committed: readonly CommittedOffset[],
): Promise<ResetResult> {
  const { plan, settings, state } = options
  const files = new Map<string, Manifest>()
  const tasks: NewTask[] = []
  const changes: { topic: string; partition: number; from: string; to: string }[] = []
  for (const task of topology.tasks) {
    const rows = committed.filter((row) =>
      task.inputs.some((input) => input.topic === row.topic && input.partition === row.partition),
    )
    const pointer = rows.flatMap((row) => (row.offset >= 0n ? (decodePointer(row.metadata) ?? []) : []))[0] ?? null
    const positions: SourcePosition[] = []
    for (const { topic, partition } of task.inputs) {
      const row = rows.find((each) => each.topic === topic && each.partition === partition)
      const offset = await targetOffset(options, cluster, task, topic, partition, row)
      positions.push({ topic, partition, offset, leaderEpoch: -1 })
      changes.push({
        topic,
        partition,
        from: row && row.offset >= 0n ? row.offset.toString() : '-',
        to: offset.toString(),
      })
    }
    const entry = pointer
      ? await entryOf(store, files, pointer, task).catch((error: unknown) => lost(error, state))
      : undefined
    if (pointer && state === 'keep') checkBroadcasts(plan, topology, files.get(pointer.file))
    tasks.push({
      task: task.id,
      parent: pointer,
      positions,
      // What other systems prepared for a decided checkpoint is theirs to commit, whatever becomes of the state.
      handles: entry?.handles ?? [],
      segment: null,
      chain: () => (state === 'keep' ? (entry?.chain ?? []) : []),
    })
  }
  const ids = (await store.list()).flatMap((name) => parseFileName(name)?.checkpoint ?? [])
  const highest = [...ids, ...tasks.flatMap((task) => task.parent?.checkpoint ?? [])].reduce(
    (a, b) => (a > b ? a : b),
    checkpointId(0),
  )
  const id = checkpointId(highest + 1n)
  const incarnation = nonce()
  const head = {
    pipeline: plan.pipeline,
    checkpoint: id,
    instance: 'reset',
    incarnation,
    mode: settings.mode,
    transaction: null,
    topics: Object.fromEntries(
      [...topology.topics].map(([name, info]) => [name, { id: info.id, partitions: info.partitions }]),
    ),
  }
  const file = encodeFile(fileName(id, 'reset', incarnation), head, tasks)
  await store.create(file.pointer.file, file.parts)
  const metadata = encodePointer(file.pointer)
  await cluster.resetOffsets(
    plan.group,
    tasks.flatMap((task) => task.positions.map((position) => ({ ...position, metadata }))),
  )
  return { checkpoint: id.toString(), offsets: changes }
}

/** How far a broadcast topic was read is state: it means nothing in another topic. @throws OPTION_INVALID */
function checkBroadcasts(plan: Plan, topology: Topology, manifest: Manifest | undefined): void {
  const [topic] = recreatedBroadcasts(plan, manifest?.topics ?? {}, topology.topics)
  if (topic !== undefined) {
    const text = `broadcast topic ${topic} was deleted and created again: the state that was made of it does not go with the new one. Use --state drop; or create a savepoint, give its operator a new name, and restore with --allow-dropped-state`
    throw new MillraceError('OPTION_INVALID', text)
  }
}

/** A checkpoint that cannot be read is no obstacle where its state is given up anyway. */
function lost(error: unknown, state: ResetOptions['state']): undefined {
  if (state !== 'keep' && isCode(error, 'CHECKPOINT_MISSING', 'CHECKPOINT_CORRUPT', 'CHECKPOINT_MISMATCH'))
    return undefined
  throw error
}

async function entryOf(
  store: CheckpointStore,
  files: Map<string, Manifest>,
  pointer: Pointer,
  task: TaskPlan,
): Promise<Manifest['tasks'][number] | undefined> {
  let manifest = files.get(pointer.file)
  if (!manifest) {
    const bytes = await store.read(pointer.file)
    if (!bytes)
      throw new MillraceError(
        'CHECKPOINT_MISSING',
        `checkpoint file ${pointer.file} is not in store ${store.location}; its state cannot be kept: use --state drop, or restore the file`,
      )
    verifyFile(pointer, bytes)
    manifest = decodeFile(pointer.file, bytes)
    files.set(pointer.file, manifest)
  }
  return manifest.tasks.find((entry) => entry.task === task.id)
}

async function targetOffset(
  { plan, to }: ResetOptions,
  cluster: Cluster,
  task: TaskPlan,
  topic: string,
  partition: number,
  row: CommittedOffset | undefined,
): Promise<bigint> {
  // What is in a repartition topic belongs to state that is dropped: it is passed over.
  if (plan.hops.some((hop) => hop.topic === topic)) return (await cluster.logRange(topic, partition)).end
  if (typeof to !== 'object' || 'timestamp' in to) return cluster.startOffset(topic, partition, to)
  const named = to.file[topic]?.[String(partition)]
  if (named === undefined) {
    if (row && row.offset >= 0n) return row.offset
    throw new MillraceError(
      'OPTION_INVALID',
      `the offsets file has nothing for ${topic}-${partition} of task ${task.id}, and no offset is committed`,
    )
  }
  if (!/^\d+$/.test(named))
    throw new MillraceError(
      'OPTION_INVALID',
      `the offsets file has '${named}' for ${topic}-${partition}: a whole number in quotes is expected`,
    )
  const { start, end } = await cluster.logRange(topic, partition)
  const offset = BigInt(named)
  if (offset < start || offset > end)
    throw new MillraceError(
      'OPTION_INVALID',
      `offset ${offset} of ${topic}-${partition} is outside the log: it holds ${start} to ${end}`,
    )
  return offset
}
