/** Millrace beside Kafka Streams, Flink and two loops; writes bench/peers.json and bench/PEERS.md. */
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describeMachine } from '../environment.ts'
import type { PeersOptions } from '../options.ts'
import type { Progress } from '../progress.ts'
import { scenarioOf } from '../scenarios/all.ts'
import { brokerHeapMb, partitions, Stage } from '../stage.ts'
import { allExact, measureSeries } from '../throughput-series.ts'
import { candidatesOf } from './candidates.ts'
import { type PeersResults, renderPeers, renderPeersTables } from './report.ts'
import { peerVersions } from './versions.ts'

const fileOf = (name: string): string => fileURLToPath(new URL(name, import.meta.url))

/** @returns whether every run came to its end with an exact output */
export async function runPeersBench(options: PeersOptions, progress: Progress): Promise<boolean> {
  const workloads = options.workloads.map(scenarioOf)
  const candidates = candidatesOf(options.systems)
  const before = { startedAt: new Date().toISOString(), machine: describeMachine(), versions: await peerVersions() }
  for (const program of new Set(candidates.map((candidate) => candidate.program))) {
    progress.live(`building ${program.name}`)
    await program.prepare?.()
  }
  await using stage = await Stage.open((line) => progress.say(`broker: ${line}`))
  const series = await measureSeries({ stage, progress, options, workloads, candidates })
  const results: PeersResults = {
    ...before,
    settings: { ...options, partitions, brokerHeapMb, broker: stage.broker.kind },
    systems: candidates.map(({ id, title, settings }) => ({ id, title, settings })),
    ...series,
  }
  process.stdout.write(renderPeersTables(results))
  if (!options.quick) {
    writeFileSync(fileOf('../peers.json'), `${JSON.stringify(results, undefined, 1)}\n`)
    writeFileSync(fileOf('../PEERS.md'), renderPeers(results, readFileSync(fileOf('./not-measured.md'), 'utf8')))
  }
  return allExact(series)
}
