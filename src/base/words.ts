// A buffer as words of any size and alignment. Neighbouring records lie in the same buffer: its view is made once.

const WORD_BYTES = 8

/** From here on a native copy is the quickest; for less, its call costs more than it saves. */
export const NATIVE_COPY_BYTES_MIN = 512

const NOTHING = new Uint8Array(0)
const VIEW_OF_NOTHING: DataView = new DataView(NOTHING.buffer)

/** The view of the buffer seen last. */
export class Words {
  #buffer: Uint8Array = NOTHING
  #view: DataView = VIEW_OF_NOTHING

  of(buffer: Uint8Array): DataView {
    if (buffer === this.#buffer) return this.#view
    this.#buffer = buffer
    this.#view = new DataView(buffer.buffer, buffer.byteOffset, buffer.length)
    return this.#view
  }
}

/** Copies 8 bytes or more to `shift` behind where they stand. The last word may repeat bytes: no loop for the odd ones. */
export function copyWords(to: DataView, shift: number, from: DataView, start: number, end: number): void {
  const last = end - WORD_BYTES
  let at = start
  // Four in a round: the loop itself costs as much as a word.
  for (const lastFour = last - 4 * WORD_BYTES; at <= lastFour; at += 4 * WORD_BYTES) {
    to.setBigUint64(at + shift, from.getBigUint64(at, true), true)
    to.setBigUint64(at + shift + 8, from.getBigUint64(at + 8, true), true)
    to.setBigUint64(at + shift + 16, from.getBigUint64(at + 16, true), true)
    to.setBigUint64(at + shift + 24, from.getBigUint64(at + 24, true), true)
  }
  for (; at < last; at += WORD_BYTES) to.setBigUint64(at + shift, from.getBigUint64(at, true), true)
  to.setBigUint64(last + shift, from.getBigUint64(last, true), true)
}

/** Above, a native copy is no dearer than a loop. */
const LOOP_BYTES_MAX = 64

/** Copies a few bytes, or many. */
export function copyBytes(to: Buffer, at: number, from: Buffer, start: number, end: number): void {
  if (end - start > LOOP_BYTES_MAX) from.copy(to, at, start, end)
  else for (let i = start; i < end; i++) to[at + i - start] = from[i] as number
}
