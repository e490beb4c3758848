/**
 * Lives and deaths of a pipeline's workers, and what may happen to its state between them: checkpoint files are cut, changed or lost, in
 * a folder and in a topic. The checkpoint it stands on is read as the engine's own modules read it.
 */
import { readFile, rm, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { keys, type StoredFile, StoreIndex, values } from '../../connectors/kafka/store-index.ts'
import { crc32c, crcHex } from '../../src/base/crc32c.ts'
import { decodeFile, type SegmentRef } from '../../src/checkpoint/file.ts'
import type { PointName } from './crash-worker.ts'
import type { Site, Subject } from './site.ts'
import { type End, TestWorker } from './test-worker.ts'

export type Env = Readonly<Record<string, string>>
export type Local = Env & { readonly MILLRACE_STATE_FOLDER: string }

/** Settings for state there; a local disk is in a folder of the test's own. */
export async function on(backend: 'heap' | 'leveldb', subject: Subject): Promise<Local> {
  return { MILLRACE_STATE_BACKEND: backend, MILLRACE_STATE_FOLDER: await subject.anotherStore() }
}

/** One life of a worker, with a checkpoint for each of these values. */
export async function lives(subject: Subject, env: Env, values: readonly string[]): Promise<void> {
  const cli = subject.start(['run', '--leave'], env)
  await cli.runs()
  for (const value of values) {
    await subject.send([value])
    await subject.caughtUp(cli)
  }
  const { code, output } = await cli.stop()
  if (code !== 0) throw new Error(`it ended with ${code}:\n${output}`)
}

/** A worker that has written output dies at a point, and nobody starts it again. */
export async function diesAt(subject: Subject, env: Env, at: PointName): Promise<End | undefined> {
  const victim = new TestWorker({
    module: subject.module,
    instance: 'here-0',
    env: { ...subject.env(), MILLRACE_HTTP_PORT: '0', MILLRACE_CHECKPOINT_INTERVAL_MS: '50', ...env },
    lives: [
      [
        { at: 'after:produce', do: 'none' },
        { at, do: 'kill' },
      ],
    ],
    restart: 'no',
  })
  try {
    return await victim.ended()
  } finally {
    await victim.destroy()
  }
}

/** Transactional ids of the pipeline whose transaction is not decided. */
export async function openTransactions({ site, group }: Subject): Promise<string[]> {
  const listed = await site.admin.listTransactions()
  const ours = listed.filter(({ transactionalId }) => transactionalId.startsWith(`${group}.`))
  return ours.filter(({ state }) => state === 'Ongoing').map(({ transactionalId }) => transactionalId)
}

/** How many partitions of the output end behind what a read_committed reader may see. */
export async function unstable({ site, output }: Subject): Promise<number> {
  const ends = await site.admin.listOffsets(output, 'read_uncommitted')
  const stable = await site.admin.listOffsets(output, 'read_committed')
  return ends.filter(({ latest }, index) => latest > (stable[index]?.latest ?? -1n)).length
}

/** A number more for the key of each partition, and again. */
export class EvenFeed {
  readonly #subject: Subject
  readonly #partitions: readonly number[]
  #sent = 0

  constructor(subject: Subject, partitions: number) {
    this.#subject = subject
    this.#partitions = Array.from({ length: partitions }, (_, partition) => partition)
  }

  async more(): Promise<void> {
    const { site, input: topic } = this.#subject
    const value = String(this.#sent++)
    await site.send(this.#partitions.map((partition) => ({ topic, partition, key: `k${partition}`, value })))
  }

  /** What `counts` makes of it, sorted. */
  counts(): string[] {
    const ofOne = Array.from({ length: this.#sent }, (_, n) => `${n} ${n + 1}`)
    return this.#partitions.flatMap(() => ofOne).sort()
  }
}

export type Damage = 'cut' | 'flipped' | 'gone'

/** The segments that the only task's committed state consists of, oldest first. */
export async function chainOf(subject: Subject): Promise<readonly SegmentRef[]> {
  const file = await subject.pointedFile()
  return decodeFile(basename(file), await readFile(file)).tasks[0]?.chain ?? []
}

/** Cut before byte `at` (from the end if negative), one bit of it flipped, or gone; gives what puts the file back. */
export async function damage(subject: Subject, file: string, how: Damage, at: number): Promise<() => Promise<void>> {
  const path = join(subject.store, file)
  const whole = await readFile(path)
  if (how === 'gone') await rm(path)
  else await writeFile(path, how === 'cut' ? whole.subarray(0, at) : withBitFlipped(whole, at))
  return () => writeFile(path, whole)
}

export function withBitFlipped(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes)
  copy[at] = (copy[at] ?? 0) ^ 0x10
  return copy
}

/** Where a pipeline whose store is a topic keeps it. */
const storeTopic = (subject: Subject): string => `${subject.group}.checkpoints`

/** A file in the topic, as its index has it, and the bytes that stand there. */
export async function storedFile(subject: Subject, name: string): Promise<StoredFile & { readonly content: Buffer }> {
  const topic = storeTopic(subject)
  const records = await subject.site.read(topic)
  const index = new StoreIndex(topic)
  for (const { partition, offset, timestamp, key, value } of records)
    if (partition === 0)
      index.apply({ timestamp, offset: BigInt(offset), key: String(key), value: value === null ? null : String(value) })
  const file = index.fileOf(name)
  if (!file) throw new Error(`${name} is not in ${topic}`)
  const ofFile = records.filter(
    ({ partition, offset }) => partition === file.partition && file.chunks.includes(BigInt(offset)),
  )
  return { ...file, content: Buffer.concat(ofFile.map(({ value }) => value ?? Buffer.alloc(0))) }
}

/** The same name, but its bytes are others, and the index knows nothing of it. */
export async function forge(subject: Subject, { id, name, partition }: StoredFile, content: Buffer): Promise<void> {
  const { site } = subject
  const topic = storeTopic(subject)
  const forged = `${name}/forged`
  const range = (await site.admin.listOffsets(topic, 'read_uncommitted')).find((each) => each.partition === partition)
  const checksum = crcHex(crc32c(content))
  const file = {
    partition,
    bytes: content.length,
    chunkBytes: content.length,
    checksum,
    chunks: [range?.latest ?? -1n],
  }
  await site.send([{ topic, partition, key: keys.chunk(forged, 0), value: content }])
  await site.send([{ topic, partition: 0, key: keys.file(id), value: null }])
  await site.send([{ topic, partition: 0, key: keys.file(forged), value: values.file(file) }])
}

export interface InTopic {
  readonly subject: Subject
  readonly env: Env
  readonly topic: string
  /** The file of the newest checkpoint. */
  readonly newest: string
  /** In an older one that it stands on. */
  readonly delta: SegmentRef
}

/** Three checkpoints in a topic, their files in several chunks, and a value that is still to be read. */
export async function inTopic(site: Site): Promise<InTopic> {
  const subject = await site.feature('counts')
  const env = { MILLRACE_STORE: 'kafka' }
  const topic = storeTopic(subject)
  await lives(subject, env, ['k:a'])
  await site.admin.alterConfigs({ name: topic }, { 'max.message.bytes': '5000' })
  await lives(subject, env, ['k:b', 'k:c'])
  const newest = basename(await subject.pointedFile())
  const { content, chunks } = await storedFile(subject, newest)
  const delta = decodeFile(newest, content).tasks[0]?.chain[0]
  if (chunks.length < 2 || !delta || delta.file === newest) throw new Error('it is one chunk, or stands on nothing')
  await subject.send(['k:d'])
  return { subject, env, topic, newest, delta }
}
