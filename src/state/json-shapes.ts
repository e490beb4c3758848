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
const NUMBERS_AT = 2 << 20
const NUMBER_BYTES = 8
const ENTRY_BYTES = 8
/** Behind each part. */
const PART_ROOM = 16

const OPEN_ARRAY = 0x5b
const CLOSE_ARRAY = 0x5d

export class JsonShapes {
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
  #unknown = 0
  #lessons = 0
  readonly #backoff = new Backoff()

  /** `unread`: what stands in place of a value that must be read by itself. */
  constructor(unread: unknown) {
    this.#unread = unread
    this.#numbers = this.#engine ? new Float64Array(this.#engine.exports.memory.buffer, NUMBERS_AT) : undefined
  }

  /** `places`: start and end of each text. @returns undefined: most are of no known shape, and nothing was read */
  read(bytes: Buffer, places: Int32Array, count: number): unknown[] | undefined {
    if (!this.#engine || !this.#backoff.isTurn()) return undefined
    this.#engine.own(this.#head)
    let known = 0
    let unknown = -1
    let others = OTHERS_AT + 1
    let numbers = NUMBERS_AT
    for (let i = 0; i < count; i++) {
      const end = this.#find(this.#engine, bytes, places[2 * i] as number, places[2 * i + 1] as number, numbers, others)
      this.#found[i] = end === 0 ? undefined : this.#shapes[this.#last]
      if (end === 0) unknown = i
      else {
        known++
        others = end
        numbers += (this.#shapes[this.#last] as JsonShape).fields * NUMBER_BYTES
      }
    }
    const values = 2 * known > count ? this.#make(this.#engine.bytes, count, others) : undefined
    if (values) this.#backoff.worked()
    const learned =
      unknown >= 0 &&
      this.#learn(count - known, bytes, places[2 * unknown] as number, places[2 * unknown + 1] as number)
    if (!values && !learned) this.#backoff.failed()
    return values
  }

  /** Where the others end now, `#last` being its shape; 0: it has none that is known. */
  #find(engine: JsonEngine, bytes: Buffer, start: number, end: number, numbers: number, others: number): number {
    const length = end - start
    const from = this.#head.length
    if (length <= 0 || from + length + TEXT_ROOM > OTHERS_AT || others + length + TEXT_ROOM > NUMBERS_AT) return 0
    engine.place(from, bytes, start, end)
    for (let tried = 0; tried < this.#shapes.length; tried++) {
      const { fields } = this.#shapes[this.#last] as JsonShape
      const place = this.#places[this.#last] as number
      const othersEnd = engine.exports.read(place, fields, from, from + length, numbers, others)
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

  /** After `unknown` more texts whose shape is not known, of which this is one. @returns there is a new shape */
  #learn(unknown: number, bytes: Buffer, start: number, end: number): boolean {
    this.#unknown += unknown
    if (this.#unknown < Math.min(UNKNOWN_MAX, 2 ** this.#lessons) || start >= end) return false
    this.#unknown = 0
    this.#lessons++
    const shape = JsonShape.of(bytes, start, end)
    if (!shape) return false
    this.#shapes = [shape, ...this.#shapes.slice(0, SHAPES_MAX - 1)]
    this.#last = 0
    this.#writeHead()
    return true
  }

  /** For each shape an entry for each part (where its bytes stand, how many), then the bytes. */
  #writeHead(): void {
    const parts = this.#shapes.flatMap((shape) => shape.parts)
    const entriesBytes = parts.length * ENTRY_BYTES
    const head = Buffer.alloc(parts.reduce((sum, { length }) => sum + length + PART_ROOM, entriesBytes))
    let at = entriesBytes
    for (const [index, part] of parts.entries()) {
      head.writeUInt32LE(at, index * ENTRY_BYTES)
      head.writeUInt32LE(part.length, index * ENTRY_BYTES + 4)
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
