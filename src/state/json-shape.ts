// Records of one source mostly have one shape: the same names in the same order, written by the same program. A shape is learned from one
// record, as the bytes around its values, of which objects within it have their own:
//
//   {"id":   ,"item":{"name":   }}        its texts:  {"id":7,"item":{"name":"a"}}   {"id":8,"item":{"name":[]}}
//
// A text that has these very bytes, and JSON values between them, is an object of the same names: what else JSON's grammar asks for is in
// the bytes, which were valid when they were learned.
import { bytesOf, utf8Slice } from '../base/byte-writer.ts'
import { functionOf } from '../base/function-of.ts'
import { JsonOutline, type Names } from './json-outline.ts'

export const VALUES_MAX = 64
/** Of all parts. */
const BYTES_MAX = 4096

const OPEN_BRACKET = 0x5b
const OPEN_BRACE = 0x7b

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
  /** Whether its objects have each value; else it is passed over. */
  readonly wanted: readonly boolean[]
  readonly make: Make
  /** In how many texts it was found since a shape was last learned. */
  uses = 0

  private constructor(parts: readonly Buffer[], wanted: readonly boolean[], make: Make) {
    this.parts = parts
    this.wanted = wanted
    this.make = make
  }

  /** How many values its texts have. */
  get values(): number {
    return this.wanted.length
  }

  /**
   * Of a text. `only`: the fields that its objects are to have, undefined where a text does not; null: all. `deep`: objects within it have
   * the names that they have here; else they may be any.
   * @returns undefined: it is no object, or not worth it, or has names that are not what they look like
   */
  static of(
    bytes: Buffer,
    start: number,
    end: number,
    only: readonly string[] | null,
    deep: boolean,
  ): JsonShape | undefined {
    if (!isObject(bytes, start, end)) return undefined
    const { names, starts, ends } = new JsonOutline(bytes, start, only, deep)
    const count = starts.length
    if (!names || count === 0 || count > VALUES_MAX) return undefined
    const unwanted = new Set([...names].filter(([name]) => only && !only.includes(name)).map(([, value]) => value))
    const wanted = starts.map((_, index) => !unwanted.has(index))
    const parts = starts.map((at, index) => Buffer.from(bytes.subarray(index === 0 ? start : ends[index - 1], at)))
    parts.push(Buffer.from(bytes.subarray(ends[count - 1], end)))
    if (bytesOf(parts) > BYTES_MAX) return undefined
    // These are looked at twice.
    const nestedBytes = starts.reduce(
      (sum, at, index) => (wanted[index] && isNested(bytes[at] as number) ? sum + (ends[index] as number) - at : sum),
      0,
    )
    return 2 * nestedBytes > end - start ? undefined : new JsonShape(parts, wanted, makeOf(names, wanted, only))
  }
}

/** Else its error is told when its turn comes. */
function isObject(bytes: Buffer, start: number, end: number): boolean {
  try {
    const whole: unknown = JSON.parse(utf8Slice(bytes, start, end))
    return typeof whole === 'object' && whole !== null && !Array.isArray(whole)
  } catch {
    return false
  }
}

function isNested(first: number): boolean {
  return first === OPEN_BRACE || first === OPEN_BRACKET
}

/** A literal makes an object in a fraction of the time that filling one by names takes. */
function makeOf(names: Names, wanted: readonly boolean[], only: readonly string[] | null): Make {
  const values = wanted.map((isWanted, i) =>
    isWanted
      ? `
    const n${i} = numbers[at + ${i}]
    const v${i} = n${i} === n${i} ? n${i} : items[next++]`
      : '',
  )
  const fields = only?.map((name) => `${JSON.stringify(name)}: ${codeOf(names.get(name))}`)
  const body = `return (numbers, at, others) => {
    const { items } = others
    let { next } = others${values.join('')}
    others.next = next
    return ${fields ? `{${fields}}` : codeOf(names)}
  }`
  return functionOf<Make>({}, body, slowMakeOf(names, wanted, only))
}

function codeOf(value: number | Names | undefined): string {
  if (typeof value !== 'object') return value === undefined ? 'undefined' : `v${value}`
  return `{${[...value].map(([name, inner]) => `${JSON.stringify(name)}: ${codeOf(inner)}`)}}`
}

function slowMakeOf(names: Names, wanted: readonly boolean[], only: readonly string[] | null): Make {
  return (numbers, at, others) => {
    const fill = (object: Record<string, unknown>, from: Names): Record<string, unknown> => {
      for (const [name, value] of from) {
        if (typeof value === 'object') object[name] = fill({}, value)
        else if (wanted[value]) {
          const number = numbers[at + value] as number
          object[name] = Number.isNaN(number) ? others.items[others.next++] : number
        }
      }
      return object
    }
    return fill(only ? Object.fromEntries(only.map((name) => [name, undefined])) : {}, names)
  }
}
