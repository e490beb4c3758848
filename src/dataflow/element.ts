// What flows between operators: records, and barriers that divide every channel into before-n and after-n (I1).
import type { CheckpointId } from '../base/ids.ts'
import type { ColumnarBatch } from './batch.ts'
import type { RecordOrigin, StreamRecord } from './record.ts'

/** Records between two looks at the clock, and read ahead at most. */
export const RECORDS_PER_LOOK = 64

/** The next operator. Calls are synchronous: chained operators have no queue between them. */
export interface Downstream {
  push(record: StreamRecord): void
  /** Records `from … to − 1` of the batch come next: what they will touch may be brought into the cache. */
  prefetch?(origin: RecordOrigin, batch: ColumnarBatch, from: number, to: number): void
  barrier(checkpoint: CheckpointId): void
}

/** An operator that keeps something between turns: the task asks it before it reads more, and lets it work. */
export interface Buffering {
  /** True while it can take no more: the task's sources pause. */
  readonly full: boolean
  /** Nothing is under way in it. */
  readonly empty: boolean
  /** Sends on what has become ready. */
  drain(): void
}
