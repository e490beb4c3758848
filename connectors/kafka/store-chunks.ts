// The bytes of files in a checkpoint topic: cut into chunks, and read back, each chunk known by its key and its length.
import { monotonicMs } from '../../src/base/clock.ts'
import { isCode, MillraceError, messageOf } from '../../src/base/errors.ts'
import { chunksOf, keys, type StoredFile } from './store-index.ts'
import { READABLE_MS_MAX } from './store-live-index.ts'
import type { StoreLog } from './store-log.ts'

/** Of a chunk's key, record and batch. */
export const ROOM_BYTES = 4096
const FETCH_BYTES_MAX = 8 * 1024 * 1024

export class ChunkReader {
  readonly #log: StoreLog
  readonly #location: string

  constructor(log: StoreLog, location: string) {
    this.#log = log
    this.#location = location
  }

  /** The chunks that are needed, and no others. @throws CHECKPOINT_CORRUPT */
  async load(file: StoredFile, position: number, length: number): Promise<Buffer> {
    const end = Math.min(position + length, file.bytes)
    if (end <= position) return Buffer.alloc(0)
    const bytes = Buffer.allocUnsafeSlow(end - position)
    const [first, last] = [Math.floor(position / file.chunkBytes), chunksOf(end, file.chunkBytes)]
    for (let next = first; next < last; ) {
      const chunks = await this.#fetch(file, next, last)
      for (const chunk of chunks) {
        const at = next * file.chunkBytes
        const wanted = Math.min(file.chunkBytes, file.bytes - at)
        if (chunk.length !== wanted)
          throw corrupt(file, `chunk ${next} has ${chunk.length} of ${wanted} bytes`, this.#location)
        chunk.copy(bytes, Math.max(at - position, 0), Math.max(position - at, 0), end - at)
        next++
      }
    }
    return bytes
  }

  /** From chunk `from` on, at least one and at most up to `to`: what one fetch gives. @throws CHECKPOINT_CORRUPT */
  async #fetch(file: StoredFile, from: number, to: number): Promise<Buffer[]> {
    const deadline = monotonicMs() + READABLE_MS_MAX
    const budget = Math.min((to - from) * (file.chunkBytes + ROOM_BYTES), FETCH_BYTES_MAX)
    for (;;) {
      const offset = file.chunks[from] ?? 0n
      const fetched = await this.#log.fetch(file.partition, offset, budget)
      const missing = (): MillraceError =>
        corrupt(file, `chunk ${from} (offset ${offset}) is not in the log`, this.#location)
      if (fetched.kind === 'gone') throw missing()
      const chunks = chunksIn(fetched.records, file, from, to, this.#location)
      if (chunks.length > 0) return chunks
      if (fetched.next > offset || fetched.end > offset || monotonicMs() > deadline) throw missing()
    }
  }
}

/** The chunks from `from` on that stand one after another in these records; those of other files may stand between. */
function chunksIn(
  records: Iterable<{ readonly offset: bigint; readonly key: Buffer | null; readonly value: Buffer | null }>,
  file: StoredFile,
  from: number,
  to: number,
  location: string,
): Buffer[] {
  const chunks: Buffer[] = []
  try {
    for (const { offset, key, value } of records) {
      const next = from + chunks.length
      if (next === to || offset > (file.chunks[next] ?? 0n)) break
      if (offset < (file.chunks[next] ?? 0n)) continue
      if (key?.toString() !== keys.chunk(file.id, next) || !value)
        throw corrupt(file, `offset ${offset} holds another record than its chunk ${next}`, location)
      chunks.push(value)
    }
  } catch (error) {
    if (!isCode(error, 'BATCH_CORRUPT', 'CODEC_UNKNOWN')) throw error
    throw corrupt(file, messageOf(error), location)
  }
  return chunks
}

/** For what is not as the index says. */
export function corrupt(file: StoredFile, what: string, location: string): MillraceError {
  const text = `checkpoint file ${file.name} in ${location}, partition ${file.partition}: ${what}; restore the pipeline from a savepoint, or start again with \`millrace reset\``
  return new MillraceError('CHECKPOINT_CORRUPT', text)
}

/** Pieces of `bytes` each, every one a list of views of the parts; the last one may be shorter. */
export function* chunked(parts: readonly Buffer[], bytes: number): Generator<Buffer[]> {
  let chunk: Buffer[] = []
  let room = bytes
  for (const part of parts) {
    for (let at = 0; at < part.length; ) {
      const taken = Math.min(room, part.length - at)
      chunk.push(part.subarray(at, at + taken))
      at += taken
      room -= taken
      if (room > 0) continue
      yield chunk
      chunk = []
      room = bytes
    }
  }
  if (chunk.length > 0) yield chunk
}
