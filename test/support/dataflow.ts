// Pieces for tests of operators: records out of nothing, and a downstream that notes what arrives.
import { MemoryLog } from '../../connectors/memory/index.ts'
import { type CheckpointId, checkpointId, operatorId } from '../../src/base/ids.ts'
import type { Downstream } from '../../src/dataflow/element.ts'
import { StreamRecord, TaskContext } from '../../src/dataflow/record.ts'
import { json, type Serde, utf8 } from '../../src/index.ts'

export const context: TaskContext = new TaskContext(operatorId('source'))

const origin = {
  operator: operatorId('source'),
  context,
  key: utf8 as Serde<unknown>,
  value: json<unknown>(),
  ahead: null,
}

/** A record of `input-0` whose offset is `value`, if that is a number. */
export function recordOf(value: unknown, key = 'key'): StreamRecord {
  const log = new MemoryLog('input', 1)
  if (typeof value === 'number') log.appendInvisible(0, value)
  log.append(0, [{ key: Buffer.from(key), value: Buffer.from(JSON.stringify(value)) }])
  const batch = log.at(0, log.end(0) - 1n)?.batch
  if (!batch) throw new Error('the batch is there')
  return new StreamRecord(origin, batch, 0)
}

export const barrierOf = (id: number): CheckpointId => checkpointId(id)

/** Notes values, and barriers as `|n|`. */
export class Collector implements Downstream {
  readonly seen: unknown[] = []

  push(record: StreamRecord): void {
    this.seen.push(record.value)
  }

  barrier(checkpoint: CheckpointId): void {
    this.seen.push(`|${checkpoint}|`)
  }
}
