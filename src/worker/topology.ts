// The pipeline's topics as they are on the cluster: checked, hops created, and what follows from the partition counts:
// the tasks.
import { assert } from '../base/assert.ts'
import { delay, monotonicMs } from '../base/clock.ts'
import { isCode, MillraceError } from '../base/errors.ts'
import { partitionKey, type TaskId, type TopicPartition, taskId } from '../base/ids.ts'
import { type Logger, silentLogger } from '../base/log.ts'
import { BROADCAST_PARTITION } from '../dataflow/broadcast-hub.ts'
import type { Cluster, TopicInfo } from '../dataflow/ports.ts'
import type { TaskBroadcast, TaskInput } from '../dataflow/task.ts'
import { checkDurability, checkLimits } from './broker-checks.ts'
import { type Plan, type Settings, type Stage, storeTopic } from './job.ts'

const CREATED_DEADLINE_MS = 30_000

export interface TaskPlan {
  readonly id: TaskId
  readonly stage: Stage
  readonly partition: number
  readonly inputs: readonly TaskInput[]
  readonly broadcasts: readonly TaskBroadcast[]
}

export interface Topology {
  readonly topics: ReadonlyMap<string, TopicInfo>
  /** All tasks of the pipeline, upstream stages first. */
  readonly tasks: readonly TaskPlan[]
  /** `max.message.bytes` of every topic that is written. */
  readonly batchBytesMax: ReadonlyMap<string, number>
}

/**
 * Checks every topic, creates missing hops.
 *
 * @throws TOPIC_UNKNOWN, TOPIC_PARTITIONS_WRONG, TOPIC_CONFIG_WRONG, KAFKA_LIMIT, KAFKA_NOT_AUTHORIZED
 */
export async function prepareTopology(
  cluster: Cluster,
  plan: Plan,
  settings: Settings,
  log: Logger,
): Promise<Topology> {
  const topics = new Map(await givenTopics(cluster, plan))
  await warnOfBroadcasts(cluster, plan, log)
  const brokers = await cluster.brokerConfigs()
  checkLimits(brokers, settings)
  for (const hop of plan.hops) {
    const partitions = hopPartitions(plan, hop, topics)
    topics.set(hop.topic, await prepareHop(cluster, hop, partitions, log))
  }
  const batchBytesMax = await checkWritten(cluster, plan, settings, { topics, brokers }, log)
  return { topics, tasks: plan.stages.flatMap((stage) => stageTasks(stage, topics)), batchBytesMax }
}

/**
 * The tasks that there will be once hops are made anew. Nothing is changed, and what {@link prepareTopology} would refuse is
 * refused, but for the right to create topics: there is no way to try it.
 */
export async function plannedTasks(cluster: Cluster, plan: Plan, settings: Settings): Promise<readonly TaskPlan[]> {
  const given = await givenTopics(cluster, plan)
  const brokers = await cluster.brokerConfigs()
  checkLimits(brokers, settings)
  const hops = await cluster.topics(plan.hops.map(({ topic }) => topic))
  await checkWritten(cluster, plan, settings, { topics: new Map([...given, ...hops]), brokers }, silentLogger)
  const topics = new Map(given)
  for (const hop of plan.hops) {
    const partitions = hopPartitions(plan, hop, topics)
    topics.set(hop.topic, { name: hop.topic, id: '', partitions, replication: 1 })
  }
  return plan.stages.flatMap((stage) => stageTasks(stage, topics))
}

/** `topics` has what the hop's stage reads: of other hops, those upstream. */
function hopPartitions(plan: Plan, hop: Plan['hops'][number], topics: ReadonlyMap<string, TopicInfo>): number {
  if (hop.partitions !== undefined) return hop.partitions
  const stage = plan.stages.find(({ id }) => id === hop.from)
  assert(stage !== undefined, `repartition topic ${hop.topic} has no stage that writes it`)
  return stagePartitions(stage, topics)
}

/** Whether we may read and purge what we write, and it survives a broker; hops if they are in `topics`. @returns `max.message.bytes` of each */
async function checkWritten(
  cluster: Cluster,
  plan: Plan,
  settings: Settings,
  { topics, brokers }: Pick<Topology, 'topics'> & { readonly brokers: ReadonlyMap<string, string> | undefined },
  log: Logger,
): Promise<ReadonlyMap<string, number>> {
  const hops = plan.hops.flatMap(({ topic }) => (topics.has(topic) ? [topic] : []))
  const written = [...new Set([...plan.sinks.flatMap((sink) => sink.topics), ...hops])]
  // No part of the topology: the store looks after its topic itself.
  const topic = storeTopic(plan, settings)
  const store = topic === undefined ? [] : [topic]
  const configs = await cluster.topicConfigs([...written, ...store])
  await cluster.tryRights({
    read: [...(settings.mode === 'exactly-once' ? written : []), ...store],
    purge: [...hops, ...store],
  })
  const found = new Map([...topics, ...(await cluster.topics(store))])
  await checkDurability(cluster, settings, { names: [...written, ...store], topics: found, configs, brokers }, log)
  return new Map(
    [...configs].flatMap(([name, values]) => {
      const limit = Number(values.get('max.message.bytes'))
      return limit > 0 ? [[name, limit] as const] : []
    }),
  )
}

/** The topics that are somebody else's to make. @throws TOPIC_UNKNOWN */
export async function givenTopics(cluster: Cluster, plan: Plan): Promise<ReadonlyMap<string, TopicInfo>> {
  const external = [...new Set([...plan.sourceTopics, ...plan.sinks.flatMap((sink) => sink.topics)])]
  const topics = await cluster.topics(external)
  const missing = external.filter((name) => !topics.has(name))
  if (missing.length === 0) {
    checkBroadcasts(plan, topics)
    return topics
  }
  const what = missing.map((name) => `'${name}' (${plan.sourceTopics.includes(name) ? 'read' : 'written'})`).join(', ')
  throw new MillraceError(
    'TOPIC_UNKNOWN',
    `missing on the cluster: ${what}. Create them, with the partition count that you want to keep; Millrace creates only its own topics`,
  )
}

function checkBroadcasts(plan: Plan, topics: ReadonlyMap<string, TopicInfo>): void {
  for (const name of plan.broadcastTopics) {
    const count = topics.get(name)?.partitions
    if (count === 1) continue
    throw new MillraceError(
      'TOPIC_PARTITIONS_WRONG',
      `broadcast topic ${name} has ${count} partitions: tasks would see its records in different orders. Use a topic with one partition`,
    )
  }
}

/** Broadcast topics that are others now: how far one was read, and what was made of it, means nothing in another. */
export function recreatedBroadcasts(
  plan: Plan,
  was: Readonly<Record<string, { readonly id: string }>>,
  now: ReadonlyMap<string, TopicInfo>,
): string[] {
  return plan.broadcastTopics.filter((topic) => {
    const before = was[topic]?.id
    const id = now.get(topic)?.id
    return before !== undefined && id !== undefined && before !== id
  })
}

/** A task that begins later must find all that the others have read. */
async function warnOfBroadcasts(cluster: Cluster, plan: Plan, log: Logger): Promise<void> {
  if (plan.broadcastTopics.length === 0) return
  const configs = await cluster.topicConfigs(plan.broadcastTopics).catch((error: unknown) => {
    // Without the right to read them we cannot judge them.
    if (isCode(error, 'KAFKA_NOT_AUTHORIZED')) return new Map<string, ReadonlyMap<string, string>>()
    throw error
  })
  for (const [topic, values] of configs) {
    const forgets = values.get('cleanup.policy')?.includes('delete') === true && values.get('retention.ms') !== '-1'
    if (forgets)
      log.warn(
        { topic },
        `broadcast topic ${topic} forgets its records (retention.ms=${values.get('retention.ms')}): a task that begins later has less than the others. Run kafka-configs.sh --alter --topic ${topic} --add-config cleanup.policy=compact`,
      )
  }
}

/** Read again while running: the ids and counts only. */
export async function readTopics(cluster: Cluster, plan: Plan): Promise<ReadonlyMap<string, TopicInfo>> {
  return cluster.topics([
    ...plan.sourceTopics,
    ...plan.sinks.flatMap((sink) => sink.topics),
    ...plan.hops.map((hop) => hop.topic),
  ])
}

async function prepareHop(
  cluster: Cluster,
  { topic: name, partitions: asked, configs }: Plan['hops'][number],
  partitions: number,
  log: Logger,
): Promise<TopicInfo> {
  let info = (await cluster.topics([name])).get(name)
  if (!info) {
    log.info({ topic: name, partitions }, 'creating repartition topic')
    await cluster.createTopic(name, partitions, configs)
    info = await appeared(cluster, name)
  }
  if (!info)
    throw new MillraceError(
      'TOPIC_UNKNOWN',
      `repartition topic ${name} was created but is not there; check the brokers' logs`,
    )
  if (asked !== undefined && info.partitions !== partitions) {
    throw new MillraceError(
      'TOPIC_PARTITIONS_WRONG',
      `repartition topic ${name} has ${info.partitions} partitions, the pipeline wants ${partitions}; its keys cannot be moved in place: set partitions back, or give the keyBy a new name`,
    )
  }
  const actual = (await cluster.topicConfigs([name])).get(name)
  for (const [key, wanted] of configs) {
    const found = actual?.get(key)
    if (found !== undefined && found !== wanted) {
      throw new MillraceError(
        'TOPIC_CONFIG_WRONG',
        `repartition topic ${name} has ${key}=${found}, needed is ${wanted}: records could be deleted before they are read. Run kafka-configs.sh --alter --topic ${name} --add-config ${key}=${wanted}`,
      )
    }
  }
  return info
}

/** Any broker may answer, also one that has not heard of the new topic yet. */
async function appeared(cluster: Cluster, name: string): Promise<TopicInfo | undefined> {
  const deadline = monotonicMs() + CREATED_DEADLINE_MS
  for (;;) {
    const info = (await cluster.topics([name])).get(name)
    if (info || monotonicMs() > deadline) return info
    await delay(20)
  }
}

function partitionsOf(topics: ReadonlyMap<string, TopicInfo>, name: string): number {
  return topics.get(name)?.partitions ?? 0
}

/** Tasks of a stage: one per partition. @throws TOPIC_PARTITIONS_WRONG where keys would not meet */
export function stagePartitions(stage: Stage, topics: ReadonlyMap<string, TopicInfo>): number {
  const names = stage.sources.flatMap((source) => source.topics)
  const counts = names.map((name) => partitionsOf(topics, name))
  const widest = Math.max(...counts)
  if (stage.keyed && counts.some((count) => count !== widest)) {
    const list = names.map((name) => `${name} (${partitionsOf(topics, name)})`).join(', ')
    throw new MillraceError(
      'TOPIC_PARTITIONS_WRONG',
      `the keyed stage '${stage.id}' reads topics with different partition counts: ${list}. Equal keys would be in different tasks: give them equal counts, or use keyBy`,
    )
  }
  return widest
}

export function stageTasks(stage: Stage, topics: ReadonlyMap<string, TopicInfo>): TaskPlan[] {
  const count = stagePartitions(stage, topics)
  const broadcasts = stage.broadcasts.map(({ operator, source, topic, connector, path }) => ({
    ...{ connected: operator, operator: source, topic, partition: BROADCAST_PARTITION, path },
    ...{ key: connector.key, value: connector.value, onDecodeError: connector.onDecodeError },
  }))
  return Array.from({ length: count }, (_, partition) => {
    const inputs = stage.sources.flatMap(({ operator, connector }) =>
      connector.topics
        .filter((topic) => partition < partitionsOf(topics, topic))
        .map(
          (topic): TaskInput => ({
            operator,
            topic,
            partition,
            key: connector.key,
            value: connector.value,
            onDecodeError: connector.onDecodeError,
          }),
        ),
    )
    return { id: taskId(stage.id, partition), stage, partition, inputs, broadcasts }
  })
}

/** Which task reads a partition. */
export function taskOf(topology: Topology): ReadonlyMap<string, TaskPlan> {
  return new Map(
    topology.tasks.flatMap((task) =>
      task.inputs.map((input: TopicPartition) => [partitionKey(input.topic, input.partition), task] as const),
    ),
  )
}
