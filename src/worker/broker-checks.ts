// What the brokers' own settings must allow before anything runs: the time-outs that were asked for, and that no committed output hangs
// on one broker.
import { isCode, MillraceError } from '../base/errors.ts'
import type { Logger } from '../base/log.ts'
import type { Cluster, TopicInfo } from '../dataflow/ports.ts'
import type { Settings } from './job.ts'

/** @throws KAFKA_LIMIT */
export function checkLimits(configs: ReadonlyMap<string, string> | undefined, settings: Settings): void {
  const limit = Number(configs?.get('transaction.max.timeout.ms') ?? Number.POSITIVE_INFINITY)
  if (settings.mode === 'exactly-once' && settings.transactionTimeoutMs > limit) {
    throw new MillraceError(
      'KAFKA_LIMIT',
      `transactionTimeoutMs ${settings.transactionTimeoutMs} exceeds the brokers' transaction.max.timeout.ms ${limit}; lower it, or raise the broker's`,
    )
  }
  const minimum = Number(configs?.get('group.min.session.timeout.ms') ?? 0)
  const maximum = Number(configs?.get('group.max.session.timeout.ms') ?? Number.POSITIVE_INFINITY)
  if (settings.sessionTimeoutMs < minimum || settings.sessionTimeoutMs > maximum) {
    throw new MillraceError(
      'KAFKA_LIMIT',
      `sessionTimeoutMs ${settings.sessionTimeoutMs} is outside the brokers' ${minimum}–${maximum} (group.min/max.session.timeout.ms)`,
    )
  }
}

/** Kafka's own topics, and the brokers' setting that is their min.insync.replicas unless somebody has altered it. */
const internalIsr: ReadonlyMap<string, string> = new Map([
  ['__consumer_offsets', 'min.insync.replicas'],
  ['__transaction_state', 'transaction.state.log.min.isr'],
])

/** What is written, and how the brokers keep it. */
interface Written {
  readonly names: readonly string[]
  readonly topics: ReadonlyMap<string, TopicInfo>
  readonly configs: ReadonlyMap<string, ReadonlyMap<string, string>>
  readonly brokers: ReadonlyMap<string, string> | undefined
}

/** A partition whose only replica dies loses decided output (or its commit marker): refused on clusters that could do better. */
export async function checkDurability(
  cluster: Cluster,
  settings: Settings,
  { names, topics, configs, brokers }: Written,
  log: Logger,
): Promise<void> {
  const internal = [...internalIsr.keys()]
  // Without DESCRIBE on Kafka's own topics we cannot judge them; they need not be readable for us.
  const internalTopics = await cluster.topics(internal).catch((error: unknown) => {
    if (isCode(error, 'KAFKA_NOT_AUTHORIZED')) return new Map<string, TopicInfo>()
    throw error
  })
  const states = new Map([...topics, ...internalTopics])
  const weak = [...names, ...internal].flatMap((name) => {
    const replication = states.get(name)?.replication
    const isr = Number(configs.get(name)?.get('min.insync.replicas') ?? brokers?.get(internalIsr.get(name) ?? '') ?? 2)
    if (replication === undefined || (replication >= 2 && isr >= 2)) return []
    return [`${name} (replication ${replication}${isr < 2 ? `, min.insync.replicas ${isr}` : ''})`]
  })
  if (weak.length === 0) return
  const text = `a single broker failure can lose or hang committed output: ${weak.join(', ')}. Use replication ≥ 2 and min.insync.replicas ≥ 2`
  if (cluster.brokerCount >= 3 && !settings.acceptLowReplication && settings.mode === 'exactly-once') {
    throw new MillraceError('TOPIC_CONFIG_WRONG', `${text}, or set acceptLowReplication`)
  }
  log.warn({ topics: weak }, text)
}
