/**
 * A workload: one piece of work, written once for Millrace, once for each peer, and once as plain code, which is the model
 * that says what the output must be.
 */
import type { Pipeline, PipelineOptions } from 'millrace'
import type { Reader } from '../../checker/reader.ts'
import type { Expected, PlainWork } from '../output-check.ts'

/** What a run reads and writes, and the pipeline's name: its own for every run, so that no run finds traces of another. */
export interface RunNames {
  readonly pipeline: string
  readonly input: string
  readonly output: string
}

export interface Scenario {
  readonly id: 'W0' | 'W1' | 'W2' | 'W3' | 'W4'
  readonly name: string
  readonly what: string
  /** The target: CPU per record of exactly-once Millrace, at most so much of the kafkajs loop's; undefined: no loop runs it. */
  readonly ratioMax?: number
  pipeline(names: RunNames, options: PipelineOptions): Pipeline
  /** State is kept on disk: candidates run with the settings that they have for it. */
  readonly onDisk?: boolean
  /** The same, naming the fields of the value that it uses: the others are neither decoded nor written anew. */
  readonly fieldsNamed?: Scenario['pipeline']
  /** The work with empty state, for loops; none: records move between partitions, which a loop does not do. */
  readonly plain?: () => PlainWork
  expect(reader: Reader, input: string): Promise<Expected>
}
