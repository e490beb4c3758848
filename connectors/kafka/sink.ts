// Kafka topics as a sink: a writer enlisted in the worker's transaction.
import type { RecordContext } from '../../src/dataflow/functions.ts'
import type { Compression, TopicSinkConnector } from '../../src/dataflow/ports.ts'
import type { Encoder } from '../../src/state/serde.ts'
import { assertKafkaName, kafkaFactory } from './port.ts'
import { loadCodec } from './wire/compression.ts'

export interface KafkaSinkOptions<K, V> {
  /** The topic; or all topics that `topicOf` may choose from (they are checked at the start). */
  readonly topic: string | readonly string[]
  readonly key: Encoder<K>
  readonly value: Encoder<V>
  /** Topic per record. */
  readonly topicOf?: (value: V, record: RecordContext<K>) => string
  /** Another key than the stream's. */
  readonly keyOf?: (value: V, record: RecordContext<K>) => K
  /** Default: murmur2 of the key's bytes, as the Java client; a record without key keeps its source's partition (modulo). */
  readonly partitioner?: (key: K, value: V, partitions: number) => number
  /** Default: the input record's headers. */
  readonly headers?: (value: V, record: RecordContext<K>) => Iterable<readonly [string, Buffer | string | null]>
  /** Default none. */
  readonly compression?: Compression
  readonly brokers?: readonly string[]
}

/**
 * Writes records exactly once: they become visible to `read_committed` readers with the checkpoint that they belong to.
 * @example kafkaSink({ topic: 'totals', key: utf8, value: json<Total>() })
 * @throws OPTION_INVALID, CODEC_UNKNOWN
 */
export function kafkaSink<K, V>(options: KafkaSinkOptions<K, V>): TopicSinkConnector<K, V> {
  const topics = typeof options.topic === 'string' ? [options.topic] : [...options.topic]
  for (const topic of topics) assertKafkaName(topic)
  const compression = options.compression ?? 'none'
  loadCodec(compression)
  return {
    role: 'topic-sink',
    factory: kafkaFactory,
    topics,
    key: options.key,
    value: options.value,
    topicOf: options.topicOf,
    keyOf: options.keyOf,
    partitioner: options.partitioner,
    headers: options.headers,
    compression,
    ...(options.brokers ? { brokers: options.brokers } : {}),
  }
}
