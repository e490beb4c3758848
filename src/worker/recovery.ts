// Recovery of the assigned tasks: what the group's committed offsets say, the file that their pointer names, and the checks
// before anything runs. Nothing is guessed: whatever does not fit stops loudly and names its exit.

import type { CheckpointStore } from '../base/checkpoint-store.ts'
import { isCode, MillraceError } from '../base/errors.ts'
import type { TaskId } from '../base/ids.ts'
import type { Logger } from '../base/log.ts'
import { type SourcePosition, type StepListener, type TaskSnapshot, traced } from '../base/messages.ts'
import {
  decodeFile,
  decodePointer,
  encodePointer,
  isSegment,
  type Manifest,
  type Pointer,
  parseFileName,
  type SegmentRef,
  verifyFile,
} from '../checkpoint/file.ts'
import type { Cluster, CommittedOffset, TransactionRecord } from '../dataflow/ports.ts'
import type { ChainPart } from '../state/disk.ts'
import type { Plan } from './job.ts'
import type { TaskPlan, Topology } from './topology.ts'

const NEWEST_FILES = 20
/** Two ids are in turn: a worker's last two transactions, and files whose commit failed. */
const OWN_FILES = 4

export interface RestoredTask {
  readonly task: TaskPlan
  /** null: the task's very first start. */
  readonly pointer: Pointer | null
  readonly positions: readonly SourcePosition[]
  readonly chain: readonly SegmentRef[]
  readonly handles: TaskSnapshot['handles']
  /** The pointer does not cover all inputs: a checkpoint must be confirmed before the first record. */
  readonly incomplete: boolean
}

const EXIT = 'Choose where to go on with `millrace reset <module> --to earliest|latest|timestamp|<file>`'

export interface RecoveryOptions {
  readonly cluster: Cluster
  readonly plan: Plan
  readonly store: CheckpointStore
  readonly topology: Topology
  readonly log: Logger
  readonly onStep: StepListener
}

export class Recovery {
  readonly #cluster: Cluster
  readonly #plan: Plan
  readonly #store: CheckpointStore
  readonly #topology: Topology
  readonly #log: Logger
  readonly #onStep: StepListener
  readonly #files = new Map<string, Manifest>()

  constructor(options: RecoveryOptions) {
    this.#cluster = options.cluster
    this.#plan = options.plan
    this.#store = options.store
    this.#topology = options.topology
    this.#log = options.log
    this.#onStep = options.onStep
  }

  /** `confirmed`: transactions that this worker confirmed itself need no second look. */
  async recover(
    tasks: readonly TaskPlan[],
    confirmed: ReadonlySet<string>,
    signal: AbortSignal,
  ): Promise<RestoredTask[]> {
    const partitions = tasks.flatMap((task) => task.inputs.map(({ topic, partition }) => ({ topic, partition })))
    const offsets = await traced(this.#onStep, 'read-offsets', () =>
      this.#cluster.committedOffsets(this.#plan.group, partitions, {
        signal,
        suspects: () => newestTransactions(this.#store),
      }),
    )
    const restored: RestoredTask[] = []
    for (const task of tasks) {
      const rows = offsets.filter((row) =>
        task.inputs.some((input) => input.topic === row.topic && input.partition === row.partition),
      )
      restored.push(await this.#recoverTask(task, rows))
    }
    for (const file of new Set(restored.flatMap(({ pointer }) => (pointer ? [pointer.file] : [])))) {
      const record = this.#files.get(file)?.transaction
      if (record && !confirmed.has(file)) {
        await traced(this.#onStep, 'confirm-restored', () => this.#cluster.confirmTransaction(record, signal))
      }
    }
    return restored
  }

  async #recoverTask(task: TaskPlan, rows: readonly CommittedOffset[]): Promise<RestoredTask> {
    const present = rows.filter((row) => row.offset >= 0n)
    const pointers = present.map((row) => this.#pointerOf(task, row))
    const [pointer] = pointers
    if (!pointer) return this.#firstStart(task)
    const other = pointers.find((each) => encodePointer(each) !== encodePointer(pointer))
    if (other) {
      throw new MillraceError(
        'CHECKPOINT_MISMATCH',
        `task ${task.id}: its inputs' offsets point to different checkpoints (${pointer.checkpoint} and ${other.checkpoint}): someone changed single offsets. ${EXIT}`,
      )
    }
    const manifest = await this.#load(pointer, task)
    const entry = manifest.tasks.find((each) => each.task === task.id)
    if (!entry) {
      throw new MillraceError(
        'CHECKPOINT_MISMATCH',
        `task ${task.id} is not in checkpoint file ${pointer.file} that its offsets name; did the stages of the pipeline change? ${EXIT}`,
      )
    }
    this.#checkTopics(task, manifest)
    const positions: SourcePosition[] = []
    let incomplete = false
    for (const { topic, partition } of task.inputs) {
      const row = rows.find((each) => each.topic === topic && each.partition === partition)
      const position = entry.positions.find((each) => each.topic === topic && each.partition === partition)
      if (row && row.offset >= 0n) {
        if (!position || position.offset !== row.offset) {
          throw new MillraceError(
            'CHECKPOINT_MISMATCH',
            `${topic}-${partition}: committed offset ${row.offset}, checkpoint ${pointer.checkpoint} has ${position?.offset ?? 'none'}: someone changed the group's offsets. ${EXIT}`,
          )
        }
        positions.push(position)
      } else {
        if (position)
          throw missingOffsets(
            `${topic}-${partition}`,
            this.#plan.group,
            `checkpoint ${pointer.checkpoint} of its task has one`,
          )
        positions.push(await this.#startPosition(task, topic, partition, 'earliest'))
        incomplete = true
      }
    }
    return { task, pointer, positions, chain: entry.chain, handles: entry.handles, incomplete }
  }

  #pointerOf(task: TaskPlan, row: CommittedOffset): Pointer {
    const pointer = decodePointer(row.metadata)
    if (pointer) return pointer
    const text = `task ${task.id}: offset ${row.offset} of ${row.topic}-${row.partition} in group ${this.#plan.group} was not written by Millrace (metadata '${row.metadata.slice(0, 60)}'): someone reset the group, and no state belongs to it. ${EXIT}`
    throw new MillraceError('OFFSETS_FOREIGN', text)
  }

  async #load(pointer: Pointer, task: TaskPlan): Promise<Manifest> {
    const known = this.#files.get(pointer.file)
    if (known) return known
    const bytes = await traced(this.#onStep, 'load', () => this.#store.read(pointer.file))
    if (!bytes) return this.#missing(pointer, task)
    verifyFile(pointer, bytes)
    const manifest = decodeFile(pointer.file, bytes)
    if (manifest.pipeline !== this.#plan.pipeline || manifest.checkpoint !== pointer.checkpoint) {
      throw new MillraceError(
        'CHECKPOINT_MISMATCH',
        `checkpoint file ${pointer.file} says it is checkpoint ${manifest.checkpoint} of '${manifest.pipeline}'; the group's pointer says ${pointer.checkpoint} of '${this.#plan.pipeline}'`,
      )
    }
    this.#files.set(pointer.file, manifest)
    return manifest
  }

  /** The pointer may have moved on while we looked (and the file been cleaned up): only unchanged pointer + no file is loud. */
  async #missing(pointer: Pointer, task: TaskPlan): Promise<Manifest> {
    const partitions = task.inputs.map(({ topic, partition }) => ({ topic, partition }))
    const rows = await this.#cluster.committedOffsets(this.#plan.group, partitions)
    const moved = rows.some((row) => row.offset >= 0n && row.metadata !== encodePointer(pointer))
    if (moved)
      throw new MillraceError(
        'GENERATION_STALE',
        `task ${task.id}: the group's pointer moved on from checkpoint ${pointer.checkpoint} while it was being restored`,
      )
    const text = `checkpoint file ${pointer.file}, which the offsets of task ${task.id} name, is not in store ${this.#store.location}. Is it the right store (checkpoint.store, MILLRACE_STORE)? Else restore the file from a backup. ${EXIT}`
    throw new MillraceError('CHECKPOINT_MISSING', text)
  }

  #checkTopics(task: TaskPlan, manifest: Manifest): void {
    for (const [name, was] of Object.entries(manifest.topics)) {
      const now = this.#topology.topics.get(name)
      if (!now) continue
      checkTopic(name, was, now, task)
    }
  }

  async #firstStart(task: TaskPlan): Promise<RestoredTask> {
    const manifests = await this.#allManifests()
    const grown = manifests.findLast((each) =>
      each.tasks.some((entry) => entry.task === task.id && entry.parent !== null),
    )
    // Brokers drop the offsets of a deleted topic: that it was created again is the better answer.
    if (grown) this.#checkTopics(task, grown)
    if (grown)
      throw missingOffsets(
        `task ${task.id}`,
        this.#plan.group,
        `checkpoint file of checkpoint ${grown.checkpoint} shows that it has run before`,
      )
    const positions: SourcePosition[] = []
    for (const { topic, partition } of task.inputs) {
      // A partition that was added to a topic that we read already begins at its first record, whatever `start` says.
      const added = manifests.some((each) => (each.topics[topic]?.partitions ?? Number.POSITIVE_INFINITY) <= partition)
      positions.push(await this.#startPosition(task, topic, partition, added ? 'earliest' : undefined))
    }
    this.#log.info(
      { task: task.id, positions: positions.map((each) => `${each.topic}-${each.partition}@${each.offset}`) },
      'first start',
    )
    return { task, pointer: null, positions, chain: [], handles: [], incomplete: true }
  }

  /** Every file of the store: any of them may know a task that claims to be new. */
  async #allManifests(): Promise<Manifest[]> {
    const manifests: Manifest[] = []
    for (const file of await this.#store.list()) {
      const cached = this.#files.get(file)
      const bytes = cached ? undefined : await this.#store.read(file)
      const manifest = cached ?? (bytes && decodeFile(file, bytes))
      if (!manifest) continue
      if (manifest.pipeline !== this.#plan.pipeline) {
        throw new MillraceError(
          'STORE_FOREIGN_FILE',
          `checkpoint file ${file} in ${this.#store.location} belongs to pipeline '${manifest.pipeline}'; give each pipeline a store of its own`,
        )
      }
      this.#files.set(file, manifest)
      manifests.push(manifest)
    }
    return manifests
  }

  async #startPosition(
    task: TaskPlan,
    topic: string,
    partition: number,
    forced: 'earliest' | undefined,
  ): Promise<SourcePosition> {
    const source = task.stage.sources.find((each) => each.topics.includes(topic))
    const offset = await this.#cluster.startOffset(topic, partition, forced ?? source?.connector.start ?? 'earliest')
    return { topic, partition, offset, leaderEpoch: -1 }
  }

  /** A task's state, segment by segment: each is verified when it is read, with CHECKPOINT_MISSING and CHECKPOINT_CORRUPT. */
  chainOf({ task, chain }: RestoredTask): ChainPart[] {
    const read = (ref: SegmentRef) => () => this.#segment(task, ref)
    return chain.map((ref) => ({ ref: nameOf(ref), mark: ref.mark, bytes: ref.length, read: read(ref) }))
  }

  async #segment(task: TaskPlan, ref: SegmentRef): Promise<Buffer> {
    const bytes = await this.#store.readRange(ref.file, ref.position, ref.length)
    if (!bytes) {
      throw new MillraceError(
        'CHECKPOINT_MISSING',
        `checkpoint file ${ref.file}, which holds part of the state of task ${task.id}, is not in store ${this.#store.location}; restore it from a backup. ${EXIT}`,
      )
    }
    if (!isSegment(ref, bytes)) {
      throw new MillraceError(
        'CHECKPOINT_CORRUPT',
        `checkpoint file ${ref.file}: the state of task ${task.id} at byte ${ref.position} fails its checksum; restore the file from a backup. ${EXIT}`,
      )
    }
    return bytes
  }
}

/** What names a segment for ever: files are never replaced. */
export function nameOf({ file, position }: SegmentRef): string {
  return `${file}:${position}`
}

/**
 * The transactions that the newest files of a store (of one instance) name: those that may be undecided or lack markers. A
 * file that cannot be read is passed over here: whoever needs it finds out, loudly.
 */
export async function newestTransactions(
  store: CheckpointStore,
  instance?: string,
): Promise<readonly TransactionRecord[]> {
  const files = (await store.list()).filter(
    (name) => instance === undefined || parseFileName(name)?.instance === instance,
  )
  const records: TransactionRecord[] = []
  for (const file of files.slice(instance === undefined ? -NEWEST_FILES : -OWN_FILES)) {
    try {
      const bytes = await store.read(file)
      const manifest = bytes && decodeFile(file, bytes)
      if (manifest?.transaction) records.push(manifest.transaction)
    } catch (error) {
      if (!isCode(error, 'CHECKPOINT_CORRUPT', 'CHECKPOINT_MISMATCH')) throw error
    }
  }
  return records
}

function missingOffsets(what: string, group: string, evidence: string): MillraceError {
  return new MillraceError(
    'OFFSETS_MISSING',
    `group ${group} has no committed offset for ${what}, but ${evidence}. A deleted group, expired offsets and a re-created topic look alike; nothing is guessed. ${EXIT}`,
  )
}

/** A topic now against what a checkpoint remembers. @throws TOPIC_ID_CHANGED, PARTITION_COUNT_CHANGED */
export function checkTopic(
  name: string,
  was: { readonly id: string; readonly partitions: number },
  now: { readonly id: string; readonly partitions: number },
  task: {
    readonly id: TaskId
    readonly stage: { readonly keyed: boolean; readonly sources: readonly { readonly topics: readonly string[] }[] }
  },
): void {
  if (was.id !== now.id) {
    throw new MillraceError(
      'TOPIC_ID_CHANGED',
      `topic ${name} was deleted and created again (id ${was.id}, now ${now.id}): the offsets of the checkpoint mean other records. ${EXIT}`,
    )
  }
  const reads = task.stage.sources.some((source) => source.topics.includes(name))
  if (reads && task.stage.keyed && was.partitions !== now.partitions) {
    throw new MillraceError(
      'PARTITION_COUNT_CHANGED',
      `topic ${name} of the keyed stage of task ${task.id} had ${was.partitions} partitions, now ${now.partitions}: keys would move away from their state. Use a new topic, or a keyBy; or give the state up: \`millrace reset <module> --to … --state drop\``,
    )
  }
}
