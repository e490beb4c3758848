// JSON objects of the shapes that a source was seen to have (json-shape.ts), many at a time. One strict pass over a text reads its numbers
// and hands on what else it has, which JSON.parse reads for all texts together; code made for the shape puts each object together. That
// takes about half of JSON.parse's time for the whole. The objects are what JSON.parse gives; any other text is left to it.
// 1. What is handed on, a comma behind each, is no longer than its text: before each value stand some bytes.
// 2. Numbers and others are taken in the order in which the pass gave them, text by text: all of the others, in the end.
// 3. A shape is learned when its window's objects are made: the pass's memory is used for one thing at a time.
import { assert } from '../base/assert.ts'
import { Backoff } from '../base/backoff.ts'
import { bytesOf, utf8Slice } from '../base/byte-writer.ts'
import { JsonEngine, NUMBERS_AT, OTHERS_AT, ROOM } from './json-engine.ts'
import { JsonShape, Others, VALUES_MAX } from './json-shape.ts'

const SHAPES_MAX = 8
/** A shape is learned after 1, 2, 4, … texts of no known shape, and so often at last: objects may have ever new names. */
const UNKNOWN_MAX = 4096
/** After so many texts it begins anew: a producer may have a new release. */
const TEXTS_MAX = 1 << 20
/** More passes for a text, on average, are no gain: most that fail end at once, but some with the last byte. */
const PASSES_MAX = 4

/** Of what is copied in one go: texts, and what stands between them. */
const COPIED_BYTES = 64 * 1024
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
  readonly #numbersEnd: number
  readonly #others = new Others()
  /** The one that was learned last comes first. */
  #shapes: readonly JsonShape[] = []
  /** Where each of them stands in the head. */
  #places: readonly number[] = []
  #head: Buffer = Buffer.alloc(0)
  /** The shape that was found last. */
  #last = 0
  // Of a window: the shape of each text, how many are known, how many passes it took, and which bytes of its buffer the engine's memory has.
  readonly #found: (JsonShape | undefined)[] = []
  #known = 0
  #passes = 0
  #copiedStart = 0
  #copiedEnd = 0
  /** Of the texts that were looked at: how many are of no known shape, and one of them, −1 if there is none. */
  #unknown = 0
  #unknownAt = -1
  /** In all windows since the last lesson. */
  #unknownSince = 0
  #lessons = 0
  /** Since the first of them. */
  #texts = 0
  /** The newest shape has the names of the objects within it. */
  #deep = false
  readonly #backoff = new Backoff()

  /** `only`: the fields that are wanted, never `__proto__`; null: all. `unread`: stands in place of a value that must be read by itself. */
  constructor(only: readonly string[] | null, unread: unknown) {
    this.#only = only
    this.#unread = unread
    const memory = this.#engine?.exports.memory.buffer
    this.#numbers = memory && new Float64Array(memory, NUMBERS_AT)
    this.#numbersEnd = memory ? memory.byteLength - VALUES_MAX * NUMBER_BYTES : 0
  }

  /** `places`: start and end of each text. @returns undefined: most are of no known shape, and nothing was read */
  read(bytes: Buffer, places: Int32Array, count: number): unknown[] | undefined {
    this.#texts += count
    if (!this.#engine || !this.#backoff.isTurn()) return undefined
    const othersEnd = this.#findAll(this.#engine, bytes, places, count)
    const values = 2 * this.#known > count ? this.#make(this.#engine.bytes, count, othersEnd) : undefined
    const learned = this.#unknown > 0 && this.#learn(bytes, places)
    if (values && this.#passes <= PASSES_MAX * count) this.#backoff.worked()
    else if (!learned) this.#backoff.failed()
    return values
  }

  /** Finds the shape of each text. @returns where the others end */
  #findAll(engine: JsonEngine, bytes: Buffer, places: Int32Array, count: number): number {
    engine.own(this.#head)
    this.#known = 0
    this.#passes = 0
    this.#copiedEnd = 0
    this.#unknown = 0
    this.#unknownAt = -1
    const last = places[2 * count - 1] as number
    let others = OTHERS_AT + 1
    let numbers = NUMBERS_AT
    for (let i = 0; i < count; i++) {
      const start = places[2 * i] as number
      const end = places[2 * i + 1] as number
      this.#found[i] = undefined
      if (!this.#hasRoom(end - start, others, numbers)) continue
      const from = this.#copy(engine, bytes, start, end, last)
      const othersEnd = this.#find(engine, from, from + end - start, numbers, others)
      if (othersEnd === 0) {
        // Another one each time, so that what cannot be learned is not tried for ever.
        if (this.#unknown++ <= this.#lessons) this.#unknownAt = i
      } else {
        const shape = this.#shapes[this.#last] as JsonShape
        shape.uses++
        this.#found[i] = shape
        this.#known++
        others = othersEnd
        numbers += shape.values * NUMBER_BYTES
      }
    }
    return others
  }

  /** For a text of so many bytes; not for a tombstone, whose length is negative. */
  #hasRoom(length: number, others: number, numbers: number): boolean {
    const hasText = length > 0 && this.#head.length + length + ROOM <= OTHERS_AT
    return hasText && others + length + ROOM <= NUMBERS_AT && numbers <= this.#numbersEnd
  }

  /** With what follows up to `last`: one native copy for many texts. @returns where the text stands in the engine's memory */
  #copy(engine: JsonEngine, bytes: Buffer, start: number, end: number, last: number): number {
    const at = this.#head.length
    if (start < this.#copiedStart || end > this.#copiedEnd) {
      this.#copiedStart = start
      this.#copiedEnd = Math.max(end, Math.min(last, start + COPIED_BYTES))
      engine.bytes.set(bytes.subarray(start, this.#copiedEnd), at)
    }
    return at + start - this.#copiedStart
  }

  /** Where the others end now, `#last` being its shape; 0: it has none that is known. */
  #find(engine: JsonEngine, from: number, end: number, numbers: number, others: number): number {
    for (let tried = 0; tried < this.#shapes.length; tried++) {
      const { values } = this.#shapes[this.#last] as JsonShape
      this.#passes++
      const othersEnd = engine.exports.read(this.#places[this.#last] as number, values, from, end, numbers, others)
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
      if (shape) at += shape.values
    }
    assert(others.next === others.items.length, `${others.next} of ${others.items.length} values were taken`)
    others.items = []
    return values
  }

  /** After a window with texts of no known shape. @returns there is a new shape */
  #learn(bytes: Buffer, places: Int32Array): boolean {
    this.#unknownSince += this.#unknown
    if (this.#texts > TEXTS_MAX) {
      this.#texts = 0
      this.#lessons = 0
    }
    if (this.#unknownSince < Math.min(UNKNOWN_MAX, 2 ** this.#lessons)) return false
    this.#unknownSince = 0
    this.#lessons++
    // Objects within it may have other names each time: after a shape that was found in no other text they are left open.
    this.#deep = !this.#deep || (this.#shapes[0]?.uses ?? 0) > 0
    const start = places[2 * this.#unknownAt] as number
    const end = places[2 * this.#unknownAt + 1] as number
    const shape =
      JsonShape.of(bytes, start, end, this.#only, this.#deep) ??
      JsonShape.of(bytes, start, end, this.#only, !this.#deep)
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
    let at = parts.length * ENTRY_BYTES
    const head = Buffer.alloc(at + bytesOf(parts) + parts.length * PART_ROOM)
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
