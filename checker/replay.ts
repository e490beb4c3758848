/**
 * The comparison: input log and output log against a model. Pure; everything else in the checker only feeds it.
 *
 *  - lost: an input that had to give an output and did not
 *  - duplicated: a second output of one input
 *  - reordered: within a key and source partition the source offsets fall, or a key is in two output partitions
 *  - aborted-read: an output whose source is aborted, does not exist, or had to be dropped
 *  - stale-state: fields other than the model's along the observed order, counted once per key, where it first departs
 *
 * Outputs that are themselves duplicated, reordered or without a source are not fed to the model twice or at all, so one
 * fault is not reported as many.
 */
import { type AnomalyCollector, at } from './anomalies.ts'
import type { Fields, Model, ObservedOutput } from './models/model.ts'
import type { LogRecord, PartitionLog, TopicLog } from './record-log.ts'

/** Marks the records that the checker itself writes (see stability.ts); they are no output. */
export const probeHeader = 'millrace-checker-probe'

export interface ReplayCounts {
  /** Input records. */
  readonly in: number
  /** Output records, the checker's own probes left out. */
  readonly out: number
  /** Input records that the pipeline drops. */
  readonly filtered: number
  /** Distinct keys in the output. */
  readonly keys: number
}

interface KeyTrack<State> {
  readonly state: State
  readonly outputPartition: number
  /** The highest source offset seen, by source. */
  readonly highest: Map<string, number>
  departed: boolean
}

export function isProbe(record: LogRecord): boolean {
  return record.headers.some((header) => header.name === probeHeader)
}

export function replay<In, State>(
  inputs: readonly TopicLog[],
  output: TopicLog,
  model: Model<In, State>,
  anomalies: AnomalyCollector,
): ReplayCounts {
  const seen = new SeenInputs(inputs)
  const keys = new Map<string, KeyTrack<State>>()
  let out = 0
  for (const record of output.records()) {
    if (isProbe(record)) continue
    out++
    const where = at(record.topic, record.partition, record.offset)
    const observed = model.output(record)
    if (observed === null) {
      anomalies.add('aborted-read', where, 'the output does not name its source')
      continue
    }
    const source = seen.find(observed)
    if (source === null) {
      anomalies.add('aborted-read', where, `no committed input at ${seen.place(observed)}`)
      continue
    }
    const input = model.input(source.record)
    if (input === null) {
      anomalies.add('aborted-read', where, `the input at ${seen.place(observed)} gives no output`)
      continue
    }
    if (source.markSeen() > 1) {
      anomalies.add('duplicated', where, `the input at ${seen.place(observed)} already had its output`)
      continue
    }
    follow(record, observed, source.record, input, model, keys, anomalies)
  }
  const filtered = seen.reportLost(model, anomalies)
  return { in: inputs.reduce((sum, log) => sum + log.count, 0), out, filtered, keys: keys.size }
}

/** One output in its key's sequence: its order, then its fields. */
function follow<In, State>(
  record: LogRecord,
  observed: ObservedOutput,
  source: LogRecord,
  input: In,
  model: Model<In, State>,
  keys: Map<string, KeyTrack<State>>,
  anomalies: AnomalyCollector,
): void {
  const where = at(record.topic, record.partition, record.offset)
  const key = model.keyOf(input)
  const sequence = key === null ? `null ${record.partition}` : `key ${key}`
  let track = keys.get(sequence)
  if (!track) {
    track = { state: model.start(), outputPartition: record.partition, highest: new Map(), departed: false }
    keys.set(sequence, track)
  }
  if (track.outputPartition !== record.partition) {
    anomalies.add('reordered', where, `key ${key} is in partition ${track.outputPartition} too`)
  }
  const lane = `${source.topic}-${source.partition}`
  const highest = track.highest.get(lane) ?? -1
  if (source.offset < highest) {
    anomalies.add('reordered', where, `key ${key}: source ${lane}@${source.offset} after @${highest}`)
  } else {
    track.highest.set(lane, source.offset)
  }
  const expected = model.next(track.state, input, source)
  const difference = differenceOf(observed.fields, expected)
  if (difference === null || track.departed) return
  track.departed = true
  anomalies.add('stale-state', where, `key ${key}: ${difference}`)
}

function differenceOf(observed: Fields, expected: Fields): string | null {
  for (const name of Object.keys(expected)) {
    if (observed[name] !== expected[name]) return `${name} is ${show(observed[name])}, not ${show(expected[name])}`
  }
  for (const name of Object.keys(observed)) {
    if (!(name in expected)) return `${name} is ${show(observed[name])}, not expected at all`
  }
  return null
}

function show(field: unknown): string {
  const text = JSON.stringify(field) ?? 'missing'
  return text.length > 80 ? `${text.slice(0, 77)}...` : text
}

interface FoundInput {
  readonly record: LogRecord
  /** Counts one more output; returns how many there are now (255 at most). */
  markSeen(): number
}

/** How many outputs each input record had: one byte a record. */
class SeenInputs {
  readonly #inputs: readonly TopicLog[]
  readonly #counts: Map<PartitionLog, Uint8Array> = new Map()

  constructor(inputs: readonly TopicLog[]) {
    this.#inputs = inputs
    for (const log of inputs) {
      for (const partition of log.partitions.values()) this.#counts.set(partition, new Uint8Array(partition.count))
    }
  }

  /** The claimed source in words. */
  place(observed: ObservedOutput): string {
    const { topic, partition, offset } = observed.source
    return at(topic ?? this.#inputs[0]?.topic ?? '', partition, offset)
  }

  find(observed: ObservedOutput): FoundInput | null {
    const { topic, partition, offset } = observed.source
    const log = topic === undefined ? this.#inputs[0] : this.#inputs.find((one) => one.topic === topic)
    const records = log?.partitions.get(partition)
    const index = records?.indexOf(offset) ?? -1
    const counts = records && this.#counts.get(records)
    if (index < 0 || !records || !counts) return null
    return {
      record: records.at(index),
      markSeen: () => {
        const count = Math.min((counts[index] ?? 0) + 1, 255)
        counts[index] = count
        return count
      },
    }
  }

  /** Every input without an output must be one that the model drops; returns how many those are. */
  reportLost<In, State>(model: Model<In, State>, anomalies: AnomalyCollector): number {
    let filtered = 0
    for (const log of this.#inputs) {
      for (const partition of [...log.partitions.keys()].sort((a, b) => a - b)) {
        const records = log.partitions.get(partition)
        const counts = records && this.#counts.get(records)
        if (!records || !counts) continue
        for (let index = counts.indexOf(0); index >= 0; index = counts.indexOf(0, index + 1)) {
          const record = records.at(index)
          const input = model.input(record)
          if (input === null) filtered++
          else anomalies.add('lost', at(log.topic, partition, record.offset), `key ${model.keyOf(input)}: no output`)
        }
      }
    }
    return filtered
  }
}
