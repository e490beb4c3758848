/**
 * `npm run bench -- state`: keyed state on the heap and on disk, by number of keys and how they are used. In processes of their own,
 * without a broker: cost per record of the state alone, pauses, bytes per checkpoint, restoring, memory. Writes bench/STATE.md.
 */
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { workerHeapFlags } from '../../src/cli/heap-flags.ts'
import { describeMachine } from '../environment.ts'
import type { Progress } from '../progress.ts'
import { percentile } from '../statistics.ts'
import { figure, table } from '../tables.ts'
import type { LevelFloor } from './level-floor.ts'

export interface StateCase {
  readonly backend: 'heap' | 'leveldb'
  readonly keys: number
  readonly keysAre: 'uniform' | 'zipf'
  readonly records: number
  readonly recordsPerCheckpoint: number
  readonly cacheBytesMax: number
}

export interface CaseResult {
  readonly cpuNsPerRecord: number
  readonly freezeMs: readonly number[]
  readonly sliceMs: readonly number[]
  readonly checkpoints: number
  readonly bytesPerCheckpoint: number
  /** Of checkpoints without part of a base. */
  readonly deltaPerDirty: number
  readonly allPerDirty: number
  readonly restoreMbPerS: number
  /** Until the disk has all of it. */
  readonly filledMbPerS: number
  readonly peakRssMb: number
  /** At the end of a checkpoint, the largest. */
  readonly ownMb: number
  readonly cachedKeys: number
  readonly diskMb: number
}

export const cacheBytesMax: number = 256 * 2 ** 20
const recordsPerCheckpoint = 200_000
const processMbMax = 16_000
/** Of the 99th percentile. */
export const pauseMsMax = 5

/** Bytes of a chain for a key with three numbers, as long as keys are here. */
const chainBytesPerKey = 44

const sizesOf = (large: boolean): number[] => (large ? [100_000, 1_000_000, 10_000_000] : [100_000, 1_000_000])

function casesOf(large: boolean): StateCase[] {
  return sizesOf(large).flatMap((keys) =>
    (['heap', 'leveldb'] as const).flatMap((backend) =>
      (['uniform', 'zipf'] as const).map((keysAre) => ({
        ...{ backend, keys, keysAre, recordsPerCheckpoint, cacheBytesMax },
        records: 4_000_000,
      })),
    ),
  )
}

/** What a process of its own prints. */
function measure<T>(entry: string, argument: string): T {
  const file = fileURLToPath(new URL(entry, import.meta.url))
  const flags = [...process.execArgv, ...workerHeapFlags(1), `--max-old-space-size=${processMbMax}`]
  const line = execFileSync(process.execPath, [...flags, file, argument], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    maxBuffer: 2 ** 28,
  })
  return JSON.parse(line) as T
}

/** `--large`: 10 million keys, too; some minutes more. */
export async function runStateBench(argv: readonly string[], progress: Progress): Promise<boolean> {
  const rows: string[][] = []
  const large = argv.includes('--large')
  await progress.series(casesOf(large), async (given) => {
    const result = measure<CaseResult>('./state-case.ts', JSON.stringify(given))
    const { backend, keys, keysAre } = given
    progress.say(`${backend} · ${keys} keys · ${keysAre} · ${figure(result.cpuNsPerRecord, 0)} ns`)
    rows.push([
      `${backend}, ${keysAre}`,
      keys.toLocaleString('en'),
      figure(result.cpuNsPerRecord, 0),
      [0.5, 0.99, 1].map((p) => figure(percentile(result.freezeMs, p), 2)).join(' / '),
      [0.5, 0.99, 1].map((p) => figure(percentile(result.sliceMs, p), 1)).join(' / '),
      String(result.checkpoints),
      figure(result.bytesPerCheckpoint / 2 ** 20, 1),
      figure(result.deltaPerDirty, 2),
      figure(result.allPerDirty, 2),
      figure(result.restoreMbPerS, 0),
      backend === 'leveldb' ? figure(result.filledMbPerS, 0) : '–',
      figure(result.peakRssMb, 0),
      figure(result.ownMb, 0),
      backend === 'leveldb' ? result.cachedKeys.toLocaleString('en') : '–',
      backend === 'leveldb' ? figure(result.diskMb, 0) : '–',
    ])
  })
  const floors = sizesOf(large).map((keys) => {
    const { putNs, getNs } = measure<LevelFloor>('./level-floor.ts', String(keys))
    const mbPerS = (chainBytesPerKey / putNs) * 1_000
    return [keys.toLocaleString('en'), figure(putNs, 0), figure(getNs, 0), figure(mbPerS, 0)]
  })
  const text = render(rows, floors, large)
  process.stdout.write(text)
  writeFileSync(fileURLToPath(new URL('../STATE.md', import.meta.url)), text)
  return true
}

function render(rows: readonly string[][], floors: readonly string[][], large: boolean): string {
  const { cpu, cores, memoryGb, node, commit } = describeMachine()
  const head = [
    ...[
      'backend, keys',
      'keys',
      'CPU ns/record',
      'barrier ms p50 / p99 / max',
      'slice ms p50 / p99 / max',
      'checkpoints',
    ],
    ...[
      'MB each',
      'delta ÷ dirty',
      'all ÷ dirty',
      'restore MB/s',
      'until on disk MB/s',
      'peak RSS MB',
      'its own MB',
      'keys in memory',
      'disk MB',
    ],
  ]
  return `# Keyed state

Generated by \`npm run bench -- state${large ? ' --large' : ''}\`: ${cpu}, ${cores} cores, ${memoryGb} GB, Node ${node}, commit ${commit}.

W2's count, sum and maximum per key, without a broker: each case in a process of its own, all keys filled first, then 5 million records, the first fifth not counted, a checkpoint every ${recordsPerCheckpoint.toLocaleString('en')} (earlier where the cache is over its limit). Cache of \`leveldb\`: ${cacheBytesMax / 2 ** 20} MiB.

- *CPU*: of the whole process, LevelDB's own threads included; what choosing the keys costs is taken off.
- *Barrier*: the synchronous part; target p99 ≤ ${pauseMsMax} ms, and no more with more keys. *Slice*: encoding, of which 4 ms at a time are meant; records flow between slices.
- *Delta ÷ dirty*: bytes of a checkpoint without part of a base, against keys and numbers of what changed. *All ÷ dirty*: bases included.
- *Restore*: the chain's files, which the kernel has in memory, into an empty backend, until records may flow; target 100. *Until on disk*: until LevelDB has all of it, too, which it gets while records
  flow where the cache has room for all, and before them where it has not.
- *Peak RSS*: of the process, until the restore begins. *Its own*: the part that no file backs, the most at the end of any checkpoint; LevelDB maps its
  files, which the kernel drops when memory is short.

${table(head, rows)}

## LevelDB by itself

Entries as above, each with its checksum, put in the order of their names, 20,000 at a time, into an empty folder; then keys got here and there, all of them in the
processor's or the kernel's memory. CPU of the whole process, LevelDB's own thread included. The last column is what one core lets through of a chain (${chainBytesPerKey} bytes a key) by
puts alone. A restore that goes to the disk gathers rows on one core while another writes, and so comes to about that: for state that the cache has no room for the target of 100 MB/s is out of reach.

${table(['keys', 'put ns', 'get ns', 'chain MB/s'], floors)}
`
}
