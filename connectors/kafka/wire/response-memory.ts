// Memory of fetch responses, used again: new memory for each response costs page faults, cache misses and collections, more
// than decoding it. Who is through with a batch says so (`ColumnarBatch.release`); what nobody says of is the collector's.
import { assert } from '../../../src/base/assert.ts'
import { type BatchOwner, type ColumnarBatch, type Columns, STRIDE } from '../../../src/dataflow/batch.ts'

/** Smaller responses are not worth it. */
const FRAME_BYTES_MIN = 64 * 1024
const FRAME_GRAIN_BYTES = 256 * 1024
/** Larger ones, of a single batch above all limits, are not kept: what is kept is kept for good. */
const FRAME_BYTES_MAX = 17 * 1024 * 1024
/** One being received, one waiting, one or two being read. */
const FREE_FRAMES_MAX = 4
const FREE_COLUMNS_MAX = 64
const COLUMNS_RECORDS_MAX = 32 * 1024

const frames: Buffer[] = []
const freeColumns: Columns[] = []

/** Memory for a response, of at least that size; what is in it is anything. */
export function takeFrame(bytes: number): Buffer {
  if (bytes < FRAME_BYTES_MIN) return Buffer.allocUnsafeSlow(bytes)
  // The smallest that will do: they are in order.
  const index = frames.findIndex((frame) => frame.length >= bytes)
  if (index < 0) return Buffer.allocUnsafeSlow(Math.ceil(bytes / FRAME_GRAIN_BYTES) * FRAME_GRAIN_BYTES)
  return frames.splice(index, 1)[0] as Buffer
}

function giveFrame(frame: Buffer): void {
  if (frame.length < FRAME_BYTES_MIN || frame.length > FRAME_BYTES_MAX) return
  assert(!frames.includes(frame), 'a response was released twice')
  frames.push(frame)
  frames.sort((a, b) => a.length - b.length)
  if (frames.length > FREE_FRAMES_MAX) frames.shift()
}

export function newColumns(count: number): Columns {
  return { fields: new Int32Array(count * STRIDE), timestamps: new Float64Array(count) }
}

/** One response: its memory is free when all who hold it have let go. */
export class ResponseMemory implements BatchOwner {
  readonly #frame: Buffer
  #holds = 1

  /** Held by the caller until `letGo`. */
  constructor(frame: Buffer) {
    this.#frame = frame
  }

  hold(): this {
    this.#holds++
    return this
  }

  letGo(): void {
    if (--this.#holds === 0) giveFrame(this.#frame)
  }

  /** Columns for a batch of `count` records, or longer ones. */
  columns(count: number): Columns {
    const last = freeColumns.pop()
    return last && last.timestamps.length >= count ? last : newColumns(count)
  }

  release({ bytes, fields, timestamps }: ColumnarBatch): void {
    if (freeColumns.length < FREE_COLUMNS_MAX && timestamps.length <= COLUMNS_RECORDS_MAX)
      freeColumns.push({ fields, timestamps })
    // A compressed batch has been unpacked elsewhere and never held the response.
    if (bytes.buffer === this.#frame.buffer) this.letGo()
  }
}
