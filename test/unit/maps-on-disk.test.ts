/**
 * Goal: a map in pages is what a Map says, whatever is put, deleted and cleared over several batches, and however small its pages are; and
 * who knows its pages from an earlier time never takes anything else for what he looks for. Method: random changes against Maps on
 * a real LevelDB.
 */
import { expect, test } from '@jest/globals'
import fc from 'fast-check'
import { type MapPage, readMap, readMapHead } from '../../src/state/collections.ts'
import { MapWrite, readMapPage } from '../../src/state/leveldb/maps.ts'
import { Puts } from '../../src/state/leveldb/puts.ts'
import { levelDatabase, written } from '../support/level-database.ts'

const db = levelDatabase()

const key = fc.oneof(
  fc.nat(40).map((n) => `k${String(n).padStart(2, '0')}`),
  fc.constantFrom('', '\0', '\xff', 'k'),
)
const change = fc.oneof(
  { weight: 12, arbitrary: fc.record({ do: fc.constant('put' as const), key, length: fc.nat(30) }) },
  { weight: 8, arbitrary: fc.record({ do: fc.constant('delete' as const), key }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('clear' as const) }) },
)
const batches = fc.array(fc.array(change, { maxLength: 40 }), { maxLength: 6 })

let maps = 0
let refused = 0
let found = 0

test('over any number of batches, a map in pages is what a Map says', async () => {
  const property = fc.asyncProperty(batches, fc.constantFrom(1, 40, 200, 4_096), async (all, pageBytes) => {
    const name = Buffer.from(`map ${maps++} `)
    const model = new Map<string, string>()
    let known: readonly MapPage[] = []
    for (const changes of all) {
      const before = new Map(model)
      const puts = new Puts()
      const map = new MapWrite(db(), puts, name, pageBytes)
      for (const each of changes) {
        if (each.do === 'clear') {
          map.clear()
          model.clear()
        } else if (each.do === 'put') {
          map.put(each.key, Buffer.from('v'.repeat(each.length)))
          model.set(each.key, 'v'.repeat(each.length))
        } else {
          map.delete(each.key)
          model.delete(each.key)
        }
      }
      map.finish()
      puts.sort()
      await written(db(), puts)
      await agrees(name, model)
      for (const page of known) stillRight(name, page, before, model)
      known = pagesOf(name)
    }
  })
  await fc.assert(property, { numRuns: 400 })
  expect(refused).toBeGreaterThan(50)
  expect(found).toBeGreaterThan(50)
})

function pagesOf(name: Buffer): readonly MapPage[] {
  const bytes = db().get(name)
  const head = bytes && readMapHead(bytes)
  return head && !head.pairs ? head.pages : []
}

const isIn = (key: string, { from, to }: MapPage): boolean => key >= from && (to === null || key < to)
const within = (model: Map<string, string>, page: MapPage): unknown[] =>
  [...model].filter(([key]) => isIn(key, page)).sort(([a], [b]) => (a < b ? -1 : 1))

/** A page of an earlier time has all that is within its bounds now, or says that it has not. */
function stillRight(name: Buffer, page: MapPage, before: Map<string, string>, model: Map<string, string>): void {
  const pairs = readMapPage(db(), name, page)
  const isUntouched = JSON.stringify(within(before, page)) === JSON.stringify(within(model, page))
  if (!pairs) {
    refused++
    return
  }
  if (!isUntouched) return
  found++
  const inside = [...readMap(pairs)].filter(([key]) => isIn(key, page)).map(([key, value]) => [key, value.toString()])
  expect(inside).toEqual(within(model, page))
}

/** Nothing but the map stands under its name; its head, and each page by its bounds, has what is there. */
async function agrees(name: Buffer, model: Map<string, string>): Promise<void> {
  const bytes = db().get(name)
  expect(bytes === undefined).toBe(model.size === 0)
  let entries = 0
  const end = Buffer.concat([name, Buffer.from([255, 255, 255, 255, 255])])
  for await (const some of db().entries(name, end)) entries += some.length
  const head = bytes && readMapHead(bytes)
  if (!head || head.pairs) expect(entries).toBe(head ? 1 : 0)
  else expect([entries, head.count]).toEqual([head.pages.length + 1, model.size])
  const pages = head ? (head.pairs ? [head.pairs] : head.pages.map((page) => readMapPage(db(), name, page))) : []
  expect(pages).not.toContain(undefined)
  const read = pages.flatMap((pairs) => [...readMap(pairs as Buffer)])
  expect(read.map(([key, value]) => [key, value.toString()])).toEqual([...model].sort(([a], [b]) => (a < b ? -1 : 1)))
}
