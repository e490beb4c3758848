// Committed offsets, stable ones only: with an open transaction behind them the broker answers 88 and we wait. A deadline
// turns endless waiting (dropped markers) into a coded error; before it a repair is tried.
import { delay, monotonicMs } from '../../src/base/clock.ts'
import { MillraceError } from '../../src/base/errors.ts'
import { partitionKey } from '../../src/base/ids.ts'
import type { CommittedOffset } from '../../src/dataflow/ports.ts'
import type { KafkaCluster } from './cluster.ts'
import { Code, kafkaError } from './wire/codes.ts'
import { byTopic, OffsetFetch } from './wire/group-requests.ts'

const DEADLINE_MS = 75_000
/** Broker-side expiry of an abandoned transaction takes its timeout plus up to 10 s; dropped markers never resolve. */
const REPAIR_AFTER_MS = 5_000

export interface FetchOffsetsOptions {
  readonly signal?: AbortSignal | undefined
  /** Tried every second once the wait is long; true: something was repaired. */
  readonly repair?: () => Promise<boolean>
}

export async function fetchOffsets(
  cluster: KafkaCluster,
  group: string,
  partitions: readonly { readonly topic: string; readonly partition: number }[] | null,
  options: FetchOffsetsOptions = {},
): Promise<readonly CommittedOffset[]> {
  const started = monotonicMs()
  let repairAt = started + REPAIR_AFTER_MS
  for (let attempt = 0; ; attempt++) {
    const { offsets } = await cluster.call(
      OffsetFetch,
      {
        group,
        topics:
          partitions &&
          byTopic(partitions).map(({ topic, rows }) => ({ topic, partitions: rows.map((row) => row.partition) })),
        requireStable: true,
      },
      {
        to: { kind: 'coordinator', type: 'group', key: group },
        what: `OffsetFetch of group ${group}`,
        // The code comes before the offset: without the right to read a topic the offset is −1, as if never committed.
        codeOf: (response) =>
          response.code ||
          (response.offsets.find((row) => row.code !== 0 && row.code !== Code.UNSTABLE_OFFSET_COMMIT)?.code ?? 0),
        signal: options.signal,
      },
    )
    const unstable = offsets.filter((row) => row.code === Code.UNSTABLE_OFFSET_COMMIT)
    if (unstable.length === 0) return offsets
    const now = monotonicMs()
    if (options.signal?.aborted)
      throw kafkaError(Code.UNSTABLE_OFFSET_COMMIT, `OffsetFetch of group ${group}, given up`)
    if (now - started > DEADLINE_MS) {
      const list = unstable.map((row) => partitionKey(row.topic, row.partition)).join(', ')
      const text = `the committed offsets of group ${group} for ${list} stay undecided for ${DEADLINE_MS} ms: a transaction on them neither commits nor aborts. Look for it with \`kafka-transactions.sh find-hanging\` on __consumer_offsets`
      throw new MillraceError('OFFSETS_UNSTABLE', text, { kafkaCode: Code.UNSTABLE_OFFSET_COMMIT })
    }
    if (options.repair && now > repairAt) {
      repairAt = now + 1_000
      await options.repair()
    }
    await delay(Math.min(1 + attempt * 2, 50), options.signal)
  }
}
