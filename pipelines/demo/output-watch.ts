/**
 * What a read_committed reader of the output sees while it happens: how many records, when the last one came, and for
 * each killed worker the first newly committed output of the partitions that it owned.
 *
 * "Newly" is strict: the source offset must not lie below what the group had committed for that input partition when the
 * worker died. What was then already on its way through the hop says nothing about the recovery.
 */
import type { Follower, Reader } from '../../checker/reader.ts'
import type { RecordChunk } from '../../checker/record-log.ts'

/** One kill and its end. */
export interface Kill {
  readonly instance: string
  readonly pid: number
  readonly atMs: number
  /** Input partition → first offset that counts as new; empty until it is known, and if the victim owned none. */
  readonly thresholds: ReadonlyMap<number, number>
  recoveredAtMs: number | null
}

interface PendingKill {
  readonly kill: Kill
  thresholds: ReadonlyMap<number, number> | null
  /** Arrived before the thresholds were known. */
  readonly early: RecordChunk[]
}

export class OutputWatch {
  records = 0
  lastArrivalMs = 0
  /** Of the newest kill. */
  lastRecoveryMs: number | null = null
  #pending: PendingKill | null = null
  #follower: Follower | null = null

  async start(reader: Reader, topic: string): Promise<void> {
    this.#follower = await reader.follow([topic], (chunk) => this.onChunk(chunk))
  }

  get failure(): Error | null {
    return this.#follower?.failure ?? null
  }

  async stop(): Promise<void> {
    await this.#follower?.stop()
  }

  onChunk(chunk: RecordChunk): void {
    this.records += chunk.count
    this.lastArrivalMs = Math.max(this.lastArrivalMs, chunk.arrivedAtMs)
    const pending = this.#pending
    if (!pending) return
    if (pending.thresholds === null) pending.early.push(chunk)
    else this.#look(pending, pending.thresholds, chunk)
  }

  /** From now on outputs are kept until `thresholds` says which of them count. */
  expectRecovery(instance: string, pid: number, atMs: number): Kill {
    const kill: Kill = { instance, pid, atMs, thresholds: new Map(), recoveredAtMs: null }
    this.#pending = { kill, thresholds: null, early: [] }
    return kill
  }

  setThresholds(kill: Kill, thresholds: ReadonlyMap<number, number>): void {
    const pending = this.#pending
    if (pending?.kill !== kill) return
    pending.thresholds = thresholds
    for (const chunk of pending.early.splice(0)) this.#look(pending, thresholds, chunk)
  }

  #look(pending: PendingKill, thresholds: ReadonlyMap<number, number>, chunk: RecordChunk): void {
    const { kill } = pending
    if (kill.recoveredAtMs !== null || chunk.arrivedAtMs < kill.atMs) return
    for (let i = 0; i < chunk.count; i++) {
      const source = sourceOf(chunk.record(i).value)
      if (source === null || source.offset < (thresholds.get(source.partition) ?? Number.POSITIVE_INFINITY)) continue
      kill.recoveredAtMs = chunk.arrivedAtMs
      this.lastRecoveryMs = chunk.arrivedAtMs - kill.atMs
      this.#pending = null
      return
    }
  }
}

/** The source that an output of bid-totals names. */
function sourceOf(value: Buffer | null): { partition: number; offset: number } | null {
  if (value === null) return null
  try {
    const { partition, offset } = JSON.parse(value.toString())
    return { partition: Number(partition), offset: Number(offset) }
  } catch {
    return null
  }
}
