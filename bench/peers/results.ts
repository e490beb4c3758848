/** What bench/peers.json holds: each part by itself, since a part, or a workload of the throughput, can be measured anew without the others. */
import type { Machine } from '../environment.ts'
import type { Load } from '../fixed-rate.ts'
import type { LatencyRun } from '../latency.ts'
import type { RecoveryRun } from '../recovery.ts'
import type { SeriesResults } from '../tables.ts'
import type { PeerVersions } from './versions.ts'

/** When and on what a part was measured. */
export interface About {
  readonly startedAt: string
  readonly machine: Machine
  readonly versions: PeerVersions
}

/** Machine and versions are those of the run that was last. */
export interface Throughput extends About, SeriesResults {
  /** By workload: of which run its figures are. */
  readonly origins: Readonly<Record<string, Origin>>
}

function alike(one: Throughput, other: Throughput): boolean {
  const isSame = one.machine.cpu === other.machine.cpu && one.machine.cores === other.machine.cores
  const { records, runs, windowMsMin } = one.settings
  const { settings } = other
  return isSame && records === settings.records && runs === settings.runs && windowMsMin === settings.windowMsMin
}

export interface Origin {
  readonly startedAt: string
  readonly commit: string
}

/** The workloads of `now` anew, the others as they were; without them if they were measured in another way. */
export function withOthers(now: Throughput, before: Throughput | undefined): Throughput {
  if (!before || !alike(now, before)) return now
  const isOther = (id: string | undefined): boolean => id !== undefined && now.origins[id] === undefined
  return {
    ...now,
    throughputRuns: [...before.throughputRuns.filter(({ scenario }) => isOther(scenario)), ...now.throughputRuns],
    // Each begins with its workload.
    failures: [...before.failures.filter((failure) => isOther(failure.split(' ')[0])), ...now.failures],
    origins: { ...before.origins, ...now.origins },
  }
}

export interface PeersResults {
  readonly throughput?: Throughput
  readonly latency?: About & { readonly load: Load; readonly runs: readonly LatencyRun[] }
  readonly recovery?: About & {
    readonly load: Load
    /** Runs of each system. */
    readonly repeated: number
    readonly runs: readonly RecoveryRun[]
  }
}
