// JSON objects of the shapes that a source was seen to have (json-shape.ts), many at a time. One strict pass over a text reads its numbers
// and hands on what else it has, which JSON.parse reads for all texts together; code made for the shape puts each object together. That
// takes about half of JSON.parse's time for the whole. The objects are what JSON.parse gives; any other text is left to it.
import { Backoff } from '../base/backoff.ts'
import { utf8Slice } from '../base/byte-writer.ts'
import { JsonEngine, TEXT_ROOM } from './json-engine.ts'
import { JsonShape, Others } from './json-shape.ts'

const SHAPES_MAX = 8
/** A shape is learned after 1, 2, 4, … texts of no known shape, and so often at last: objects may have ever new names. */
const UNKNOWN_MAX = 4096

/** In the engine's memory, behind the head and one text. */
const OTHERS_AT = 1 << 20
/** Of what is copied in one go: texts, and what stands between them. */
const COPIED_BYTES = 64 * 1024
const NUMBERS_AT = 2 << 20
const NUMBER_BYTES = 8
const ENTRY_BYTES = 12
/** Behind each part. */
const PART_ROOM = 16

const OPEN_ARRAY = 0x5b
const CLOSE_ARRAY = 0x5d

export class JsonShapes {
  readonly #only: readonly string[] | null
  readonly #unread: unknown
  readonly #engine = JsonEngine.shared()
  readonly #numbers: Float64Array | undefined
  readonly #others = new Others()
  #shapes: readonly JsonShape[] = []
  /** Where each of them stands in the head. */
  #places: readonly number[] = []
  #head: Buffer = Buffer.alloc(0)
  /** The shape that was found last. */
  #last = 0
  /** Of each text of a window. */
  readonly #found: (JsonShape | undefined)[] = []
  /** How many texts of a window are of no known shape, tombstones among them, and one that is none. */
  #unknown = 0
  #unknownAt = -1
  /** In all windows since the last lesson. */
  #unknownSince = 0
  #lessons = 0
  /** Which bytes of a window's buffer the engine's memory has. */
  #copiedStart = 0
  #copiedEnd = 0
  readonly #backoff = new Backoff()

  /** `only`: the fields that are wanted, as names that can be scanned; null: all. `unread`: stands in place of a value that must be read by itself. */
  constructor(only: readonly string[] | null, unread: unknown) {
    this.#only = only
    this.#unread = unread
    this.#numbers = this.#engine ? new Float64Array(this.#engine.exports.memory.buffer, NUMBERS_AT) : undefined
  }

  /** `places`: start and end of each text, one behind the other. @returns undefined: most are of no known shape, and nothing was read */
  read(bytes: Buffer, places: Int32Array, count: number): unknown[] | undefined {
    if (!this.#engine || !this.#backoff.isTurn()) return undefined
    const othersEnd = this.#findAll(this.#engine, bytes, places, count)
    const known = count - this.#unknown
    const values = known > this.#unknown ? this.#make(this.#engine.bytes, count, othersEnd) : undefined
    if (values) this.#backoff.worked()
    const learned = this.#unknown > 0 && this.#learn(bytes, places)
    if (!values && !learned) this.#backoff.failed()
    return values
  }

  /** Finds the shape of each text, and counts those that are of none. @returns where the others end */
  #findAll(engine: JsonEngine, bytes: Buffer, places: Int32Array, count: number): number {
    engine.own(this.#head)
    this.#unknown = 0
    this.#unknownAt = -1
    this.#copiedEnd = 0
    this.#found.length = count
    const last = places[2 * count - 1] as number
    let others = OTHERS_AT + 1
    let numbers = NUMBERS_AT
    for (let i = 0; i < count; i++) {
      const start = places[2 * i] as number
      const end = places[2 * i + 1] as number
      const hasRoom = start < end && others + end - start + TEXT_ROOM <= NUMBERS_AT
      const from = hasRoom ? this.#copy(engine, bytes, start, end, last) : 0
      const othersEnd = from === 0 ? 0 : this.#find(engine, from, from + end - start, numbers, others)
      if (othersEnd === 0) {
        this.#found[i] = undefined
        this.#unknown++
        if (start < end) this.#unknownAt = i
      } else {
        const shape = this.#shapes[this.#last] as JsonShape
        this.#found[i] = shape
        shape.uses++
        others = othersEnd
        numbers += shape.fields * NUMBER_BYTES
      }
    }
    return others
  }

  /** With what follows up to `last`: one native copy for many texts. @returns where the text stands in the engine's memory; 0: no room */
  #copy(engine: JsonEngine, bytes: Buffer, start: number, end: number, last: number): number {
    const at = this.#head.length
    if (at + end - start + TEXT_ROOM > OTHERS_AT) return 0
    if (end > this.#copiedEnd) {
      this.#copiedStart = start
      this.#copiedEnd = Math.max(end, Math.min(last, start + COPIED_BYTES))
      engine.bytes.set(bytes.subarray(start, this.#copiedEnd), at)
    }
    return at + start - this.#copiedStart
  }

  /** Where the others end now, `#last` being its shape; 0: it has none that is known. */
  #find(engine: JsonEngine, from: number, end: number, numbers: number, others: number): number {
    for (let tried = 0; tried < this.#shapes.length; tried++) {
      const { fields } = this.#shapes[this.#last] as JsonShape
      const othersEnd = engine.exports.read(this.#places[this.#last] as number, fields, from, end, numbers, others)
      if (othersEnd !== 0) return othersEnd
      this.#last = (this.#last + 1) % this.#shapes.length
    }
    return 0
  }

  #make(memory: Buffer, count: number, othersEnd: number): unknown[] {
    const others = this.#others
    memory[OTHERS_AT] = OPEN_ARRAY
    // Over the last comma.
    memory[othersEnd - 1] = CLOSE_ARRAY
    others.items = othersEnd === OTHERS_AT + 1 ? [] : (JSON.parse(utf8Slice(memory, OTHERS_AT, othersEnd)) as unknown[])
    others.next = 0
    const values = new Array<unknown>(count)
    let at = 0
    for (let i = 0; i < count; i++) {
      const shape = this.#found[i]
      values[i] = shape ? shape.make(this.#numbers as Float64Array, at, others) : this.#unread
      if (shape) at += shape.fields
    }
    others.items = []
    return values
  }

  /** After a window with texts of no known shape. @returns there is a new shape */
  #learn(bytes: Buffer, places: Int32Array): boolean {
    const at = 2 * this.#unknownAt
    this.#unknownSince += this.#unknown
    if (at < 0 || this.#unknownSince < Math.min(UNKNOWN_MAX, 2 ** this.#lessons)) return false
    this.#unknownSince = 0
    this.#lessons++
    const shape = JsonShape.of(bytes, places[at] as number, places[at + 1] as number, this.#only)
    if (!shape) return false
    // The one that was found most seldom goes, if any.
    const used = this.#shapes.toSorted((one, other) => other.uses - one.uses)
    this.#shapes = [shape, ...used.slice(0, SHAPES_MAX - 1)]
    for (const each of used) each.uses = 0
    this.#last = 0
    this.#writeHead()
    return true
  }

  /** For each shape an entry for each part (where its bytes stand, how many, whether the value behind is wanted), then the bytes. */
  #writeHead(): void {
    const parts = this.#shapes.flatMap((shape) => shape.parts)
    const wanted = this.#shapes.flatMap((shape) => [...shape.wanted, false])
    const entriesBytes = parts.length * ENTRY_BYTES
    const head = Buffer.alloc(parts.reduce((sum, { length }) => sum + length + PART_ROOM, entriesBytes))
    let at = entriesBytes
    for (const [index, part] of parts.entries()) {
      head.writeUInt32LE(at, index * ENTRY_BYTES)
      head.writeUInt32LE(part.length, index * ENTRY_BYTES + 4)
      head.writeUInt32LE(wanted[index] ? 1 : 0, index * ENTRY_BYTES + 8)
      part.copy(head, at)
      at += part.length + PART_ROOM
    }
    let place = 0
    this.#places = this.#shapes.map((shape) => {
      const here = place
      place += shape.parts.length * ENTRY_BYTES
      return here
    })
    this.#head = head
  }
}
