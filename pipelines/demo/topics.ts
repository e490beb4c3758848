/**
 * The demo's topics. On a broker of its own they have the plain names. On somebody's cluster each run has topics of its
 * own, and what an earlier run left in the pipeline's fixed group is removed only when it is recognisably the demo's.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { ByteWriter } from '../../checker/bytes.ts'
import type { KafkaAccess } from '../../checker/kafka.ts'
import { committedOffsets, describeGroup, withRetries } from '../../checker/requests.ts'
import { DemoError } from './options.ts'

export const pipelineName = 'bid-totals'
export const group: string = `millrace.${pipelineName}`
/** All internal topics and transactional ids of the pipeline begin with this. */
export const internalPrefix: string = `${group}.`

const partitions = 4
const emptyLimitMs = 15_000
const ownTopic = /^(bids|bid-totals)-demo-[0-9a-z]+$/

export interface DemoTopics {
  readonly bids: string
  readonly totals: string
}

export function topicsFor(broker: 'own' | 'external'): DemoTopics {
  if (broker === 'own') return { bids: 'bids', totals: 'bid-totals' }
  const suffix = Date.now().toString(36)
  return { bids: `bids-demo-${suffix}`, totals: `bid-totals-demo-${suffix}` }
}

/** Bids carry old event times, so any retention would delete them at once: there is none. */
export async function createTopics(kafka: KafkaAccess, topics: DemoTopics): Promise<void> {
  const admin = kafka.admin()
  const replicas = Math.min(3, (await kafka.nodes()).length)
  const configEntries = [
    { name: 'retention.ms', value: '-1' },
    { name: 'retention.bytes', value: '-1' },
    { name: 'cleanup.policy', value: 'delete' },
    { name: 'min.insync.replicas', value: String(Math.max(1, replicas - 1)) },
  ]
  const settings = { numPartitions: partitions, replicationFactor: replicas, configEntries }
  const wanted = [topics.bids, topics.totals].map((topic) => ({ topic, ...settings }))
  try {
    await admin.connect()
    await admin.createTopics({ topics: wanted, waitForLeaders: true })
  } catch (cause) {
    const said = cause instanceof Error ? cause.message : String(cause)
    throw new DemoError('TOPICS_FAILED', `topics ${topics.bids}, ${topics.totals} could not be created: ${said}`, {
      cause,
    })
  } finally {
    await admin.disconnect()
  }
}

/**
 * Makes sure that the group is nobody else's, and clears what earlier runs of the demo left. Members of a run that was
 * itself killed stay until their session ends; they are waited for.
 *
 * @throws DemoError GROUP_IN_USE
 */
export async function claimGroup(kafka: KafkaAccess, signal: AbortSignal): Promise<void> {
  const deadline = Date.now() + emptyLimitMs
  for (;;) {
    const { members } = await withRetries(kafka, 'describe group', () => describeGroup(kafka, group))
    if (members.length === 0) break
    if (Date.now() > deadline) {
      const who = members.map((member) => member.clientId).join(', ')
      throw new DemoError('GROUP_IN_USE', `group ${group} has members on this cluster (${who}); stop them first`)
    }
    await sleep(500, undefined, { signal })
  }
  const committed = await withRetries(kafka, 'committed offsets', () => committedOffsets(kafka, group, 'ignore'))
  const foreign = [...committed.keys()].filter((topic) => !ownTopic.test(topic) && !topic.startsWith(internalPrefix))
  const existing = await kafka.topics()
  const internal = existing.filter((topic) => topic.startsWith(internalPrefix))
  const demoWasHere = [...committed.keys(), ...existing].some((topic) => ownTopic.test(topic))
  if (foreign.length > 0 || (internal.length > 0 && !demoWasHere)) {
    const what = foreign.length > 0 ? `offsets of ${foreign.join(', ')}` : `the topics ${internal.join(', ')}`
    const remedy = 'a pipeline of this name seems to be deployed there; use another cluster, or delete them yourself'
    throw new DemoError('GROUP_IN_USE', `group ${group} has ${what} on this cluster: ${remedy}`)
  }
  await removeTraces(kafka)
}

/** Deletes the demo's topics, the pipeline's internal ones and its group. For clusters that are not ours to throw away. */
export async function removeTraces(kafka: KafkaAccess): Promise<void> {
  const admin = kafka.admin()
  try {
    await admin.connect()
    const topics = (await kafka.topics()).filter((topic) => ownTopic.test(topic) || topic.startsWith(internalPrefix))
    if (topics.length > 0) await admin.deleteTopics({ topics })
    const groups = (await admin.listGroups()).groups
    if (groups.some((one) => one.groupId === group)) await admin.deleteGroups([group])
  } finally {
    await admin.disconnect()
  }
}

/**
 * Takes the stopped workers out of the group: a pipeline that ends keeps its static place for a while, and a group with
 * members cannot be deleted.
 */
export async function removeMembers(kafka: KafkaAccess, instances: ReadonlySet<string>): Promise<void> {
  const { members } = await withRetries(kafka, 'describe group', () => describeGroup(kafka, group))
  const ours = members.filter((member) => instances.has(member.instanceId ?? member.clientId))
  const request = new ByteWriter().tags().compactString(group)
  request.compactArray(ours, ({ memberId, instanceId }) => {
    request.compactString(memberId)
    if (instanceId === null) request.uvarint(0)
    else request.compactString(instanceId)
    request.tags()
  })
  const body = request.tags().toBuffer()
  await kafka.send(await kafka.coordinatorOf(group), { api: 13, version: 4, name: 'LeaveGroup', body })
}

/** The pipeline's repartition topics as they are now. */
export async function hopTopics(kafka: KafkaAccess): Promise<string[]> {
  return (await kafka.topics()).filter((topic) => topic.startsWith(`${internalPrefix}hop.`))
}
