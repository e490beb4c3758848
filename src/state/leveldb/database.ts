// The only import of classic-level: a worker's LevelDB, with bytes as keys and values. Reads are synchronous, writes go in
// batches. It is a cache of checkpoints: what a power loss takes away is replayed from them, so no write waits for the disk.
import { mkdir } from 'node:fs/promises'
import { type ChainedBatch, ClassicLevel } from 'classic-level'
import { isCode, MillraceError, messageOf } from '../../base/errors.ts'
import type { Logger } from '../../base/log.ts'

type Level = ClassicLevel<Buffer, Buffer>

/** Bytes that LevelDB gathers in memory before it writes them as a sorted file. */
const WRITE_BUFFER_BYTES = 16 * 2 ** 20
/** Read ahead by an iterator. */
const ITERATOR_BYTES = 256 * 1024
const ENTRIES_PER_READ = 1_000

export class LevelDatabase {
  readonly folder: string
  readonly #db: Level

  private constructor(folder: string, db: Level) {
    this.folder = folder
    this.#db = db
  }

  /** Opens the folder, made if needed. One that is damaged is emptied: checkpoints have all of it. @throws STATE_LOCKED, STATE_DISK */
  static async open(folder: string, log: Logger): Promise<LevelDatabase> {
    try {
      await mkdir(folder, { recursive: true })
      return new LevelDatabase(folder, await openLevel(folder))
    } catch (error) {
      const cause = (error as { cause?: { code?: string } }).cause
      if (cause?.code === 'LEVEL_LOCKED') {
        const text = `state folder ${folder} is in use by another process; give each worker an instance name of its own (--instance), or another folder (state.dir)`
        throw new MillraceError('STATE_LOCKED', text, { cause: error })
      }
      if (cause?.code !== 'LEVEL_CORRUPTION') throw diskError(folder, 'opened', error)
      log.warn(
        { folder, error: messageOf(cause) },
        'the local state is damaged: it is emptied and read from checkpoints again',
      )
    }
    try {
      await ClassicLevel.destroy(folder)
      return new LevelDatabase(folder, await openLevel(folder))
    } catch (error) {
      throw diskError(folder, 'emptied', error)
    }
  }

  get(key: Buffer): Buffer | undefined {
    try {
      return this.#db.getSync(key)
    } catch (error) {
      throw diskError(this.folder, 'read', error)
    }
  }

  batch(): LevelBatch {
    return new LevelBatch(this.folder, this.#db.batch())
  }

  /** Entries from `from` (included) to `to` (not), in the order of their bytes, some at a time. */
  async *entries(from: Buffer, to: Buffer): AsyncGenerator<[Buffer, Buffer][]> {
    const iterator = this.#db.iterator({ gte: from, lt: to, highWaterMarkBytes: ITERATOR_BYTES, fillCache: false })
    try {
      for (;;) {
        const entries = await iterator.nextv(ENTRIES_PER_READ)
        if (entries.length === 0) return
        yield entries
      }
    } catch (error) {
      throw diskError(this.folder, 'read', error)
    } finally {
      await iterator.close()
    }
  }

  async clear(from: Buffer, to: Buffer): Promise<void> {
    try {
      await this.#db.clear({ gte: from, lt: to })
    } catch (error) {
      throw diskError(this.folder, 'cleared', error)
    }
  }

  async close(): Promise<void> {
    await this.#db.close()
  }
}

async function openLevel(folder: string): Promise<Level> {
  const db = new ClassicLevel<Buffer, Buffer>(folder, {
    keyEncoding: 'buffer',
    valueEncoding: 'buffer',
    writeBufferSize: WRITE_BUFFER_BYTES,
  })
  await db.open()
  return db
}

/** Writes that become visible at once, or not at all. */
export class LevelBatch {
  readonly #folder: string
  readonly #batch: ChainedBatch<Level, Buffer, Buffer>

  constructor(folder: string, batch: ChainedBatch<Level, Buffer, Buffer>) {
    this.#folder = folder
    this.#batch = batch
  }

  get length(): number {
    return this.#batch.length
  }

  put(key: Buffer, value: Buffer): void {
    this.#batch.put(key, value)
  }

  delete(key: Buffer): void {
    this.#batch.del(key)
  }

  async write(): Promise<void> {
    try {
      await this.#batch.write()
    } catch (error) {
      throw diskError(this.#folder, 'written', error)
    }
  }

  async discard(): Promise<void> {
    await this.#batch.close()
  }
}

function diskError(folder: string, what: string, error: unknown): MillraceError {
  if (isCode(error, 'STATE_DISK')) return error as MillraceError
  const cause = (error as { cause?: unknown }).cause
  const text = `state folder ${folder} could not be ${what}: ${messageOf(cause ?? error)}; check rights and free space`
  return new MillraceError('STATE_DISK', text, { cause: error })
}
