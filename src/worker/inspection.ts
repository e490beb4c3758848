// What a pipeline's store holds and what of it counts, for the commands that look: tasks by the group's committed pointers,
// files by whether anything still needs them, and one state of one operator, row by row. Reads only.
import type { CheckpointStore } from '../base/checkpoint-store.ts'
import { MillraceError } from '../base/errors.ts'
import type { TaskId } from '../base/ids.ts'
import {
  decodeFile,
  isSegment,
  type Manifest,
  type Pointer,
  parseFileName,
  pointersOf,
  verifyFile,
} from '../checkpoint/file.ts'
import { reachableFiles } from '../checkpoint/retention.ts'
import type { Cluster } from '../dataflow/ports.ts'
import type { Plan } from './job.ts'
import { declared, stateRows } from './state-rows.ts'

/** A task as of its newest committed checkpoint. */
export interface CommittedTask {
  readonly task: TaskId
  readonly pointer: Pointer
  readonly entry: Manifest['tasks'][number]
}

/** One file of the store. */
export interface CheckpointFile {
  readonly file: string
  readonly checkpoint: string
  readonly instance: string
  readonly mode: Manifest['mode']
  readonly tasks: readonly TaskId[]
  /** `current`: committed offsets point to it; `needed`: state of these, or a checkpoint that is retained; `unneeded`: neither. */
  readonly use: 'current' | 'needed' | 'unneeded'
}

/** What `verify` found wrong with a task's checkpoint. */
export interface Damage {
  readonly task: TaskId
  readonly file: string
  readonly what: string
}

/** One key's value: what `get` would give of a value, a list, a map as pairs, an accumulator. */
export interface StateRow {
  readonly task: TaskId
  readonly key: unknown
  readonly value: unknown
}

export interface InspectionOptions {
  readonly cluster: Pick<Cluster, 'committedOffsets'>
  readonly plan: Plan
  readonly store: CheckpointStore
  readonly retained: number
}

export class Inspection {
  readonly #options: InspectionOptions
  readonly #manifests = new Map<string, Manifest>()

  constructor(options: InspectionOptions) {
    this.#options = options
  }

  async #pointers(): Promise<Pointer[]> {
    const { cluster, plan } = this.#options
    const rows = await cluster.committedOffsets(plan.group, null)
    return [...pointersOf(rows).values()].sort((a, b) => Number(b.checkpoint - a.checkpoint))
  }

  /** undefined: not there. */
  async manifest(file: string): Promise<Manifest | undefined> {
    const known = this.#manifests.get(file)
    if (known) return known
    const bytes = await this.#options.store.read(file)
    if (!bytes) return undefined
    const manifest = decodeFile(file, bytes)
    const { pipeline } = this.#options.plan
    if (manifest.pipeline !== pipeline) {
      const text = `checkpoint file ${file} in ${this.#options.store.location} belongs to pipeline '${manifest.pipeline}', not to '${pipeline}'`
      throw new MillraceError('STORE_FOREIGN_FILE', text)
    }
    this.#manifests.set(file, manifest)
    return manifest
  }

  /** By task. @throws CHECKPOINT_MISSING */
  async tasks(): Promise<CommittedTask[]> {
    const tasks = new Map<TaskId, CommittedTask>()
    for (const pointer of await this.#pointers()) {
      const manifest = await this.manifest(pointer.file)
      if (!manifest) throw missing(pointer.file, this.#options.store)
      // The newest comes first; a task that moved is in the file of its old worker, too.
      for (const entry of manifest.tasks)
        if (!tasks.has(entry.task)) tasks.set(entry.task, { task: entry.task, pointer, entry })
    }
    return [...tasks.values()].sort((a, b) => a.task.localeCompare(b.task, 'en', { numeric: true }))
  }

  /** Oldest first. */
  async files(): Promise<CheckpointFile[]> {
    const { store, retained } = this.#options
    const pointers = await this.#pointers()
    const current = new Set(pointers.map(({ file }) => file))
    const needed = await reachableFiles([...current], retained, (file) => this.manifest(file))
    const files: CheckpointFile[] = []
    for (const file of await store.list()) {
      const name = parseFileName(file)
      const manifest = await this.manifest(file)
      if (!name || !manifest) continue
      files.push({
        file,
        checkpoint: name.checkpoint.toString(),
        instance: name.instance,
        mode: manifest.mode,
        tasks: manifest.tasks.map(({ task }) => task),
        use: current.has(file) ? 'current' : needed.has(file) ? 'needed' : 'unneeded',
      })
    }
    return files
  }

  /** Reads all that a restore of every task would read. */
  async verify(): Promise<{ readonly tasks: number; readonly bytes: number; readonly damage: readonly Damage[] }> {
    const { store } = this.#options
    const tasks = await this.tasks()
    const damage: Damage[] = []
    let bytes = 0
    for (const { task, pointer, entry } of tasks) {
      const file = await store.read(pointer.file)
      if (!file) damage.push({ task, file: pointer.file, what: 'it is not there' })
      else {
        const wrong = wrongWith(pointer, file)
        if (wrong) damage.push({ task, file: pointer.file, what: wrong })
        bytes += file.length
      }
      for (const ref of entry.chain) {
        const segment = await store.readRange(ref.file, ref.position, ref.length)
        if (!segment || !isSegment(ref, segment))
          damage.push({
            task,
            file: ref.file,
            what: segment ? `the segment at byte ${ref.position} fails its checksum` : 'it is not there',
          })
        bytes += segment?.length ?? 0
      }
    }
    return { tasks: tasks.length, bytes, damage }
  }

  /** One state of one operator as of the newest committed checkpoints, task by task. @throws USAGE, STATE_INCOMPATIBLE */
  async *state(operator: string, state: string): AsyncGenerator<StateRow> {
    const { plan, store } = this.#options
    declared(plan, operator, state)
    for (const { task, entry } of await this.tasks()) {
      const segments: Buffer[] = []
      for (const ref of entry.chain) {
        const bytes = await store.readRange(ref.file, ref.position, ref.length)
        if (!bytes) throw missing(ref.file, store)
        if (!isSegment(ref, bytes)) {
          const text = `checkpoint file ${ref.file}: the state of task ${task} at byte ${ref.position} fails its checksum; see \`millrace checkpoints verify\``
          throw new MillraceError('CHECKPOINT_CORRUPT', text)
        }
        segments.push(bytes)
      }
      for (const row of stateRows(plan, segments, operator, state)) yield { task, ...row }
    }
  }
}

function missing(file: string, store: CheckpointStore): MillraceError {
  const text = `checkpoint file ${file}, which committed offsets name, is not in store ${store.location}; is it the right store (checkpoint.store, MILLRACE_STORE)?`
  return new MillraceError('CHECKPOINT_MISSING', text)
}

function wrongWith(pointer: Pointer, bytes: Buffer): string | undefined {
  try {
    verifyFile(pointer, bytes)
    return undefined
  } catch (error) {
    if (error instanceof MillraceError) return error.message
    throw error
  }
}
