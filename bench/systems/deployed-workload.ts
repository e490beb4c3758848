/** A workload as a module for `millrace run`: its arguments come in a variable. */
import type { Pipeline } from 'millrace'
import type { SystemArguments } from './messages.ts'
import { pipelineOf } from './workload.ts'

const pipeline: Pipeline = pipelineOf(JSON.parse(process.env.BENCH_ARGUMENTS ?? '{}') as SystemArguments)

export default pipeline
