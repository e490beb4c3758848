// The file of one checkpoint: manifest and new segments of all tasks of a worker, durable when `write` returns.

import { bytesOf } from '../base/byte-writer.ts'
import type { CheckpointStore } from '../base/checkpoint-store.ts'
import { delay } from '../base/clock.ts'
import { isCode, MillraceError, messageOf } from '../base/errors.ts'
import type { CheckpointId } from '../base/ids.ts'
import type { Logger } from '../base/log.ts'
import type { TaskSnapshot } from '../base/messages.ts'
import { encodeFile, fileName, type Manifest, type Pointer, type SegmentRef, segmentRef } from '../checkpoint/file.ts'
import type { TransactionRecord } from '../dataflow/ports.ts'
import { releaseSegment } from '../state/segment.ts'
import { nextChain } from '../state/task-state.ts'
import type { Plan, Settings } from './job.ts'
import type { Topology } from './topology.ts'

const NOTHING = Buffer.alloc(0)

export interface CheckpointWriterEnvironment {
  readonly plan: Plan
  readonly settings: Settings
  readonly topology: Topology
  readonly store: CheckpointStore
  readonly instance: string
  readonly incarnation: string
  readonly log: Logger
}

/** A task's snapshot, and what it stands on: the pointer and the files of the checkpoint before. */
export interface SnapshotToWrite {
  readonly snapshot: TaskSnapshot
  readonly parent: Pointer | null
  readonly chain: readonly SegmentRef[]
}

export interface WrittenCheckpoint {
  readonly manifest: Manifest
  readonly pointer: Pointer
  readonly bytes: number
}

export class CheckpointWriter {
  readonly #env: CheckpointWriterEnvironment
  #stopped = false

  constructor(env: CheckpointWriterEnvironment) {
    this.#env = env
  }

  /** A write under way is not tried again. */
  stop(): void {
    this.#stopped = true
  }

  async write(
    id: CheckpointId,
    transaction: TransactionRecord,
    snapshots: readonly SnapshotToWrite[],
  ): Promise<WrittenCheckpoint> {
    const { plan, settings, instance, incarnation, topology } = this.#env
    const name = fileName(id, instance, incarnation)
    const topics = [...topology.topics].map(([topic, { id, partitions }]) => [topic, { id, partitions }] as const)
    const head = {
      pipeline: plan.pipeline,
      checkpoint: id,
      instance,
      incarnation,
      mode: settings.mode,
      transaction: settings.mode === 'exactly-once' ? transaction : null,
      topics: Object.fromEntries(topics),
    }
    const tasks = snapshots.map(({ snapshot, parent, chain }) => {
      const { task, positions, segment, mark, handles } = snapshot
      const lengthened = (file: string, position: number, parts: readonly Buffer[] | null): readonly SegmentRef[] =>
        nextChain(chain, parts && segmentRef(file, position, parts, mark))
      return { task, positions, segment, handles, parent, chain: lengthened }
    })
    const { parts, pointer, manifest } = encodeFile(name, head, tasks)
    await this.#create(name, parts, id)
    if (settings.verify) await this.#verify(name, parts)
    for (const { snapshot } of snapshots)
      if (snapshot.segment && !snapshot.keepsSegments) releaseSegment(snapshot.segment)
    return { manifest, pointer, bytes: pointer.length }
  }

  /** @throws STORE_UNWRITABLE */
  async #verify(name: string, parts: readonly Buffer[]): Promise<void> {
    const { store } = this.#env
    const found = await store.read(name)
    const length = bytesOf(parts)
    let at = 0
    const isSame = (part: Buffer): boolean => {
      at += part.length
      return part.equals((found ?? NOTHING).subarray(at - part.length, at))
    }
    if (found?.length === length && parts.every(isSame)) return
    // Nothing names it; who goes through the store's files would stop at it.
    await store.delete(name)
    const what = found ? `${found.length} bytes that are not the ${length} written` : 'nothing'
    throw new MillraceError(
      'STORE_UNWRITABLE',
      `checkpoint file ${name} was written to ${store.location}, which gives ${what}: nothing of it is committed; check the disk or the storage behind it`,
    )
  }

  /** Past its barrier a checkpoint cannot be skipped: the frozen snapshot is written again until the time-out. */
  async #create(name: string, parts: readonly Buffer[], id: CheckpointId): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.#env.store.create(name, parts)
      } catch (error) {
        if (this.#stopped || !isCode(error, 'STORE_UNWRITABLE')) throw error
        this.#env.log.warn(
          { checkpoint: id.toString(), attempt, error: messageOf(error) },
          'checkpoint file not written, trying again',
        )
        await delay(Math.min(100 * 2 ** attempt, 2_000))
        if (this.#stopped) throw error
      }
    }
  }
}
