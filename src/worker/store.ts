// The store that the settings name: the pipeline's own topic, a folder, or one of the user's.
import type { CheckpointStore } from '../base/checkpoint-store.ts'
import { DirectoryStore } from '../checkpoint/store.ts'
import type { Cluster } from '../dataflow/ports.ts'
import { names, type Plan, type Settings } from './job.ts'

/** Workers write to one data partition each; more partitions than that would hold nothing. */
const DATA_PARTITIONS_MAX = 32

/**
 * Of the topic, if it has to be made. Old files go by tombstones and DeleteRecords, never by age or size. Small segments, since the
 * brokers give back whole ones, and compaction leaves the newest alone.
 */
export const STORE_CONFIGS: ReadonlyMap<string, string> = new Map([
  ['cleanup.policy', 'compact,delete'],
  ['retention.ms', '-1'],
  ['retention.bytes', '-1'],
  ['segment.bytes', String(16 * 1024 * 1024)],
  // Who was away for longer begins the index anew: it must be longer than that.
  ['delete.retention.ms', String(60 * 60_000)],
])

/** The topic that holds the checkpoints; undefined: they are somewhere else. */
export function storeTopic(plan: Pick<Plan, 'pipeline'>, settings: Pick<Settings, 'store'>): string | undefined {
  return settings.store === 'kafka' ? names.checkpoints(plan.pipeline) : undefined
}

export function storeOf(cluster: Cluster, plan: Plan, settings: Settings): CheckpointStore {
  const topic = storeTopic(plan, settings)
  if (topic !== undefined)
    return cluster.checkpointStore({ topic, partitions: () => partitionsFor(cluster, plan), configs: STORE_CONFIGS })
  return typeof settings.store === 'string' ? new DirectoryStore(settings.store) : settings.store
}

/** The index, and as many for files as the widest stage has tasks. */
async function partitionsFor(cluster: Cluster, plan: Plan): Promise<number> {
  const topics = await cluster.topics(plan.sourceTopics)
  const counts = [...topics.values()].map(({ partitions }) => partitions)
  const tasks = Math.max(1, ...counts, ...plan.hops.map((hop) => hop.partitions ?? 0))
  return 1 + Math.min(tasks, DATA_PARTITIONS_MAX)
}
