/** The systems of `npm run bench -- peers`. */
import { baseline, type Candidate, exactlyOnce, exactlyOnceNaming, exactlyOnceTenth } from '../candidates.ts'
import { millraceRun, platformaticLoop } from '../programs.ts'
import { atInterval, flink, jvmPeers, kafkaStreams, kafkaStreamsOnDisk } from './jvm-peers.ts'

export const ours: Candidate = { ...exactlyOnce, id: 'millrace', title: 'Millrace' }
export const oursNaming: Candidate = { ...exactlyOnceNaming, id: 'millrace-fields', title: 'Millrace, fields named' }

/** Loops are so slow that they read a quarter of what the others read. */
export const loopShare = 4

export const oursTenth: Candidate = { ...exactlyOnceTenth, id: 'millrace-tenth', title: 'Millrace, a tenth in memory' }

const kafkajs: Candidate = { ...baseline, inputShare: loopShare }

const platformatic: Candidate = {
  id: 'platformatic',
  title: '@platformatic/kafka loop',
  program: platformaticLoop,
  mode: 'exactly-once',
  intervalMs: 0,
  inputShare: loopShare,
  settings: [
    { name: 'transactionRecords', value: '5000', why: 'a transaction for so many messages …' },
    { name: 'transactionMs', value: '100', why: '… or after so long, whichever comes first' },
    {
      name: 'retryDelay',
      value: '10',
      why: "a transaction often begins while the last one's markers are written, and is refused; default a second",
    },
    { name: 'retries', value: '100', why: 'default 3, too few with so short a delay' },
  ],
}

export const peersCandidates: readonly Candidate[] = [ours, oursNaming, oursTenth, ...jvmPeers, kafkajs, platformatic]

/** What latency and recovery are measured with: state has to come back. */
export const timedWorkload = 'W2'
const shortMs = 100

/** Latency of an exactly-once output follows the interval; each system with the settings of its makers. */
export const latencyCandidates: readonly Candidate[] = [
  ours,
  { ...ours, id: 'millrace-100', title: 'Millrace, 100 ms', intervalMs: shortMs },
  ...[kafkaStreams, flink].flatMap((candidate) => [candidate, atInterval(candidate, shortMs)]),
  kafkajs,
  platformatic,
]

export const oursSupervised: Candidate = {
  ...ours,
  id: 'millrace-worker',
  title: 'Millrace, its worker only',
  program: millraceRun,
}

/** The loops keep their state in a Map: what they would recover is wrong. */
export const recoveryCandidates: readonly Candidate[] = [ours, oursSupervised, kafkaStreams, kafkaStreamsOnDisk, flink]

/** @throws RangeError */
export function candidatesOf(ids: readonly string[] | undefined): readonly Candidate[] {
  for (const id of ids ?? []) {
    if (peersCandidates.some((candidate) => candidate.id === id)) continue
    throw new RangeError(`system ${id}; there are ${peersCandidates.map((candidate) => candidate.id).join(', ')}`)
  }
  return peersCandidates.filter(({ id }) => ids?.includes(id) ?? true)
}
