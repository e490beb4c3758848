/** What bench/peers.json holds: each part by itself, since a part can be measured anew without the others. */
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

export type Throughput = About & SeriesResults

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
