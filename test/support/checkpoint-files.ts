// Checkpoint files for tests, of tasks with one partition each.
import { checkpointId, type TaskId } from '../../src/base/ids.ts'
import type { SegmentMark } from '../../src/base/messages.ts'
import {
  encodeFile,
  fileName,
  type Manifest,
  type Pointer,
  type SegmentRef,
  segmentRef,
} from '../../src/checkpoint/file.ts'
import { nextChain } from '../../src/state/task-state.ts'

export interface FileTask {
  readonly task: TaskId
  readonly offset: bigint
  readonly parent: Pointer | null
  /** The chain before this checkpoint. */
  readonly chain: readonly SegmentRef[]
  readonly segment: Buffer | null
  readonly mark?: SegmentMark
}

/** Lays out the file of checkpoint `id` as a worker does. */
export function fileOf(
  id: number,
  instance: string,
  tasks: readonly FileTask[],
): { readonly bytes: Buffer; readonly pointer: Pointer; readonly manifest: Manifest } {
  const name = fileName(checkpointId(id), instance, 'abc123')
  const head = {
    pipeline: 'tested',
    checkpoint: checkpointId(id),
    instance,
    incarnation: 'abc123',
    mode: 'exactly-once' as const,
    transaction: {
      transactionalId: `millrace.tested.${instance}.0`,
      producerId: '9007199254740993',
      epoch: 7,
      partitions: [{ topic: 'out', partition: 0, lastOffset: '9007199254740995' }],
    },
    topics: { in: { id: 'topic-id', partitions: 3 } },
  }
  const rows = tasks.map(({ task, offset, parent, chain, segment, mark = 'delta' }) => ({
    task,
    positions: [{ topic: 'in', partition: Number(task.split('/').at(-1)), offset, leaderEpoch: 2 }],
    handles: [{ operator: 'ledger', handle: { name: `handle of ${task}` } }],
    parent,
    // In two parts, as large ones are.
    segment: segment && [segment.subarray(0, 3), segment.subarray(3)],
    chain: (file: string, position: number, parts: readonly Buffer[] | null) =>
      nextChain(chain, parts && segmentRef(file, position, parts, mark)),
  }))
  const { parts, pointer, manifest } = encodeFile(name, head, rows)
  return { bytes: Buffer.concat(parts), pointer, manifest }
}
