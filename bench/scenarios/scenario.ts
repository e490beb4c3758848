/**
 * A workload: one piece of work, written once for Millrace and once as plain code. The plain code is what the kafkajs loop
 * runs, and the model that says which bytes the output must have.
 */
import type { Pipeline, PipelineOptions } from 'millrace'

/** What a run reads and writes, and the pipeline's name: its own for every run, so that no run finds traces of another. */
export interface RunNames {
  readonly pipeline: string
  readonly input: string
  readonly output: string
}

/** One record in, the value of one record out; key and timestamp stay. */
export type PlainWork = (key: Buffer, value: Buffer) => Buffer | string

export interface Scenario {
  readonly id: 'W0' | 'W1' | 'W2'
  readonly name: string
  readonly what: string
  /** The target: CPU per record of exactly-once Millrace, at most so much of the kafkajs loop's. */
  readonly ratioMax: number
  pipeline(names: RunNames, options: PipelineOptions): Pipeline
  /** The work with empty state. */
  plain(): PlainWork
}
