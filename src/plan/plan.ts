// From the graph to what runs: stages cut at Kafka hops, topics, names derived from the pipeline's, and a hash by which
// workers recognise that they run the same plan.
import { createHash } from 'node:crypto'
import type { OperatorId } from '../base/ids.ts'
import type { HopTarget } from '../dataflow/chain.ts'
import { broadcastPath, type Graph, isStateless, type NodeOf, type PlanNode, readsTopic } from '../dataflow/graph.ts'
import type { SourceConnector } from '../dataflow/ports.ts'
import type { StateDescriptors } from '../state/descriptors.ts'
import { formatOf } from '../state/formats.ts'
import { json, plainOf, type Serde } from '../state/serde.ts'
import { names, type Plan, type Stage, type StageBroadcast, type StageSource } from '../worker/job.ts'
import type { PipelineOptions } from './options.ts'
import { validate } from './validate.ts'

/** What `definePipeline` makes: a module's default export. */
export interface Pipeline {
  readonly kind: 'millrace-pipeline'
  readonly name: string
  readonly graph: Graph
  readonly options: PipelineOptions
}

/** Nothing of a hop may be deleted before it was confirmed read, whatever the broker's default retention is. */
export const HOP_CONFIGS: ReadonlyMap<string, string> = new Map([
  ['cleanup.policy', 'delete'],
  ['retention.ms', '-1'],
  ['retention.bytes', '-1'],
  // A record's time is its input's, not that of the hop.
  ['message.timestamp.type', 'CreateTime'],
])

/** @throws PLAN_INVALID with all mistakes */
export function makePlan(pipeline: Pipeline): Plan {
  const { name, graph } = pipeline
  validate(pipeline)
  const hops = hopSerdes(name, graph)
  const stages = cutStages(name, graph, hops)
  const sources = graph.nodes.filter((node): node is NodeOf<'source'> => node.kind === 'source')
  const sinks = graph.nodes.flatMap((node) =>
    node.kind === 'sink' && node.connector.role === 'topic-sink' ? [node.connector] : [],
  )
  const [first] = sources
  if (!first) throw new TypeError('a validated plan has a source')
  return {
    pipeline: name,
    group: names.group(name),
    graph,
    stages,
    hops: graph.nodes.flatMap((node) => {
      if (node.kind !== 'key-by') return []
      const from = stages.find((stage) => stage.nodes.includes(node))?.id ?? ''
      return [
        {
          operator: node.id,
          name: node.name,
          topic: names.hop(name, node.name),
          partitions: node.partitions,
          from,
          configs: HOP_CONFIGS,
        },
      ]
    }),
    hopTargets: hops,
    sourceTopics: sources.flatMap((node) => node.connector.topics),
    broadcastTopics: [...broadcastNodes(graph)].flatMap((node) =>
      node.kind === 'source' ? node.connector.topics : [],
    ),
    sinks,
    factory: first.connector.factory,
    hash: planHash(graph),
  }
}

function hopSerdes(pipeline: string, graph: Graph): Map<OperatorId, HopTarget> {
  const targets = new Map<OperatorId, HopTarget>()
  for (const node of graph.nodes) {
    if (node.kind !== 'key-by') continue
    const value = node.value ?? unchangedSince(graph, node, targets) ?? json<unknown>()
    targets.set(node.id, { topic: names.hop(pipeline, node.name), value: plainOf(value) })
  }
  return targets
}

/** The serde with which the value was read, if nothing between changed it. */
function unchangedSince(
  graph: Graph,
  node: PlanNode,
  targets: ReadonlyMap<OperatorId, HopTarget>,
): Serde<unknown> | undefined {
  const [input, ...others] = node.inputs
  const from = graph.nodes.find((each) => each.id === input)
  if (!from || others.length > 0) return undefined
  if (from.kind === 'source') return from.connector.value
  if (from.kind === 'key-by') return targets.get(from.id)?.value
  if (from.kind === 'filter' || from.kind === 'key-by-record-key') return unchangedSince(graph, from, targets)
  return undefined
}

/** What is read by every task of a stage as a whole, and belongs to none. */
function broadcastNodes(graph: Graph): ReadonlySet<PlanNode> {
  return new Set(
    graph.nodes.flatMap((node) =>
      node.kind === 'keyed' && node.broadcast ? broadcastPath(graph, node.broadcast) : [],
    ),
  )
}

function cutStages(pipeline: string, graph: Graph, hops: ReadonlyMap<OperatorId, HopTarget>): Stage[] {
  // Union-find over operators: a stage is what is connected without crossing a topic.
  const parent = new Map<OperatorId, OperatorId>()
  const root = (id: OperatorId): OperatorId => {
    const up = parent.get(id)
    return up === undefined || up === id ? id : root(up)
  }
  for (const node of graph.nodes) {
    if (node.kind === 'key-by') continue
    for (const input of node.inputs) parent.set(root(node.id), root(input))
  }
  const broadcast = broadcastNodes(graph)
  const groups = Map.groupBy(
    graph.nodes.filter((node) => !broadcast.has(node)),
    (node) => root(node.id),
  )
  const stages = [...groups.values()].map((members) => makeStage(pipeline, graph, members, hops, root))
  return orderStages(stages)
}

function makeStage(
  pipeline: string,
  graph: Graph,
  members: readonly PlanNode[],
  hops: ReadonlyMap<OperatorId, HopTarget>,
  root: (id: OperatorId) => OperatorId,
): Stage {
  const sources = members.filter(readsTopic).map((node): StageSource => {
    if (node.kind === 'source')
      return { operator: node.id, kind: 'source', topics: node.connector.topics, connector: node.connector }
    const target = hops.get(node.id)
    const topic = target?.topic ?? names.hop(pipeline, node.name)
    const factory = graph.nodes.flatMap((each) => (each.kind === 'source' ? [each.connector.factory] : []))[0]
    const value = target?.value ?? json<unknown>()
    const connector = {
      role: 'source',
      factory,
      topics: [topic],
      key: node.key,
      value,
      start: 'earliest',
      onDecodeError: 'fail',
    }
    return {
      operator: node.id,
      kind: 'hop',
      topics: [topic],
      connector: connector as SourceConnector<unknown, unknown>,
    }
  })
  const own = new Set(members.map((node) => root(node.id)))
  const written = graph.nodes.filter(
    (node) => node.kind === 'key-by' && node.inputs.some((input) => own.has(root(input))),
  )
  const nodes = [...members.filter((node) => !readsTopic(node)), ...written]
  const id = sources
    .map((source) => source.operator)
    .sort()
    .join('+')
  return {
    id,
    sources,
    nodes,
    broadcasts: members.flatMap((node) => stageBroadcast(graph, node)),
    keyed:
      members.some((node) => node.kind === 'keyed' && !node.perTask) || sources.some((source) => source.kind === 'hop'),
  }
}

function stageBroadcast(graph: Graph, node: PlanNode): StageBroadcast[] {
  if (node.kind !== 'keyed' || !node.broadcast) return []
  const [source, ...path] = broadcastPath(graph, node.broadcast)
  if (source?.kind !== 'source') throw new TypeError('a validated broadcast stream has a source')
  const { connector } = source
  const topic = connector.topics[0] ?? ''
  return [{ operator: node.id, source: source.id, topic, connector, path: path.filter(isStateless) }]
}

function orderStages(stages: readonly Stage[]): Stage[] {
  const ordered: Stage[] = []
  const visit = (stage: Stage): void => {
    if (ordered.includes(stage)) return
    for (const source of stage.sources) {
      if (source.kind !== 'hop') continue
      const upstream = stages.find((each) => each.nodes.some((node) => node.id === source.operator))
      if (upstream) visit(upstream)
    }
    ordered.push(stage)
  }
  for (const stage of stages) visit(stage)
  return ordered
}

function shapeOf(states: StateDescriptors): unknown[] {
  return Object.entries(states).map(([name, state]) => [name, state.kind, formatOf(state), state.mapKey?.id ?? ''])
}

function planHash(graph: Graph): string {
  const shape = graph.nodes.map((node) => {
    const base = [node.kind, node.id, node.inputs]
    if (node.kind === 'source') return [...base, node.connector.topics, node.connector.key.id, node.connector.value.id]
    if (node.kind === 'keyed') {
      const { key, broadcast } = node
      return [...base, key.id, shapeOf(node.states), ...(broadcast ? [broadcast.input, shapeOf(broadcast.states)] : [])]
    }
    if (node.kind === 'key-by') return [...base, node.key.id, node.value?.id ?? '', node.partitions ?? '']
    if (node.kind === 'sink' && node.connector.role === 'topic-sink') {
      const { topics, key, value } = node.connector
      return [...base, topics, key.id, value.id]
    }
    return base
  })
  return createHash('sha256').update(JSON.stringify(shape)).digest('hex').slice(0, 16)
}
