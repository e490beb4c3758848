// A buffer as words of any size and alignment. Neighbouring records lie in the same buffer: its view is made once.

/** The view of the buffer seen last. */
export class Words {
  #buffer: Buffer = Buffer.alloc(0)
  #view = new DataView(this.#buffer.buffer)

  of(buffer: Buffer): DataView {
    if (buffer === this.#buffer) return this.#view
    this.#buffer = buffer
    this.#view = new DataView(buffer.buffer, buffer.byteOffset, buffer.length)
    return this.#view
  }
}
