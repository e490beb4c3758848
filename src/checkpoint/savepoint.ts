// A savepoint: a folder that holds everything of a pipeline's newest committed checkpoints, for ever, for any later code,
// backend and parallelism. It needs nothing else: neither the store it was taken from nor the group's offsets.
//
//   savepoint.json    what is in it, with a checksum over all of it
//   <n>.rows          one file per task: the segments of its chain one after the other (state/segment.ts)
//
// It is put together beside its place and moved there when it is whole: a folder of that name is a savepoint.
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { nonce } from '../base/clock.ts'
import { crc32c, crcHex } from '../base/crc32c.ts'
import { MillraceError, messageOf } from '../base/errors.ts'
import { readRange, syncFolder, writeDurably } from '../base/files.ts'
import type { TaskId } from '../base/ids.ts'
import type { SourcePosition, TaskSnapshot } from '../base/messages.ts'
import type { StateIdentity } from '../state/segment.ts'
import { bigintAsText } from './file.ts'

/** Of savepoint.json and of the segments beside it. */
export const SAVEPOINT_FORMAT = 1
const MANIFEST = 'savepoint.json'

export interface SavedTask {
  readonly task: TaskId
  readonly stage: string
  readonly partition: number
  /** Its keys are where a `keyBy` sent them, not where the records' producers did. */
  readonly hop: boolean
  /** The checkpoint that it is a copy of. */
  readonly checkpoint: string
  readonly positions: readonly SourcePosition[]
  readonly handles: TaskSnapshot['handles']
  readonly states: readonly StateIdentity[]
  readonly file: string
  readonly segments: readonly { readonly length: number; readonly checksum: string }[]
}

export interface Savepoint {
  readonly pipeline: string
  /** Of the release that wrote it. */
  readonly millrace: string
  /** Wall time, ISO 8601. */
  readonly taken: string
  readonly topics: Readonly<Record<string, { readonly id: string; readonly partitions: number }>>
  /** Repartition topics: read to their ends. */
  readonly hops: readonly string[]
  readonly tasks: readonly SavedTask[]
}

/** What is to be saved of a task: `read` gives the segments of its chain, oldest first, verified, and `states` then what is in them. */
export interface TaskToSave extends Omit<SavedTask, 'file' | 'segments' | 'states'> {
  read(): AsyncIterable<Buffer>
  states(): readonly StateIdentity[]
}

const invalid = (folder: string, what: string, cause?: unknown): MillraceError =>
  new MillraceError('SAVEPOINT_INVALID', `savepoint ${folder}: ${what}`, { cause })

/** @throws SAVEPOINT_INVALID if there is something already, or it cannot be written */
export async function writeSavepoint(
  folder: string,
  head: Omit<Savepoint, 'tasks'>,
  tasks: readonly TaskToSave[],
): Promise<Savepoint> {
  const place = resolve(folder)
  const there = await readdir(place).catch(() => [])
  if (there.length > 0)
    throw invalid(folder, 'the folder is not empty; a savepoint is never overwritten: choose another one')
  const partial = join(dirname(place), `.${basename(place)}.${nonce()}.partial`)
  try {
    await mkdir(partial, { recursive: true })
    const saved: SavedTask[] = []
    for (const [index, task] of tasks.entries()) saved.push(await writeTask(partial, `${index}.rows`, task))
    const savepoint: Savepoint = { ...head, tasks: saved }
    await writeDurably(join(partial, MANIFEST), [Buffer.from(encodeManifest(savepoint))])
    await syncFolder(partial)
    await rename(partial, place)
    await syncFolder(dirname(place))
    return savepoint
  } catch (error) {
    await rm(partial, { recursive: true, force: true })
    if (error instanceof MillraceError) throw error
    throw invalid(folder, `it could not be written: ${messageOf(error)}; check rights and free space`, error)
  }
}

async function writeTask(folder: string, file: string, { read, states, ...task }: TaskToSave): Promise<SavedTask> {
  const segments: { length: number; checksum: string }[] = []
  const copies = async function* (): AsyncGenerator<Buffer> {
    for await (const segment of read()) {
      segments.push({ length: segment.length, checksum: crcHex(crc32c(segment)) })
      yield segment
    }
  }
  await writeDurably(join(folder, file), copies())
  return { ...task, states: states(), file, segments }
}

function encodeManifest(savepoint: Savepoint): string {
  const content = JSON.stringify(savepoint, bigintAsText)
  const head = { format: SAVEPOINT_FORMAT, checksum: crcHex(crc32c(Buffer.from(content))) }
  return `${JSON.stringify(head)}\n${content}\n`
}

/** Reads and verifies what a savepoint says of itself. @throws SAVEPOINT_INVALID */
export async function readSavepoint(folder: string): Promise<Savepoint> {
  const text = await readFile(join(folder, MANIFEST), 'utf8').catch((error: unknown) => {
    throw invalid(folder, `there is no ${MANIFEST} that can be read; is it the folder of a savepoint?`, error)
  })
  try {
    const [first = '', content = ''] = text.split('\n')
    const { format, checksum } = JSON.parse(first) as { format?: unknown; checksum?: unknown }
    if (format !== SAVEPOINT_FORMAT)
      throw invalid(
        folder,
        `it has format ${format}; this release reads ${SAVEPOINT_FORMAT}: use the release that wrote it`,
      )
    if (crcHex(crc32c(Buffer.from(content))) !== checksum) throw invalid(folder, `${MANIFEST} fails its checksum`)
    const raw = JSON.parse(content) as Savepoint
    const tasks = raw.tasks.map((task) => ({
      ...task,
      positions: task.positions.map((position) => ({ ...position, offset: BigInt(position.offset) })),
    }))
    return { ...raw, tasks }
  } catch (error) {
    throw error instanceof MillraceError ? error : invalid(folder, `${MANIFEST} is damaged: ${messageOf(error)}`, error)
  }
}

/** The segments of a task's chain, each verified. @throws SAVEPOINT_INVALID */
export async function* readSegments(folder: string, { task, file, segments }: SavedTask): AsyncGenerator<Buffer> {
  const opened = await open(join(folder, file), 'r').catch((error: unknown) => {
    throw invalid(folder, `${file}, the state of task ${task}, cannot be read: ${messageOf(error)}`, error)
  })
  try {
    let position = 0
    for (const { length, checksum } of segments) {
      const bytes = await readRange(opened, position, length)
      if (bytes.length < length)
        throw invalid(folder, `${file}, the state of task ${task}, ends at ${position + bytes.length}: it is cut`)
      if (crcHex(crc32c(bytes)) !== checksum)
        throw invalid(folder, `${file}, the state of task ${task}, fails its checksum at byte ${position}`)
      yield bytes
      position += length
    }
  } finally {
    await opened.close()
  }
}

/** Savepoints in a folder: itself, or those in it, the oldest first. Damaged ones are named, too. */
export async function listSavepoints(
  folder: string,
): Promise<readonly { readonly folder: string; readonly savepoint: Savepoint | MillraceError }[]> {
  const names: readonly string[] = await readdir(folder).catch((error: unknown) => {
    throw invalid(folder, `the folder cannot be read: ${messageOf(error)}`, error)
  })
  const places = names.includes(MANIFEST)
    ? [folder]
    : names.filter((name) => !name.startsWith('.')).map((name) => join(folder, name))
  const found: { folder: string; savepoint: Savepoint | MillraceError }[] = []
  for (const place of places) {
    const inside: readonly string[] = await readdir(place).catch(() => [])
    if (!inside.includes(MANIFEST)) continue
    const savepoint = await readSavepoint(place).catch((error: unknown) => {
      if (error instanceof MillraceError) return error
      throw error
    })
    found.push({ folder: place, savepoint })
  }
  const takenOf = ({ savepoint }: (typeof found)[number]): string =>
    savepoint instanceof MillraceError ? '' : savepoint.taken
  return found.sort((a, b) => takenOf(a).localeCompare(takenOf(b)))
}
