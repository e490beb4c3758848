// What a worker runs: the plan's stages and names, and the settings, as data. The plan layer makes them.

import type { CheckpointStore } from '../base/checkpoint-store.ts'
import type { OperatorId } from '../base/ids.ts'
import type { HopTarget } from '../dataflow/chain.ts'
import type { Graph, PlanNode, StatelessNode } from '../dataflow/graph.ts'
import type { ClusterFactory, ClusterOptions, SourceConnector, TopicSinkConnector } from '../dataflow/ports.ts'
import type { RestartStrategy } from './restart.ts'

export interface StageSource {
  readonly operator: OperatorId
  readonly kind: 'source' | 'hop'
  readonly topics: readonly string[]
  readonly connector: SourceConnector<unknown, unknown>
}

/** What every task of a stage reads for one of its operators. */
export interface StageBroadcast {
  /** The keyed operator. */
  readonly operator: OperatorId
  readonly source: OperatorId
  readonly topic: string
  readonly connector: SourceConnector<unknown, unknown>
  readonly path: readonly StatelessNode[]
}

export interface Stage {
  readonly id: string
  readonly sources: readonly StageSource[]
  /** Operators of the stage in declaration order, hops that it writes included. */
  readonly nodes: readonly PlanNode[]
  readonly broadcasts: readonly StageBroadcast[]
  /** Holds keyed state, or reads a hop: its topics must have equal partition counts. */
  readonly keyed: boolean
}

export interface Hop {
  readonly operator: OperatorId
  readonly name: string
  readonly topic: string
  readonly partitions: number | undefined
  /** The stage that writes it. */
  readonly from: string
  readonly configs: ReadonlyMap<string, string>
}

export interface Plan {
  readonly pipeline: string
  readonly group: string
  readonly graph: Graph
  /** Upstream stages first. */
  readonly stages: readonly Stage[]
  readonly hops: readonly Hop[]
  readonly hopTargets: ReadonlyMap<OperatorId, HopTarget>
  /** Broadcast ones, too. */
  readonly sourceTopics: readonly string[]
  /** Read as a whole by every task that is connected to them. */
  readonly broadcastTopics: readonly string[]
  readonly sinks: readonly TopicSinkConnector<unknown, unknown>[]
  readonly factory: ClusterFactory
  /** Equal for equal plans. */
  readonly hash: string
}

/** Names that belong to a pipeline: parsed and compared exactly, never by prefix alone (`bid` is not `bid-totals`). */
export const names = {
  group: (pipeline: string): string => `millrace.${pipeline}`,
  hop: (pipeline: string, name: string): string => `millrace.${pipeline}.hop.${name}`,
  /** Holds the pipeline's checkpoints, if `checkpoint.store` says so. */
  checkpoints: (pipeline: string): string => `millrace.${pipeline}.checkpoints`,
  prefix: (pipeline: string): string => `millrace.${pipeline}.`,
  transactionalIds: (pipeline: string, instance: string): [string, string] => [
    `millrace.${pipeline}.${instance}.0`,
    `millrace.${pipeline}.${instance}.1`,
  ],
  /** undefined: not a transactional id of this pipeline. */
  instanceOf(pipeline: string, transactionalId: string): string | undefined {
    const match = /^millrace\.([a-z0-9-]+)\.([a-z0-9-]+)\.[01]$/.exec(transactionalId)
    return match && match[1] === pipeline ? match[2] : undefined
  },
}

/** The topic that holds the pipeline's checkpoints; undefined: they are somewhere else. */
export function storeTopic(plan: Pick<Plan, 'pipeline'>, settings: Pick<Settings, 'store'>): string | undefined {
  return settings.store === 'kafka' ? names.checkpoints(plan.pipeline) : undefined
}

/**
 * Of that topic, if it has to be made. Old files go by tombstones and DeleteRecords, never by age or size. Small segments, since
 * the brokers give back whole ones, and compaction leaves the newest alone.
 */
export const storeConfigs: ReadonlyMap<string, string> = new Map([
  ['cleanup.policy', 'compact,delete'],
  ['retention.ms', '-1'],
  ['retention.bytes', '-1'],
  ['segment.bytes', String(16 * 1024 * 1024)],
  // Who was away for longer begins the index anew: it must be longer than that.
  ['delete.retention.ms', String(60 * 60_000)],
])

export interface Settings {
  readonly kafka: ClusterOptions
  readonly intervalMs: number
  readonly minPauseMs: number
  readonly checkpointTimeoutMs: number
  readonly mode: 'exactly-once' | 'at-least-once'
  /** `kafka`, a folder, or a store of the user's. */
  readonly store: string | CheckpointStore
  readonly retained: number
  /** Checkpoints are read back before they are committed. */
  readonly verify: boolean
  readonly stateBackend: 'heap' | 'leveldb'
  readonly stateFolder: string
  readonly stateCacheBytesMax: number
  readonly tolerableFailed: number
  readonly transactionTimeoutMs: number
  readonly sessionTimeoutMs: number
  readonly heartbeatMs: number
  readonly rebalanceTimeoutMs: number
  readonly restart: RestartStrategy
  readonly httpPort: number
  readonly graceMs: number
  readonly metadataMaxAgeMs: number
  readonly hopLagRecordsMax: number
  readonly acceptLowReplication: boolean
  readonly channelCapacityRecords: number
  /** The worker's stable name without its slot. */
  readonly instance: string
}
