// Files as a two-phase sink: a file for each checkpoint of a task that wrote something, one record per line.
//
//   .<pipeline>.<operator>.<partition>.<nonce>.open                                 being written
//   .<pipeline>.<operator>.<partition>.<checkpoint>-<nonce>.<extension>.pending     prepared: whole, on disk, kept until told
//    <pipeline>.<operator>.<partition>.<checkpoint>-<nonce>.<extension>
//   .<pipeline>.<operator>.<partition>.<checkpoint>-<nonce>.<extension>.done        empty: the commit was decided
//
// A commit is a rename in one folder: readers see all of a file or nothing, and may take it away at once. That it was
// committed is known from its mark, which is made before and outlives it until the next commit. Names that begin with a
// dot are ours alone.
import { type FileHandle, mkdir, open, readdir, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ByteWriter } from '../../src/base/byte-writer.ts'
import { nonce } from '../../src/base/clock.ts'
import { MillraceError, messageOf } from '../../src/base/errors.ts'
import { isAbsent, syncFolder } from '../../src/base/files.ts'
import type { CheckpointId } from '../../src/base/ids.ts'
import type { RecordContext } from '../../src/dataflow/functions.ts'
import type { TransactionHandle, TwoPhaseCommitSink, TwoPhaseSinkConnector } from '../../src/dataflow/ports.ts'
import type { Encoder } from '../../src/state/serde.ts'

export interface FileSinkOptions<V> {
  /** Where files go; made if needed. All workers of the pipeline must share it. */
  readonly folder: string
  /** How a value becomes a line. It must not write a line feed (`json()` never does). */
  readonly value: Encoder<V>
  /** Of the files' names, without a dot. Default `jsonl`. */
  readonly extension?: string
}

const LINE_FEED = 10
/** Written to disk in pieces of about this size, while records come. */
const PIECE_BYTES = 256 * 1024
/** Pieces that wait for the disk take so much memory, and what some more records make, since a task does not look after each. */
const WAITING_BYTES_MAX = 16 * 2 ** 20
/**
 * What a crash left is deleted when it is this old: a worker that was paused in the middle of its start must not delete
 * what the present owner of the task is writing.
 */
const LEFTOVER_MS = 3_600_000

/**
 * Values as lines of files, each there once: a file appears with the checkpoint of what is in it.
 * @throws OPTION_INVALID for an extension that is not letters and digits
 * @example stream.to('archive', fileSink({ folder: '/data/orders', value: json<Order>() }))
 */
export function fileSink<K, V>(options: FileSinkOptions<V>): TwoPhaseSinkConnector<K, V> {
  const { extension = 'jsonl' } = options
  if (!/^[a-z0-9]+$/i.test(extension))
    throw new MillraceError('OPTION_INVALID', `fileSink: extension '${extension}'; letters and digits are expected`)
  return {
    role: 'two-phase-sink',
    open: ({ pipeline, operator, partition, wake }) =>
      new FileSink(options, extension, `${pipeline}.${operator}.${partition}.`, wake),
  }
}

/** A file that is being written. */
interface Part {
  readonly path: string
  file: FileHandle | undefined
  /** Pieces on their way to the disk, in order; rejected with what went wrong first. */
  written: Promise<void>
  bytes: number
}

class FileSink<K, V> implements TwoPhaseCommitSink<K, V> {
  readonly #folder: string
  readonly #value: Encoder<V>
  readonly #extension: string
  /** Of all names of this operator and partition. */
  readonly #prefix: string
  #lines = new ByteWriter(PIECE_BYTES + 4096)
  /** For encoders that want memory of their own. */
  readonly #scratch = new ByteWriter()
  #part: Part | undefined
  /** Bytes of pieces that are not on disk yet. */
  #waiting = 0
  readonly #wake: () => void
  /** Marks that the next commit makes needless: recovery asks for the newest checkpoint alone. */
  #marks: string[] = []

  constructor(options: FileSinkOptions<V>, extension: string, prefix: string, wake: () => void) {
    this.#folder = options.folder
    this.#value = options.value
    this.#extension = extension
    this.#prefix = prefix
    this.#wake = wake
  }

  get full(): boolean {
    return this.#waiting >= WAITING_BYTES_MAX
  }

  async begin(): Promise<void> {
    await this.#try('opened', () => mkdir(this.#folder, { recursive: true }))
  }

  write(value: V, record: RecordContext<K>): void {
    const out = this.#lines
    const start = out.position
    try {
      this.#encode(value, out)
      if (out.buffer.subarray(start, out.position).includes(LINE_FEED)) {
        const text = `a value made from ${record.topic}-${record.partition}@${record.offset} has a line feed in it, written as ${this.#value.id}: each record is a line of the file. Write it as JSON`
        throw new MillraceError('SERIALIZE_FAILED', text)
      }
    } catch (error) {
      out.position = start
      throw error
    }
    out.uint8(LINE_FEED)
    if (out.position >= PIECE_BYTES) this.#flush()
  }

  #encode(value: V, out: ByteWriter): void {
    if (this.#value.appends) return this.#value.encode(value, out)
    const scratch = this.#scratch
    scratch.reset()
    this.#value.encode(value, scratch)
    out.bytes(scratch.buffer.subarray(0, scratch.position))
  }

  /** Hands over what is gathered; the order of pieces is that of their promises. */
  #flush(): void {
    if (this.#lines.position === 0) return
    const part = this.#part ?? this.#open()
    const piece = this.#lines.copy()
    this.#lines.reset()
    part.bytes += piece.length
    this.#waiting += piece.length
    part.written = part.written
      .then(async () => {
        part.file ??= await open(part.path, 'wx')
        await part.file.writeFile(piece)
      })
      .finally(() => this.#writtenOrLost(piece.length))
    // `prepare` reports it; until then nobody asks.
    part.written.catch(() => undefined)
  }

  #writtenOrLost(bytes: number): void {
    const was = this.full
    this.#waiting -= bytes
    if (was && !this.full) this.#wake()
  }

  #open(): Part {
    const path = join(this.#folder, `.${this.#prefix}${nonce()}.open`)
    const part: Part = { path, file: undefined, written: Promise.resolve(), bytes: 0 }
    this.#part = part
    return part
  }

  #hidden(name: string, state: 'pending' | 'done'): string {
    return join(this.#folder, `.${name}.${state}`)
  }

  async prepare(checkpoint: CheckpointId): Promise<TransactionHandle> {
    this.#flush()
    const part = this.#part
    this.#part = undefined
    if (!part) return {}
    const name = `${this.#prefix}${checkpoint.toString().padStart(20, '0')}-${nonce()}.${this.#extension}`
    await this.#try('written', async () => {
      try {
        await part.written
        await part.file?.sync()
      } finally {
        await part.file?.close()
      }
      await rename(part.path, this.#hidden(name, 'pending'))
      await syncFolder(this.#folder)
    })
    return { name, bytes: part.bytes }
  }

  async commit({ name, bytes }: TransactionHandle): Promise<void> {
    if (typeof name !== 'string') return
    await this.#try('committed', async () => {
      const [pending, mark] = [this.#hidden(name, 'pending'), this.#hidden(name, 'done')]
      const found = await stat(pending).catch(absent)
      if (found) {
        if (found.size !== bytes) throw lost(`${pending} has ${found.size} bytes, not ${String(bytes)}`)
        await writeFile(mark, '')
        await rename(pending, join(this.#folder, name))
      } else if (!(await stat(mark).catch(absent))) {
        throw lost(
          `${pending} is gone, and nothing says that it was committed. All workers must share the folder. If its file had appeared and was taken away, create ${mark}, empty, and start again`,
        )
      }
      await syncFolder(this.#folder)
      for (const each of this.#marks) if (each !== mark) await rm(each, { force: true })
      this.#marks = [mark]
    })
  }

  async abort(handle?: TransactionHandle): Promise<void> {
    if (!handle) return this.#drop()
    const { name } = handle
    if (typeof name === 'string') await this.#try('aborted', () => rm(this.#hidden(name, 'pending'), { force: true }))
  }

  async #drop(): Promise<void> {
    const part = this.#part
    this.#part = undefined
    this.#lines.reset()
    if (!part) return
    await part.written.catch(() => undefined)
    await part.file?.close().catch(() => undefined)
    await this.#try('aborted', () => rm(part.path, { force: true }))
  }

  async recover(committed: readonly TransactionHandle[]): Promise<void> {
    await this.begin()
    for (const handle of committed) await this.commit(handle)
    await this.#try('cleaned up', () =>
      this.#deleteLeftovers(new Set(committed.map(({ name }) => `.${String(name)}.done`))),
    )
  }

  /** Ages are told by the clock of the file system, which others may share. */
  async #deleteLeftovers(kept: ReadonlySet<string>): Promise<void> {
    const clock = join(this.#folder, `.${this.#prefix}${nonce()}.open`)
    await writeFile(clock, '')
    const { mtimeMs: now } = await stat(clock)
    await rm(clock)
    const own = `.${this.#prefix}`
    for (const name of await readdir(this.#folder)) {
      if (!name.startsWith(own) || !/\.(open|pending|done)$/.test(name) || kept.has(name)) continue
      const path = join(this.#folder, name)
      const found = await stat(path).catch(absent)
      if (found && found.mtimeMs <= now - LEFTOVER_MS) await rm(path, { force: true })
    }
  }

  async close(): Promise<void> {
    await this.#drop()
  }

  async #try<T>(what: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      if (error instanceof MillraceError) throw error
      const text = `folder ${this.#folder} of a file sink could not be ${what}: ${messageOf(error)}; check rights and free space`
      throw new MillraceError('SINK_UNWRITABLE', text, { cause: error })
    }
  }
}

function lost(what: string): MillraceError {
  return new MillraceError('SINK_TRANSACTION_LOST', `file sink: prepared and decided, but ${what}`)
}

function absent(error: unknown): undefined {
  if (isAbsent(error)) return undefined
  throw error
}
