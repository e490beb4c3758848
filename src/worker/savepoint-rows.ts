// The rows of a savepoint that belong to a task now. Keys go where the default partitioner puts them among as many partitions as there
// are; what has no key is copied (broadcast state) or dealt out (operator state).
import { partitionOf } from '../base/murmur2.ts'
import { readSegments, type SavedTask, type Savepoint } from '../checkpoint/savepoint.ts'
import { taskKey, unit } from '../state/broadcast.ts'
import { joinItems } from '../state/collections.ts'
import type { StateDescriptor } from '../state/descriptors.ts'
import { type ReadableState, Row, readable, SegmentWriter, type StateIdentity } from '../state/segment.ts'
import { converting, type RowTarget, SegmentReader } from '../state/segment-reader.ts'
import { nameOf, readsHop, refused } from './savepoint.ts'
import { type DeclaredState, statesOfStage } from './savepoint-plan.ts'
import { Rows } from './state-rows.ts'
import type { TaskPlan } from './topology.ts'

/** In front of a key's bytes where its serde is nullable (state/serde.ts). */
const NULL_KEY = 0
/** Of a restored segment, about. */
const SEGMENT_BYTES = 64 * 2 ** 20
const ROWS_PER_LOOK = 500
const NO_KEY = Buffer.alloc(0)
const NOWHERE: RowTarget = { apply() {} }

/** The rows of one savepoint, task by task. */
export class SavepointRows {
  readonly #folder: string
  readonly #savepoint: Savepoint
  /** Operator state, by its name: read once for all tasks. */
  readonly #lists = new Map<string, readonly (readonly Buffer[])[]>()

  constructor({ folder, savepoint }: { readonly folder: string; readonly savepoint: Savepoint }) {
    this.#folder = folder
    this.#savepoint = savepoint
  }

  /** All rows that belong to one of `tasks`, in segments of bounded size; the last one may be empty. */
  async *task(task: TaskPlan, tasks: readonly TaskPlan[]): AsyncGenerator<SegmentWriter> {
    const states = statesOfStage(task.stage)
    const begin = (): SegmentWriter => {
      const writer = new SegmentWriter()
      for (const { identity } of states) writer.register(identity)
      return writer
    }
    const declared = new Map(states.map((each, index) => [nameOf(each.identity), { ...each, index }]))
    const tasksNow = tasks.filter((each) => each.stage === task.stage).length
    let writer = begin()
    for (const state of declared.values()) {
      if (state.identity.key !== taskKey.id) continue
      const items = dealtTo(task, tasksNow, await this.#listsOf(state), state.descriptor.redistribution ?? 'split')
      if (items.length > 0) writer.raw(state.index, Row.PUT, NO_KEY, null, joinItems(items))
    }
    for (const saved of this.#savepoint.tasks) {
      if (!saved.states.some((each) => declared.has(nameOf(each)))) continue
      const tasksThen = this.#tasksOf(saved.stage).length
      // As many tasks, chosen in the same way: every key is where it was.
      const same = tasksThen === tasksNow && saved.hop === readsHop(task.stage)
      if (same && saved.partition !== task.partition) continue
      const belongs = same ? () => true : ownedBy(task.partition, tasksNow, saved, tasksThen)
      for await (const segment of readSegments(this.#folder, saved)) {
        const reader = new SegmentReader([segment], (identity) => {
          const now = declared.get(nameOf(identity))
          const found = now && now.identity.key !== taskKey.id && readable(identity, now.identity, now.descriptor)
          if (!found) return NOWHERE
          const isOurs = (key: Buffer): boolean => belongs(key, identity)
          return copyTo(() => writer, now.index, found, isOurs)
        })
        for (let done = false; !done; ) {
          done = reader.replay(ROWS_PER_LOOK)
          if (writer.bytes < SEGMENT_BYTES) continue
          yield writer
          writer = begin()
        }
      }
    }
    yield writer
  }

  #tasksOf(stage: string | undefined): SavedTask[] {
    return this.#savepoint.tasks.filter((each) => each.stage === stage)
  }

  /** A state's list of each task that there was, in their order, as items in the format of today. */
  async #listsOf({ identity, descriptor }: DeclaredState): Promise<readonly (readonly Buffer[])[]> {
    const name = nameOf(identity)
    const known = this.#lists.get(name)
    if (known) return known
    const stage = this.#savepoint.tasks.find(({ states }) => states.some((each) => nameOf(each) === name))?.stage
    const lists: (readonly Buffer[])[] = []
    for (const saved of this.#tasksOf(stage).sort((a, b) => a.partition - b.partition)) {
      const rows = new Rows('list')
      for await (const segment of readSegments(this.#folder, saved)) {
        const reader = new SegmentReader([segment], (each) => {
          const found = nameOf(each) === name ? readable(each, identity, descriptor) : undefined
          return found ? converting(rows, found) : NOWHERE
        })
        reader.replay(Number.POSITIVE_INFINITY)
      }
      lists.push([...rows.cells.values()].flatMap(({ items }) => items))
    }
    this.#lists.set(name, lists)
    return lists
  }
}

function copyTo(
  writer: () => SegmentWriter,
  state: number,
  found: ReadableState,
  belongs: (key: Buffer) => boolean,
): RowTarget {
  const copy = converting({ apply: (op, key, at, value) => writer().raw(state, op, key.view, at, value) }, found)
  return {
    apply: (op, key, at, value) => {
      if (belongs(key.view)) copy.apply(op, key, at, value)
    },
  }
}

type Belongs = (key: Buffer, identity: StateIdentity) => boolean

/** Keys go where the default partitioner puts them: murmur2 of their bytes. They must have been there before. */
function ownedBy(partition: number, tasks: number, saved: SavedTask, tasksThen: number): Belongs {
  return (key, identity) => {
    // All tasks have the same, as of somewhat different places in its topic: the first one's is as good as any.
    if (identity.key === unit.id) return saved.partition === 0
    const nullable = identity.key.startsWith('nullable(')
    if (nullable && key[0] === NULL_KEY) {
      throw refused(
        `operator '${identity.operator}' has state for records without a key in task ${saved.task}: it belongs to no partition of another number of them`,
      )
    }
    const start = nullable ? 1 : 0
    if (partitionOf(key, start, key.length - start, tasksThen) !== saved.partition) {
      throw refused(
        `operator '${identity.operator}' has a key in task ${saved.task} that Kafka's default partitioner would not have put there: the records' producers use another one, so nobody knows where the key belongs among ${tasks} partitions. Keep ${tasksThen} partitions, or route by keyBy`,
      )
    }
    return partitionOf(key, start, key.length - start, tasks) === partition
  }
}

function dealtTo(
  task: TaskPlan,
  tasks: number,
  lists: readonly (readonly Buffer[])[],
  redistribution: NonNullable<StateDescriptor<unknown>['redistribution']>,
): readonly Buffer[] {
  const all = lists.flat()
  if (redistribution === 'union') return all
  // As many tasks: each has its own.
  if (lists.length === tasks) return lists[task.partition] ?? []
  return all.filter((_, index) => index % tasks === task.partition)
}
