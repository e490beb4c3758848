/** What the figures were measured on. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { cpus, release, totalmem, type } from 'node:os'
import { kafkaVersion } from '../connectors/kafka/testing/kafka-jars.ts'

export interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly memoryGb: number
  readonly system: string
  readonly node: string
  readonly kafka: string
  readonly kafkajs: string
  /** The commit that was measured; `+` behind it: with changes. */
  readonly commit: string
}

export function describeMachine(): Machine {
  const [first] = cpus()
  return {
    cpu: first?.model ?? 'unknown',
    cores: cpus().length,
    memoryGb: Math.round(totalmem() / 2 ** 30),
    system: `${type()} ${release()}`,
    node: `${process.versions.node} (V8 ${process.versions.v8})`,
    kafka: (process.env.KAFKA_BROKERS ?? '') === '' ? kafkaVersion : 'of somebody else',
    kafkajs: dependency('kafkajs'),
    commit: commit(),
  }
}

/** The version that package.json pins. */
export function dependency(name: string): string {
  const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
  return String(manifest.dependencies[name] ?? manifest.devDependencies[name])
}

function commit(): string {
  const git = (...args: string[]): string => execFileSync('git', args, { encoding: 'utf8', stdio: 'pipe' }).trim()
  try {
    const changed = git('status', '--porcelain', '--', 'src', 'connectors') !== ''
    return `${git('rev-parse', '--short', 'HEAD')}${changed ? '+' : ''}`
  } catch {
    return 'unknown'
  }
}
