// The store that the settings name.
import type { CheckpointStore } from '../base/checkpoint-store.ts'
import { DirectoryStore } from '../checkpoint/store.ts'
import type { Cluster } from '../dataflow/ports.ts'
import { type Plan, type Settings, storeConfigs, storeTopic } from './job.ts'
import { givenTopics } from './topology.ts'

/** A worker writes to one data partition: more of them would hold nothing. */
const DATA_PARTITIONS_MAX = 32

/** The pipeline's own topic, a folder, or one of the user's. Nothing is opened yet. */
export function storeOf(cluster: Cluster, plan: Plan, settings: Settings): CheckpointStore {
  const topic = storeTopic(plan, settings)
  if (topic !== undefined)
    return cluster.checkpointStore({ topic, partitions: () => partitionsFor(cluster, plan), configs: storeConfigs })
  return typeof settings.store === 'string' ? new DirectoryStore(settings.store) : settings.store
}

/** The index, and as many for files as the widest stage has tasks. @throws TOPIC_UNKNOWN: nothing is made for a pipeline that cannot run */
async function partitionsFor(cluster: Cluster, plan: Plan): Promise<number> {
  const topics = await givenTopics(cluster, plan)
  const sources = plan.sourceTopics.map((name) => topics.get(name)?.partitions ?? 0)
  const tasks = Math.max(1, ...sources, ...plan.hops.map((hop) => hop.partitions ?? 0))
  return 1 + Math.min(tasks, DATA_PARTITIONS_MAX)
}
