/**
 * One case of the state bench, in a process of its own: W2's count, sum and maximum per key through a store and its task's state,
 * as a task has them, without a broker. Prints a line of JSON.
 */

import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { open as openFile, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { f64, type Serde, utf8, valueState } from 'millrace'
import { Random } from '../../pipelines/nexmark/generator.ts'
import { bytesOf } from '../../src/base/byte-writer.ts'
import { yieldToLoop } from '../../src/base/clock.ts'
import { taskId } from '../../src/base/ids.ts'
import { silentLogger } from '../../src/base/log.ts'
import type { SegmentMark } from '../../src/base/messages.ts'
import { hashOf } from '../../src/state/heap/key-index.ts'
import { HeapStore } from '../../src/state/heap/store.ts'
import { LevelBackend } from '../../src/state/leveldb/backend.ts'
import { nextChain, TaskState } from '../../src/state/task-state.ts'
import type { CaseResult, StateCase } from './state-bench.ts'

const given = JSON.parse(process.argv[2] ?? '{}') as StateCase
/** As a task has it. */
const look = 64
/** Records between two turns of the event loop. */
const turn = 2_048
const sliceMs = 4
/** A key and three numbers of 8 bytes. */
const dirtyBytesOf = (key: Buffer): number => key.length + 24

interface Segment {
  readonly mark: SegmentMark
  readonly ref: string
  readonly bytes: number
}

const folder = mkdtempSync(join(tmpdir(), 'millrace-state-bench-'))
/** Segments are files: in memory they would count as the state's. */
const fileOf = (ref: string): string => join(folder, 'chain', ref)
mkdirSync(join(folder, 'chain'))
/** Of this process's memory, without what files are mapped: the kernel takes that back when it needs it. */
function anonymousBytes(): number {
  const [, kilobytes] = /^RssAnon:\s+(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? []
  if (kilobytes === undefined) throw new Error('the kernel does not tell RssAnon')
  return Number(kilobytes) * 1024
}
let ownBytesMax = 0
const keyAt = (index: number): Buffer => Buffer.from(`auction-${index}`)

async function open(place: string): Promise<{ store: HeapStore; state: TaskState; close(): Promise<void> }> {
  const onDisk = given.backend === 'leveldb'
  const backend = onDisk
    ? await LevelBackend.open({
        folder: place,
        pipeline: 'p',
        instance: 'i',
        cacheBytesMax: given.cacheBytesMax,
        log: silentLogger,
      })
    : null
  const disk = backend ? await backend.open(taskId('totals', 0)) : null
  const states = { count: valueState(f64, 0), sum: valueState(f64, 0), max: valueState(f64, 0) }
  const store = new HeapStore('totals', states, utf8 as Serde<unknown>, undefined, disk)
  const state = new TaskState([store], { disk })
  return { store, state, close: async () => backend?.close() }
}

/** Of Zipf's law with exponent 1, by its inverse; or even. */
function chooser(): () => number {
  const random = new Random(7)
  if (given.keysAre === 'uniform') return () => Math.floor(random.next() * given.keys)
  const logKeys = Math.log(given.keys)
  return () => Math.min(given.keys - 1, Math.floor(Math.exp(random.next() * logKeys)) - 1)
}

const { store, state, close } = await open(join(folder, 'a'))
await state.restore([])
const { count, sum, max } = store.handles as unknown as Record<
  'count' | 'sum' | 'max',
  { get(): number; set(value: number): void }
>
const pauses: { freeze: number[]; slice: number[] } = { freeze: [], slice: [] }
let chain: readonly Segment[] = []
let checkpoints = 0
let segmentBytes = 0
let deltaBytes = 0
let dirtyBytes = 0
/** Of checkpoints without part of a base. */
let deltaDirtyBytes = 0
let overhead = 0
const dirty = new Set<number>()

function update(index: number, key: Buffer, hash: number): void {
  if (!store.findKey(key, 0, key.length, hash)) store.setKey(key.toString('latin1'))
  const price = index % 1_000
  count.set(count.get() + 1)
  sum.set(sum.get() + price)
  max.set(Math.max(max.get(), price))
}

async function checkpoint(): Promise<void> {
  const begun = performance.now()
  state.begin()
  state.freeze(store)
  pauses.freeze.push(performance.now() - begun)
  for (let complete = false; !complete; ) {
    // Looks at a disk that is not through are no slices.
    const { waiting } = state
    const from = performance.now()
    complete = state.encode(() => performance.now() >= from + sliceMs)
    if (!waiting) pauses.slice.push(performance.now() - from)
    if (!complete) await yieldToLoop()
  }
  const { segment, mark } = state.take()
  // The cache is full and the segment is there.
  ownBytesMax = Math.max(ownBytesMax, anonymousBytes())
  const ref = `segment-${checkpoints++}`
  const bytes = bytesOf(segment ?? [])
  segmentBytes += bytes
  const changed = [...dirty].reduce((total, index) => total + dirtyBytesOf(keyAt(index)), 0)
  dirtyBytes += changed
  if (mark === 'delta') {
    deltaBytes += bytes
    deltaDirtyBytes += changed
  }
  dirty.clear()
  const last = chain
  chain = nextChain(chain, segment && { mark, ref, bytes })
  if (segment) await save(ref, segment)
  for (const each of last) if (!chain.includes(each)) await rm(fileOf(each.ref))
  await state.committed(segment && ref)
}

async function save(ref: string, segment: readonly Buffer[]): Promise<void> {
  await using file = await openFile(fileOf(ref), 'wx')
  await file.writev([...segment])
}

async function run(records: number, next: () => number, every: number): Promise<void> {
  const hashes = new Int32Array(look)
  const keys: Buffer[] = []
  const indices: number[] = []
  let since = 0
  for (let done = 0; done < records; done += look) {
    for (let i = 0; i < look; i++) {
      const index = next()
      const key = keyAt(index)
      indices[i] = index
      keys[i] = key
      hashes[i] = hashOf(key, 0, key.length)
    }
    store.prefetch(hashes, look)
    for (let i = 0; i < look; i++) update(indices[i] as number, keys[i] as Buffer, hashes[i] as number)
    for (let i = 0; i < look; i++) dirty.add(indices[i] as number)
    since += look
    if (since >= every || (since >= turn && (state.overBudget || state.mustWait))) {
      since = 0
      await checkpoint()
    } else if (done % turn === 0) await yieldToLoop()
  }
}

/** What choosing keys and noting them costs without any state, to be taken off. */
function overheadOf(records: number, next: () => number): number {
  const begun = process.cpuUsage()
  for (let i = 0; i < records; i++) {
    const index = next()
    const key = keyAt(index)
    overhead ^= hashOf(key, 0, key.length)
    dirty.add(index)
    if (dirty.size > given.recordsPerCheckpoint) dirty.clear()
  }
  dirty.clear()
  const { user, system } = process.cpuUsage(begun)
  return ((user + system) * 1_000) / records
}

let filled = 0
await run(given.keys, () => filled++ % given.keys, given.recordsPerCheckpoint)
await state.settled()
const next = chooser()
await run(given.records / 4, next, given.recordsPerCheckpoint)
Object.assign(pauses, { freeze: [], slice: [] })
const before = { checkpoints, segmentBytes, deltaBytes, dirtyBytes, deltaDirtyBytes }
const cpu = process.cpuUsage()
await run(given.records, next, given.recordsPerCheckpoint)
await state.settled()
const used = process.cpuUsage(cpu)
const gross = ((used.user + used.system) * 1_000) / given.records
const idle = overheadOf(Math.min(given.records, 1_000_000), chooser())
const peakRssBytes = process.resourceUsage().maxRSS * 1024
const cachedKeys = store.keyCount
state.dispose()
await close()

const restoring = await open(join(folder, 'b'))
const chainBytes = chain.reduce((total, { bytes }) => total + bytes, 0)
const began = performance.now()
await restoring.state.restore(
  chain.map(({ ref, mark, bytes }) => ({ ref, mark, bytes, read: () => readFile(fileOf(ref)) })),
)
const restoreMs = performance.now() - began
await restoring.state.settled()
const filledMs = performance.now() - began
await restoring.close()

const diskBytes = (place: string): number => {
  const names = readdirSync(place, { recursive: true, withFileTypes: true })
  return names.reduce((total, each) => total + (each.isFile() ? statSync(join(each.parentPath, each.name)).size : 0), 0)
}
const result: CaseResult = {
  cpuNsPerRecord: gross - idle,
  freezeMs: pauses.freeze,
  sliceMs: pauses.slice,
  checkpoints: checkpoints - before.checkpoints,
  bytesPerCheckpoint: (segmentBytes - before.segmentBytes) / (checkpoints - before.checkpoints),
  deltaPerDirty: (deltaBytes - before.deltaBytes) / (deltaDirtyBytes - before.deltaDirtyBytes),
  allPerDirty: (segmentBytes - before.segmentBytes) / (dirtyBytes - before.dirtyBytes),
  restoreMbPerS: chainBytes / 1e6 / (restoreMs / 1_000),
  filledMbPerS: chainBytes / 1e6 / (filledMs / 1_000),
  peakRssMb: peakRssBytes / 2 ** 20,
  ownMb: ownBytesMax / 2 ** 20,
  cachedKeys,
  diskMb: given.backend === 'leveldb' ? diskBytes(join(folder, 'a')) / 2 ** 20 : 0,
}
rmSync(folder, { recursive: true, force: true })
process.stdout.write(`${JSON.stringify(result)}\n`)
process.exitCode = overhead === Number.MAX_VALUE ? 1 : 0
