// The checkpoint file: one per worker and checkpoint. A manifest (JSON) with everything needed to restore the worker's
// tasks, then the state segments that this checkpoint added. Created once, never replaced; the pointer in the group's
// committed offsets names it with its length and checksum (I13).
//
//   'MILLRACE' · u32 format · segments · manifest · u32 manifest bytes · u32 CRC32C of the manifest
//
// The manifest comes last: segment positions are absolute and other files' chains can name them.
import { bytesOf } from '../base/byte-writer.ts'
import { crc32c, crc32cOf, crcHex } from '../base/crc32c.ts'
import { MillraceError, messageOf } from '../base/errors.ts'
import { type CheckpointId, checkpointId, type TaskId } from '../base/ids.ts'
import type { SegmentMark, SourcePosition, TaskSnapshot } from '../base/messages.ts'

/** Of the file; 2: segments have two sections, appends say where. */
export const FILE_FORMAT = 2
/** Of the pointer. */
export const POINTER_FORMAT = 1
const MAGIC = Buffer.from('MILLRACE', 'latin1')
const HEADER_BYTES = 12
const FOOTER_BYTES = 8
/** Kafka's limit for the metadata of a committed offset, in characters. */
const POINTER_CHARACTERS_MAX = 4096

/** Stands in the metadata of every committed offset: where the state is that belongs to it. */
export interface Pointer {
  readonly checkpoint: CheckpointId
  readonly file: string
  readonly length: number
  readonly checksum: string
}

export function encodePointer({ checkpoint, file, length, checksum }: Pointer): string {
  const text = JSON.stringify({ f: POINTER_FORMAT, id: checkpoint.toString(), file, len: length, crc: checksum })
  if (text.length > POINTER_CHARACTERS_MAX) {
    throw new MillraceError(
      'OPTION_INVALID',
      `the checkpoint pointer has ${text.length} characters; choose a shorter instance name`,
    )
  }
  return text
}

/** undefined: the metadata is not ours. @throws CHECKPOINT_MISMATCH for a pointer of a later format */
export function decodePointer(metadata: string): Pointer | undefined {
  let fields: { f?: unknown; id?: unknown; file?: unknown; len?: unknown; crc?: unknown }
  try {
    fields = JSON.parse(metadata) as typeof fields
  } catch {
    return undefined
  }
  if (typeof fields !== 'object' || fields === null || typeof fields.f !== 'number') return undefined
  if (fields.f !== POINTER_FORMAT) {
    throw new MillraceError(
      'CHECKPOINT_MISMATCH',
      `the group's pointer has format ${fields.f}; this release reads ${POINTER_FORMAT}: run the release that wrote it`,
    )
  }
  const { id, file, len, crc } = fields
  if (typeof id !== 'string' || !/^\d{1,20}$/.test(id)) return undefined
  if (typeof file !== 'string' || typeof len !== 'number' || typeof crc !== 'string') return undefined
  return { checkpoint: checkpointId(id), file, length: len, checksum: crc }
}

export interface SegmentRef {
  readonly file: string
  readonly position: number
  readonly length: number
  readonly checksum: string
  readonly mark: SegmentMark
}

export interface TaskManifest {
  readonly task: TaskId
  /** The task's checkpoint before this one; null only in its very first. */
  readonly parent: Pointer | null
  readonly positions: readonly SourcePosition[]
  /** The whole chain, oldest first. */
  readonly chain: readonly SegmentRef[]
  readonly handles: TaskSnapshot['handles']
}

export interface Manifest {
  readonly pipeline: string
  readonly checkpoint: CheckpointId
  readonly instance: string
  readonly incarnation: string
  readonly mode: 'exactly-once' | 'at-least-once'
  /** The transaction that commits this checkpoint; null in at-least-once mode. */
  readonly transaction: {
    readonly transactionalId: string
    readonly producerId: string
    readonly epoch: number
    readonly partitions: readonly { readonly topic: string; readonly partition: number; readonly lastOffset: string }[]
  } | null
  /** Ids and partition counts of every topic as of this checkpoint. */
  readonly topics: Readonly<Record<string, { readonly id: string; readonly partitions: number }>>
  readonly tasks: readonly TaskManifest[]
}

/** For JSON.stringify: offsets and ids in digits. */
export function bigintAsText(_: string, value: unknown): unknown {
  return typeof value === 'bigint' ? value.toString() : value
}

/** What a store gave for a segment is all of it, as it was written. */
export function isSegment({ length, checksum }: SegmentRef, bytes: Buffer): boolean {
  return bytes.length === length && crcHex(crc32c(bytes)) === checksum
}

/** Pointers that committed offsets carry, by file. */
export function pointersOf(
  rows: Iterable<{ readonly offset: bigint; readonly metadata: string }>,
): ReadonlyMap<string, Pointer> {
  const pointers = new Map<string, Pointer>()
  for (const { offset, metadata } of rows) {
    const pointer = offset >= 0n ? decodePointer(metadata) : undefined
    if (pointer) pointers.set(pointer.file, pointer)
  }
  return pointers
}

const NAME = /^(\d{20})-([a-z0-9-]+)-([0-9a-f]+)\.ckpt$/

export function fileName(checkpoint: CheckpointId, instance: string, incarnation: string): string {
  return `${checkpoint.toString().padStart(20, '0')}-${instance}-${incarnation}.ckpt`
}

/** undefined: not the name of a checkpoint file. */
export function parseFileName(
  name: string,
): { readonly checkpoint: CheckpointId; readonly instance: string } | undefined {
  const match = NAME.exec(name)
  return match ? { checkpoint: checkpointId(match[1] ?? 0), instance: match[2] ?? '' } : undefined
}

/** A new segment and where it goes in the file: filled in by `encodeFile`. */
export interface NewTask extends Omit<TaskManifest, 'chain'> {
  readonly chain: (file: string, position: number, segment: readonly Buffer[] | null) => readonly SegmentRef[]
  readonly segment: readonly Buffer[] | null
}

/** Where a new segment stands in its file. */
export function segmentRef(file: string, position: number, parts: readonly Buffer[], mark: SegmentMark): SegmentRef {
  return { file, position, length: bytesOf(parts), checksum: crcHex(crc32cOf(parts)), mark }
}

/** Lays out a file, in parts that follow one another: state is not copied. */
export function encodeFile(
  name: string,
  head: Omit<Manifest, 'tasks'>,
  tasks: readonly NewTask[],
): { readonly parts: readonly Buffer[]; readonly pointer: Pointer; readonly manifest: Manifest } {
  let position = HEADER_BYTES
  const written = tasks.map(({ segment, chain, ...task }) => {
    const refs = chain(name, position, segment)
    position += bytesOf(segment ?? [])
    return { ...task, chain: refs }
  })
  const manifest: Manifest = { ...head, tasks: written }
  const json = Buffer.from(JSON.stringify(manifest, bigintAsText))
  const header = Buffer.alloc(HEADER_BYTES)
  MAGIC.copy(header)
  header.writeUInt32BE(FILE_FORMAT, 8)
  const footer = Buffer.alloc(FOOTER_BYTES)
  footer.writeUInt32BE(json.length, 0)
  footer.writeUInt32BE(crc32c(json), 4)
  const parts = [header, ...tasks.flatMap(({ segment }) => segment ?? []), json, footer]
  const checksum = crcHex(crc32cOf(parts))
  return { parts, pointer: { checkpoint: head.checkpoint, file: name, length: bytesOf(parts), checksum }, manifest }
}

/** @throws CHECKPOINT_CORRUPT, CHECKPOINT_MISMATCH */
export function decodeFile(name: string, bytes: Buffer): Manifest {
  const corrupt = (what: string): MillraceError =>
    new MillraceError(
      'CHECKPOINT_CORRUPT',
      `checkpoint file ${name}: ${what}; restore the file from a backup of the store, or start again with \`millrace reset\``,
    )
  if (bytes.length < HEADER_BYTES + FOOTER_BYTES) throw corrupt(`${bytes.length} bytes only`)
  if (!bytes.subarray(0, 8).equals(MAGIC)) throw corrupt('it does not begin with MILLRACE')
  const format = bytes.readUInt32BE(8)
  if (format !== FILE_FORMAT)
    throw new MillraceError(
      'CHECKPOINT_MISMATCH',
      `checkpoint file ${name} has format ${format}; this release reads ${FILE_FORMAT}`,
    )
  const end = bytes.length - FOOTER_BYTES
  const start = end - bytes.readUInt32BE(end)
  if (start < HEADER_BYTES) throw corrupt('it is cut')
  const json = bytes.subarray(start, end)
  if (crc32c(json) !== bytes.readUInt32BE(end + 4)) throw corrupt('its manifest fails the checksum')
  try {
    return reviveManifest(JSON.parse(json.toString('utf8')) as Manifest)
  } catch (error) {
    throw new MillraceError('CHECKPOINT_CORRUPT', `checkpoint file ${name}: ${messageOf(error)}`, { cause: error })
  }
}

/** BigInts went into JSON as decimal strings. */
function reviveManifest(raw: Manifest): Manifest {
  const pointer = (value: Pointer | null): Pointer | null =>
    value && { ...value, checkpoint: checkpointId(value.checkpoint) }
  const tasks = raw.tasks.map((task) => ({
    ...task,
    parent: pointer(task.parent),
    positions: task.positions.map((position) => ({ ...position, offset: BigInt(position.offset) })),
  }))
  return { ...raw, checkpoint: checkpointId(raw.checkpoint), tasks }
}

/** A whole file against its pointer (I13). @throws CHECKPOINT_CORRUPT */
export function verifyFile(pointer: Pointer, bytes: Buffer): void {
  const checksum = crcHex(crc32c(bytes))
  if (bytes.length === pointer.length && checksum === pointer.checksum) return
  const text = `checkpoint file ${pointer.file}: ${bytes.length} bytes with checksum ${checksum}; the group's pointer says ${pointer.length} and ${pointer.checksum}. Restore the file from a backup of the store, or start again with \`millrace reset\``
  throw new MillraceError('CHECKPOINT_CORRUPT', text)
}
