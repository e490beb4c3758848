// The one error class of the engine and its code table. A test keeps the table, the type and the README equal.
// Disposition: `retry` the same request may be repeated where it failed; `restart` the worker rolls back in place and
// recovers, under the restart strategy; `fatal` the worker stops loudly with the exit code (no restart can help).

export type Disposition = 'retry' | 'restart' | 'fatal'

interface CodeEntry {
  readonly meaning: string
  readonly disposition: Disposition
  readonly exit: number
}

export type ErrorCode =
  | 'USAGE'
  | 'MODULE_INVALID'
  | 'PLAN_INVALID'
  | 'OPTION_INVALID'
  | 'KAFKA_UNREACHABLE'
  | 'KAFKA_TOO_OLD'
  | 'KAFKA_NOT_AUTHORIZED'
  | 'KAFKA_AUTHENTICATION'
  | 'KAFKA_REQUEST_TIMEOUT'
  | 'KAFKA_CONNECTION_LOST'
  | 'KAFKA_RETRIABLE'
  | 'KAFKA_ERROR'
  | 'KAFKA_LIMIT'
  | 'TOPIC_UNKNOWN'
  | 'TOPIC_PARTITIONS_WRONG'
  | 'TOPIC_CONFIG_WRONG'
  | 'TOPIC_ID_CHANGED'
  | 'PARTITION_COUNT_CHANGED'
  | 'TOPIC_PARTITIONS_GREW'
  | 'OFFSET_OUT_OF_RANGE'
  | 'LOG_TRUNCATED'
  | 'BATCH_CORRUPT'
  | 'CODEC_UNKNOWN'
  | 'BYTES_MALFORMED'
  | 'DECODE_FAILED'
  | 'OFFSETS_MISSING'
  | 'OFFSETS_FOREIGN'
  | 'OFFSETS_UNSTABLE'
  | 'MARKERS_DROPPED'
  | 'CHECKPOINT_CORRUPT'
  | 'CHECKPOINT_MISSING'
  | 'CHECKPOINT_MISMATCH'
  | 'CHECKPOINT_TOO_LARGE'
  | 'CHECKPOINT_TIMEOUT'
  | 'STORE_UNWRITABLE'
  | 'STORE_FOREIGN_FILE'
  | 'SAVEPOINT_INVALID'
  | 'SAVEPOINT_REFUSED'
  | 'STATE_INCOMPATIBLE'
  | 'STATE_VALUE_INVALID'
  | 'STATE_DISK'
  | 'STATE_LOCKED'
  | 'STATE_DAMAGED'
  | 'TRANSACTION_FENCED'
  | 'TRANSACTION_FAILED'
  | 'TRANSACTION_UNKNOWN'
  | 'GENERATION_STALE'
  | 'INSTANCE_FENCED'
  | 'MEMBER_UNEQUAL'
  | 'OPERATOR_FAILED'
  | 'CALL_OVER'
  | 'KEY_INVALID'
  | 'SERIALIZE_FAILED'
  | 'SINK_RECORD_TOO_LARGE'
  | 'SINK_PARTITION_INVALID'
  | 'SINK_UNWRITABLE'
  | 'SINK_TRANSACTION_LOST'
  | 'ASYNC_FAILED'
  | 'RESTARTS_EXHAUSTED'
  | 'DRAIN_TIMEOUT'
  | 'GROUP_NOT_EMPTY'

const entry = (disposition: Disposition, exit: number, meaning: string): CodeEntry => ({ meaning, disposition, exit })

/** Exit codes: 1 run-time failure · 2 usage, plan or configuration · 3 loud stop about data · 4 fenced · 5 unreachable. */
export const errorTable: Readonly<Record<ErrorCode, CodeEntry>> = {
  USAGE: entry('fatal', 2, 'the command line is not understood'),
  MODULE_INVALID: entry('fatal', 2, 'the module has no pipeline as its default export, or cannot be loaded'),
  PLAN_INVALID: entry('fatal', 2, 'the pipeline has mistakes; all of them are listed'),
  OPTION_INVALID: entry('fatal', 2, 'an option is out of its range, or two options contradict each other'),
  KAFKA_UNREACHABLE: entry('fatal', 5, 'no broker answered within the deadline'),
  KAFKA_TOO_OLD: entry('fatal', 2, 'the broker lacks a request that Millrace needs (Kafka ≥ 3.0)'),
  KAFKA_NOT_AUTHORIZED: entry('fatal', 2, 'an ACL is missing; `millrace plan` lists the ones needed'),
  KAFKA_AUTHENTICATION: entry('fatal', 2, 'the broker refused the credentials or the TLS handshake failed'),
  KAFKA_REQUEST_TIMEOUT: entry('restart', 1, 'a request got no answer in time: its outcome is unknown'),
  KAFKA_CONNECTION_LOST: entry('restart', 1, 'a connection to a broker was lost'),
  KAFKA_RETRIABLE: entry('retry', 1, 'the broker asks to repeat the request'),
  KAFKA_ERROR: entry('restart', 1, 'the broker refused a request with a code that a retry does not cure'),
  KAFKA_LIMIT: entry('fatal', 2, "a broker limit contradicts the pipeline's settings"),
  TOPIC_UNKNOWN: entry('fatal', 2, 'a topic of the pipeline does not exist'),
  TOPIC_PARTITIONS_WRONG: entry(
    'fatal',
    2,
    'topics that are read together, or a hop, have other partition counts than needed',
  ),
  TOPIC_CONFIG_WRONG: entry(
    'fatal',
    2,
    'a topic has a setting that endangers the promise (replication, cleanup.policy, …)',
  ),
  TOPIC_ID_CHANGED: entry('fatal', 3, 'a topic was deleted and created again since the last checkpoint'),
  PARTITION_COUNT_CHANGED: entry('fatal', 3, 'a topic of a keyed stage got more partitions: keys would move'),
  TOPIC_PARTITIONS_GREW: entry(
    'fatal',
    1,
    'a topic of a stateless stage got more partitions: the process restarts to read them',
  ),
  OFFSET_OUT_OF_RANGE: entry('fatal', 3, 'the next offset to read does not exist in the log (any more)'),
  LOG_TRUNCATED: entry('fatal', 3, 'the log was cut below what was already read (unclean leader election)'),
  BATCH_CORRUPT: entry('fatal', 3, 'a record batch fails its checksum or its structure'),
  CODEC_UNKNOWN: entry('fatal', 3, 'the codec of a record batch is unknown or cannot be loaded'),
  BYTES_MALFORMED: entry('fatal', 3, 'bytes from outside end early or contradict themselves'),
  DECODE_FAILED: entry('fatal', 3, 'a record cannot be decoded by the serde of its source'),
  OFFSETS_MISSING: entry('fatal', 3, 'the group has no offsets although the pipeline has run before'),
  OFFSETS_FOREIGN: entry('fatal', 3, "the group's offsets carry no pointer of ours: someone reset the group"),
  OFFSETS_UNSTABLE: entry('fatal', 3, 'committed offsets stay undecided past the deadline'),
  MARKERS_DROPPED: entry(
    'fatal',
    3,
    'a decided transaction lacks its markers on some partitions and may not be repaired',
  ),
  CHECKPOINT_CORRUPT: entry('fatal', 3, 'a checkpoint file fails its checksum or is cut'),
  CHECKPOINT_MISSING: entry('fatal', 3, "the checkpoint file that the group's pointer names is not in the store"),
  CHECKPOINT_MISMATCH: entry(
    'fatal',
    3,
    'a checkpoint file contradicts the committed offsets or belongs to something else',
  ),
  CHECKPOINT_TOO_LARGE: entry('fatal', 1, 'a checkpoint exceeds the limit of its store'),
  CHECKPOINT_TIMEOUT: entry('restart', 1, 'a checkpoint did not finish in time'),
  STORE_UNWRITABLE: entry(
    'restart',
    1,
    'the checkpoint store cannot be read or written (disk full, rights), or gives something else than was written (`verify`)',
  ),
  STORE_FOREIGN_FILE: entry(
    'fatal',
    3,
    "the store's folder or topic holds something of another pipeline, or of somebody else",
  ),
  SAVEPOINT_INVALID: entry('fatal', 3, 'a savepoint is damaged, cut, of a later format, or cannot be written'),
  SAVEPOINT_REFUSED: entry(
    'fatal',
    2,
    'a savepoint may not be taken or restored so; the message names the flag or the step that is missing',
  ),
  STATE_INCOMPATIBLE: entry('fatal', 3, 'the kind or serde of a state changed since the checkpoint'),
  STATE_VALUE_INVALID: entry('restart', 1, 'a state got a value or key that its serde cannot write'),
  STATE_DISK: entry('restart', 1, 'the local state folder cannot be read or written (disk full, rights)'),
  STATE_DAMAGED: entry('fatal', 1, 'the local state fails a checksum: the process starts again without it'),
  STATE_LOCKED: entry('fatal', 2, 'another process uses the local state folder'),
  TRANSACTION_FENCED: entry('restart', 1, "another producer took over one of the worker's transactional ids"),
  TRANSACTION_FAILED: entry('restart', 1, 'a transaction cannot go on and is rolled back'),
  TRANSACTION_UNKNOWN: entry('fatal', 1, 'the outcome of a commit is unknown past the deadline'),
  GENERATION_STALE: entry('restart', 1, 'the group has moved on: this worker must rejoin'),
  INSTANCE_FENCED: entry('fatal', 4, 'another process uses the same instance id'),
  MEMBER_UNEQUAL: entry('fatal', 2, 'the members of the group run different plans or use different stores'),
  OPERATOR_FAILED: entry('restart', 1, 'a function of the pipeline threw'),
  CALL_OVER: entry('restart', 1, 'a record, or `emit`, was used after the function that got it had returned'),
  KEY_INVALID: entry('restart', 1, 'a key function returned something that cannot be a key'),
  SERIALIZE_FAILED: entry('restart', 1, 'a value cannot be written by the serde of its sink'),
  SINK_RECORD_TOO_LARGE: entry('fatal', 3, "a record is larger than its topic's max.message.bytes"),
  SINK_PARTITION_INVALID: entry('restart', 1, 'a partitioner or topic function chose something that does not exist'),
  SINK_UNWRITABLE: entry('restart', 1, 'the place of a sink on another system cannot be written (disk full, rights)'),
  SINK_TRANSACTION_LOST: entry('fatal', 3, 'what a sink had prepared for a committed checkpoint is gone'),
  ASYNC_FAILED: entry('restart', 1, 'an asyncMap function failed or timed out after its retries'),
  RESTARTS_EXHAUSTED: entry('fatal', 1, 'the restart strategy allows no further attempt'),
  DRAIN_TIMEOUT: entry('fatal', 1, 'the orderly stop did not finish within the grace period'),
  GROUP_NOT_EMPTY: entry('fatal', 2, 'the command needs a pipeline without running workers'),
}

export interface ErrorContext {
  /** Kafka's error code, where a broker spoke. */
  readonly kafkaCode?: number
  readonly cause?: unknown
}

/**
 * Every error that the engine raises on purpose. `message` says what happened, what was expected and what to do; `code`
 * is stable across releases.
 */
export class MillraceError extends Error {
  readonly code: ErrorCode
  readonly kafkaCode: number | undefined

  constructor(code: ErrorCode, message: string, context: ErrorContext = {}) {
    super(`${code}: ${message}`, 'cause' in context ? { cause: context.cause } : undefined)
    this.name = 'MillraceError'
    this.code = code
    this.kafkaCode = context.kafkaCode
  }

  get disposition(): Disposition {
    return errorTable[this.code].disposition
  }

  get exitCode(): number {
    return errorTable[this.code].exit
  }
}

/** The message of anything thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

export function isCode(error: unknown, ...codes: readonly ErrorCode[]): error is MillraceError {
  return error instanceof MillraceError && codes.includes(error.code)
}
