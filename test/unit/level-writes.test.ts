/**
 * Goal: what a batch writes is what its changes say one after the other, though LevelDB gets them in the order of names. Method: random
 * changes of a few names, of names that differ only far behind, and of numbers that are told in part and as a whole, on a real
 * LevelDB beside a plain Map.
 */
import { expect, test } from '@jest/globals'
import fc from 'fast-check'
import { readPack } from '../../src/state/leveldb/packs.ts'
import { Puts } from '../../src/state/leveldb/puts.ts'
import { Writes } from '../../src/state/leveldb/writes.ts'
import { levelDatabase, written } from '../support/level-database.ts'

const db = levelDatabase()

const name = fc.oneof(
  fc.nat(20).map((n) => `name-${n}`),
  // Differing where nothing looks any more, and in length only.
  fc.nat(9).map((n) => `${'x'.repeat(60)}${n}`),
  fc.nat(5).map((n) => 'y'.repeat(n + 1)),
)
const change = fc.record({ name, value: fc.option(fc.string({ maxLength: 200 })) })

test('puts and deletes of a batch: the last one of each name counts', async () => {
  let round = 0
  const property = fc.asyncProperty(fc.array(change, { maxLength: 300 }), async (changes) => {
    const prefix = `${round++}/`
    const puts = new Puts()
    const model = new Map<string, string | null>()
    for (const { name, value } of changes) {
      model.set(name, value)
      if (value === null) puts.delete(Buffer.from(prefix + name))
      else puts.put(Buffer.from(prefix + name), Buffer.from(value))
    }
    puts.sort()
    await written(db(), puts)
    for (const [name, value] of model)
      expect(
        db()
          .get(Buffer.from(prefix + name))
          ?.toString() ?? null,
      ).toBe(value)
  })
  await fc.assert(property, { numRuns: 200 })
})

test('they come about in the order of their names, and all of them', async () => {
  const puts = new Puts()
  const numbers = Array.from({ length: 20_000 }, (_, i) => (i * 7_919) % 20_000)
  for (const n of numbers) puts.put(Buffer.from(`key ${n}`), Buffer.alloc(n % 100, 1))
  puts.sort()
  const seen: string[] = []
  const batch = {
    putIn: (bytes: Buffer, at: number, length: number) => seen.push(bytes.toString('latin1', at, at + length)),
  }
  while (!puts.emit(batch as never, 1_000));
  expect([...seen].sort()).toEqual(numbers.map((n) => `key ${n}`).sort())
  const inOrder = seen.filter((each, i) => i === 0 || each >= (seen[i - 1] as string)).length
  expect(inOrder).toBeGreaterThan(0.95 * seen.length)
})

const STATES = 3
const told = fc.record({
  key: fc.nat(4),
  // All of them in one go, or one.
  which: fc.constantFrom('all', 0, 1, 2),
  value: fc.option(fc.nat(1_000), { nil: undefined }),
})

test('numbers told as a whole and in part, in any order and over any batches, are what they were told last', async () => {
  let round = 0
  const property = fc.asyncProperty(fc.array(fc.array(told, { maxLength: 12 }), { maxLength: 6 }), async (batches) => {
    const prefix = `n${round++}/`
    const model = new Map<string, number>()
    const nameOf = (entry: number, key: Buffer): Buffer => Buffer.from(`${prefix}${entry}/${key}`)
    for (const rows of batches) {
      const writes = new Writes(db(), nameOf, 'again')
      for (const { key, which, value } of rows) {
        const bytes = Buffer.from(`key ${key}`)
        for (let place = 0; place < STATES; place++) {
          if (which !== 'all' && which !== place) continue
          writes.number(7, bytes, place, STATES, value)
          if (value === undefined) model.delete(`${key} ${place}`)
          else model.set(`${key} ${place}`, value)
        }
      }
      writes.finish()
      await written(db(), writes)
      for (let key = 0; key < 5; key++) {
        const found = new Map<number, number>()
        const entry = db().get(nameOf(7, Buffer.from(`key ${key}`))) ?? Buffer.alloc(0)
        readPack(entry, (place, value) => found.set(place, value))
        for (let place = 0; place < STATES; place++) expect(found.get(place)).toBe(model.get(`${key} ${place}`))
      }
    }
  })
  await fc.assert(property, { numRuns: 200 })
})
