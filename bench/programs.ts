/** The programs that can be measured: how each becomes the command of a process. */
import { fileURLToPath } from 'node:url'
import { workerHeapFlags } from '../src/cli/heap-flags.ts'
import type { SystemCommand } from './system-process.ts'
import type { SystemArguments } from './systems/messages.ts'

export interface Program {
  readonly name: string
  /** It runs a workload's plain code, and can only run workloads that have some. */
  readonly plain: boolean
  /** What it runs below a supervisor: for recovery that is killed alone. */
  readonly supervises?: Program
  /** Sets up what it needs, if that takes time: a minute, the first time. */
  prepare?(): Promise<void>
  command(given: SystemArguments, nodeFlags: readonly string[]): Promise<SystemCommand>
}

const place = (path: string): string => fileURLToPath(new URL(path, import.meta.url))

function nodeProgram(name: string, plain: boolean, ownFlags: () => readonly string[]): Program {
  const entry = place(`./systems/${name}.ts`)
  // kafkajs arms timers with negative delays; Node says so on every one.
  const quiet = '--disable-warning=TimeoutNegativeWarning'
  return {
    name,
    plain,
    command: async (given, nodeFlags) => ({
      name,
      file: process.execPath,
      args: [...process.execArgv, quiet, ...ownFlags(), ...nodeFlags, entry, JSON.stringify(given)],
      channel: 'ipc',
    }),
  }
}

/** Its heap as `millrace run` sets it for a worker. */
export const millrace: Program = nodeProgram('millrace', false, () => workerHeapFlags(1))

/** Several workers, each a process: as many as the setting `workers` says. */
export const millraceWorkers: Program = nodeProgram('millrace-workers', false, () => [])

/** One worker as users deploy it: below a supervisor, beside a spare process. */
export const millraceRun: Program = {
  name: 'millrace-run',
  plain: false,
  supervises: millrace,
  command: async (given) => ({
    name: 'millrace-run',
    file: process.execPath,
    args: [...process.execArgv, place('../src/cli/main.ts'), 'run', place('./systems/deployed-workload.ts'), '--leave'],
    env: { BENCH_ARGUMENTS: JSON.stringify(given) },
    channel: 'log',
  }),
}

export const kafkajsLoop: Program = nodeProgram('kafkajs-loop', true, () => [])

export const platformaticLoop: Program = nodeProgram('platformatic-loop', true, () => [])
