/**
 * For pipelines that copy: key, value and timestamp of the output equal the input's, and the headers `src-partition`,
 * `src-offset` (and `src-topic` with several inputs) say where it came from.
 */
import type { LogRecord } from '../record-log.ts'
import type { Model } from './model.ts'

export const passThroughModel: Model<LogRecord, null> = {
  name: 'pass-through',
  input: (record) => record,
  keyOf: (record) => record.key?.toString('latin1') ?? null,
  output(record) {
    const topic = header(record, 'src-topic')
    const partition = Number(header(record, 'src-partition') ?? Number.NaN)
    const offset = Number(header(record, 'src-offset') ?? Number.NaN)
    if (!Number.isInteger(partition) || !Number.isInteger(offset)) return null
    return { source: { partition, offset, ...(topic === undefined ? {} : { topic }) }, fields: copied(record) }
  },
  start: () => null,
  next: (_state, input) => copied(input),
}

function copied(record: LogRecord) {
  const { key, value, timestamp } = record
  return { key: key?.toString('latin1') ?? null, value: value?.toString('latin1') ?? null, timestamp }
}

function header(record: LogRecord, name: string): string | undefined {
  return record.headers.find((one) => one.name === name)?.value?.toString()
}
