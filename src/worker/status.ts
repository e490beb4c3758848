// What a worker knows about itself, for health checks, metrics and logs. Plain counters, written by one owner each.
import type { CheckpointPhases } from '../checkpoint/coordinator.ts'

export type WorkerPhase = 'starting' | 'joining' | 'restoring' | 'running' | 'draining' | 'stopped' | 'failed'

export class WorkerStatus {
  phase: WorkerPhase = 'starting'
  readonly instance: string
  generation = -1
  tasks = 0
  recordsIn = 0
  recordsOut = 0
  recordsSkipped = 0
  bytesOut = 0
  checkpointsCommitted = 0
  checkpointsFailed = 0
  lastCheckpoint = 0n
  lastCheckpointBytes = 0
  rollBacks = 0
  restarts = 0
  rebalances = 0
  openTransactionAgeMs = 0
  lastError: string | undefined
  /** Called for each committed checkpoint, so that histograms see all of them. */
  onCheckpoint: (phases: CheckpointPhases, bytes: number) => void = () => {}

  constructor(instance: string) {
    this.instance = instance
  }

  get ready(): boolean {
    return this.phase === 'running'
  }
}
