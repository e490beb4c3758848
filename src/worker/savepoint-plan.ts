// What of a savepoint goes where in a pipeline, before anything is done: states by operator and name, whatever the stages, the
// backend and the parallelism are now.
import { MillraceError } from '../base/errors.ts'
import type { Savepoint } from '../checkpoint/savepoint.ts'
import type { PlanNode } from '../dataflow/graph.ts'
import { broadcastOperator, unit, withPosition } from '../state/broadcast.ts'
import type { StateDescriptor, StateDescriptors } from '../state/descriptors.ts'
import { describeFormat, identityOf, readable, type StateIdentity } from '../state/segment.ts'
import type { Serde } from '../state/serde.ts'
import type { Plan, Stage } from './job.ts'
import { nameOf, refused } from './savepoint.ts'

export interface SavepointDiff {
  readonly pipeline: { readonly saved: string; readonly now: string }
  /** States by `operator.name`. */
  readonly restored: readonly string[]
  readonly added: readonly string[]
  readonly dropped: readonly string[]
  readonly incompatible: readonly { readonly state: string; readonly saved: string; readonly now: string }[]
  /** Source topics that the savepoint has positions in, or not, or that are read no more. */
  readonly topics: {
    readonly kept: readonly string[]
    readonly added: readonly string[]
    readonly dropped: readonly string[]
  }
}

/** A state that a plan declares, and as segments name it. */
export interface DeclaredState {
  readonly identity: StateIdentity
  readonly descriptor: StateDescriptor<unknown>
}

/** The state of an operator: its keys', and that of its broadcast stream. */
export function storesOf(
  node: PlanNode,
): readonly { readonly operator: string; readonly key: Serde<unknown>; readonly states: StateDescriptors }[] {
  if (node.kind !== 'keyed') return []
  const keyed = { operator: node.id, key: node.key, states: node.states }
  if (!node.broadcast) return [keyed]
  const states = withPosition(node.broadcast.states)
  return [keyed, { operator: broadcastOperator(node.id), key: unit as Serde<unknown>, states }]
}

export function statesOfStage(stage: Stage): DeclaredState[] {
  return stage.nodes.flatMap((node) =>
    storesOf(node).flatMap(({ operator, key, states }) =>
      Object.entries(states).map(([name, descriptor]) => ({
        identity: identityOf(operator, name, key, descriptor),
        descriptor,
      })),
    ),
  )
}

export function diffSavepoint(savepoint: Savepoint, plan: Plan): SavepointDiff {
  const saved = new Map(savepoint.tasks.flatMap(({ states }) => states.map((each) => [nameOf(each), each] as const)))
  const declared = plan.stages.flatMap((stage) => statesOfStage(stage))
  const now = new Map(declared.map((each) => [nameOf(each.identity), each] as const))
  const both = [...saved.keys()].filter((name) => now.has(name)).sort()
  const differ = (name: string): boolean => {
    const { identity, descriptor } = now.get(name) as DeclaredState
    return !readable(saved.get(name) as StateIdentity, identity, descriptor)
  }
  const savedTopics = new Set(savepoint.tasks.flatMap(({ positions }) => positions.map(({ topic }) => topic)))
  for (const hop of savepoint.hops) savedTopics.delete(hop)
  // Positions in broadcast topics are state.
  const sourceTopics = plan.sourceTopics.filter((topic) => !plan.broadcastTopics.includes(topic))
  return {
    pipeline: { saved: savepoint.pipeline, now: plan.pipeline },
    restored: both.filter((name) => !differ(name)),
    added: [...now.keys()].filter((name) => !saved.has(name)).sort(),
    dropped: [...saved.keys()].filter((name) => !now.has(name)).sort(),
    incompatible: both.filter(differ).map((state) => ({
      state,
      saved: describeFormat(saved.get(state) as StateIdentity),
      now: describeFormat((now.get(state) as DeclaredState).identity),
    })),
    topics: {
      kept: sourceTopics.filter((topic) => savedTopics.has(topic)),
      added: sourceTopics.filter((topic) => !savedTopics.has(topic)),
      dropped: [...savedTopics].filter((topic) => !sourceTopics.includes(topic)),
    },
  }
}

/** What must be said before it is done. @throws STATE_INCOMPATIBLE, SAVEPOINT_REFUSED */
export function checkDiff(
  diff: SavepointDiff,
  allowed: { readonly droppedState: boolean; readonly otherPipeline: boolean },
): void {
  const { pipeline, dropped, incompatible } = diff
  if (pipeline.saved !== pipeline.now && !allowed.otherPipeline) {
    throw refused(
      `the savepoint is of pipeline '${pipeline.saved}', the module is '${pipeline.now}'; if it was renamed, say so: --renamed`,
    )
  }
  if (incompatible.length > 0) {
    const list = incompatible
      .map(({ state, saved, now }) => `${state}: saved is ${saved}; the module has ${now}`)
      .join('; ')
    throw new MillraceError(
      'STATE_INCOMPATIBLE',
      `${list}. Say how old values become new ones (withMigration), give the changed state a new name, or restore the old code`,
    )
  }
  if (dropped.length > 0 && !allowed.droppedState) {
    throw refused(
      `the savepoint has state that the module does not declare: ${dropped.join(', ')}. If it is to be given up: --allow-dropped-state`,
    )
  }
}
