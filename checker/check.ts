/**
 * The independent checker: reads input and output in read_committed, replays the model, looks for what hangs, and says
 * what it found. It shares no code with the engine or its connectors and reaches the brokers by itself.
 *
 * @example
 * const verdict = await check({
 *   connection: { brokers }, kafkaLibs, inputs: ['bids'], output: 'bid-totals', model: bidTotalsModel,
 *   group: 'millrace.bid-totals', hops: ['millrace.bid-totals.hop.auction'], transactionalIdPrefix: 'millrace.bid-totals.',
 * })
 */
import { AnomalyCollector, at } from './anomalies.ts'
import { CheckerError } from './errors.ts'
import { KafkaAccess } from './kafka.ts'
import type { Model } from './models/model.ts'
import { openReader, type Reader, type ReaderOptions } from './reader.ts'
import { TopicLog } from './record-log.ts'
import { replay } from './replay.ts'
import { committedOffsets, listOffsets, withRetries } from './requests.ts'
import { checkStability, probeOutput } from './stability.ts'
import { type Verdict, verdictOf } from './verdict.ts'

const settleMsDefault = 15_000

export interface CheckOptions<In, State> extends ReaderOptions {
  readonly inputs: readonly string[]
  readonly output: string
  readonly model: Model<In, State>
  /** Further topics that must not hang: hops. */
  readonly hops?: readonly string[]
  /** The consumer group: its offsets partition must not hang, and with `committed: 'check'` its offsets are compared. */
  readonly group?: string
  /** Transactions whose id begins with this must be over. */
  readonly transactionalIdPrefix?: string
  /** Whether the group must have committed the input up to its end. Default `ignore`. */
  readonly committed?: 'check' | 'ignore'
  /** Whether one plain record is written and read behind each output partition. Default `write`. */
  readonly probe?: 'write' | 'skip'
  /** What to do when the first records of a topic are gone (retention, DeleteRecords). Default `refuse`. */
  readonly deleted?: 'refuse' | 'accept'
  /** How long markers may take before they count as hanging. Default 15 000. */
  readonly settleMs?: number
}

/**
 * Judges a finished run. The pipeline should have stopped: what it writes meanwhile is only partly seen.
 *
 * @throws CheckerError if brokers, topics or the reader fail: then there is no verdict.
 */
export async function check<In, State>(options: CheckOptions<In, State>): Promise<Verdict> {
  await using kafka = await KafkaAccess.connect(options.connection)
  const reader = await openReader(options)
  const anomalies = new AnomalyCollector()
  const scope = {
    topics: [options.output, ...(options.hops ?? [])],
    group: options.group,
    transactionalIdPrefix: options.transactionalIdPrefix,
  }
  await checkStability(kafka, scope, options.settleMs ?? settleMsDefault, anomalies)
  const logs = await readTopics(reader, [...options.inputs, options.output])
  const output = logs.get(options.output) ?? new TopicLog(options.output)
  const inputs = options.inputs.map((topic) => logs.get(topic) ?? new TopicLog(topic))
  // After the reading: retention may strike at any time, and what it took would look lost.
  if (options.deleted !== 'accept') await refuseDeleted(kafka, [...options.inputs, options.output])
  const counts = replay(inputs, output, options.model, anomalies)
  if (options.group !== undefined && options.committed === 'check') {
    await checkCommitted(kafka, options.group, inputs, anomalies)
  }
  if (options.probe !== 'skip') await probeOutput(kafka, reader, options.output, anomalies)
  return verdictOf(options.model.name, reader.kind, counts, anomalies.findings())
}

/** Whole topics as a read_committed reader sees them now. */
export async function readTopics(reader: Reader, topics: readonly string[]): Promise<Map<string, TopicLog>> {
  const logs = new Map(topics.map((topic) => [topic, new TopicLog(topic)]))
  await reader.readToEnd([...logs.keys()], (chunk) => logs.get(chunk.topic)?.add(chunk))
  return logs
}

/** A model cannot tell a record that retention removed from one that never was. */
async function refuseDeleted(kafka: KafkaAccess, topics: readonly string[]): Promise<void> {
  const firsts = await withRetries(kafka, 'first offsets', () => listOffsets(kafka, topics, 'earliest'))
  for (const [topic, offsets] of firsts) {
    const partition = offsets.findIndex((offset) => offset > 0)
    if (partition < 0) continue
    const where = `${topic}-${partition} begins at offset ${offsets[partition]}`
    const remedy = 'set retention.ms=-1 on topics that are to be checked (old record timestamps count for retention)'
    throw new CheckerError(
      'RECORDS_DELETED',
      `${where}: earlier records were deleted, no verdict is possible; ${remedy}`,
    )
  }
}

/** The group must stand behind the last input record: lower would be read again. */
async function checkCommitted(
  kafka: KafkaAccess,
  group: string,
  inputs: readonly TopicLog[],
  anomalies: AnomalyCollector,
): Promise<void> {
  const committed = await withRetries(kafka, 'committed offsets', () => committedOffsets(kafka, group, 'wait'))
  for (const input of inputs) {
    for (const [partition, log] of input.partitions) {
      const last = log.at(log.count - 1).offset
      const offset = committed.get(input.topic)?.get(partition) ?? -1
      if (offset > last) continue
      const where = at(input.topic, partition, last)
      anomalies.add('stale-state', where, `group ${group} committed ${offset}, not ${last + 1}`)
    }
  }
}
