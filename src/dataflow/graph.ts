// The plan as pure data: what the user's module built, before anything connects. Nodes refer to their inputs by id; ids of
// named operators are the user's names, ids of the others derive from their input, so that they are stable across starts.
import type { OperatorId } from '../base/ids.ts'
import type { StateDescriptors } from '../state/descriptors.ts'
import type { Serde } from '../state/serde.ts'
import type { AsyncMapOptions, OperatorFunctions, RecordContext } from './functions.ts'
import type { SinkConnector, SourceConnector } from './ports.ts'

interface NodeBase {
  readonly id: OperatorId
  readonly inputs: readonly OperatorId[]
}

/** A stream that every task of an operator reads as a whole, beside its own input. */
export interface BroadcastInput {
  /** The operator in front. */
  readonly input: OperatorId
  readonly states: StateDescriptors
}

export type PlanNode = NodeBase &
  (
    | { readonly kind: 'source'; readonly name: string; readonly connector: SourceConnector<unknown, unknown> }
    | { readonly kind: 'map'; readonly fn: (value: unknown, record: RecordContext) => unknown }
    | {
        readonly kind: 'patch'
        readonly fields: readonly string[]
        readonly fn: (fields: unknown, record: RecordContext) => unknown
      }
    | { readonly kind: 'filter'; readonly fn: (value: unknown, record: RecordContext) => boolean }
    | { readonly kind: 'flat-map'; readonly fn: (value: unknown, record: RecordContext) => Iterable<unknown> }
    | { readonly kind: 'union' }
    | {
        readonly kind: 'async-map'
        readonly name: string
        readonly fn: (value: unknown, record: RecordContext, signal: AbortSignal) => Promise<unknown>
        readonly options: Required<AsyncMapOptions>
      }
    | {
        readonly kind: 'key-by'
        readonly name: string
        readonly fn: (value: unknown, record: RecordContext) => unknown
        readonly key: Serde<unknown>
        /** undefined: the source's serde while the value is unchanged, else JSON. */
        readonly value: Serde<unknown> | undefined
        readonly partitions: number | undefined
      }
    | { readonly kind: 'key-by-record-key' }
    | {
        readonly kind: 'keyed'
        readonly name: string
        readonly states: StateDescriptors
        readonly functions: OperatorFunctions
        readonly key: Serde<unknown>
        readonly broadcast?: BroadcastInput
        /** Its state is the task's, under one key (`taskKey`). */
        readonly perTask?: true
      }
    | { readonly kind: 'sink'; readonly name: string; readonly connector: SinkConnector<unknown, unknown> }
  )

export type NodeOf<Kind extends PlanNode['kind']> = Extract<PlanNode, { kind: Kind }>

/** The operators of a pipeline in the order in which they were declared. */
export interface Graph {
  readonly nodes: readonly PlanNode[]
}

/** What a broadcast stream goes through, in order. Its source comes first; another kind of node there is a mistake. */
export function broadcastPath(graph: Graph, { input }: BroadcastInput): readonly PlanNode[] {
  const path: PlanNode[] = []
  for (let id: OperatorId | undefined = input; id !== undefined; ) {
    const node = graph.nodes.find((each) => each.id === id)
    if (!node || path.includes(node)) break
    path.unshift(node)
    if (!isStateless(node)) break
    id = node.inputs[0]
  }
  return path
}

export type StatelessNode = NodeOf<'map' | 'patch' | 'filter' | 'flat-map'>

export function isStateless(node: PlanNode): node is StatelessNode {
  return node.kind === 'map' || node.kind === 'patch' || node.kind === 'filter' || node.kind === 'flat-map'
}

/** Nodes that begin a stage: they read a topic. */
export function readsTopic(node: PlanNode): node is NodeOf<'source'> | NodeOf<'key-by'> {
  return node.kind === 'source' || node.kind === 'key-by'
}
