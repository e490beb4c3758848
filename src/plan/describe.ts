// What `millrace plan` prints: the graph, its stages, topics, ids and the exact ACLs, without connecting to anything.
import type { PlanNode } from '../dataflow/graph.ts'
import type { StateDescriptors } from '../state/descriptors.ts'
import { formatOf } from '../state/formats.ts'
import { names, type Plan, type Settings, type Stage, storeConfigs, storeTopic } from '../worker/job.ts'

export interface Acl {
  readonly resource: 'transactional-id' | 'group' | 'topic' | 'cluster'
  readonly pattern: 'literal' | 'prefixed'
  readonly name: string
  readonly operations: readonly string[]
  readonly why: string
}

export interface PlanDescription {
  readonly pipeline: string
  readonly group: string
  readonly hash: string
  readonly mode: string
  readonly stages: readonly {
    readonly id: string
    readonly reads: readonly string[]
    readonly writes: readonly string[]
    readonly keyed: boolean
    readonly operators: readonly {
      readonly id: string
      readonly kind: string
      readonly inputs: readonly string[]
      /** What it reads, or writes. */
      readonly topics?: readonly string[]
      readonly states?: readonly string[]
    }[]
  }[]
  readonly internalTopics: readonly {
    readonly name: string
    readonly partitions: string
    readonly configs: Readonly<Record<string, string>>
  }[]
  readonly transactionalIds: readonly string[]
  readonly acls: { readonly required: readonly Acl[]; readonly markerRepair: readonly Acl[] }
}

export function describePlan(plan: Plan, settings: Settings): PlanDescription {
  return {
    pipeline: plan.pipeline,
    group: plan.group,
    hash: plan.hash,
    mode: settings.mode,
    stages: plan.stages.map((stage) => describeStage(plan, stage)),
    internalTopics: internalTopics(plan, settings),
    transactionalIds:
      settings.mode === 'exactly-once' ? names.transactionalIds(plan.pipeline, `${settings.instance}-<slot>`) : [],
    acls: { required: requiredAcls(plan, settings), markerRepair: repairAcls() },
  }
}

function internalTopics(plan: Plan, settings: Settings): PlanDescription['internalTopics'] {
  const hops = plan.hops.map((hop) => ({
    name: hop.topic,
    partitions:
      hop.partitions === undefined ? `as many as the widest source of stage '${hop.from}'` : String(hop.partitions),
    configs: Object.fromEntries(hop.configs),
  }))
  const name = storeTopic(plan, settings)
  if (name === undefined) return hops
  const partitions = 'one more than the widest stage has tasks'
  return [...hops, { name, partitions, configs: Object.fromEntries(storeConfigs) }]
}

function describeStage(plan: Plan, stage: Stage): PlanDescription['stages'][number] {
  const sources = stage.sources.map(({ operator, kind, topics }) => ({
    id: operator,
    kind: kind === 'hop' ? 'hop' : 'source',
    inputs: [],
    topics,
  }))
  const broadcasts = stage.broadcasts.flatMap(({ source, topic, path }) => [
    { id: source, kind: 'broadcast', inputs: [], topics: [topic] },
    ...path.map((node) => describeNode(plan, node)),
  ])
  return {
    id: stage.id,
    reads: [...stage.sources.flatMap((source) => source.topics), ...stage.broadcasts.map(({ topic }) => topic)],
    writes: stage.nodes.flatMap((node) => written(plan, node)),
    keyed: stage.keyed,
    operators: [...sources, ...broadcasts, ...stage.nodes.map((node) => describeNode(plan, node))],
  }
}

function statesText(states: StateDescriptors): string[] {
  return Object.entries(states).map(
    ([name, state]) => `${name}: ${state.kind}(${state.mapKey ? `${state.mapKey.id} → ` : ''}${formatOf(state)})`,
  )
}

function written(plan: Plan, node: PlanNode): readonly string[] {
  if (node.kind === 'key-by') return [plan.hopTargets.get(node.id)?.topic ?? node.name]
  if (node.kind !== 'sink') return []
  return node.connector.role === 'topic-sink' ? node.connector.topics : [`two-phase sink '${node.name}'`]
}

function describeNode(plan: Plan, node: PlanNode): PlanDescription['stages'][number]['operators'][number] {
  const base = { id: node.id, kind: node.kind, inputs: node.inputs }
  const topics = written(plan, node)
  if (topics.length > 0) return { ...base, topics }
  if (node.kind !== 'keyed') return base
  const { broadcast } = node
  const states = [...statesText(node.states), ...statesText(broadcast?.states ?? {}).map((text) => `broadcast ${text}`)]
  return { ...base, inputs: broadcast ? [...node.inputs, broadcast.input] : node.inputs, states }
}

/** What the worker's principal needs, no more; a test runs the pipeline with exactly these. */
export function requiredAcls(plan: Plan, settings: Settings): Acl[] {
  const exactlyOnce = settings.mode === 'exactly-once'
  const acls: Acl[] = [
    { resource: 'group', pattern: 'literal', name: plan.group, operations: ['READ'], why: 'membership, offsets' },
  ]
  if (exactlyOnce) {
    acls.push({
      resource: 'transactional-id',
      pattern: 'prefixed',
      name: names.prefix(plan.pipeline),
      operations: ['WRITE'],
      why: "the workers' transactions",
    })
  }
  for (const name of plan.sourceTopics)
    acls.push({ resource: 'topic', pattern: 'literal', name, operations: ['READ'], why: 'source' })
  for (const name of new Set(plan.sinks.flatMap((sink) => sink.topics))) {
    const operations = exactlyOnce ? ['WRITE', 'READ', 'DESCRIBE_CONFIGS'] : ['WRITE', 'DESCRIBE_CONFIGS']
    acls.push({
      resource: 'topic',
      pattern: 'literal',
      name,
      operations,
      why: 'sink; READ to see that a commit is visible',
    })
  }
  for (const { topic } of plan.hops) {
    const operations = ['CREATE', 'READ', 'WRITE', 'DESCRIBE_CONFIGS', 'DELETE']
    acls.push({
      resource: 'topic',
      pattern: 'literal',
      name: topic,
      operations,
      why: 'repartition topic; DELETE purges what was read',
    })
  }
  const store = storeTopic(plan, settings)
  if (store !== undefined) {
    const operations = ['CREATE', 'READ', 'WRITE', 'DESCRIBE_CONFIGS', 'DELETE']
    const why = 'checkpoints; DELETE purges old ones'
    acls.push({ resource: 'topic', pattern: 'literal', name: store, operations, why })
  }
  return acls
}

/** Only for the automatic repair of commit markers that a broker dropped; without them the worker stops loudly then. */
function repairAcls(): Acl[] {
  return [
    { resource: 'cluster', pattern: 'literal', name: 'kafka-cluster', operations: ['ALTER'], why: 'WriteTxnMarkers' },
    {
      resource: 'topic',
      pattern: 'literal',
      name: '__consumer_offsets',
      operations: ['READ'],
      why: 'DescribeProducers of the offsets partition',
    },
  ]
}

export function planText(description: PlanDescription): string {
  const lines = [
    `pipeline ${description.pipeline}   group ${description.group}   ${description.mode}   plan ${description.hash}`,
  ]
  for (const [index, stage] of description.stages.entries()) {
    lines.push(
      '',
      `stage ${index + 1}: ${stage.id}${stage.keyed ? '   (keyed: its topics need equal partition counts)' : ''}`,
    )
    lines.push(`  reads   ${stage.reads.join(', ')}`)
    for (const operator of stage.operators) {
      const states = operator.states ? `   state ${operator.states.join(', ')}` : ''
      lines.push(
        `    ${operator.kind.padEnd(18)} ${operator.id}${operator.inputs.length > 0 ? `  ← ${operator.inputs.join(', ')}` : ''}${states}`,
      )
    }
    lines.push(`  writes  ${stage.writes.join(', ')}`)
  }
  if (description.internalTopics.length > 0) lines.push('', 'internal topics (created at the start)')
  for (const topic of description.internalTopics) {
    const configs = Object.entries(topic.configs).map(([name, value]) => `${name}=${value}`)
    lines.push(`  ${topic.name}   partitions: ${topic.partitions}   ${configs.join(' ')}`)
  }
  if (description.transactionalIds.length > 0)
    lines.push('', 'transactional ids, per worker', ...description.transactionalIds.map((id) => `  ${id}`))
  lines.push('', 'ACLs that the workers need', ...description.acls.required.map(aclText))
  lines.push(
    '',
    'ACLs for the automatic repair of dropped commit markers (optional)',
    ...description.acls.markerRepair.map(aclText),
  )
  return `${lines.join('\n')}\n`
}

function aclText(acl: Acl): string {
  return `  ${acl.resource.padEnd(17)} ${acl.pattern.padEnd(9)} ${acl.name}   ${acl.operations.join(', ')}   (${acl.why})`
}

export function planMermaid(description: PlanDescription): string {
  const id = (name: string): string => name.replace(/[^a-zA-Z0-9]/g, '_')
  const lines = ['flowchart LR']
  for (const stage of description.stages) {
    lines.push(`  subgraph ${id(`stage_${stage.id}`)}["stage ${stage.id}"]`)
    for (const operator of stage.operators)
      lines.push(`    ${id(`${stage.id}/${operator.id}`)}["${operator.id}<br/>${operator.kind}"]`)
    lines.push('  end')
    for (const operator of stage.operators) {
      for (const input of operator.inputs)
        lines.push(`  ${id(`${stage.id}/${input}`)} --> ${id(`${stage.id}/${operator.id}`)}`)
    }
    for (const operator of stage.operators) {
      const node = id(`${stage.id}/${operator.id}`)
      const reads = ['source', 'hop', 'broadcast'].includes(operator.kind)
      for (const topic of operator.topics ?? []) {
        const store = `${id(`topic_${topic}`)}[("${topic}")]`
        lines.push(reads ? `  ${store} --> ${node}` : `  ${node} --> ${store}`)
      }
    }
  }
  return `${lines.join('\n')}\n`
}
