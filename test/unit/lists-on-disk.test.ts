/**
 * Goal: a list in chunks is what an array says, whatever is appended, cut, replaced and repeated, over several batches. Method: random rows
 * against arrays on a real LevelDB; items of all lengths, so that chunks break everywhere.
 */
import { expect, test } from '@jest/globals'
import fc from 'fast-check'
import { joinItems, readHead, splitItems } from '../../src/state/collections.ts'
import { ListWrite, readList } from '../../src/state/leveldb/lists.ts'
import { Puts } from '../../src/state/leveldb/puts.ts'
import { levelDatabase, written } from '../support/level-database.ts'

const db = levelDatabase()

const item = fc
  .record({ letter: fc.constantFrom('a', 'b', 'c'), length: fc.oneof(fc.nat(20), fc.nat(3_000), fc.nat(9_000)) })
  .map(({ letter, length }) => Buffer.from(letter.repeat(length)))
const items = fc.array(item, { maxLength: 12 })
const row = fc.oneof(
  fc.record({ do: fc.constant('append' as const), back: fc.constantFrom(0, 0, 0, 1, 2, 7, 40), items }),
  fc.record({ do: fc.constant('set' as const), items }),
  fc.record({ do: fc.constant('clear' as const) }),
)
const batches = fc.array(fc.array(row, { maxLength: 6 }), { maxLength: 8 })

let lists = 0

test('in any number of batches, a list is what an array says', async () => {
  const property = fc.asyncProperty(batches, async (all) => {
    const name = Buffer.from(`list ${lists++} `)
    let model: Buffer[] = []
    for (const rows of all) {
      const puts = new Puts()
      const list = new ListWrite(db(), puts, name)
      for (const each of rows) {
        if (each.do === 'clear') {
          list.clear()
          model = []
        } else if (each.do === 'set') {
          list.set(joinItems(each.items))
          model = each.items
        } else {
          const from = Math.max(0, model.length - each.back)
          list.append(from, joinItems(each.items))
          model = [...model.slice(0, from), ...each.items]
        }
        // Of a base whose row with this key comes later: passed over.
        list.append(model.length + 1, joinItems([Buffer.from('never')]))
      }
      list.finish()
      puts.sort()
      await written(db(), puts)
      await agrees(name, model)
    }
  })
  await fc.assert(property, { numRuns: 300 })
})

/** Nothing but the list stands under its name. */
async function agrees(name: Buffer, model: readonly Buffer[]): Promise<void> {
  const head = db().get(name)
  expect(head === undefined).toBe(model.length === 0)
  const entries: Buffer[] = []
  const end = Buffer.concat([name, Buffer.from([255, 255, 255, 255, 255])])
  for await (const some of db().entries(name, end)) entries.push(...some.map(([, value]) => value))
  if (!head) return expect(entries).toEqual([])
  const read = readHead(head)
  const count = read.items ? splitItems(read.items).length : read.count
  expect(count).toBe(model.length)
  expect(readList(db(), name, count).map(String)).toEqual(model.map(String))
  const some = Math.floor(count / 2)
  expect(readList(db(), name, some)).toHaveLength(some)
  if (read.items) expect(entries).toHaveLength(1)
  else expect(read.lastStart).toBeLessThan(count)
}
