// The WebAssembly that looks at JSON texts sixteen bytes at a time: one strict pass each (its source, and how a head is laid out: wasm/). Where
// the processor cannot do it, or the text is not what it looks for, JSON.parse decides: nothing is accepted that JSON.parse rejects.
//
// All of a process share one memory, of a fixed size that is taken as far as it is used:
//
//   head      from 0         what is looked for, of the last one that did (`own`)
//   text      behind it      one text, or many with what stands between them
//   others    from 1 MiB     of texts of a known shape: their values but for numbers
//   numbers   from 2 MiB     and their numbers
//
// Behind a text 16 bytes are zeros during a pass: they end it. Where the next text stands there, they are put back.
import { copyWords, NATIVE_COPY_BYTES_MIN, Words } from '../base/words.ts'
import { moduleBase64 } from './json-module.ts'

/** Bytes behind a text that may be looked at, and behind the others that may be written. */
export const ROOM = 32
export const OTHERS_AT: number = 1 << 20
export const NUMBERS_AT: number = 2 << 20
/** Shorter texts are copied natively, too: `copyWords` wants a word. */
const WORD_BYTES = 8

interface Exports {
  readonly memory: { readonly buffer: ArrayBuffer }
  /** wasm/json-scan.ts; positions are in its memory, as in all others. */
  scan(fields: number, from: number, end: number): number
  /** wasm/json-shape.ts */
  read(shape: number, count: number, from: number, end: number, values: number, others: number): number
}

/** What is used of it; its types come with those of browsers. */
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object
  readonly Instance: new (module: object) => { readonly exports: Exports }
}

export class JsonEngine {
  /** Made with the first use. */
  static #shared: JsonEngine | null | undefined

  readonly exports: Exports
  readonly bytes: Buffer
  readonly view: DataView
  readonly #words = new Words()
  #head: Buffer | null = null

  private constructor(exports: Exports) {
    this.exports = exports
    this.bytes = Buffer.from(exports.memory.buffer)
    this.view = new DataView(exports.memory.buffer)
  }

  /** null: this machine cannot run it (a processor without SSE4.1, WebAssembly turned off, no address space for its memory). */
  static shared(): JsonEngine | null {
    if (JsonEngine.#shared !== undefined) return JsonEngine.#shared
    try {
      const module = new WebAssembly.Module(Buffer.from(moduleBase64, 'base64'))
      JsonEngine.#shared = new JsonEngine(new WebAssembly.Instance(module).exports)
    } catch {
      JsonEngine.#shared = null
    }
    return JsonEngine.#shared
  }

  /** What is to stand at the beginning now: a head is made once and then left as it is. */
  own(head: Buffer): void {
    if (this.#head === head) return
    this.bytes.set(head)
    this.#head = head
  }

  /** Copies a text to `at`, where it and its room must fit. */
  place(at: number, bytes: Buffer, start: number, end: number): void {
    const length = end - start
    if (length >= WORD_BYTES && length < NATIVE_COPY_BYTES_MIN)
      copyWords(this.view, at - start, this.#words.of(bytes), start, end)
    else this.bytes.set(bytes.subarray(start, end), at)
  }
}
