// Stores of checkpoint files that need nothing else: a folder, and memory. Their contract is in base/checkpoint-store.ts.

import { link, mkdir, open, readdir, readFile, rm, stat, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { bytesOf } from '../base/byte-writer.ts'
import type { CheckpointStore } from '../base/checkpoint-store.ts'
import { nonce, wallMs } from '../base/clock.ts'
import { MillraceError, messageOf } from '../base/errors.ts'
import { isAbsent, readRange, syncFolder, writeDurably } from '../base/files.ts'

const ID_FILE = 'STORE'
const STALE_MS = 60 * 60_000

/** A folder on one host, or on a volume that all workers share. */
export class DirectoryStore implements CheckpointStore {
  readonly location: string

  constructor(folder: string) {
    this.location = folder
  }

  async open(pipeline: string): Promise<string> {
    try {
      await mkdir(this.location, { recursive: true })
      const fresh = JSON.stringify({ pipeline, store: nonce(16) })
      await this.#createExclusive(ID_FILE, [Buffer.from(fresh)]).catch((error) => {
        if ((error as { code?: string }).code !== 'EEXIST') throw error
      })
      const found = identity(await readFile(join(this.location, ID_FILE), 'utf8'))
      if (!found) throw foreign(this.location, `its file '${ID_FILE}' was not written by Millrace`)
      if (found.pipeline !== pipeline) throw foreign(this.location, `it belongs to pipeline '${found.pipeline}'`)
      const names = await readdir(this.location)
      const strange = names.find((name) => !(name === ID_FILE || name.startsWith('.') || name.endsWith('.ckpt')))
      if (strange) throw foreign(this.location, `'${strange}' is not a checkpoint file`)
      await this.#sweep(names)
      return found.store
    } catch (error) {
      throw error instanceof MillraceError ? error : this.#unwritable('opened', error)
    }
  }

  /** What writes have left that a crash interrupted. */
  async #sweep(names: readonly string[]): Promise<void> {
    for (const name of names) {
      if (!(name.startsWith('.') && name.endsWith('.tmp'))) continue
      const path = join(this.location, name)
      // Another worker may be writing; none takes that long.
      const found = await stat(path).catch(() => undefined)
      if (found && found.mtimeMs < wallMs() - STALE_MS) await rm(path, { force: true })
    }
  }

  async create(name: string, parts: readonly Buffer[]): Promise<void> {
    try {
      await this.#createExclusive(name, parts)
    } catch (error) {
      throw this.#unwritable(`written (${name}, ${bytesOf(parts)} bytes)`, error)
    }
  }

  /** Write, fsync, exclusive link, fsync of the folder: after it neither a crash nor a power loss takes the file away. */
  async #createExclusive(name: string, parts: readonly Buffer[]): Promise<void> {
    const temporary = join(this.location, `.${name}.${nonce()}.tmp`)
    try {
      await writeDurably(temporary, parts)
      await link(temporary, join(this.location, name))
    } finally {
      await rm(temporary, { force: true })
    }
    await syncFolder(this.location)
  }

  #unwritable(what: string, error: unknown): MillraceError {
    const text = `checkpoint store ${this.location} could not be ${what}: ${messageOf(error)}; check rights and free space`
    return new MillraceError('STORE_UNWRITABLE', text, { cause: error })
  }

  async read(name: string): Promise<Buffer | undefined> {
    return this.#unlessAbsent(`read (${name})`, () => readFile(join(this.location, name)))
  }

  async readRange(name: string, position: number, length: number): Promise<Buffer | undefined> {
    return this.#unlessAbsent(`read (${name})`, async () => {
      const file = await open(join(this.location, name), 'r')
      try {
        return await readRange(file, position, length)
      } finally {
        await file.close()
      }
    })
  }

  async list(): Promise<string[]> {
    const names = await this.#unlessAbsent('listed', () => readdir(this.location))
    return (names ?? []).filter((name) => name.endsWith('.ckpt')).sort()
  }

  async delete(name: string): Promise<void> {
    await this.#unlessAbsent(`cleaned up (${name})`, () => unlink(join(this.location, name)))
  }

  /** undefined: not there. @throws STORE_UNWRITABLE for everything else that a file system may say */
  async #unlessAbsent<T>(what: string, work: () => Promise<T>): Promise<T | undefined> {
    try {
      return await work()
    } catch (error) {
      if (isAbsent(error)) return undefined
      throw this.#unwritable(what, error)
    }
  }
}

/** undefined: not ours. It is never half-written: it was linked when it was whole. */
function identity(text: string): { readonly pipeline: string; readonly store: string } | undefined {
  try {
    const { pipeline, store } = JSON.parse(text) as { pipeline?: unknown; store?: unknown }
    return typeof pipeline === 'string' && typeof store === 'string' ? { pipeline, store } : undefined
  } catch {
    return undefined
  }
}

function foreign(location: string, what: string): MillraceError {
  return new MillraceError(
    'STORE_FOREIGN_FILE',
    `checkpoint store ${location}: ${what}; give each pipeline a folder of its own (checkpoint.store)`,
  )
}

/** What a MemoryStore holds in all, in bytes. */
export const MEMORY_STORE_BYTES_MAX: number = 5 * 1024 * 1024

/** For tests: lives as long as the process, and refuses more than 5 MiB. */
export class MemoryStore implements CheckpointStore {
  readonly location = 'memory'
  readonly #id: string = nonce(16)
  readonly #files = new Map<string, Buffer>()
  #pipeline: string | undefined

  async open(pipeline: string): Promise<string> {
    this.#pipeline ??= pipeline
    if (this.#pipeline !== pipeline) throw foreign(this.location, `it belongs to pipeline '${this.#pipeline}'`)
    return this.#id
  }

  async create(name: string, parts: readonly Buffer[]): Promise<void> {
    if (this.#files.has(name))
      throw new MillraceError('STORE_UNWRITABLE', `checkpoint store memory: ${name} is there already`)
    const held = [...this.#files.values()].reduce((sum, file) => sum + file.length, 0)
    const wanted = held + bytesOf(parts)
    if (wanted > MEMORY_STORE_BYTES_MAX) {
      const text = `checkpoint store memory: ${wanted} bytes, the limit is ${MEMORY_STORE_BYTES_MAX}; use a directory`
      throw new MillraceError('CHECKPOINT_TOO_LARGE', text)
    }
    this.#files.set(name, Buffer.concat(parts))
  }

  async read(name: string): Promise<Buffer | undefined> {
    const file = this.#files.get(name)
    return file && Buffer.from(file)
  }

  async readRange(name: string, position: number, length: number): Promise<Buffer | undefined> {
    return (await this.read(name))?.subarray(position, position + length)
  }

  async list(): Promise<string[]> {
    return [...this.#files.keys()].sort()
  }

  async delete(name: string): Promise<void> {
    this.#files.delete(name)
  }
}
