/** The results page and the tables on the terminal, made from the raw results and nothing else. */
import {
  atLeastOnce,
  baseline,
  type Candidate,
  canRun,
  exactlyOnce,
  exactlyOnceOften,
  latencyCandidates,
  throughputCandidates,
  withoutCheckpoints,
} from './candidates.ts'
import type { Machine } from './environment.ts'
import type { LatencyRun } from './latency.ts'
import { millrace } from './programs.ts'
import type { Scenario } from './scenarios/scenario.ts'
import { median, percentile } from './statistics.ts'
import type { CheckpointTimes } from './systems/messages.ts'
import {
  counted,
  disturbance,
  figure,
  lengthening,
  medianOf,
  ranged,
  type SeriesResults,
  type SeriesSettings,
  table,
  throughputTable,
  workloadsOf,
} from './tables.ts'

export interface Results extends SeriesResults {
  readonly startedAt: string
  readonly machine: Machine
  readonly settings: SeriesSettings & { readonly latencySeconds: number; readonly latencyRate: number }
  readonly latencyRuns: readonly LatencyRun[]
}

function ratioTable(results: Results): string {
  const rows = workloadsOf(results).flatMap((scenario) => {
    const { ratioMax } = scenario
    if (ratioMax === undefined) return []
    const cpu = (candidate: Candidate): number =>
      medianOf(counted(results, scenario, candidate), (run) => run.cpuUsPerRecord) ?? Number.NaN
    const ours = cpu(exactlyOnce)
    const theirs = cpu(baseline)
    const met = ours <= theirs * ratioMax ? 'met' : 'missed'
    const row = [
      `${scenario.id} ${scenario.what}`,
      figure(ours, 2),
      figure(theirs, 2),
      `1/${figure(theirs / ours, 1)}`,
      `1/${figure(1 / ratioMax, 0)}: ${met}`,
    ]
    return [row]
  })
  return table(['workload', 'Millrace exactly-once', 'kafkajs loop', 'ratio', 'target'], rows)
}

/** CPU per record with transactions and checkpoints, over that without; at most so much is meant. */
const costRatioMax = [
  { candidate: exactlyOnce, ratioMax: 1.03 },
  { candidate: exactlyOnceOften, ratioMax: 1.1 },
]

function costTable(results: Results): string {
  const rows = workloadsOf(results).flatMap((scenario) => {
    const rowOf = (candidate: Candidate, to: Candidate, ratioMax?: number): string[] => {
      const ratios = pairedRatios(results, scenario, candidate, to)
      const ratio = median(ratios)
      const target =
        ratioMax === undefined || ratio === undefined ? '' : `${ratioMax}: ${ratio <= ratioMax ? 'met' : 'missed'}`
      return [`${scenario.id} ${candidate.title}`, to.title, ranged(ratios, 2), target]
    }
    return [
      ...costRatioMax.map(({ candidate, ratioMax }) => rowOf(candidate, withoutCheckpoints, ratioMax)),
      rowOf(exactlyOnce, atLeastOnce),
    ]
  })
  return table(['CPU per record of', 'divided by that of', 'median of the runs’ ratios', 'target'], rows)
}

/** Of the runs that count for both: the machine changes between runs more than the two differ. */
function pairedRatios(results: Results, scenario: Scenario, one: Candidate, other: Candidate): number[] {
  const theirs = counted(results, scenario, other)
  return counted(results, scenario, one).flatMap((mine) => {
    const same = theirs.find(({ run }) => run === mine.run)
    return same ? [mine.cpuUsPerRecord / same.cpuUsPerRecord] : []
  })
}

function pauseTable(results: Results): string {
  const rows = workloadsOf(results).flatMap((scenario) =>
    throughputCandidates
      .filter((candidate) => candidate.program === millrace && candidate.intervalMs > 0 && canRun(candidate, scenario))
      .map((candidate) => {
        // The first confirms the start positions before any record.
        const each = counted(results, scenario, candidate).flatMap((run) => run.checkpoints.slice(1))
        const pair = (pick: (times: CheckpointTimes) => number, digits = 1): string =>
          `${figure(percentile(each.map(pick), 0.5), digits)} / ${figure(percentile(each.map(pick), 0.99), digits)}`
        return [
          `${scenario.id} ${candidate.title}`,
          String(each.length),
          pair((times) => times.inject, 2),
          pair((times) => times.layOut, 2),
          pair((times) => times.snapshot),
          pair((times) => times.write),
          pair((times) => times.commit + times.confirm),
          pair((times) => times.bytes / 1024, 0),
        ]
      }),
  )
  const columns = [
    'p50 / p99',
    'n',
    'barrier ms',
    'file laid out ms',
    'snapshot ms',
    'write ms',
    'commit ms',
    'file KB',
  ]
  return table(columns, rows)
}

function latencyTable(results: Results): string {
  const rows = latencyCandidates.map((candidate) => [
    candidate.title,
    ...workloadsOf(results).map((scenario) => {
      const run = results.latencyRuns.find((each) => each.scenario === scenario.id && each.candidate === candidate.id)
      if (!run) return '–'
      const all = run.recordsOut === run.records ? '' : ` (${run.recordsOut} of ${run.records} came)`
      return `${[run.p50Ms, run.p99Ms, run.p999Ms, run.maxMs].map((ms) => figure(ms, 0)).join(' / ')}${all}`
    }),
  ])
  return table(['p50 / p99 / p99.9 / max, ms', ...workloadsOf(results).map((scenario) => scenario.id)], rows)
}

export function renderTables(results: Results): string {
  const parts = workloadsOf(results).flatMap((scenario) => [
    `### ${scenario.id}: ${scenario.what}`,
    throughputTable(results, scenario, throughputCandidates),
  ])
  parts.push('### Cost of exactly-once', costTable(results))
  parts.push('### Checkpoints', pauseTable(results))
  if (results.latencyRuns.length > 0) {
    const { latencyRate, latencySeconds } = results.settings
    parts.push(`### Output latency at ${latencyRate} records/s, ${latencySeconds} s each`, latencyTable(results))
  }
  return `${['### CPU per record against the kafkajs loop', ratioTable(results), ...parts].join('\n\n')}\n`
}

/** `notMeasured`: what a reader must not read into the figures; written by hand. */
export function renderResults(results: Results, notMeasured: string): string {
  const { machine, settings, startedAt } = results
  return `# Results

Generated by \`npm run bench\` on ${startedAt.slice(0, 10)}; raw figures in results.json. Where a record's time goes: PROFILE.md.

- Machine: ${machine.cpu}, ${machine.cores} cores, ${machine.memoryGb} GB, ${machine.system}. Node ${machine.node}, kafkajs ${machine.kafkajs}. Engine at commit ${machine.commit}.
- Broker: Apache Kafka ${machine.kafka}, ${settings.broker === 'java' ? `one node, heap ${settings.brokerHeapMb} MB, on the same cores` : settings.broker}; replication 1, no TLS.
- Input: ${settings.records.toLocaleString('en')} bids, 210 bytes of JSON each, key = auction, 100,000 keys evenly, ${settings.partitions} partitions, no compression; the kafkajs loop reads a quarter as many.${lengthening(settings)}
- Every system is one process of its own, started anew for each run, reading from the beginning into a topic of its own. ${settings.runs} runs each, in another order each time; medians [smallest–largest] of those that count: *exact* has their number.
- Window: from 10 % to 90 % of the output, by high watermarks sampled every 50 ms. *Late half*: 50 % to 90 %. CPU: user and system time of all threads, as the kernel counts it.
- ${disturbance(results)}
- *Exact*: runs in which a \`read_committed\` reader found every output partition equal to the model's, byte for byte and in order (count and checksum over keys and values).
- *Without checkpoints*: at-least-once with an interval that no run reaches. The one that confirms the start positions, before the first record, and the one at the orderly end remain, both outside the window.
- *Fields named*: the same work, written so that it names the fields that it uses: W1 with \`patch\`, W2 with \`json().only()\`.
- *kafkajs loop*: eachBatch, one transaction for each fetched batch (1 MB per partition at most, kafkajs's default), offsets sent with it. Its state in W2 is a Map that a crash loses.

${renderTables(results)}
*Barrier*: the record loop stands still while the barrier passes from the sources to the sinks and state freezes. *File laid out*: it stands still again while the file's bytes are put together and checksummed. During *snapshot*, *write* and *commit* records flow: frozen state is encoded in slices, output is flushed, the file is synced, the transaction is decided and confirmed.

*Latency*: from the timestamp that the producer gave a record to its output at a \`read_committed\` reader, by the wall clock of one machine, after 4 s of warm-up. Exactly-once output appears with its checkpoint: half an interval and the commit, on average.

${notMeasured}`
}
