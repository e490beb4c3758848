// Finds a few top-level values of a JSON object without building any. One strict pass over all bytes finds them; whatever is
// unexpected (an escaped name, deep nesting, an empty object, a syntax error) is left to JSON.parse, which decides: nothing is
// accepted that JSON.parse rejects.
//
// The pass is WebAssembly, which compares sixteen bytes in one go (its source and its memory's layout: wasm/json-scan.ts). All
// scans of a process share one memory, of a fixed size that is taken as far as it is used; the text is copied into it. Where the
// processor cannot do it, JSON.parse decides always.
import { copyWords, NATIVE_COPY_BYTES_MIN, Words } from '../base/words.ts'
import { moduleBase64 } from './json-scan-module.ts'

const FIELD_BYTES = 16
const NAME_AT = 8
const NAME_LENGTH_AT = 12
const NAME_ROOM = 8
const TEXT_ROOM = 32
/** Shorter texts are copied natively, too: `copyWords` wants a word. */
const WORD_BYTES = 8

interface Exports {
  readonly memory: { readonly buffer: ArrayBuffer }
  /** As in the source. Positions are in its memory. */
  scan(fields: number, from: number, end: number): number
}

/** What is used of it; its types come with those of browsers. */
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object
  readonly Instance: new (module: object) => { readonly exports: Exports }
}

/** The module at work. */
class Engine {
  readonly exports: Exports
  readonly bytes: Uint8Array
  readonly view: DataView
  /** Whose names are in memory. */
  owner: JsonScan | null = null

  constructor(exports: Exports) {
    this.exports = exports
    this.bytes = new Uint8Array(exports.memory.buffer)
    this.view = new DataView(exports.memory.buffer)
  }
}

/** null: this machine cannot run it (a processor without SSE4.1, WebAssembly turned off, no address space for its memory). */
function startEngine(): Engine | null {
  try {
    const module = new WebAssembly.Module(Buffer.from(moduleBase64, 'base64'))
    return new Engine(new WebAssembly.Instance(module).exports)
  } catch {
    return null
  }
}

/** Made with the first scan. */
let shared: Engine | null | undefined

export class JsonScan {
  /** Where the wanted values begin; −1: not there. A name that stands twice: its last value, as JSON.parse takes it. */
  readonly starts: Int32Array
  /** Where they end, of those that are there. */
  readonly ends: Int32Array
  /** The last scan came to its end. */
  complete = false
  /** Where the object's last value ends. */
  lastEnd = 0
  readonly #engine: Engine | null
  /** Fields and names as they stand in memory. */
  readonly #head: Buffer
  readonly #words = new Words()

  /** `names`: well-formed, without U+FFFD, which damaged bytes decode to. */
  constructor(names: readonly string[]) {
    if (shared === undefined) shared = startEngine()
    this.#engine = shared
    this.starts = new Int32Array(names.length)
    this.ends = new Int32Array(names.length)
    this.#head = headOf(names.map((name) => Buffer.from(name, 'utf8')))
  }

  /** Notes where the wanted values stand. False: JSON.parse must decide. */
  scan(bytes: Buffer, start: number, end: number): boolean {
    this.complete = this.#pass(bytes, start, end)
    return this.complete
  }

  #pass(bytes: Buffer, start: number, end: number): boolean {
    const engine = this.#engine
    const length = end - start
    const from = this.#head.length
    if (!engine || from + length + TEXT_ROOM > engine.bytes.length) return false
    if (engine.owner !== this) this.#own(engine)
    const shift = from - start
    if (length >= WORD_BYTES && length < NATIVE_COPY_BYTES_MIN)
      copyWords(engine.view, shift, this.#words.of(bytes), start, end)
    else engine.bytes.set(bytes.subarray(start, end), from)
    const { starts, ends } = this
    const last = engine.exports.scan(starts.length, from, from + length)
    if (last === 0) return false
    const { view } = engine
    for (let i = 0; i < starts.length; i++) {
      const at = view.getInt32(i * FIELD_BYTES, true)
      starts[i] = at === 0 ? -1 : at - shift
      ends[i] = view.getInt32(i * FIELD_BYTES + 4, true) - shift
    }
    this.lastEnd = last - shift
    return true
  }

  #own(engine: Engine): void {
    engine.bytes.set(this.#head)
    engine.owner = this
  }
}

/** What stands before the text. */
function headOf(names: readonly Buffer[]): Buffer {
  const namesBytes = names.reduce((sum, { length }) => sum + length + NAME_ROOM, 0)
  const head = Buffer.alloc(names.length * FIELD_BYTES + namesBytes)
  let at = names.length * FIELD_BYTES
  for (const [index, name] of names.entries()) {
    head.writeUInt32LE(at, index * FIELD_BYTES + NAME_AT)
    head.writeUInt32LE(name.length, index * FIELD_BYTES + NAME_LENGTH_AT)
    name.copy(head, at)
    at += name.length + NAME_ROOM
  }
  return head
}
