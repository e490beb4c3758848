// Sets top-level fields of a JSON object in its text: what is not set is copied byte for byte, neither decoded nor written
// anew. A text that the scan leaves to JSON.parse, and a change that is more than new values, is done the long way.
// - What is written reads as `{ ...JSON.parse(text), ...fields }`, or nothing is.
// - The scan's positions are those of one `TextPlace`, known by identity; for every other one the text is scanned again.
import { type ByteWriter, utf8Slice } from '../base/byte-writer.ts'
import { isScannable, JsonProjection } from './json-projection.ts'
import { JsonScan } from './json-scan.ts'

type Fields = Readonly<Record<string, unknown>>

/** More names than these are not learned: what sets ever new ones is done the long way. */
const LEARNED_MAX = 32

interface Label {
  readonly name: string
  /** Among the scan's names. */
  readonly index: number
  /** What stands before its value if it is added: `,"price":`. */
  readonly added: Buffer
  /** Where the value begins in the JSON of an object of this field only: characters of `{"price":`. */
  readonly valueAt: number
}

/** Where a record's text stands: `bytes` from `start` to `end`. One object for each patch of a record: the memory is used again. */
export interface TextPlace {
  readonly bytes: Buffer
  readonly start: number
  readonly end: number
}

/** One patch of a pipeline: the fields that it reads, and those that it was seen to set. */
export class JsonPatch {
  readonly #read: readonly string[]
  readonly #labels = new Map<string, Label>()
  #scan: JsonScan
  #projection: JsonProjection
  /** Whose text the scan saw last. */
  #scanned: TextPlace | null = null
  // Records set the same fields in the same order, mostly.
  #lastNames: readonly string[] = []
  #lastLabels: readonly Label[] = []

  /** `read`: names that `checkFieldNames` has let pass. */
  constructor(read: readonly string[]) {
    this.#read = [...read]
    for (const name of read) this.#addLabel(name)
    this.#scan = new JsonScan(this.#read)
    this.#projection = new JsonProjection(this.#read, this.#scan)
  }

  /** The fields that it reads, undefined where there is none; those of `set` as they were set. @throws SyntaxError, TypeError: not an object */
  read(text: TextPlace, set?: Fields): Fields {
    this.#scanned = null
    const fields = this.#projection.decode(text.bytes, text.start, text.end)
    this.#scanned = text
    if (set) for (const name of this.#read) if (Object.hasOwn(set, name)) fields[name] = set[name]
    return fields
  }

  /** The same of an object that is there already. @throws TypeError */
  pick(whole: unknown): Fields {
    return this.#projection.pick(whole)
  }

  /** Writes the text with `fields` set. False, and nothing is written: it takes JSON.stringify. */
  write(text: TextPlace, fields: Fields, out: ByteWriter): boolean {
    // The object's own way to become JSON.
    if (typeof fields.toJSON === 'function') return false
    const labels = this.#labelsOf(fields)
    if (!labels || !this.#scanOf(text)) return false
    const { bytes, start, end } = text
    const { starts, ends, lastEnd } = this.#scan
    const begun = out.position
    let at = start
    for (let label = this.#nextIn(labels, at); label; label = this.#nextIn(labels, at)) {
      out.bytes(bytes, at, starts[label.index])
      at = ends[label.index] as number
      if (writeValue(label, fields[label.name], out)) continue
      // The field goes, and a comma with it.
      out.position = begun
      return false
    }
    out.bytes(bytes, at, lastEnd)
    for (const label of labels) {
      if ((starts[label.index] as number) >= 0) continue
      const before = out.position
      out.bytes(label.added)
      if (!writeValue(label, fields[label.name], out)) out.position = before
    }
    out.bytes(bytes, lastEnd, end)
    return true
  }

  /** Of the fields that are there, the first one from `at` on. */
  #nextIn(labels: readonly Label[], at: number): Label | undefined {
    const { starts } = this.#scan
    let next: Label | undefined
    for (const label of labels) {
      const start = starts[label.index] as number
      if (start >= at && (!next || start < (starts[next.index] as number))) next = label
    }
    return next
  }

  #scanOf(text: TextPlace): boolean {
    if (text === this.#scanned) return this.#scan.complete
    this.#scanned = text
    return this.#scan.scan(text.bytes, text.start, text.end)
  }

  #labelsOf(fields: Fields): readonly Label[] | undefined {
    const last = this.#lastNames
    // All names, and perhaps inherited ones: nothing is allocated for them.
    let count = 0
    let same = true
    for (const name in fields) if (name !== last[count++]) same = false
    if (same && count === last.length) return this.#lastLabels
    const names = Object.keys(fields)
    const labels = names.map((name) => this.#labels.get(name) ?? this.#learn(name))
    if (!labels.every((label) => label !== undefined)) return undefined
    this.#lastNames = names
    this.#lastLabels = labels
    return labels
  }

  #learn(name: string): Label | undefined {
    if (this.#labels.size - this.#read.length >= LEARNED_MAX || !isScannable(name)) return undefined
    const label = this.#addLabel(name)
    this.#scan = new JsonScan([...this.#labels.keys()])
    this.#projection = new JsonProjection(this.#read, this.#scan)
    this.#scanned = null
    return label
  }

  #addLabel(name: string): Label {
    const quoted = JSON.stringify(name)
    const added = Buffer.from(`,${quoted}:`, 'utf8')
    const label = { name, index: this.#labels.size, added, valueAt: quoted.length + 2 }
    this.#labels.set(name, label)
    return label
  }
}

/** A JSON text with some fields set: what `patch` made of a record that nobody has decoded. */
export class PatchedJson implements TextPlace {
  readonly bytes: Buffer
  readonly start: number
  readonly end: number
  fields: Fields = {}
  readonly #patch: JsonPatch
  readonly #decoded: unknown

  /** `decoded`: the text's value, if somebody has decoded it. */
  constructor(patch: JsonPatch, bytes: Buffer, start: number, end: number, decoded?: unknown) {
    this.#patch = patch
    this.bytes = bytes
    this.start = start
    this.end = end
    this.#decoded = decoded
  }

  /** False, and nothing is written: JSON.stringify of the value will do. */
  write(out: ByteWriter): boolean {
    return this.#patch.write(this, this.fields, out)
  }

  /** The value as an object. */
  value(): Fields {
    const { bytes, start, end } = this
    return { ...((this.#decoded ?? JSON.parse(utf8Slice(bytes, start, end))) as Fields), ...this.fields }
  }
}

/** False, and nothing is written: JSON leaves the field out. */
function writeValue({ name, valueAt }: Label, value: unknown, out: ByteWriter): boolean {
  if (typeof value === 'number') {
    writeNumber(value, out)
    return true
  }
  // In an object: `toJSON` gets the name.
  const text = JSON.stringify({ [name]: value })
  if (text === '{}') return false
  out.utf8(text.slice(valueAt, -1))
  return true
}

function writeNumber(value: number, out: ByteWriter): void {
  let rest = value | 0
  if (rest !== value || rest < 0) {
    out.utf8(Number.isFinite(value) ? String(value) : 'null')
    return
  }
  let digits = 1
  for (let bound = 10; bound <= rest; bound *= 10) digits++
  out.ensure(digits)
  const { buffer } = out
  out.position += digits
  for (let at = out.position - 1; digits > 0; digits--, at--) {
    const quotient = (rest / 10) | 0
    buffer[at] = 0x30 + rest - quotient * 10
    rest = quotient
  }
}
