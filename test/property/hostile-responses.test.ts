/**
 * Goal: whatever a broker (or whoever answers on its port) sends, reading a response returns or throws a coded error,
 * without taking memory for what the bytes only claim. Method: a forging reader drives every decoder and invents the
 * bytes that it asks for, so that valid responses need no second description; these are cut, damaged, and told lies.
 */
import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import * as cluster from '../../connectors/kafka/wire/cluster-requests.ts'
import * as data from '../../connectors/kafka/wire/data-requests.ts'
import * as group from '../../connectors/kafka/wire/group-requests.ts'
import { type Api, ProtocolReader, ProtocolWriter } from '../../connectors/kafka/wire/primitives.ts'
import * as transaction from '../../connectors/kafka/wire/transaction-requests.ts'
import { MillraceError } from '../../src/base/errors.ts'
import { codedOrValue, damageArbitrary, damaged } from '../support/hostile.ts'

type AnyApi = Api<never, unknown>

function isApi(value: unknown): value is AnyApi {
  return typeof value === 'object' && value !== null && 'decode' in value && 'flexibleFrom' in value
}

/** Every request at every version that we speak. */
const cases = [cluster, data, group, transaction]
  .flatMap((module): unknown[] => Object.values(module))
  .filter(isApi)
  .flatMap((api) => Array.from({ length: api.max - api.min + 1 }, (_, index) => ({ api, version: api.min + index })))
  .map((each) => ({ ...each, name: `${each.api.name} v${each.version}` }))

type Draw = (max: number) => number

/** A length as it stands in the bytes, and where: the places where a lie is worth telling. */
interface LengthAt {
  readonly at: number
  readonly bytes: number
}

/** Answers every question of a decoder with an invented value, and writes down the bytes that stand for it. */
class Forger extends ProtocolReader {
  readonly out = new ProtocolWriter(256)
  readonly lengths: LengthAt[] = []
  readonly #draw: Draw
  #depth = 0

  constructor(flexible: boolean, draw: Draw) {
    super(Buffer.alloc(0))
    this.flexible = flexible
    this.out.flexible = flexible
    this.#draw = draw
  }

  #length(value: number, bytes: 2 | 4): void {
    const at = this.out.position
    if (this.flexible) this.out.uvarint(value + 1)
    else if (bytes === 2) this.out.int16(value)
    else this.out.int32(value)
    this.lengths.push({ at, bytes: this.out.position - at })
  }

  override uint8(): number {
    const value = this.#draw(2)
    this.out.uint8(value)
    return value
  }

  override int8(): number {
    const value = this.#draw(128)
    this.out.uint8(value)
    return value
  }

  override int16(): number {
    const value = this.#draw(2 ** 15) - this.#draw(2)
    this.out.int16(value)
    return value
  }

  override int32(): number {
    const value = this.#draw(2 ** 31) - this.#draw(2)
    this.out.int32(value)
    return value
  }

  override int64(): bigint {
    const value = (BigInt(this.#draw(2 ** 31)) << 31n) - BigInt(this.#draw(2))
    this.out.int64(value)
    return value
  }

  override uuid(): string {
    const bytes = Buffer.from(Array.from({ length: 16 }, () => this.#draw(256)))
    this.out.bytes(bytes)
    return new ProtocolReader(bytes).uuid()
  }

  override nullableString(): string | null {
    const length = this.#draw(8) - 1
    this.#length(length, 2)
    if (length < 0) return null
    const text = 'abcdefgh'.slice(0, length)
    this.out.utf8(text)
    return text
  }

  override data(): Buffer | null {
    const length = this.#draw(40) - 1
    this.#length(length, 4)
    if (length < 0) return null
    this.out.bytes(Buffer.alloc(length, 7))
    return Buffer.alloc(length, 7)
  }

  override array<T>(each: () => T): T[] {
    const length = this.#draw(this.#depth > 1 ? 3 : 4) - 1
    this.#length(length, 4)
    this.#depth++
    const items = Array.from({ length: Math.max(length, 0) }, each)
    this.#depth--
    return items
  }

  /** Zero or one tagged field, of 40 bytes: enough for every field that a decoder knows. */
  override tags(tagged?: (tag: number, reader: ProtocolReader) => void): void {
    if (!this.flexible) return
    const count = this.#draw(2)
    this.out.uvarint(count)
    if (count === 0) return
    const tag = this.#draw(3)
    this.out.uvarint(tag)
    this.lengths.push({ at: this.out.position, bytes: 1 })
    this.out.uvarint(40)
    const body = Buffer.from(Array.from({ length: 40 }, () => this.#draw(256)))
    this.out.bytes(body)
    if (!tagged) return
    const inner = new ProtocolReader(body)
    inner.flexible = true
    tagged(tag, inner)
  }
}

interface Forged {
  readonly bytes: Buffer
  readonly value: unknown
  readonly lengths: readonly LengthAt[]
}

/** A valid response, drawn from `seed`. */
function forge({ api, version }: { api: AnyApi; version: number }, seed: number): Forged {
  let state = seed >>> 0
  const draw: Draw = (max) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * max)
  }
  const forger = new Forger(version >= api.flexibleFrom, draw)
  const value = api.decode(forger, version)
  return { bytes: forger.out.copy(), value, lengths: forger.lengths }
}

function decode({ api, version }: { api: AnyApi; version: number }, bytes: Buffer): unknown {
  const reader = new ProtocolReader(bytes)
  reader.flexible = version >= api.flexibleFrom
  return api.decode(reader, version)
}

/** Without the memory that it is in. */
function answer(response: unknown): unknown {
  const { frame: _, ...rest } = response as data.FetchResponse
  return Array.isArray(response) ? response : rest
}

/** Elements of all arrays in a value, at any depth. */
function elements(value: unknown): number {
  if (value instanceof Map) return value.size + elements([...value.values()])
  if (value instanceof Uint8Array || typeof value !== 'object' || value === null) return 0
  const inner = Object.values(value).reduce((sum: number, each) => sum + elements(each), 0)
  return inner + (Array.isArray(value) ? value.length : 0)
}

function withLie(bytes: Buffer, { at, bytes: size }: LengthAt, flexible: boolean, lie: number): Buffer {
  const writer = new ProtocolWriter(16)
  if (flexible) writer.uvarint(lie + 1)
  else if (size === 2) writer.int16(Math.min(lie, 2 ** 15 - 1))
  else writer.int32(Math.min(lie, 2 ** 31 - 1))
  return Buffer.concat([bytes.subarray(0, at), writer.view(), bytes.subarray(at + size)])
}

test('all requests are covered', () => {
  expect(cases.length).toBeGreaterThanOrEqual(22)
})

describe.each(cases)('$name', (each) => {
  test('a valid response is read as it was meant, and does not depend on the bytes behind it', () => {
    const property = fc.property(fc.nat(), (seed) => {
      const { bytes, value } = forge(each, seed)
      expect(answer(decode(each, bytes))).toEqual(answer(value))
      expect(answer(decode(each, Buffer.concat([bytes, Buffer.alloc(8, 0xff)])))).toEqual(answer(value))
    })
    fc.assert(property, { numRuns: 100 })
  })

  test('a response cut at any byte is refused with a code', () => {
    const property = fc.property(fc.nat(), (seed) => {
      const { bytes } = forge(each, seed)
      for (let cut = 0; cut < bytes.length; cut++) {
        const outcome = codedOrValue(() => decode(each, bytes.subarray(0, cut)))
        expect(outcome).toBeInstanceOf(MillraceError)
        expect((outcome as MillraceError).code).toBe('BYTES_MALFORMED')
      }
    })
    fc.assert(property, { numRuns: 10 })
  })

  test('a length or count that cannot be true is refused before anything is allocated for it', () => {
    const property = fc.property(
      fc.nat(),
      fc.constantFrom(2 ** 15 - 1, 2 ** 30, 2 ** 31 - 1, 2 ** 32 - 2),
      (seed, lie) => {
        const { bytes, lengths } = forge(each, seed)
        const flexible = each.version >= each.api.flexibleFrom
        for (const place of lengths) {
          const outcome = codedOrValue(() => decode(each, withLie(bytes, place, flexible, lie)))
          expect(outcome).toBeInstanceOf(MillraceError)
        }
      },
    )
    fc.assert(property, { numRuns: 20 })
  })

  test('damaged and random bytes end in a value no larger than they are, or in a code', () => {
    const hostile = fc.oneof(
      fc.tuple(fc.nat(), damageArbitrary).map(([seed, damage]) => damaged(forge(each, seed).bytes, damage)),
      fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
      fc.array(fc.constantFrom(0, 1, 2, 3, 255), { maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
    )
    const property = fc.property(hostile, (bytes) => {
      const outcome = codedOrValue(() => decode(each, bytes))
      if (!(outcome instanceof MillraceError)) expect(elements(outcome)).toBeLessThanOrEqual(bytes.length)
    })
    fc.assert(property, { numRuns: 400 })
  })
})

describe('what other members put into the group protocol', () => {
  test.each([
    ['a subscription', group.decodeSubscription],
    ['an assignment', group.decodeAssignment],
  ])('%s of any bytes is read or refused with a code', (_, read) => {
    const valid = fc.constantFrom(
      group.encodeSubscription(['one', 'two'], Buffer.from('user data')),
      group.encodeAssignment([{ topic: 'one', partition: 3 }], Buffer.from('user data')),
    )
    const hostile = fc.oneof(
      fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.from(bytes)),
      fc.tuple(valid, damageArbitrary).map(([bytes, damage]) => damaged(bytes, damage)),
    )
    fc.assert(
      fc.property(hostile, (bytes) => {
        codedOrValue(() => read(bytes))
      }),
      { numRuns: 2000 },
    )
  })
})
