/**
 * Nothing may be left hanging: no transaction of the pipeline is open, the last stable offset is the high watermark in
 * every output and hop and in the group's offsets partition (a dropped marker is invisible to ListTransactions), and one
 * plain record written behind each output partition is the very next one that a read_committed reader gets.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { type AnomalyCollector, at } from './anomalies.ts'
import type { KafkaAccess } from './kafka.ts'
import type { Reader } from './reader.ts'
import type { LogRecord } from './record-log.ts'
import { isProbe, probeHeader } from './replay.ts'
import { type ListedTransaction, listOffsets, listTransactions, offsetsPartitionOf, withRetries } from './requests.ts'

const offsetsTopic = '__consumer_offsets'
const finalStates = new Set(['Empty', 'CompleteCommit', 'CompleteAbort', 'Dead'])
const lookEveryMs = 100

/** One partition as it stands: what a read_committed reader may reach, and what is there. */
export interface PartitionEnd {
  readonly topic: string
  readonly partition: number
  readonly lastStableOffset: number
  readonly highWatermark: number
}

export interface StabilityScope {
  /** Outputs and hops. */
  readonly topics: readonly string[]
  /** Its `__consumer_offsets` partition is looked at too. */
  readonly group?: string | undefined
  /** Transactions whose id begins with this must be over; undefined: none is looked at. */
  readonly transactionalIdPrefix?: string | undefined
}

/** Looks until nothing hangs, for at most `settleMs` (markers take a moment); what still hangs then is an anomaly. */
export async function checkStability(
  kafka: KafkaAccess,
  scope: StabilityScope,
  settleMs: number,
  anomalies: AnomalyCollector,
): Promise<void> {
  const deadline = Date.now() + settleMs
  for (;;) {
    const ends = await withRetries(kafka, 'partition ends', () => partitionEnds(kafka, scope))
    const transactions = await openTransactions(kafka, scope.transactionalIdPrefix)
    const calm = transactions.length === 0 && ends.every((end) => end.lastStableOffset >= end.highWatermark)
    if (calm || Date.now() > deadline) {
      reportHanging(ends, transactions, anomalies)
      return
    }
    await sleep(lookEveryMs)
  }
}

/** Pure: what of this is an anomaly. */
export function reportHanging(
  ends: readonly PartitionEnd[],
  transactions: readonly ListedTransaction[],
  anomalies: AnomalyCollector,
): void {
  for (const { topic, partition, lastStableOffset, highWatermark } of ends) {
    if (lastStableOffset >= highWatermark) continue
    const hidden = highWatermark - lastStableOffset
    anomalies.add(
      'hanging',
      at(topic, partition, lastStableOffset),
      `${hidden} offsets hidden behind an open transaction`,
    )
  }
  for (const { transactionalId, producerId, state } of transactions) {
    anomalies.add('hanging', transactionalId, `transaction of producer ${producerId} is ${state}`)
  }
}

/** The high watermark is asked first: what is stable beyond it later does no harm. */
async function partitionEnds(kafka: KafkaAccess, scope: StabilityScope): Promise<PartitionEnd[]> {
  const topics = [...new Set(scope.topics)]
  const all = scope.group === undefined ? topics : [...topics, offsetsTopic]
  const high = await listOffsets(kafka, all, 'high-watermark')
  const stable = await listOffsets(kafka, all, 'last-stable')
  const ends = [...high].flatMap(([topic, offsets]) =>
    offsets.map((highWatermark, partition) => {
      const lastStableOffset = stable.get(topic)?.[partition] ?? -1
      return { topic, partition, lastStableOffset, highWatermark }
    }),
  )
  if (scope.group === undefined) return ends
  const mine = offsetsPartitionOf(scope.group, high.get(offsetsTopic)?.length ?? 1)
  return ends.filter((end) => end.topic !== offsetsTopic || end.partition === mine)
}

async function openTransactions(kafka: KafkaAccess, prefix: string | undefined): Promise<ListedTransaction[]> {
  if (prefix === undefined) return []
  const all = await withRetries(kafka, 'open transactions', () => listTransactions(kafka))
  return all.filter((one) => one.transactionalId.startsWith(prefix) && !finalStates.has(one.state))
}

/** Writes one plain record behind each partition of the output and reads on from there. */
export async function probeOutput(
  kafka: KafkaAccess,
  reader: Reader,
  topic: string,
  anomalies: AnomalyCollector,
): Promise<void> {
  const before = await withRetries(kafka, 'last stable offsets', () => listOffsets(kafka, [topic], 'last-stable'))
  const starts = before.get(topic) ?? []
  const nonce = randomUUID()
  const written = await writeProbes(kafka, topic, starts.length, nonce)
  const read = new Map<number, LogRecord[]>()
  const start = new Map([[topic, new Map(starts.map((offset, partition) => [partition, offset]))]])
  const keep = (partition: number, record: LogRecord) => read.set(partition, [...(read.get(partition) ?? []), record])
  await reader.readToEnd(
    [topic],
    (chunk) => {
      for (let i = 0; i < chunk.count; i++) keep(chunk.partition, chunk.record(i))
    },
    start,
  )
  starts.forEach((offset, partition) => {
    const records = read.get(partition) ?? []
    const [next] = records
    if (next && isProbe(next) && next.value?.toString() === nonce && next.offset === written.get(partition)) return
    const seen = next ? `offset ${next.offset}` : 'nothing'
    const expected = `the plain record at offset ${written.get(partition)}`
    anomalies.add('hanging', at(topic, partition, offset), `read_committed read ${seen} next, not ${expected}`)
  })
}

/** partition → offset of the plain record in it. */
async function writeProbes(
  kafka: KafkaAccess,
  topic: string,
  partitions: number,
  nonce: string,
): Promise<Map<number, number>> {
  const producer = kafka.producer()
  await producer.connect()
  try {
    const messages = Array.from({ length: partitions }, (_, partition) => {
      return { partition, key: null, value: nonce, headers: { [probeHeader]: 'plain' } }
    })
    const written = await producer.send({ topic, acks: -1, messages })
    return new Map(written.map((one) => [one.partition, Number(one.baseOffset)]))
  } finally {
    await producer.disconnect()
  }
}
