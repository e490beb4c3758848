/**
 * Goal: bytes lead to the slot of the key that they spell, and never to another's. Method: random additions, look-ups and
 * releases beside a plain Map of texts, with keys on both sides of every limit of length and far more than
 * the first table holds; then the heap store with keys of two spellings.
 */
import { describe, expect, test } from '@jest/globals'
import { ByteWriter } from '../../src/base/byte-writer.ts'
import { listState, mapState, valueState } from '../../src/state/descriptors.ts'
import { hashOf, KeyIndex } from '../../src/state/heap/key-index.ts'
import { Rows } from '../../src/state/heap/rows.ts'
import { HeapStore } from '../../src/state/heap/store.ts'
import { SegmentWriter } from '../../src/state/segment.ts'
import { replaySegment } from '../../src/state/segment-reader.ts'
import { bytes, f64, json, nullable, type Serde, utf8 } from '../../src/state/serde.ts'
import { randomOf } from '../support/feed.ts'

const lengths = [0, 1, 3, 4, 5, 8, 15, 16, 17, 40, 254, 255, 256, 400]

/** The index of a store of one number, asked as the keyed operator asks it. */
class Place {
  readonly #rows = new Rows(1, 1)
  readonly #index = new KeyIndex(this.#rows)

  find(bytes: Buffer, start: number, length: number): number {
    const hash = hashOf(bytes, start, length)
    this.#index.prefetch(Int32Array.of(hash), 1)
    return this.#index.find(bytes, start, length, hash)
  }

  add(bytes: Buffer, start: number, length: number, slot: number): void {
    this.#rows.ensure(slot)
    this.#index.add(bytes, start, length, hashOf(bytes, start, length), slot)
    // What lies beside the key must not touch it.
    this.#rows.setNumber(slot, 0, Number.NaN)
    this.#rows.words[slot * this.#rows.stride + this.#rows.epochsAt] = -1
  }

  has(slot: number): boolean {
    this.#rows.ensure(slot)
    return this.#index.has(slot)
  }

  spelled(slot: number): string {
    const out = new ByteWriter()
    this.#index.write(slot, out)
    return out.view().toString()
  }

  get longBytes(): number {
    return this.#index.longBytes
  }

  forget(slot: number): void {
    this.#rows.ensure(slot)
    this.#index.forget(slot)
  }
}

describe('against a map', () => {
  test.each([1, 2, 3, 4])('seed %i', (seed) => {
    const random = randomOf(seed)
    const below = (limit: number): number => Math.floor(random() * limit)
    const index = new Place()
    const model = new Map<string, number>()
    const spelling = new Map<number, string>()
    const padding = Buffer.from('around')
    for (let step = 0; step < 30_000; step++) {
      const length = lengths[below(lengths.length)] ?? 0
      const key = `${below(4_000)}`.padEnd(length, 'x').slice(0, length)
      const bytes = Buffer.concat([padding, Buffer.from(key), padding])
      const found = index.find(bytes, padding.length, key.length)
      if (found !== (model.get(key) ?? -1)) throw new Error(`step ${step}: '${key}' is at ${found}`)
      const slot = below(3_000)
      if (index.has(slot) !== spelling.has(slot)) throw new Error(`step ${step}: slot ${slot}`)
      if (spelling.has(slot) && index.spelled(slot) !== spelling.get(slot))
        throw new Error(`step ${step}: slot ${slot}`)
      if (found < 0 && !spelling.has(slot) && random() < 0.8) {
        index.add(bytes, padding.length, key.length, slot)
        model.set(key, slot)
        spelling.set(slot, key)
      } else if (random() < 0.3) {
        index.forget(slot)
        const spelled = spelling.get(slot)
        if (spelled !== undefined) model.delete(spelled)
        spelling.delete(slot)
      }
    }
    expect(model.size).toBeGreaterThan(1_000)
    const long = [...model.keys()].filter((key) => key.length > 16)
    expect(index.longBytes).toBe(long.reduce((sum, { length }) => sum + length, 0))
  })

  test('keys longer than all memory that there was for them', () => {
    const index = new Place()
    const keys = [20_000, 17, 100_000, 300_000].map((length, slot) => Buffer.alloc(length, `key ${slot} `))
    for (const [slot, key] of keys.entries()) index.add(key, 0, key.length, slot)
    index.forget(2)
    const again = Buffer.alloc(500_000, 'another')
    index.add(again, 0, again.length, 2)
    expect([...keys, again].map((key) => index.find(key, 0, key.length))).toEqual([0, 1, -1, 3, 2])
    expect(index.spelled(1)).toBe(String(keys[1]))
  })

  test('hundreds of thousands', () => {
    const index = new Place()
    const keys = Array.from({ length: 200_000 }, (_, slot) => Buffer.from(`key ${slot}`))
    for (const [slot, key] of keys.entries()) index.add(key, 0, key.length, slot)
    for (const [slot, key] of keys.entries()) if (index.find(key, 0, key.length) !== slot) throw new Error(`${key}`)
    expect(index.find(Buffer.from('key 200000'), 0, 10)).toBe(-1)
  })
})

const ignoring = new SegmentWriter()

const store = (key: Serde<unknown>) => {
  const made = new HeapStore('op', { sum: valueState(f64, 0) }, key)
  const { sum } = made.handles as { sum: { get(): number; set(value: number): void; clear(): void } }
  /** As the keyed operator does it. */
  const at = (text: string) => {
    const bytes = Buffer.from(text)
    const hash = hashOf(bytes, 0, bytes.length)
    const known = made.findKey(bytes, 0, bytes.length, hash)
    if (!known) made.setKey(key.decode(bytes, 0, bytes.length))
    return { known, sum }
  }
  return { made, at }
}

describe('in a heap store', () => {
  test('a key is known by its bytes as soon as it has state', () => {
    const { at } = store(utf8 as Serde<unknown>)
    expect(at('a').known).toBe(false)
    expect(at('a').known).toBe(false)
    at('a').sum.set(1)
    expect(at('a').known).toBe(true)
    expect(at('a').sum.get()).toBe(1)
    expect(at('b').sum.get()).toBe(0)
  })

  test('two spellings of one key have one state', () => {
    const { at } = store(json<number>() as Serde<unknown>)
    at('10').sum.set(5)
    for (let i = 0; i < 3; i++) {
      expect(at('10').sum.get()).toBe(5)
      expect(at('1e1').sum.get()).toBe(5)
      expect(at('10.0').sum.get()).toBe(5)
    }
    expect([at('10').known, at('1e1').known, at('10.0').known]).toEqual([true, false, false])
  })
})

describe('what is one key, and what is not', () => {
  test('0 and −0, and every NaN, are one key each', () => {
    const { made } = store(f64 as Serde<unknown>)
    const sum = (made.handles as { sum: { get(): number; set(value: number): void } }).sum
    const otherNaN = Buffer.from('fff8000000000001', 'hex')
    for (const key of [0, -0, Number.NaN, otherNaN.readDoubleBE(0)]) {
      made.setKey(key)
      sum.set(sum.get() + 1)
    }
    const ofZero = Buffer.alloc(8)
    const ofNegativeZero = Buffer.from('8000000000000000', 'hex')
    expect(made.findKey(ofZero, 0, 8, hashOf(ofZero, 0, 8))).toBe(true)
    expect(sum.get()).toBe(2)
    expect(made.findKey(ofNegativeZero, 0, 8, hashOf(ofNegativeZero, 0, 8))).toBe(false)
    made.setKey(Number.NaN)
    expect(sum.get()).toBe(2)
    expect(made.keyCount).toBe(2)
  })

  test('no key is a key of its own, not that of no bytes', () => {
    const { made, at } = store(nullable(utf8) as Serde<unknown>)
    const sum = (made.handles as { sum: { get(): number; set(value: number): void } }).sum
    made.setKey(null)
    sum.set(1)
    at('').sum.set(2)
    made.setKey(null)
    expect([sum.get(), made.currentKey]).toEqual([1, Buffer.of(0)])
    expect([at('').known, sum.get(), made.currentKey]).toEqual([true, 2, Buffer.of(1)])
    made.setKeyInState(Buffer.of(0))
    expect(sum.get()).toBe(1)
    made.setKeyInState(Buffer.of(1))
    expect(sum.get()).toBe(2)
  })

  test('bytes that are no UTF-8 are the key that they are read as', () => {
    const { made } = store(utf8 as Serde<unknown>)
    const sum = (made.handles as { sum: { get(): number; set(value: number): void } }).sum
    for (const broken of [Buffer.from([0xff]), Buffer.from([0xfe])]) {
      const hash = hashOf(broken, 0, 1)
      if (!made.findKey(broken, 0, 1, hash)) made.setKey(utf8.decode(broken, 0, 1))
      sum.set(sum.get() + 1)
    }
    expect(sum.get()).toBe(2)
  })

  test('a slot that is released and taken by another key is not found by the bytes of the first', () => {
    const { made, at } = store(utf8 as Serde<unknown>)
    at('a').sum.set(1)
    at('a')
    expect(at('a').known).toBe(true)
    made.freeze(ignoring, 0, 0)
    made.encode(() => false)
    at('a').sum.clear()
    made.freeze(ignoring, 0, 0)
    made.encode(() => false)
    at('b').sum.set(7)
    expect(made.slotCount).toBe(1)
    expect(at('a').sum.get()).toBe(0)
    expect(at('b').sum.get()).toBe(7)
  })
})

test('NaN is a number like others, and no number is none', () => {
  const { at } = store(utf8 as Serde<unknown>)
  at('a').sum.set(Number.NaN)
  expect(at('a').sum.get()).toBe(Number.NaN)
  at('a').sum.set(-0)
  expect(at('a').sum.get()).toBe(-0)
  at('a').sum.clear()
  expect(at('a').sum.get()).toBe(0)
  expect(() => at('a').sum.set('1' as never)).toThrow("state 'sum': a number expected, string found")
})

test('bytes are kept as a copy: the response that they came in may go', () => {
  const made = new HeapStore(
    'op',
    { last: valueState(bytes), all: listState(bytes), by: mapState(bytes, bytes) },
    bytes as Serde<unknown>,
  )
  const { last, all, by } = made.handles as {
    last: { get(): Buffer; set(value: Buffer): void }
    all: { get(): Buffer[]; add(value: Buffer): void; set(values: Buffer[]): void }
    by: { set(key: Buffer, value: Buffer): void; entries(): Iterable<[Buffer, Buffer]> }
  }
  const response = Buffer.alloc(1_000, 'x')
  const view = (): Buffer => response.subarray(10, 12)
  made.setKey(view())
  last.set(view())
  all.set([view()])
  all.add(view())
  by.set(view(), view())
  response.fill('y')
  const kept = [made.currentKey, last.get(), ...all.get(), ...[...by.entries()].flat()]
  expect(kept).toHaveLength(6)
  for (const each of kept) expect(String(each)).toBe('xx')
})

test('what the rows of a store keep survives their growth, for more numbers than a word has bits', () => {
  const names = Array.from({ length: 70 }, (_, n) => `n${n}`)
  const made = new HeapStore(
    'op',
    Object.fromEntries(names.map((name) => [name, valueState(f64)])),
    utf8 as Serde<unknown>,
  )
  const handles = made.handles as Record<string, { get(): number | undefined; set(value: number): void; clear(): void }>
  const numberOf = (key: number, n: number): number | undefined => ((key + n) % 3 === 0 ? undefined : key * 100 + n)
  for (let key = 0; key < 300; key++) {
    made.setKey(`${key}`)
    for (const [n, name] of names.entries()) {
      handles[name]?.set(key * 100 + n)
      if (numberOf(key, n) === undefined) handles[name]?.clear()
    }
  }
  for (let key = 0; key < 300; key++) {
    made.setKey(`${key}`)
    for (const [n, name] of names.entries()) expect(handles[name]?.get()).toBe(numberOf(key, n))
  }
})

test.each([1, 24, 25, 127, 128, 1_000])('rows of one key of %i bytes are restored, the key written once', (length) => {
  const descriptors = { a: valueState(f64), b: valueState(f64), c: valueState(utf8) }
  const made = new HeapStore('op', descriptors, utf8 as Serde<unknown>)
  const handlesOf = (store: HeapStore) =>
    store.handles as Record<'a' | 'b', { get(): number; set(value: number): void }> &
      Record<'c', { get(): string; set(value: string): void }>
  const keys = ['q', 'w'].map((letter) => letter.repeat(length))
  for (const [n, key] of keys.entries()) {
    made.setKey(key)
    const { a, b, c } = handlesOf(made)
    a.set(n)
    b.set(-n)
    c.set(`text ${n}`)
  }
  const writer = new SegmentWriter()
  made.freeze(writer, 0, 0)
  while (!made.encode(() => true));
  const segment = Buffer.concat(writer.finish('keep-empty') ?? [])
  expect(segment.toString('latin1').split('q'.repeat(length)).length - 1).toBe(1)
  const restored = new HeapStore('op', descriptors, utf8 as Serde<unknown>)
  replaySegment(segment, (identity) => restored.replay.target(identity))
  for (const [n, key] of keys.entries()) {
    restored.setKey(key)
    const { a, b, c } = handlesOf(restored)
    expect([a.get(), b.get(), c.get()]).toEqual([n, -n, `text ${n}`])
  }
})
