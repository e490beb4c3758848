export { ByteReader } from './base/byte-reader.ts'
export { ByteWriter } from './base/byte-writer.ts'
export type { CheckpointStore } from './base/checkpoint-store.ts'
export { MillraceError } from './base/errors.ts'
export { type CheckpointId, checkpointId } from './base/ids.ts'
export type { Logger } from './base/log.ts'
export { DirectoryStore, MemoryStore } from './checkpoint/store.ts'
export { type BatchOwner, ColumnarBatch, type Columns, type Headers, STRIDE } from './dataflow/batch.ts'
export type { RecordContext } from './dataflow/functions.ts'
export type {
  Cluster,
  ClusterFactory,
  ClusterOptions,
  CommittedOffset,
  Compression,
  Fence,
  GroupMember,
  JoinedGeneration,
  MemberAssignment,
  MemberOptions,
  PartitionReader,
  PartitionWriter,
  Position,
  ReaderElement,
  SinkConnector,
  SourceConnector,
  StartPosition,
  TopicInfo,
  TopicSinkConnector,
  TransactionHandle,
  TransactionRecord,
  TransactionSinkOptions,
  TwoPhaseCommitSink,
  TwoPhaseSinkConnector,
  WorkerSink,
} from './dataflow/ports.ts'
export type { Encoder, Serde } from './state/serde.ts'
