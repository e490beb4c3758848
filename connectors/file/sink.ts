// Files as a two-phase sink: a file for each checkpoint of a task that wrote something, one record per line.
//
//   .<pipeline>.<operator>.<partition>.<checkpoint>-<nonce>.open      being written
//   .<pipeline>.<operator>.<partition>.<checkpoint>-<nonce>.pending   prepared: whole, on disk, kept until told
//    <pipeline>.<operator>.<partition>.<checkpoint>-<nonce>.<extension>
//
// A commit is a rename in one folder: readers see all of a file or nothing. Names that begin with a dot are ours alone.
import { type FileHandle, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { ByteWriter } from '../../src/base/byte-writer.ts'
import { nonce } from '../../src/base/clock.ts'
import { MillraceError, messageOf } from '../../src/base/errors.ts'
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
    open: ({ pipeline, operator, partition }) =>
      new FileSink(options, extension, `${pipeline}.${operator}.${partition}.`),
  }
}

/** A file that is being written. */
interface Part {
  /** Without what tells its state. */
  readonly name: string
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
  #part: Part | undefined
  /** The checkpoint that the open part will have, at least: names sort by it. */
  #next = 0n

  constructor(options: FileSinkOptions<V>, extension: string, prefix: string) {
    this.#folder = options.folder
    this.#value = options.value
    this.#extension = extension
    this.#prefix = prefix
  }

  async begin(): Promise<void> {
    await this.#try('opened', () => mkdir(this.#folder, { recursive: true }))
  }

  write(value: V, record: RecordContext<K>): void {
    const out = this.#lines
    const start = out.position
    this.#value.encode(value, out)
    if (out.buffer.subarray(start, out.position).includes(LINE_FEED)) {
      out.position = start
      const text = `a value made from ${record.topic}-${record.partition}@${record.offset} has a line feed in it, written as ${this.#value.id}: each record is a line of the file. Write it as JSON`
      throw new MillraceError('SERIALIZE_FAILED', text)
    }
    out.uint8(LINE_FEED)
    if (out.position >= PIECE_BYTES) this.#flush()
  }

  /** Hands over what is gathered; the order of pieces is that of their promises. */
  #flush(): void {
    if (this.#lines.position === 0) return
    const part = this.#part ?? this.#open()
    const piece = this.#lines.copy()
    this.#lines.reset()
    part.bytes += piece.length
    part.written = part.written.then(async () => {
      part.file ??= await open(this.#path(part.name, 'open'), 'wx')
      await part.file.writeFile(piece)
    })
    // `prepare` reports it; until then nobody asks.
    part.written.catch(() => undefined)
  }

  #open(): Part {
    const name = `${this.#prefix}${this.#next.toString().padStart(20, '0')}-${nonce()}`
    const part: Part = { name, file: undefined, written: Promise.resolve(), bytes: 0 }
    this.#part = part
    return part
  }

  #path(name: string, state: 'open' | 'pending' | 'visible'): string {
    return join(this.#folder, state === 'visible' ? `${name}.${this.#extension}` : `.${name}.${state}`)
  }

  async prepare(checkpoint: CheckpointId): Promise<TransactionHandle> {
    this.#flush()
    const part = this.#part
    this.#part = undefined
    this.#next = checkpoint + 1n
    if (!part) return { name: null }
    await this.#try('written', async () => {
      await part.written
      await part.file?.sync()
      await part.file?.close()
      await rename(this.#path(part.name, 'open'), this.#path(part.name, 'pending'))
      await this.#syncFolder()
    })
    return { name: part.name, bytes: part.bytes }
  }

  /** Renames keep their promise through a power loss only when the folder is on disk, too. */
  async #syncFolder(): Promise<void> {
    const folder = await open(this.#folder, 'r')
    try {
      await folder.sync()
    } finally {
      await folder.close()
    }
  }

  async commit({ name, bytes }: TransactionHandle): Promise<void> {
    if (typeof name !== 'string') return
    await this.#try('committed', async () => {
      const visible = this.#path(name, 'visible')
      const moved = await rename(this.#path(name, 'pending'), visible).then(() => true, absent)
      const found = await stat(visible).catch(absent)
      if (!found || found.size !== bytes) {
        const text = `file ${visible}, which a committed checkpoint has prepared, ${found ? `has ${found.size} bytes, not ${String(bytes)}` : 'is gone'}: somebody else has changed the folder`
        throw new MillraceError('SINK_TRANSACTION_LOST', text)
      }
      if (moved) await this.#syncFolder()
    })
  }

  async abort(handle?: TransactionHandle): Promise<void> {
    if (!handle) return this.#drop()
    const { name } = handle
    if (typeof name === 'string') await this.#try('aborted', () => rm(this.#path(name, 'pending'), { force: true }))
  }

  async #drop(): Promise<void> {
    const part = this.#part
    this.#part = undefined
    this.#lines.reset()
    if (!part) return
    await part.written.catch(() => undefined)
    await part.file?.close().catch(() => undefined)
    await this.#try('aborted', () => rm(this.#path(part.name, 'open'), { force: true }))
  }

  async recover(committed: readonly TransactionHandle[]): Promise<void> {
    await this.begin()
    for (const handle of committed) await this.commit(handle)
    const own = `.${this.#prefix}`
    const names = await this.#try('listed', () => readdir(this.#folder))
    for (const name of names.filter((each) => each.startsWith(own) && /\.(open|pending)$/.test(each)))
      await this.#try('cleaned up', () => rm(join(this.#folder, name), { force: true }))
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

function absent(error: unknown): undefined {
  if ((error as { code?: string }).code === 'ENOENT') return undefined
  throw error
}
