/**
 * A model recomputes what the pipeline had to write, single-threaded and without Kafka.
 *
 * The order in which records of *different* source partitions meet in one key is not unique, so the model replays each
 * key along the order that was observed in the output and is asked for one expected output after the other.
 */
import type { LogRecord } from '../record-log.ts'

/** What an output says about itself; `fields` are compared one by one with the model's. */
export interface ObservedOutput {
  /** The input record it was made from. `topic` defaults to the first input topic. */
  readonly source: { readonly topic?: string; readonly partition: number; readonly offset: number }
  readonly fields: Fields
}

export type Field = string | number | boolean | null
export type Fields = Readonly<Record<string, Field>>

/** One input record gives one output or, if it is filtered, none. */
export interface Model<In, State = unknown> {
  readonly name: string
  /** The meaning of an input record; null if the pipeline drops it. */
  input(record: LogRecord): In | null
  /** Whose sequence this input belongs to; null: no key, ordered by output partition. */
  keyOf(input: In): string | null
  /** The claims of an output record; null if they cannot be read. */
  output(record: LogRecord): ObservedOutput | null
  /** The state of a key before its first record. */
  start(): State
  /** The next output of the key; may change the state in place. */
  next(state: State, input: In, source: LogRecord): Fields
}

/** The parsed JSON object of a value; null for anything else. */
export function jsonObject(value: Buffer | null): Record<string, unknown> | null {
  if (value === null) return null
  try {
    const parsed: unknown = JSON.parse(value.toString())
    return typeof parsed === 'object' && parsed !== null ? { ...parsed } : null
  } catch {
    return null
  }
}

/** The output's claims for pipelines that write a flat JSON object with `partition` and `offset` of the source. */
export function jsonOutput(record: LogRecord): ObservedOutput | null {
  const value = jsonObject(record.value)
  if (value === null) return null
  const fields: Record<string, Field> = { 'record key': textOf(record.key), 'record timestamp': record.timestamp }
  for (const [name, field] of Object.entries(value)) {
    fields[name] = typeof field === 'object' && field !== null ? JSON.stringify(field) : toField(field)
  }
  const partition = Number(value.partition)
  const offset = Number(value.offset)
  return Number.isInteger(partition) && Number.isInteger(offset) ? { source: { partition, offset }, fields } : null
}

function toField(value: unknown): Field {
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? value : null
}

export function textOf(bytes: Buffer | null): string | null {
  return bytes === null ? null : bytes.toString()
}

/** The running hash of the reference pipelines: not commutative, so order and replay show. */
export const hashStart = 2166136261
export function hashNext(hash: number, value: number): number {
  return (Math.imul(hash, 16777619) ^ value) >>> 0
}
