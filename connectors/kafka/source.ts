// Kafka topics as a source.
import type { SourceConnector, StartPosition } from '../../src/dataflow/ports.ts'
import type { Serde } from '../../src/state/serde.ts'
import { assertKafkaName, kafkaFactory } from './port.ts'

export interface KafkaSourceOptions<K, V> {
  /** One topic, or several that are read as one stream. */
  readonly topic: string | readonly string[]
  readonly key: Serde<K>
  readonly value: Serde<V>
  /** Where to begin when the pipeline has never read a partition. Default `earliest`. */
  readonly start?: StartPosition
  /** An undecodable record stops the pipeline (`fail`, default), or is counted and dropped (`skip`). */
  readonly onDecodeError?: 'fail' | 'skip'
  /** Only to state explicitly which cluster is meant: it must be the pipeline's. */
  readonly brokers?: readonly string[]
}

/**
 * Reads topics with `read_committed`, exactly once: positions are part of every checkpoint.
 * @example kafkaSource({ topic: 'bids', key: utf8, value: json<Bid>() })
 * @throws OPTION_INVALID
 */
export function kafkaSource<K, V>(options: KafkaSourceOptions<K, V>): SourceConnector<K, V> {
  const topics = typeof options.topic === 'string' ? [options.topic] : [...options.topic]
  for (const topic of topics) assertKafkaName(topic)
  return {
    role: 'source',
    factory: kafkaFactory,
    topics,
    key: options.key,
    value: options.value,
    start: options.start ?? 'earliest',
    onDecodeError: options.onDecodeError ?? 'fail',
    ...(options.brokers ? { brokers: options.brokers } : {}),
  }
}
