/** Latency and recovery as sections of the peers' page. */
import type { Candidate } from '../candidates.ts'
import { lateMs } from '../recovery.ts'
import { median } from '../statistics.ts'
import { figure, ranged, table } from '../tables.ts'
import { latencyCandidates, ours as millrace, oursSupervised, recoveryCandidates } from './candidates.ts'
import type { PeersResults } from './results.ts'
import { recoveryMsMax, workerRecoveryMsMax } from './targets.ts'

type Part<Name extends keyof PeersResults> = NonNullable<PeersResults[Name]>

/** Empty, or how many outputs a reader missed or saw too often. */
const amiss = ({ records, recordsOut }: { readonly records: number; readonly recordsOut: number }): string =>
  recordsOut === records ? '' : ` (${recordsOut} of ${records} came)`

export function latencySection({ load, runs }: Part<'latency'>): string[] {
  const of = (candidate: Candidate) => runs.filter((run) => run.candidate === candidate.id)
  const rows = latencyCandidates.flatMap((candidate) => {
    const mine = of(candidate)
    if (mine.length === 0) return []
    const picks = mine.map(({ p50Ms, p99Ms, p999Ms, maxMs }) => [p50Ms, p99Ms, p999Ms, maxMs])
    const middles = [0, 1, 2, 3].map((index) =>
      ranged(
        picks.flatMap((run) => run[index] ?? []),
        0,
      ),
    )
    const others = Math.max(...mine.map(({ foreignCores }) => foreignCores))
    return [[`${candidate.title}${mine.map(amiss).join('')}`, ...middles, figure(others, 2)]]
  })
  const times = Math.max(...latencyCandidates.map((candidate) => of(candidate).length))
  return [
    `## Output latency at ${load.recordsPerSecond.toLocaleString('en')} records/s`,
    `From the timestamp that the producer gave a record to its output at a \`read_committed\` reader, by one machine's clock; ${load.seconds} s each, the first 4 not counted; ${times} runs of each, medians [smallest–largest] of the runs' figures, of *others* the most. Commits or checkpoints once a second unless it says otherwise.`,
    table(['ms', 'p50', 'p99', 'p99.9', 'max', 'others, cores'], rows),
  ]
}

export function recoverySection({ load, repeated, runs }: Part<'recovery'>): string[] {
  const rows = recoveryCandidates.flatMap((candidate) => {
    const mine = runs.filter((run) => run.candidate === candidate.id)
    if (mine.length === 0) return []
    const middle = (pick: (run: (typeof mine)[number]) => number | null, none: string): string => {
      const values = mine.flatMap((run) => pick(run) ?? [])
      const without = mine.length - values.length
      if (values.length === 0) return none
      const found = ranged(values, 0)
      return without === 0 ? found : `${found}, ${without} of ${mine.length} ${none}`
    }
    const exact = mine.filter((run) => run.exact).length
    const row = [
      candidate.title,
      middle((run) => run.firstOutputMs, 'never'),
      middle((run) => run.caughtUpMs, 'none late'),
      `${exact} of ${mine.length}`,
    ]
    return [row]
  })
  const verdict = ({ id }: Candidate, most: number): string => {
    const ours = runs.filter((run) => run.candidate === id)
    const typical = median(ours.flatMap(({ firstOutputMs }) => firstOutputMs ?? []))
    const met = typical !== undefined && typical <= most && ours.every((run) => run.exact && run.firstOutputMs !== null)
    return `${figure(most / 1_000, 0)} s${ours.length === 0 ? '' : met ? ': met' : ': missed'}`
  }
  return [
    `## Recovery at ${load.recordsPerSecond.toLocaleString('en')} records/s`,
    `The system's only process gets SIGKILL after 40 % of ${load.seconds} s and is started again at once; ${repeated} runs each. *Its worker only*: \`millrace run\`, whose supervisor and spare process live. *First output*: until a \`read_committed\` reader sees one of an input that was made after the kill (targets for Millrace: ${verdict(millrace, recoveryMsMax)}; its worker only: ${verdict(oursSupervised, workerRecoveryMsMax)}). *Caught up*: until the last output that took more than ${lateMs} ms longer than any before the kill. *Exact*: runs after which the output was the model's, byte for byte. Kafka Streams makes its transactional ids from a process id that only a persistent store keeps: with state on the heap its killed process leaves a transaction that readers wait for until the broker ends it (after 10 s, looked at every 10 s).`,
    table(['ms', 'first output', 'caught up', 'exact'], rows),
  ]
}
