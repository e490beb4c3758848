/** The page of the peers and its tables on the terminal, made from the raw results and nothing else. */
import { workerHeapFlags } from '../../src/cli/heap-flags.ts'
import type { Candidate, Setting } from '../candidates.ts'
import { scenarioOf } from '../scenarios/all.ts'
import type { Scenario } from '../scenarios/scenario.ts'
import { counted, disturbance, figure, lengthening, medianOf, table, throughputTable, workloadsOf } from '../tables.ts'
import type { ThroughputRun } from '../throughput.ts'
import { loopShare, ours, oursNaming, oursTenth, peersCandidates, timedWorkload } from './candidates.ts'
import { flink, flinkTuned, jvmFlags, jvmFlagsTuned, jvmPeers, kafkaStreams, kafkaStreamsTuned } from './jvm-peers.ts'
import type { Origin, PeersResults, Throughput } from './results.ts'
import { brokerRatio, cpuRatio, cpuRatioNaming, cpuRatioTenth, peakRssMbMax, type RatioTarget } from './targets.ts'
import { latencySection, recoverySection } from './timing-report.ts'

/** With shorter windows a JVM still compiles during most of them. */
const windowMsMin = 3_000
const coldWarning =
  "**Few records**: the JVMs' compilers are at work during most of the window. Only *exact* can be read from this, no ratio."

type Pick = (run: ThroughputRun) => number | null

/** The JVM peer with the least of something, at its better setting. */
function best(
  results: Throughput,
  scenario: Scenario,
  pick: Pick,
): { value: number; candidate: Candidate } | undefined {
  const measured = jvmPeers.flatMap((candidate) => {
    const value = medianOf(counted(results, scenario, candidate), pick)
    return value === undefined ? [] : [{ value, candidate }]
  })
  return measured.toSorted((a, b) => a.value - b.value)[0]
}

/** Ours, theirs and the ratio, and whether the target is met; empty if one of them was not measured. */
function ratioRow(
  results: Throughput,
  scenario: Scenario,
  what: string,
  pick: Pick,
  aim: RatioTarget | undefined,
  millrace: Candidate = ours,
): string[][] {
  const mine = medianOf(counted(results, scenario, millrace), pick)
  const theirs = best(results, scenario, pick)
  if (mine === undefined || theirs === undefined) return []
  const ratio = mine / theirs.value
  const said = (max: number): string => `≤ ${max}: ${ratio <= max ? 'met' : 'missed'}`
  const raised = aim?.raised === undefined ? '' : `, raised to ${said(aim.raised)}`
  const target = aim ? `${said(aim.max)}${raised}` : ''
  const peer = `${figure(theirs.value, 2)} (${theirs.candidate.title})`
  return [[`${scenario.id} ${what}`, figure(mine, 2), peer, figure(ratio, 2), target]]
}

function ratioTable(results: Throughput): string {
  const cpu: Pick = (run) => run.cpuUsPerRecord
  const late: Pick = (run) => run.cpuUsPerRecordLate
  const rows = workloadsOf(results).flatMap((scenario) => [
    ...ratioRow(results, scenario, 'CPU µs/record', cpu, cpuRatio[scenario.id]),
    ...ratioRow(results, scenario, 'CPU µs/record, fields named', cpu, cpuRatioNaming[scenario.id], oursNaming),
    ...ratioRow(results, scenario, 'CPU µs/record, a tenth in memory', cpu, cpuRatioTenth, oursTenth),
    ...ratioRow(results, scenario, 'late half', late, cpuRatio[scenario.id]),
    ...ratioRow(results, scenario, 'late half, fields named', late, cpuRatioNaming[scenario.id], oursNaming),
    ...ratioRow(results, scenario, 'broker µs/record', (run) => run.brokerUsPerRecord, brokerRatio[scenario.id]),
    ...memoryRow(results, scenario),
  ])
  return table(['', 'Millrace', 'better JVM peer', 'ratio', 'target'], rows)
}

function memoryRow(results: Throughput, scenario: Scenario): string[][] {
  const limit = peakRssMbMax[scenario.id]
  const mine = medianOf(counted(results, scenario, ours), (run) => run.peakRssMb)
  const theirs = best(results, scenario, (run) => run.peakRssMb)
  if (limit === undefined || mine === undefined) return []
  const peer = theirs === undefined ? '–' : `${figure(theirs.value, 0)} (${theirs.candidate.title})`
  const ratio = theirs === undefined ? '–' : figure(mine / theirs.value, 2)
  const target = `≤ ${limit} MB: ${mine <= limit ? 'met' : 'missed'}`
  return [[`${scenario.id} peak RSS MB`, figure(mine, 0), peer, ratio, target]]
}

function throughputSection(results: Throughput): string[] {
  const parts = workloadsOf(results).flatMap((scenario) => [
    `### ${scenario.id}: ${scenario.what}`,
    throughputTable(results, scenario, peersCandidates),
  ])
  const jvms = new Set(jvmPeers.map(({ id }) => id))
  const isCold = results.throughputRuns.some((run) => jvms.has(run.candidate) && run.windowMs < windowMsMin)
  const cold = isCold ? [coldWarning] : []
  return ['## Cost per record', '### Millrace ÷ the better JVM peer', ...cold, ratioTable(results), ...parts]
}

export function renderPeersTables({ throughput, latency, recovery }: PeersResults): string {
  const parts = [
    ...(throughput ? throughputSection(throughput) : []),
    ...(latency ? latencySection(latency) : []),
    ...(recovery ? recoverySection(recovery) : []),
    ...(latency || recovery
      ? [`Latency and recovery are those of ${timedWorkload} (${scenarioOf(timedWorkload).what}).`]
      : []),
  ]
  return `${parts.join('\n\n')}\n`
}

function settingsTable(settings: readonly Setting[]): string {
  return table(
    ['setting', 'value', 'why'],
    settings.map(({ name, value, why }) => [`\`${name}\``, value === '' ? '' : `\`${value}\``, why]),
  ).replaceAll('---:', '---')
}

/** What the tuned variant has more than the default. */
function added(tuned: Candidate, plain: Candidate): readonly Setting[] {
  return tuned.settings.filter((setting) => !plain.settings.includes(setting))
}

/** What a system has for state on disk, and not else. */
function diskSettings({ title, settings, onDisk = [] }: Candidate): readonly Setting[] {
  return onDisk
    .filter((setting) => !settings.includes(setting))
    .map((setting) => ({ ...setting, why: `${title}: ${setting.why}` }))
}

function settingsSection(): string {
  const parts = [
    '**JVM**',
    settingsTable(jvmFlags),
    '**JVM, tuned**',
    settingsTable(jvmFlagsTuned),
    `**Millrace**: Node with \`${workerHeapFlags(1).join(' ')}\`, as \`millrace run\` starts a worker; everything else is the default. The loops have no flags.`,
    '**Kafka Streams**, both settings',
    settingsTable(kafkaStreams.settings),
    '**Kafka Streams tuned**, on top of these',
    settingsTable(added(kafkaStreamsTuned, kafkaStreams)),
    '**Flink**, both settings',
    settingsTable(flink.settings),
    '**Flink tuned**, on top of these',
    settingsTable(added(flinkTuned, flink)),
    '**W3, state on disk**, in place of or on top of these',
    settingsTable([ours, oursTenth, kafkaStreams, flink].flatMap(diskSettings)),
    ...peersCandidates
      .filter(({ program, settings }) => program.plain && settings.length > 0)
      .flatMap(({ title, settings }) => [`**${title}**`, settingsTable(settings)]),
  ]
  return parts.join('\n\n')
}

/** What was measured when, of which commit, on what. */
function origin(what: string, { startedAt, commit }: Origin): string {
  return `${what} on ${startedAt.slice(0, 10)} at commit ${commit}`
}

function throughputOrigins({ origins }: Throughput): string[] {
  const runs = Map.groupBy(Object.keys(origins).toSorted(), (id) => origins[id]?.startedAt)
  return [...runs.values()].map((ids) => origin(ids.join(' '), origins[ids[0] as string] as Origin))
}

function conditions(results: Throughput): string {
  const { settings } = results
  const broker =
    settings.broker === 'java' ? `one node, heap ${settings.brokerHeapMb} MB, on the same cores` : settings.broker
  return `- Broker: ${broker}; replication 1, no TLS.
- Input: ${settings.records.toLocaleString('en')} bids, 210 bytes of JSON each, key = auction, 100,000 keys evenly, ${settings.partitions} partitions, no compression; the loops read 1/${loopShare} of it, W3 with a tenth in memory 1/${oursTenth.inputShare}.${lengthening(settings)}
- Every system is one process of its own, started anew for each run, exactly-once, with one thread or slot of work, reading from the beginning into a topic of its own; it commits or checkpoints once a second, the loops with every transaction. ${settings.runs} runs each, in another order each time; medians [smallest–largest] of those that count: *exact* has their number.
- Window: from 10 % to 90 % of the output, by high watermarks sampled every 50 ms. *Late half*: 50 % to 90 %, with less of the compilers' work in it; its ratio is held to the same target. CPU: user and system time of all threads of all processes of a system, as the kernel counts it; peak RSS likewise.
- ${disturbance(results)}
- *Exact*: runs in which a \`read_committed\` reader found every output to be what it must be. W0–W3: each partition equal to the model's, byte for byte and in order. W4: its order across keys is nobody's promise, so each key's outputs are replayed: in one partition, counts without a gap, each sum one more of the key's prices, maximum and text to the byte, every input used once. All systems write the same JSON text.
- W3: W2 with state on local disk, LevelDB or RocksDB; all of it fits into every system's cache, but for the row *a tenth in memory*, where ours holds a tenth of the keys and the peers all of them.
- W4: what crosses the hop between the keys is compact in every system: a long (Kafka Streams), a tuple (Flink), \`object({ bidder, price })\` (Millrace).
- Targets: ours ÷ the better of Kafka Streams and Flink, each at its better setting; the broker's CPU and memory likewise.`
}

/** `notMeasured`: what a reader must not read into the figures; written by hand. */
export function renderPeers(results: PeersResults, notMeasured: string): string {
  const { throughput, latency, recovery } = results
  const parts = Object.entries({ latency, recovery }).flatMap(([part, of]) =>
    of ? [origin(part, { startedAt: of.startedAt, commit: of.machine.commit })] : [],
  )
  const origins = [...(throughput ? throughputOrigins(throughput) : []), ...parts]
  const about = throughput ?? latency ?? recovery
  if (!about) throw new RangeError('nothing was measured')
  const { machine, versions } = about
  return `# Millrace and its peers

Generated by \`npm run bench -- peers\`: ${origins.join(', ')}; raw figures in peers.json. Millrace in its other modes: RESULTS.md.

- Machine: ${machine.cpu}, ${machine.cores} cores, ${machine.memoryGb} GB, ${machine.system}. Apache Kafka ${machine.kafka}.
- Node ${machine.node}. Java ${versions.java}: Kafka Streams ${versions.kafkaStreams}; Flink ${versions.flink} with flink-connector-kafka ${versions.flinkConnector}; Jackson ${versions.jackson} for JSON in both. Loops: kafkajs ${machine.kafkajs}, @platformatic/kafka ${versions.platformatic}.
${throughput ? conditions(throughput) : ''}

${renderPeersTables(results)}
## Settings

${settingsSection()}

The work is written as each system's users would: Kafka Streams' DSL (\`aggregate\` into an in-memory store with its changelog topic; in W4 \`groupByKey\` after a new key, through a repartition topic), Flink's DataStream API (\`keyBy\` and a \`ValueState\`), typed classes and reused Jackson readers and writers in both. In W2 to W4 the peers parse only the fields that the work needs; Millrace parses the whole value, except where it says *fields named*: there W1 is a \`patch\`, and W2 and W4 read by \`json().only()\`. Flink's shuffle stays in memory, since all of its slots are in one process; Millrace and Kafka Streams shuffle through a topic, which survives.

${notMeasured}`
}
