// The only import of classic-level: a worker's LevelDB, with bytes as keys and values. Reads are synchronous, writes go in
// batches. It is a cache of checkpoints: what a power loss takes away is replayed from them, so no write waits for the disk.
//
// LevelDB does not check its blocks when it reads them, so each value carries a checksum of its key and itself. What is found
// damaged is not repaired: the folder's mark goes, the process ends, and the next one begins with an empty folder.
//
// Of a write that fails, on a full disk say, LevelDB's log may have a part. It would go on behind that, and of what it writes there
// the next start finds some and some not: of two batches the second one perhaps. So no write begins behind it (`torn`) until the
// folder is opened anew. One that was under way beside it may be lost though it succeeded: each task writes one batch at a time,
// so what it finds is what it wrote up to some point.
import { existsSync, rmSync } from 'node:fs'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type ChainedBatch, ClassicLevel } from 'classic-level'
import { crc32c, crc32cIn } from '../../base/crc32c.ts'
import { MillraceError, messageOf } from '../../base/errors.ts'
import type { Logger } from '../../base/log.ts'
import { copyBytes } from '../../base/words.ts'
import { WORD_CHARS, wordAt, writeWord } from './ascii.ts'

type Level = ClassicLevel<Buffer, Buffer>

/**
 * Bytes that LevelDB gathers in memory before it writes them as a sorted file. The larger, the fewer files are merged; but every
 * read looks through them first, and beside a small cache most of a worker's memory would go into them.
 */
const writeBufferBytes = (cacheBytes: number): number =>
  Math.min(16 * 2 ** 20, Math.max(2 * 2 ** 20, Math.floor(cacheBytes / 16)))
/** Read ahead by an iterator. */
const ITERATOR_BYTES = 256 * 1024
const ENTRIES_PER_READ = 1_000
/** ASCII, so that a value which is that stays it. */
const CHECKSUM_BYTES = WORD_CHARS
/** Room behind a value for what is stored with it. */
export const STORED_BESIDE: number = CHECKSUM_BYTES
const AS_TEXT = { keyEncoding: 'buffer', valueEncoding: 'utf8' }
/** Up to here keys and values are copied: a view of a few bytes costs more. */
const COPIED_BYTES_MAX = 64
/** In the folder: how keys and values are written there. Where it is missing, or another one, they are not used: it comes last, and goes when one is found damaged. */
const FORMAT_FILE = 'FORMAT'
const FORMAT = '4'
/** LevelDB's own, which is there from the beginning. */
const CURRENT_FILE = 'CURRENT'
const REREAD = 'it is emptied and read from checkpoints again'

export class LevelDatabase {
  readonly folder: string
  readonly #db: Level
  #torn: MillraceError | undefined
  /** What `getAscii` found. */
  #ascii: Buffer = Buffer.alloc(256)

  private constructor(folder: string, db: Level) {
    this.folder = folder
    this.#db = db
  }

  /**
   * Opens the folder, made if needed. One that is damaged, or in another format, is emptied: checkpoints have all of it.
   * `cacheBytes`: size of the cache in front of it. @throws STATE_LOCKED, STATE_DISK
   */
  static async open(folder: string, log: Logger, cacheBytes: number): Promise<LevelDatabase> {
    const bytes = writeBufferBytes(cacheBytes)
    try {
      await mkdir(folder, { recursive: true })
      const found = existsSync(join(folder, CURRENT_FILE)) && (await formatOf(folder))
      if (found === FORMAT) return new LevelDatabase(folder, await openLevel(folder, bytes))
      if (found !== false)
        log.warn({ folder }, `the local state was found damaged, or is of another release: ${REREAD}`)
    } catch (error) {
      const cause = (error as { cause?: { code?: string } }).cause
      if (cause?.code !== 'LEVEL_CORRUPTION') throw openError(folder, 'opened', error)
      log.warn({ folder, error: messageOf(cause) }, `the local state is damaged: ${REREAD}`)
    }
    try {
      return new LevelDatabase(folder, await emptied(folder, bytes))
    } catch (error) {
      throw openError(folder, 'emptied', error)
    }
  }

  /** @throws STATE_DAMAGED, STATE_DISK */
  get(key: Buffer): Buffer | undefined {
    let stored: Buffer | undefined
    // Not by `#told`: it would take a closure for each record.
    try {
      stored = this.#db.getSync(key)
    } catch (error) {
      throw this.#failure('read', error)
    }
    return stored && this.#checked(key, stored)
  }

  /**
   * A value of ASCII characters only, in half of the time. More bytes may stand behind it, and it is good until the next call.
   * @throws STATE_DAMAGED, STATE_DISK
   */
  getAscii(key: Buffer): Buffer | undefined {
    const text = this.#textOf(key)
    if (text === undefined) return undefined
    this.#copy(text)
    this.#check(key, this.#ascii, text.length - CHECKSUM_BYTES)
    return this.#ascii
  }

  /** The same of a value that may be something else. null: it is; `get` has it. */
  getIfAscii(key: Buffer): Buffer | null | undefined {
    const text = this.#textOf(key)
    if (text === undefined) return undefined
    return this.#copy(text) ? this.#checked(key, this.#ascii.subarray(0, text.length)) : null
  }

  #textOf(key: Buffer): string | undefined {
    try {
      return this.#db.getSync<Buffer, string>(key, AS_TEXT)
    } catch (error) {
      throw this.#failure('read', error)
    }
  }

  /** False: not all of it is ASCII. */
  #copy(text: string): boolean {
    const { length } = text
    if (this.#ascii.length < length) this.#ascii = Buffer.alloc(length * 2)
    const bytes = this.#ascii
    let all = 0
    for (let i = 0; i < length; i++) {
      const code = text.charCodeAt(i)
      all |= code
      bytes[i] = code
    }
    return all < 128
  }

  #checked(key: Buffer, stored: Buffer): Buffer {
    const end = stored.length - CHECKSUM_BYTES
    this.#check(key, stored, end)
    return stored.subarray(0, end)
  }

  /** `end`: where the checksum is behind the value. */
  #check(key: Buffer, stored: Buffer, end: number): void {
    if (end >= 0 && wordAt(stored, end) === (crc32cIn(stored, 0, end, crc32c(key)) | 0)) return
    throw this.#damaged(`the value of ${key.toString('hex')} fails its checksum`)
  }

  /** @throws STATE_DISK */
  batch(): LevelBatch {
    const batch = this.#told('written', () => this.#db.batch())
    return new LevelBatch(batch, {
      write: (work) => this.#writing('written', work),
      failure: (error) => this.#failure('written', error),
    })
  }

  /** A write has failed: every later one is refused. */
  get torn(): boolean {
    return this.#torn !== undefined
  }

  async #writing(what: string, work: () => Promise<void>): Promise<void> {
    if (this.#torn) throw this.#torn
    try {
      await work()
    } catch (error) {
      this.#torn = this.#failure(what, error)
      throw this.#torn
    }
  }

  /**
   * Entries from `from` (included) to `to` (not), in the order of their bytes, some at a time; `ascii`: all values are, as for `getAscii`.
   * @throws STATE_DAMAGED, STATE_DISK
   */
  async *entries(from: Buffer, to: Buffer, ascii = false): AsyncGenerator<[Buffer, Buffer][]> {
    const range = { gte: from, lt: to, highWaterMarkBytes: ITERATOR_BYTES, fillCache: false }
    const iterator = this.#told('read', () =>
      this.#db.iterator<Buffer, Buffer | string>(ascii ? { ...range, ...AS_TEXT } : range),
    )
    try {
      for (;;) {
        const entries = await iterator.nextv(ENTRIES_PER_READ).catch((error: unknown) => {
          throw this.#failure('read', error)
        })
        if (entries.length === 0) return
        yield entries.map(([key, stored]) => {
          const bytes = typeof stored === 'string' ? Buffer.from(stored, 'latin1') : stored
          return [key, this.#checked(key, bytes)] as [Buffer, Buffer]
        })
      }
    } finally {
      await iterator.close()
    }
  }

  #told<T>(what: string, work: () => T): T {
    try {
      return work()
    } catch (error) {
      throw this.#failure(what, error)
    }
  }

  async clear(from: Buffer, to: Buffer): Promise<void> {
    await this.#writing('cleared', () => this.#db.clear({ gte: from, lt: to }))
  }

  async close(): Promise<void> {
    await this.#db.close()
  }

  #failure(what: string, error: unknown): MillraceError {
    const code = (error as { code?: string }).code
    return code === 'LEVEL_CORRUPTION' ? this.#damaged(messageOf(error), error) : diskError(this.folder, what, error)
  }

  #damaged(what: string, cause?: unknown): MillraceError {
    try {
      rmSync(join(this.folder, FORMAT_FILE), { force: true })
    } catch {
      // Then it is found damaged again.
    }
    const text = `state folder ${this.folder} is damaged: ${what}; the worker starts again and reads its state from checkpoints. If it happens again, replace the disk`
    return new MillraceError('STATE_DAMAGED', text, { cause })
  }
}

async function formatOf(folder: string): Promise<string | undefined> {
  try {
    return await readFile(join(folder, FORMAT_FILE), 'utf8')
  } catch (error) {
    if ((error as { code?: string }).code === 'ENOENT') return undefined
    throw error
  }
}

/** A process that ends on the way leaves no FORMAT, and so nothing that is used. */
async function emptied(folder: string, writeBufferSize: number): Promise<Level> {
  await rm(join(folder, FORMAT_FILE), { force: true })
  await ClassicLevel.destroy(folder)
  await mkdir(folder, { recursive: true })
  const db = await openLevel(folder, writeBufferSize)
  await writeFile(join(folder, FORMAT_FILE), FORMAT)
  return db
}

async function openLevel(folder: string, writeBufferSize: number): Promise<Level> {
  const db = new ClassicLevel<Buffer, Buffer>(folder, {
    keyEncoding: 'buffer',
    valueEncoding: 'buffer',
    writeBufferSize,
    // As in Kafka Streams' RocksDB. Reading a key among a million takes 1.6 times as long from blocks that are compressed.
    compression: false,
  })
  await db.open()
  return db
}

/** Short bytes in a buffer of their length, of which there is one for each: good until the next one of that length. */
class ShortCopies {
  readonly #copies: Buffer[] = []

  of(bytes: Buffer, start: number, end: number): Buffer {
    const length = end - start
    if (length > COPIED_BYTES_MAX) return bytes.subarray(start, end)
    this.#copies[length] ??= Buffer.alloc(length)
    const copy = this.#copies[length]
    copyBytes(copy, 0, bytes, start, end)
    return copy
  }
}

/** What a batch needs of its database. */
interface BatchOwner {
  write(work: () => Promise<void>): Promise<void>
  failure(error: unknown): MillraceError
}

/** Writes that become visible at once, or not at all. */
export class LevelBatch {
  readonly #batch: ChainedBatch<Level, Buffer, Buffer>
  readonly #owner: BatchOwner
  readonly #keys = new ShortCopies()
  readonly #values = new ShortCopies()

  constructor(batch: ChainedBatch<Level, Buffer, Buffer>, owner: BatchOwner) {
    this.#batch = batch
    this.#owner = owner
  }

  put(key: Buffer, value: Buffer): void {
    const bytes = Buffer.alloc(key.length + value.length + STORED_BESIDE)
    key.copy(bytes)
    value.copy(bytes, key.length)
    this.putIn(bytes, 0, key.length, value.length)
  }

  /** A key that stands in `bytes`, its value behind it, and then `STORED_BESIDE` bytes of room. @throws STATE_DISK */
  putIn(bytes: Buffer, at: number, keyLength: number, valueLength: number): void {
    const valueAt = at + keyLength
    const end = valueAt + valueLength
    writeWord(bytes, end, crc32cIn(bytes, at, end))
    try {
      this.#batch.put(this.#keys.of(bytes, at, valueAt), this.#values.of(bytes, valueAt, end + CHECKSUM_BYTES))
    } catch (error) {
      throw this.#owner.failure(error)
    }
  }

  /** @throws STATE_DISK */
  delete(key: Buffer): void {
    try {
      this.#batch.del(key)
    } catch (error) {
      throw this.#owner.failure(error)
    }
  }

  /** @throws STATE_DAMAGED, STATE_DISK */
  async write(): Promise<void> {
    await this.#owner.write(() => this.#batch.write())
  }

  async discard(): Promise<void> {
    await this.#batch.close()
  }
}

function openError(folder: string, what: string, error: unknown): MillraceError {
  const { code, cause } = error as { readonly code?: string; readonly cause?: { readonly code?: string } }
  if (code !== 'LEVEL_LOCKED' && cause?.code !== 'LEVEL_LOCKED') return diskError(folder, what, error)
  const text = `state folder ${folder} is in use by another process; give each worker an instance name of its own (--instance), or another folder (state.folder)`
  return new MillraceError('STATE_LOCKED', text, { cause: error })
}

function diskError(folder: string, what: string, error: unknown): MillraceError {
  const { code, cause } = error as { readonly code?: string; readonly cause?: unknown }
  // Where it could not be opened the code is the same, and the cause says why.
  const closed = code?.endsWith('_NOT_OPEN') === true && cause === undefined
  const remedy = closed ? 'it was closed before; an earlier line of the log may say why' : 'check rights and free space'
  const text = `state folder ${folder} could not be ${what}: ${messageOf(cause ?? error)}; ${remedy}`
  return new MillraceError('STATE_DISK', text, { cause: error })
}
