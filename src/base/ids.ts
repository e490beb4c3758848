// Branded ids: no bare number or string crosses a module boundary where two could be swapped. The functions here are
// the only places that mint them.
import { assert } from './assert.ts'

declare const brand: unique symbol
type Branded<T, Name extends string> = T & { readonly [brand]: Name }

/** Rises strictly on every task, across restarts and owners (I5). */
export type CheckpointId = Branded<bigint, 'CheckpointId'>
/** A node of the plan: the user's name for named operators, `<upstream>.<kind>-<n>` for the others. */
export type OperatorId = Branded<string, 'OperatorId'>
/** `<stage>/<partition>`. */
export type TaskId = Branded<string, 'TaskId'>

export function checkpointId(value: bigint | string | number): CheckpointId {
  const id = BigInt(value)
  assert(id >= 0n, `I5: checkpoint id ${id} is negative`)
  return id as CheckpointId
}

export function operatorId(value: string): OperatorId {
  return value as OperatorId
}

export function taskId(stage: string, partition: number): TaskId {
  return `${stage}/${partition}` as TaskId
}

/** A topic's partition; `partitionKey` is its form as a map key and in messages. */
export interface TopicPartition {
  readonly topic: string
  readonly partition: number
}

export function partitionKey(topic: string, partition: number): string {
  return `${topic}-${partition}`
}
