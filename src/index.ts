export { definePipeline } from './api/define-pipeline.ts'
export {
  type ConnectedStream,
  type JsonSafe,
  type KeyByOptions,
  KeyedStream,
  type OperatorStateStream,
  type Patched,
  type PatchFields,
  PipelineBuilder,
  StatefulStream,
  Stream,
} from './api/stream.ts'
export { type Disposition, type ErrorCode, errorTable, MillraceError } from './base/errors.ts'
export type { Headers } from './dataflow/batch.ts'
export type {
  AsyncMapOptions,
  BroadcastContext,
  ConnectedContext,
  ConnectedFunction,
  OperatorStateContext,
  OperatorStateFunction,
  ProcessContext,
  ProcessFunction,
  RecordContext,
  TimerContext,
  Timers,
} from './dataflow/functions.ts'
export type { PipelineOptions } from './plan/options.ts'
export type { Pipeline } from './plan/plan.ts'
export type { ReadonlyHandles } from './state/broadcast.ts'
export {
  type Aggregate,
  type AggregatingState,
  aggregatingState,
  type DeepReadonly,
  type ListState,
  listState,
  type MapRange,
  type MapState,
  mapState,
  type ReducingState,
  reducingState,
  type StateDescriptor,
  type StateDescriptors,
  type StateHandles,
  unionListState,
  type ValueState,
  valueState,
} from './state/descriptors.ts'
export { type MigrationOptions, withMigration } from './state/formats.ts'
export { object, tuple } from './state/object-serde.ts'
export { ordered } from './state/ordered.ts'
export {
  boolean,
  bytes,
  type Encoder,
  f64,
  int32,
  int64,
  json,
  type Key,
  nullable,
  type RoundTrip,
  type Serde,
  utf8,
  uuid,
} from './state/serde.ts'
export type { SchemaOutput, StandardSchema } from './state/standard-schema.ts'
export { type TtlOptions, withTtl } from './state/ttl.ts'
export type { RestartStrategy } from './worker/restart.ts'
