// Takes a savepoint of a pipeline: every task's newest committed checkpoint, copied. Running pipelines without repartition topics can
// be saved as they are: their tasks do not depend on one another. What is in a repartition topic belongs to both sides
// of it, so with one the pipeline must have come to rest: stopped, and all of it read.

import type { CheckpointStore } from '../base/checkpoint-store.ts'
import { wallMs } from '../base/clock.ts'
import { isCode, MillraceError } from '../base/errors.ts'
import type { Logger } from '../base/log.ts'
import { type Pointer, pointersOf } from '../checkpoint/file.ts'
import {
  readSegments,
  type SavedTask,
  type Savepoint,
  type TaskToSave,
  writeSavepoint,
} from '../checkpoint/savepoint.ts'
import type { Cluster, CommittedOffset } from '../dataflow/ports.ts'
import type { StateIdentity } from '../state/segment.ts'
import { SegmentReader } from '../state/segment-reader.ts'
import type { Plan, Settings, Stage } from './job.ts'
import { Recovery, type RestoredTask } from './recovery.ts'
import { checkStopped, isEmpty } from './stop-request.ts'
import { prepareTopology, type TaskPlan, type Topology } from './topology.ts'

/** A pipeline that runs cleans up files under our hands: the copy begins again. */
const ATTEMPTS = 5

export interface SavepointOptions {
  readonly cluster: Cluster
  readonly plan: Plan
  readonly settings: Settings
  readonly store: CheckpointStore
  readonly folder: string
  /** Of this package. */
  readonly release: string
  readonly log: Logger
}

/** @throws SAVEPOINT_REFUSED, SAVEPOINT_INVALID, CHECKPOINT_MISSING, CHECKPOINT_CORRUPT, OFFSETS_MISSING */
export async function createSavepoint(options: SavepointOptions): Promise<Savepoint> {
  const { cluster, plan, settings, log } = options
  const topology = await prepareTopology(cluster, plan, settings, log)
  for (let attempt = 1; ; attempt++) {
    try {
      return await copyAll(options, topology)
    } catch (error) {
      if (!isCode(error, 'CHECKPOINT_MISSING', 'GENERATION_STALE')) throw error
      if (isEmpty(await cluster.groupState(plan.group))) throw error
      if (attempt === ATTEMPTS)
        throw refused(
          `'${plan.pipeline}' runs on faster than its checkpoints can be copied (${ATTEMPTS} attempts); use --stop`,
        )
      log.info({ attempt }, 'the pipeline went on meanwhile: copying again')
    }
  }
}

async function copyAll(options: SavepointOptions, topology: Topology): Promise<Savepoint> {
  const { cluster, plan, store, folder, release, log } = options
  if (plan.hops.length > 0) await checkAtRest(cluster, plan)
  const recovery = new Recovery({ cluster, plan, store, topology, log, onStep: () => {} })
  const restored = await recovery.recover(topology.tasks, new Set(), new AbortController().signal)
  // Looking at the tasks has repaired what a crash left undecided: more may be in sight now.
  if (plan.hops.length > 0) await checkAtRest(cluster, plan)
  const strangers = restored.filter(({ pointer, incomplete }) => pointer === null || incomplete)
  if (strangers.length > 0) {
    const names = strangers.map(({ task }) => task.id).join(', ')
    throw refused(
      `${names} of '${plan.pipeline}' ${strangers.length === 1 ? 'has' : 'have'} no committed checkpoint yet: let the pipeline run once`,
    )
  }
  const tasks = restored.map((each) => taskToSave(each, recovery))
  const topics = [...topology.topics].map(([name, { id, partitions }]) => [name, { id, partitions }] as const)
  const savepoint = await writeSavepoint(
    folder,
    {
      pipeline: plan.pipeline,
      millrace: release,
      taken: new Date(wallMs()).toISOString(),
      topics: Object.fromEntries(topics),
      hops: plan.hops.map((hop) => hop.topic),
    },
    tasks,
  )
  log.debug({ folder }, 'savepoint written')
  return savepoint
}

function taskToSave(restored: RestoredTask, recovery: Recovery): TaskToSave {
  const { task, pointer, positions, handles } = restored
  const states = new Map<string, StateIdentity>()
  return {
    task: task.id,
    stage: task.stage.id,
    partition: task.partition,
    hop: readsHop(task.stage),
    checkpoint: pointer?.checkpoint.toString() ?? '0',
    positions,
    handles,
    states: () => [...states.values()],
    async *read() {
      for (const part of recovery.chainOf(restored)) {
        const segment = await part.read()
        for (const identity of statesOf(segment)) states.set(nameOf(identity), identity)
        yield segment
      }
    },
  }
}

export const readsHop = (stage: Stage): boolean => stage.sources.some(({ kind }) => kind === 'hop')

/** What a segment's dictionary names. */
export function statesOf(segment: Buffer): StateIdentity[] {
  const states: StateIdentity[] = []
  new SegmentReader([segment], (identity) => {
    states.push(identity)
    return { apply() {} }
  })
  return states
}

export const nameOf = ({ operator, name }: StateIdentity): string => `${operator}.${name}`

export function refused(text: string): MillraceError {
  return new MillraceError('SAVEPOINT_REFUSED', text)
}

/** @throws GROUP_NOT_EMPTY, SAVEPOINT_REFUSED */
async function checkAtRest(cluster: Cluster, plan: Plan): Promise<void> {
  await checkStopped(cluster, plan.group, plan.pipeline)
  const left = await unreadHops(cluster, plan)
  if (left.length === 0) return
  const list = left.map(({ topic, partition, records }) => `${topic}-${partition} (${records})`).join(', ')
  throw refused(
    `repartition topics of '${plan.pipeline}' hold records that are not read yet: ${list}. Use --drain: it reads them, and nothing else, first`,
  )
}

/** Partitions of repartition topics whose committed offset is not their end. */
export async function unreadHops(
  cluster: Cluster,
  plan: Plan,
): Promise<{ readonly topic: string; readonly partition: number; readonly records: bigint }[]> {
  const names = plan.hops.map((hop) => hop.topic)
  const topics = await cluster.topics(names)
  const partitions = [...topics.values()].flatMap(({ name, partitions }) =>
    Array.from({ length: partitions }, (_, partition) => ({ topic: name, partition })),
  )
  const committed = await cluster.committedOffsets(plan.group, partitions)
  const left: { topic: string; partition: number; records: bigint }[] = []
  for (const { topic, partition } of partitions) {
    const { start, end } = await cluster.logRange(topic, partition)
    const row = committed.find((each) => each.topic === topic && each.partition === partition)
    const next = row && row.offset >= 0n ? row.offset : start
    if (next < end) left.push({ topic, partition, records: end - next })
  }
  return left
}

/** Pointers that the offsets of a task's inputs carry. */
export function taskPointers(rows: readonly CommittedOffset[], task: TaskPlan): Pointer[] {
  const ours = ({ topic, partition }: CommittedOffset): boolean =>
    task.inputs.some((input) => input.topic === topic && input.partition === partition)
  return [...pointersOf(rows.filter(ours)).values()]
}

/** Counts rows, for those who look. */
export async function rowsOf(folder: string, task: SavedTask): Promise<number> {
  let rows = 0
  for await (const segment of readSegments(folder, task)) {
    const reader = new SegmentReader([segment], () => ({ apply: () => void rows++ }))
    reader.replay(Number.POSITIVE_INFINITY)
  }
  return rows
}
