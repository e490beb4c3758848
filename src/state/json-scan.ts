// Finds a few top-level values of a JSON object without building any. One strict pass over all bytes finds them; whatever is
// unexpected (an escaped name, deep nesting, an empty object, a syntax error) is left to JSON.parse, which decides.
import { JsonEngine, ROOM } from './json-engine.ts'

const FIELD_BYTES = 16
const NAME_AT = 8
const NAME_LENGTH_AT = 12
const NAME_ROOM = 8

export class JsonScan {
  /** Where the wanted values begin; −1: not there. A name that stands twice: its last value, as JSON.parse takes it. */
  readonly starts: Int32Array
  /** Where they end, of those that are there. */
  readonly ends: Int32Array
  /** The last scan came to its end. */
  complete = false
  /** Where the object's last value ends. */
  lastEnd = 0
  readonly #engine = JsonEngine.shared()
  /** Fields and names as they stand in memory. */
  readonly #head: Buffer

  /** `names`: well-formed, without U+FFFD, which damaged bytes decode to. */
  constructor(names: readonly string[]) {
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
    if (!engine || from + length + ROOM > engine.bytes.length) return false
    engine.own(this.#head)
    engine.place(from, bytes, start, end)
    const { starts, ends } = this
    const last = engine.exports.scan(starts.length, from, from + length)
    if (last === 0) return false
    const { view } = engine
    const shift = from - start
    for (let i = 0; i < starts.length; i++) {
      const at = view.getInt32(i * FIELD_BYTES, true)
      starts[i] = at === 0 ? -1 : at - shift
      ends[i] = view.getInt32(i * FIELD_BYTES + 4, true) - shift
    }
    this.lastEnd = last - shift
    return true
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
