// Kafka's error codes, classified once, totally, by class and never by message (org.apache.kafka.common.protocol.Errors).
import { type ErrorCode, MillraceError } from '../../../src/base/errors.ts'

export const Code = {
  NONE: 0,
  OFFSET_OUT_OF_RANGE: 1,
  CORRUPT_MESSAGE: 2,
  UNKNOWN_TOPIC_OR_PARTITION: 3,
  LEADER_NOT_AVAILABLE: 5,
  NOT_LEADER_OR_FOLLOWER: 6,
  REQUEST_TIMED_OUT: 7,
  REPLICA_NOT_AVAILABLE: 9,
  MESSAGE_TOO_LARGE: 10,
  NETWORK_EXCEPTION: 13,
  COORDINATOR_LOAD_IN_PROGRESS: 14,
  COORDINATOR_NOT_AVAILABLE: 15,
  NOT_COORDINATOR: 16,
  RECORD_LIST_TOO_LARGE: 18,
  NOT_ENOUGH_REPLICAS: 19,
  NOT_ENOUGH_REPLICAS_AFTER_APPEND: 20,
  ILLEGAL_GENERATION: 22,
  UNKNOWN_MEMBER_ID: 25,
  REBALANCE_IN_PROGRESS: 27,
  TOPIC_AUTHORIZATION_FAILED: 29,
  GROUP_AUTHORIZATION_FAILED: 30,
  CLUSTER_AUTHORIZATION_FAILED: 31,
  TOPIC_ALREADY_EXISTS: 36,
  NOT_CONTROLLER: 41,
  OUT_OF_ORDER_SEQUENCE: 45,
  DUPLICATE_SEQUENCE: 46,
  INVALID_PRODUCER_EPOCH: 47,
  INVALID_TXN_STATE: 48,
  INVALID_PRODUCER_ID_MAPPING: 49,
  INVALID_TRANSACTION_TIMEOUT: 50,
  CONCURRENT_TRANSACTIONS: 51,
  TRANSACTIONAL_ID_AUTHORIZATION_FAILED: 53,
  KAFKA_STORAGE_ERROR: 56,
  UNKNOWN_PRODUCER_ID: 59,
  GROUP_ID_NOT_FOUND: 69,
  FENCED_LEADER_EPOCH: 74,
  UNKNOWN_LEADER_EPOCH: 75,
  OFFSET_NOT_AVAILABLE: 78,
  MEMBER_ID_REQUIRED: 79,
  FENCED_INSTANCE_ID: 82,
  UNSTABLE_OFFSET_COMMIT: 88,
  PRODUCER_FENCED: 90,
  UNKNOWN_TOPIC_ID: 100,
  INCONSISTENT_TOPIC_ID: 103,
  TRANSACTIONAL_ID_NOT_FOUND: 105,
} as const

const names = new Map<number, string>(Object.entries(Code).map(([name, code]) => [code, name]))

export function codeName(code: number): string {
  return `${names.get(code) ?? 'UNKNOWN'} (${code})`
}

/** The request may be repeated as it is; `metadata` and `coordinator`: look the target up again first. */
export type RetryClass = 'again' | 'metadata' | 'coordinator'

const retryClasses = new Map<number, RetryClass>([
  [Code.UNKNOWN_TOPIC_OR_PARTITION, 'metadata'],
  [Code.LEADER_NOT_AVAILABLE, 'metadata'],
  [Code.NOT_LEADER_OR_FOLLOWER, 'metadata'],
  [Code.REQUEST_TIMED_OUT, 'again'],
  [Code.REPLICA_NOT_AVAILABLE, 'metadata'],
  [Code.NETWORK_EXCEPTION, 'metadata'],
  [Code.COORDINATOR_LOAD_IN_PROGRESS, 'again'],
  [Code.COORDINATOR_NOT_AVAILABLE, 'coordinator'],
  [Code.NOT_COORDINATOR, 'coordinator'],
  [Code.NOT_ENOUGH_REPLICAS, 'again'],
  [Code.NOT_ENOUGH_REPLICAS_AFTER_APPEND, 'again'],
  [Code.NOT_CONTROLLER, 'metadata'],
  [Code.CONCURRENT_TRANSACTIONS, 'again'],
  [Code.KAFKA_STORAGE_ERROR, 'metadata'],
  [Code.FENCED_LEADER_EPOCH, 'metadata'],
  [Code.UNKNOWN_LEADER_EPOCH, 'again'],
  [Code.OFFSET_NOT_AVAILABLE, 'again'],
  [Code.UNSTABLE_OFFSET_COMMIT, 'again'],
  [Code.UNKNOWN_TOPIC_ID, 'metadata'],
])

export function retryClass(code: number): RetryClass | undefined {
  return retryClasses.get(code)
}

const errorCodes = new Map<number, ErrorCode>([
  [Code.TOPIC_AUTHORIZATION_FAILED, 'KAFKA_NOT_AUTHORIZED'],
  [Code.GROUP_AUTHORIZATION_FAILED, 'KAFKA_NOT_AUTHORIZED'],
  [Code.CLUSTER_AUTHORIZATION_FAILED, 'KAFKA_NOT_AUTHORIZED'],
  [Code.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, 'KAFKA_NOT_AUTHORIZED'],
  [Code.INVALID_PRODUCER_EPOCH, 'TRANSACTION_FENCED'],
  [Code.PRODUCER_FENCED, 'TRANSACTION_FENCED'],
  [Code.INVALID_PRODUCER_ID_MAPPING, 'TRANSACTION_FAILED'],
  [Code.INVALID_TXN_STATE, 'TRANSACTION_FAILED'],
  [Code.OUT_OF_ORDER_SEQUENCE, 'TRANSACTION_FAILED'],
  [Code.UNKNOWN_PRODUCER_ID, 'TRANSACTION_FAILED'],
  [Code.INVALID_TRANSACTION_TIMEOUT, 'KAFKA_LIMIT'],
  [Code.MESSAGE_TOO_LARGE, 'SINK_RECORD_TOO_LARGE'],
  [Code.RECORD_LIST_TOO_LARGE, 'SINK_RECORD_TOO_LARGE'],
  [Code.ILLEGAL_GENERATION, 'GENERATION_STALE'],
  [Code.UNKNOWN_MEMBER_ID, 'GENERATION_STALE'],
  [Code.REBALANCE_IN_PROGRESS, 'GENERATION_STALE'],
  [Code.FENCED_INSTANCE_ID, 'INSTANCE_FENCED'],
  [Code.OFFSET_OUT_OF_RANGE, 'OFFSET_OUT_OF_RANGE'],
])

/** What to do, where the code alone tells it. */
const remedies: Partial<Record<ErrorCode, string>> = {
  KAFKA_NOT_AUTHORIZED: 'grant the right; `millrace plan <module>` lists the ACLs that are needed',
  KAFKA_LIMIT: "lower transactionTimeoutMs, or raise the brokers' transaction.max.timeout.ms",
  SINK_RECORD_TOO_LARGE: "make the records smaller, or raise the topic's max.message.bytes",
}

/** The coded error for a broker's answer; `what` names the request and its subject, and the remedy where there is one. */
export function kafkaError(code: number, what: string): MillraceError {
  const own = errorCodes.get(code) ?? (retryClass(code) ? 'KAFKA_RETRIABLE' : 'KAFKA_ERROR')
  const remedy = remedies[own]
  const text = `${what}: the broker answered ${codeName(code)}${remedy ? `; ${remedy}` : ''}`
  return new MillraceError(own, text, { kafkaCode: code })
}
