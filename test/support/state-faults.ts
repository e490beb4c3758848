/**
 * What may happen to a pipeline's state while nobody runs: checkpoint files are cut, changed or lost. The checkpoint it stands on
 * is read as the engine's own file module reads it.
 */
import { readFile, rm, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { keys, type StoredFile, StoreIndex, values } from '../../connectors/kafka/store-index.ts'
import { crc32c, crcHex } from '../../src/base/crc32c.ts'
import { decodeFile, type SegmentRef } from '../../src/checkpoint/file.ts'
import type { Subject } from './site.ts'

export type Damage = 'cut' | 'flipped' | 'gone'

/** The segments that the only task's committed state consists of, oldest first. */
export async function chainOf(subject: Subject): Promise<readonly SegmentRef[]> {
  const file = await subject.pointedFile()
  return decodeFile(basename(file), await readFile(file)).tasks[0]?.chain ?? []
}

/** Cut before byte `at`, one bit of it flipped, or gone; gives what puts the file back. */
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
export const storeTopic = (subject: Subject): string => `${subject.group}.checkpoints`

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
