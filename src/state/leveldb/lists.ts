// A list of a key on disk: a short one in one entry, a longer one in chunks, so that what is appended is written by itself and the rest
// is neither read nor written again. Its last chunk alone is open. A chunk has the index of its first item in its name and says where the
// one before it begins: LevelDB is read by name only, and so a list is found from its end.
//
//   head    collections.ts
//   chunk   uvarint the first index of the chunk before + 1, 0: none · items       (under the head's name · u32 index)
import { assert } from '../../base/assert.ts'
import { ByteReader } from '../../base/byte-reader.ts'
import { ByteWriter, bytesOf } from '../../base/byte-writer.ts'
import { joinItems, type ListHead, readHead, splitItems, writeHead } from '../collections.ts'
import type { LevelDatabase } from './database.ts'
import type { Puts } from './puts.ts'

/** Of a chunk that takes no more: one item may be longer. */
const CHUNK_BYTES = 4_096
const PART_BYTES = 4

interface Chunk {
  readonly start: number
  /** Where the chunk before begins; −1: there is none. */
  readonly before: number
  readonly items: readonly Buffer[]
}

/** What stands in a chunk's entry. */
export function chunkOf(bytes: Buffer): { readonly before: number; readonly items: Buffer } {
  const reader = new ByteReader(bytes)
  const before = reader.uvarint() - 1
  return { before, items: reader.bytes(reader.remaining) }
}

/** Of a chunk of a list, by its first index, or of a page of a map, by its number; `head`: the head's name. */
export function partName(head: Buffer, part: number): Buffer {
  const name = Buffer.alloc(head.length + PART_BYTES)
  head.copy(name)
  name.writeUInt32BE(part, head.length)
  return name
}

function readChunk(db: LevelDatabase, head: Buffer, start: number): Chunk {
  const bytes = db.get(partName(head, start))
  assert(bytes, `a list on disk has no chunk that begins at ${start}`)
  const { before, items } = chunkOf(bytes)
  return { start, before, items: splitItems(items) }
}

/** The first `count` items of a list. */
export function readList(db: LevelDatabase, name: Buffer, count: number): Buffer[] {
  const bytes = db.get(name)
  assert(bytes, 'a list on disk has gone')
  const head = readHead(bytes)
  if (head.items) return splitItems(head.items).slice(0, count)
  const chunks: Chunk[] = []
  for (let start = head.lastStart; start >= 0; ) {
    const chunk = readChunk(db, name, start)
    chunks.push(chunk)
    start = chunk.before
  }
  return chunks
    .reverse()
    .flatMap(({ items }) => items)
    .slice(0, count)
}

/** A list that a batch changes. */
export class ListWrite {
  readonly #db: LevelDatabase
  readonly #puts: Puts
  readonly #name: Buffer
  /** The open chunk, by its items; a short list is one that begins at 0 and has none before it. */
  #start = 0
  #before = -1
  #items: Buffer[] = []
  #bytes = 0
  /** Chunks that are closed since, which cannot be read yet. */
  readonly #closed = new Map<number, Chunk>()
  /** The open chunk is on disk under its index. */
  #openOnDisk = false

  constructor(db: LevelDatabase, puts: Puts, name: Buffer) {
    this.#db = db
    this.#puts = puts
    this.#name = Buffer.from(name)
    const bytes = db.get(name)
    if (!bytes) return
    const head = readHead(bytes)
    if (head.items) this.#open({ start: 0, before: -1, items: splitItems(head.items) })
    else this.#open(readChunk(db, this.#name, head.lastStart))
    this.#openOnDisk = !head.items
  }

  #open({ start, before, items }: Chunk): void {
    this.#start = start
    this.#before = before
    this.#items = [...items]
    this.#bytes = bytesOf(items)
  }

  get #count(): number {
    return this.#start + this.#items.length
  }

  clear(): void {
    this.#truncate(0)
  }

  set(items: Buffer): void {
    this.clear()
    this.append(0, items)
  }

  /** Items from `index` on are these; nothing happens where the list is shorter (`indexOf`). */
  append(index: number, items: Buffer): void {
    if (index > this.#count) return
    if (index < this.#count) this.#truncate(index)
    for (const item of splitItems(items)) {
      if (this.#items.length > 0 && this.#bytes + item.length > CHUNK_BYTES) this.#close()
      this.#items.push(Buffer.from(item))
      this.#bytes += item.length
    }
  }

  /** The open chunk is full. */
  #close(): void {
    const chunk = { start: this.#start, before: this.#before, items: this.#items }
    this.#put(chunk)
    this.#closed.set(chunk.start, chunk)
    this.#open({ start: this.#count, before: chunk.start, items: [] })
    this.#openOnDisk = false
  }

  #put({ start, before, items }: Chunk): void {
    const out = new ByteWriter(CHUNK_BYTES)
    out.uvarint(before + 1)
    out.bytes(joinItems(items))
    this.#puts.put(partName(this.#name, start), out.view())
  }

  #truncate(count: number): void {
    while (this.#start > 0 && this.#start >= count) {
      if (this.#openOnDisk) this.#puts.delete(partName(this.#name, this.#start))
      const before = this.#closed.get(this.#before) ?? readChunk(this.#db, this.#name, this.#before)
      this.#closed.delete(before.start)
      this.#open(before)
      this.#openOnDisk = true
    }
    this.#open({ start: this.#start, before: this.#before, items: this.#items.slice(0, count - this.#start) })
  }

  /** Writes what is not written yet. */
  finish(): void {
    const short = this.#before < 0 && this.#bytes <= CHUNK_BYTES
    if (short && this.#openOnDisk) this.#puts.delete(partName(this.#name, this.#start))
    if (this.#count === 0) {
      this.#puts.delete(this.#name)
      return
    }
    if (!short) this.#put({ start: this.#start, before: this.#before, items: this.#items })
    const head: ListHead = short
      ? { items: joinItems(this.#items) }
      : { items: null, count: this.#count, lastStart: this.#start }
    this.#puts.put(this.#name, writeHead(head))
  }
}
