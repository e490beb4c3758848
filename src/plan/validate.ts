// All mistakes of a pipeline at once, before anything connects.
import { MillraceError } from '../base/errors.ts'
import type { OperatorId } from '../base/ids.ts'
import { broadcastPath, type Graph, type NodeOf, type PlanNode } from '../dataflow/graph.ts'
import { TIMERS } from '../state/timers.ts'
import type { Pipeline } from './plan.ts'

const PIPELINE_NAME = /^[a-z0-9-]+$/
const OPERATOR_NAME = /^[a-zA-Z0-9_-]+$/

/** @throws PLAN_INVALID */
export function validate(pipeline: Pipeline): void {
  const { name, graph } = pipeline
  const mistakes = [
    ...(PIPELINE_NAME.test(name) ? [] : [`pipeline name '${name}': use lower-case letters, digits and '-'`]),
    ...nameMistakes(graph),
    ...shapeMistakes(graph),
    ...cycleMistakes(graph),
    ...stateMistakes(graph),
    ...broadcastMistakes(graph),
    ...asyncMistakes(graph),
    ...topicMistakes(name, graph),
    ...clusterMistakes(graph),
  ]
  if (mistakes.length === 0) return
  const list = mistakes.map((mistake) => `\n  - ${mistake}`).join('')
  throw new MillraceError(
    'PLAN_INVALID',
    `pipeline '${name}' has ${mistakes.length} ${mistakes.length === 1 ? 'mistake' : 'mistakes'}:${list}`,
  )
}

type NamedNode = Extract<PlanNode, { readonly name: string }>

function nameMistakes(graph: Graph): string[] {
  const named = graph.nodes.filter((node): node is NamedNode => 'name' in node)
  const invalid = named
    .filter((node) => !OPERATOR_NAME.test(node.name))
    .map((node) => `${node.kind} '${node.name}': use letters, digits, '_' and '-'`)
  const hops = named
    .filter((node) => node.kind === 'key-by' && !PIPELINE_NAME.test(node.name))
    .map((node) => `keyBy '${node.name}': its name becomes a topic's; use lower-case letters, digits and '-'`)
  const doubles = [...Map.groupBy(named, (node) => node.name)]
    .filter(([, nodes]) => nodes.length > 1)
    .map(
      ([name, nodes]) =>
        `the name '${name}' is used by ${nodes.map((node) => `a ${node.kind}`).join(' and ')}; names are addresses of state and must differ`,
    )
  return [...invalid, ...hops, ...doubles]
}

function shapeMistakes(graph: Graph): string[] {
  const mistakes: string[] = []
  const ids = new Set(graph.nodes.map((node) => node.id))
  const inputsOf = (node: PlanNode): readonly OperatorId[] =>
    node.kind === 'keyed' && node.broadcast ? [...node.inputs, node.broadcast.input] : node.inputs
  const used = new Set(graph.nodes.flatMap(inputsOf))
  if (!graph.nodes.some((node) => node.kind === 'source'))
    mistakes.push('there is no source; begin with pipeline.from(…)')
  if (!graph.nodes.some((node) => node.kind === 'sink')) mistakes.push('there is no sink; end a stream with .to(…)')
  for (const node of graph.nodes) {
    for (const input of inputsOf(node))
      if (!ids.has(input)) mistakes.push(`'${node.id}' follows '${input}', which is not part of this pipeline`)
    if (node.kind !== 'sink' && !used.has(node.id))
      mistakes.push(`nothing follows '${node.id}'; end the stream with .to(…) or remove it`)
  }
  return mistakes
}

function cycleMistakes(graph: Graph): string[] {
  const nodes = new Map(graph.nodes.map((node) => [node.id, node]))
  const done = new Set<OperatorId>()
  const mistakes: string[] = []
  const visit = (id: OperatorId, path: readonly OperatorId[]): void => {
    if (path.includes(id)) {
      mistakes.push(
        `the operators ${[...path.slice(path.indexOf(id)), id].map((each) => `'${each}'`).join(' → ')} form a cycle`,
      )
      return
    }
    if (done.has(id)) return
    for (const input of nodes.get(id)?.inputs ?? []) visit(input, [...path, id])
    done.add(id)
  }
  for (const node of graph.nodes) visit(node.id, [])
  return mistakes
}

function stateMistakes(graph: Graph): string[] {
  const owners = new Map<unknown, string>()
  const mistakes: string[] = []
  for (const node of graph.nodes) {
    if (node.kind !== 'keyed') continue
    if (node.key.id.startsWith('$') && !node.perTask)
      mistakes.push(`the key of '${node.name}' has serde '${node.key.id}': ids that begin with $ are Millrace's own`)
    for (const [name, { ttl, redistribution }] of Object.entries(node.broadcast?.states ?? {})) {
      const what = `broadcast state '${name}' of '${node.name}'`
      if (ttl)
        mistakes.push(
          `${what}: no time to live; tasks would forget at different times. Remove what is over in onBroadcast`,
        )
      if (redistribution === 'union')
        mistakes.push(`${what}: unionListState is for withOperatorState; every task has all of it anyway`)
    }
    for (const [name, { kind, redistribution }] of Object.entries(node.states)) {
      if (node.perTask && kind !== 'list')
        mistakes.push(`state '${name}' of '${node.name}': operator state is listState or unionListState, not ${kind}`)
      if (!node.perTask && redistribution === 'union')
        mistakes.push(
          `state '${name}' of '${node.name}': unionListState is for withOperatorState; a key's state is in one task`,
        )
    }
    for (const [name, state] of [...Object.entries(node.states), ...Object.entries(node.broadcast?.states ?? {})]) {
      if (name.startsWith('$') && name !== TIMERS)
        mistakes.push(`state '${name}' of '${node.name}': names that begin with $ are Millrace's own`)
      const other = owners.get(state)
      if (other !== undefined)
        mistakes.push(
          `state '${name}' of '${node.name}' is the same declaration as a state of '${other}'; operators do not share state: declare it for each`,
        )
      else owners.set(state, node.name)
    }
  }
  return mistakes
}

/** What every task reads as a whole must be in one order, and must not be written by each of them. */
function broadcastMistakes(graph: Graph): string[] {
  const connected = graph.nodes.flatMap((node) =>
    node.kind === 'keyed' && node.broadcast ? [{ node, path: broadcastPath(graph, node.broadcast) }] : [],
  )
  const onPaths = new Set(connected.flatMap(({ path }) => path))
  return connected.flatMap(({ node, path }) => {
    const [first] = path
    const what = `the broadcast stream of '${node.name}'`
    if (first?.kind !== 'source')
      return [
        `${what} comes from '${first?.id ?? node.broadcast?.input}': a source with map, filter, flatMap and patch behind it is needed`,
      ]
    const mistakes: string[] = []
    const { connector } = first
    if (connector.topics.length !== 1)
      mistakes.push(
        `${what} reads ${connector.topics.length} topics; with more than one, tasks would see them in different orders`,
      )
    if (connector.start !== 'earliest')
      mistakes.push(
        `${what} begins at '${JSON.stringify(connector.start)}'; every task needs all of it: start 'earliest'`,
      )
    const elsewhere = graph.nodes.find((each) => !onPaths.has(each) && path.some(({ id }) => each.inputs.includes(id)))
    if (elsewhere)
      mistakes.push(
        `source '${first.name}' is broadcast to '${node.name}' and also goes to '${elsewhere.id}', which would get its records once per task: read it in a pipeline of its own for that`,
      )
    return mistakes
  })
}

function asyncMistakes(graph: Graph): string[] {
  return graph.nodes.flatMap((node) => {
    if (node.kind !== 'async-map') return []
    const { capacity, timeoutMs, retry } = node.options
    const mistakes: string[] = []
    if (!Number.isInteger(capacity) || capacity < 1)
      mistakes.push(`asyncMap '${node.name}': capacity ${capacity}; at least 1 call must be possible`)
    if (!(timeoutMs > 0)) mistakes.push(`asyncMap '${node.name}': timeoutMs ${timeoutMs}; it must be above 0`)
    if (!Number.isInteger(retry.attempts) || retry.attempts < 0 || !(retry.delayMs >= 0))
      mistakes.push(
        `asyncMap '${node.name}': retry ${JSON.stringify(retry)}; attempts and delayMs must not be negative`,
      )
    return mistakes
  })
}

function topicMistakes(pipeline: string, graph: Graph): string[] {
  const mistakes: string[] = []
  const sources = graph.nodes.filter((node): node is NodeOf<'source'> => node.kind === 'source')
  const readBy = new Map<string, string>()
  for (const { name, connector } of sources) {
    if (connector.topics.length === 0) mistakes.push(`source '${name}' names no topic`)
    for (const topic of connector.topics) {
      const other = readBy.get(topic)
      if (other !== undefined)
        mistakes.push(
          `topic '${topic}' is read by sources '${other}' and '${name}'; read it once and branch the stream`,
        )
      readBy.set(topic, name)
      if (topic.startsWith('millrace.'))
        mistakes.push(`source '${name}' reads '${topic}': topics that begin with 'millrace.' are internal`)
    }
  }
  for (const node of graph.nodes) {
    if (node.kind !== 'sink' || node.connector.role !== 'topic-sink') continue
    if (node.connector.topics.length === 0) mistakes.push(`sink '${node.name}' names no topic`)
    for (const topic of node.connector.topics) {
      const source = readBy.get(topic)
      if (source !== undefined)
        mistakes.push(`sink '${node.name}' writes '${topic}', which source '${source}' reads: an endless loop`)
      if (topic.startsWith(`millrace.${pipeline}.`))
        mistakes.push(`sink '${node.name}' writes '${topic}': this name is internal`)
    }
  }
  return mistakes
}

function clusterMistakes(graph: Graph): string[] {
  const mistakes: string[] = []
  let first: string | undefined
  for (const node of graph.nodes) {
    if (node.kind !== 'source' && !(node.kind === 'sink' && node.connector.role === 'topic-sink')) continue
    const brokers = 'brokers' in node.connector ? node.connector.brokers : undefined
    if (!brokers) continue
    const text = [...brokers].sort().join(',')
    first ??= text
    if (text !== first)
      mistakes.push(
        `'${node.name}' is on cluster ${text}, others on ${first}: exactly-once needs sources, hops and sinks on one cluster`,
      )
  }
  return mistakes
}

/** A connector that names brokers must name the pipeline's. @throws PLAN_INVALID */
export function checkClusters(graph: Graph, brokers: readonly string[]): void {
  const own = [...brokers].sort().join(',')
  for (const node of graph.nodes) {
    if (node.kind !== 'source' && node.kind !== 'sink') continue
    const named = 'brokers' in node.connector ? node.connector.brokers : undefined
    const text = named && [...named].sort().join(',')
    if (text === undefined || text === own) continue
    throw new MillraceError(
      'PLAN_INVALID',
      `'${node.name}' is on cluster ${text}, the pipeline on ${own}: exactly-once needs sources, hops and sinks on the cluster of the consumer group`,
    )
  }
}
