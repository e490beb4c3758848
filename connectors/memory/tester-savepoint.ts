// A savepoint of a pipeline in memory, and what its tasks begin with when it is restored: by the same code, and in the same format, as on a cluster.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { CheckpointId, TaskId } from '../../src/base/ids.ts'
import type { SegmentMark, SourcePosition, TaskSnapshot } from '../../src/base/messages.ts'
import { type Savepoint, type TaskToSave, writeSavepoint } from '../../src/checkpoint/savepoint.ts'
import type { Plan } from '../../src/worker/job.ts'
import { nameOf, readsHop, statesOf } from '../../src/worker/savepoint.ts'
import { checkDiff, diffSavepoint } from '../../src/worker/savepoint-plan.ts'
import { SavepointRows } from '../../src/worker/savepoint-rows.ts'
import type { TaskPlan } from '../../src/worker/topology.ts'

/** A task's part of the last checkpoint. */
export interface Saved {
  readonly positions: readonly SourcePosition[]
  readonly chain: readonly { readonly ref: string; readonly mark: SegmentMark; readonly bytes: Buffer }[]
  readonly handles: TaskSnapshot['handles']
}

export interface MemoryPipeline {
  readonly plan: Plan
  readonly tasks: readonly TaskPlan[]
}

/** What the tasks of `next` begin with after a savepoint of `before`. @throws SAVEPOINT_REFUSED, STATE_INCOMPATIBLE */
export async function carriedOver(
  before: MemoryPipeline,
  saved: ReadonlyMap<TaskId, Saved>,
  checkpoint: CheckpointId,
  next: MemoryPipeline,
): Promise<Map<TaskId, Saved>> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-tester-savepoint-'))
  try {
    const place = join(folder, 'savepoint')
    const savepoint = await write(place, before, saved, checkpoint)
    checkDiff(diffSavepoint(savepoint, next.plan), { droppedState: false, otherPipeline: false })
    const rows = new SavepointRows({ folder: place, savepoint })
    const carried = new Map<TaskId, Saved>()
    for (const task of next.tasks) carried.set(task.id, await partOf(savepoint, rows, task, next))
    return carried
  } finally {
    await rm(folder, { recursive: true })
  }
}

function write(
  place: string,
  { plan, tasks }: MemoryPipeline,
  saved: ReadonlyMap<TaskId, Saved>,
  checkpoint: CheckpointId,
): Promise<Savepoint> {
  const head = {
    pipeline: plan.pipeline,
    millrace: '-',
    taken: '-',
    topics: {},
    hops: plan.hops.map((hop) => hop.topic),
  }
  return writeSavepoint(
    place,
    head,
    tasks.map(({ id, stage, partition }): TaskToSave => {
      const { positions = [], chain = [], handles = [] } = saved.get(id) ?? {}
      const states = chain.flatMap(({ bytes }) => statesOf(bytes))
      return {
        ...{ task: id, stage: stage.id, partition, hop: readsHop(stage), checkpoint: checkpoint.toString() },
        ...{ positions, handles },
        states: () => [...new Map(states.map((each) => [nameOf(each), each])).values()],
        async *read() {
          for (const { bytes } of chain) yield bytes
        },
      }
    }),
  )
}

async function partOf(
  savepoint: Savepoint,
  rows: SavepointRows,
  task: TaskPlan,
  { plan, tasks }: MemoryPipeline,
): Promise<Saved> {
  const hops = new Set(plan.hops.map(({ topic }) => topic))
  const known = savepoint.tasks.flatMap(({ positions }) => positions)
  const positions = task.inputs.map(({ topic, partition }): SourcePosition => {
    const was = known.find((each) => each.topic === topic && each.partition === partition)
    return was && !hops.has(topic) ? was : { topic, partition, offset: 0n, leaderEpoch: -1 }
  })
  const chain: { ref: string; mark: SegmentMark; bytes: Buffer }[] = []
  for await (const writer of rows.task(task, tasks)) {
    const segment = writer.finish('drop-empty')
    const mark = chain.length === 0 ? ('base-whole' as const) : ('delta' as const)
    if (segment) chain.push({ ref: `restored ${task.id} ${chain.length}`, mark, bytes: Buffer.concat(segment) })
  }
  return { positions, chain, handles: [] }
}
