// Records of one source mostly have one shape: the same names in the same order, written by the same program. A shape is learned from one
// record, as the bytes around its top-level values:
//
//   {"id":   ,"item":   }        its texts:  {"id":7,"item":"a"}   {"id":8,"item":{"b":[]}}
//
// A text that has these very bytes, and JSON values between them, is an object of the same names: what else JSON's grammar asks for is in
// the bytes, which were valid when they were learned.
import { utf8Slice } from '../base/byte-writer.ts'
import { isScannable } from './json-projection.ts'
import { JsonScan } from './json-scan.ts'

const FIELDS_MAX = 64
/** Of all parts. */
const BYTES_MAX = 4096

/** Values that are no number of the pass (wasm/json-shape.ts), in their order. */
export class Others {
  items: readonly unknown[] = []
  next = 0
}

/** An object whose numbers stand from `at` on; for each NaN it takes the next of the others. */
type Make = (numbers: Float64Array, at: number, others: Others) => unknown

export class JsonShape {
  /** What stands before each value, and behind the last one. */
  readonly parts: readonly Buffer[]
  /** Whether each value is. */
  readonly wanted: readonly boolean[]
  readonly make: Make
  /** How many texts it was found in, lately. */
  uses = 0

  private constructor(parts: readonly Buffer[], wanted: readonly boolean[], make: Make) {
    this.parts = parts
    this.wanted = wanted
    this.make = make
  }

  get fields(): number {
    return this.parts.length - 1
  }

  /**
   * Of a text. `only`: what its objects are to have, undefined where a text does not; null: all.
   * @returns undefined: it is no object, or not worth it, or its names are not what they look like
   */
  static of(bytes: Buffer, start: number, end: number, only: readonly string[] | null): JsonShape | undefined {
    const names = namesOf(bytes, start, end)
    if (!names) return undefined
    const scan = new JsonScan(names)
    if (!scan.scan(bytes, start, end)) return undefined
    const wanted = names.map((name) => only === null || only.includes(name))
    const parts: Buffer[] = []
    let at = start
    let nested = 0
    for (let i = 0; i < names.length; i++) {
      const value = scan.starts[i] as number
      // Names that are numbers come first in the object, wherever they stand in the text.
      if (value < at) return undefined
      parts.push(Buffer.from(bytes.subarray(at, value)))
      at = scan.ends[i] as number
      if (wanted[i] && isNested(bytes[value] as number)) nested += at - value
    }
    parts.push(Buffer.from(bytes.subarray(at, end)))
    // What is nested is looked at twice.
    if (2 * nested > end - start || parts.reduce((sum, { length }) => sum + length, 0) > BYTES_MAX) return undefined
    return new JsonShape(parts, wanted, makeOf(names, only ?? names))
  }
}

function namesOf(bytes: Buffer, start: number, end: number): string[] | undefined {
  let whole: unknown
  try {
    whole = JSON.parse(utf8Slice(bytes, start, end))
  } catch {
    // Its error is told when its turn comes.
    return undefined
  }
  if (typeof whole !== 'object' || whole === null || Array.isArray(whole)) return undefined
  const names = Object.keys(whole)
  return names.length > 0 && names.length <= FIELDS_MAX && names.every(isScannable) ? names : undefined
}

function isNested(first: number): boolean {
  return first === 0x7b || first === 0x5b
}

/** One literal makes an object in a fraction of the time that filling one by names takes. `only`: its names, of all that a text has. */
function makeOf(names: readonly string[], only: readonly string[]): Make {
  const inOrder = [...names.keys()].filter((i) => only.includes(names[i] as string))
  const values = inOrder.map(
    (i) => `
    const n${i} = numbers[at + ${i}]
    const v${i} = n${i} === n${i} ? n${i} : items[next++]`,
  )
  const fields = only.map(
    (name) => `${JSON.stringify(name)}: ${names.includes(name) ? `v${names.indexOf(name)}` : 'undefined'}`,
  )
  const body = `return (numbers, at, others) => {
    const { items } = others
    let { next } = others${values.join('')}
    others.next = next
    return {${fields}}
  }`
  try {
    return new Function(body)() as Make
  } catch (error) {
    // Node was told to make no code from texts.
    if (error instanceof EvalError) return slowMakeOf(names, only, inOrder)
    throw error
  }
}

function slowMakeOf(names: readonly string[], only: readonly string[], inOrder: readonly number[]): Make {
  return (numbers, at, others) => {
    const object: Record<string, unknown> = Object.fromEntries(only.map((name) => [name, undefined]))
    for (const i of inOrder) {
      const number = numbers[at + i] as number
      object[names[i] as string] = Number.isNaN(number) ? others.items[others.next++] : number
    }
    return object
  }
}
