/**
 * Goal: the index of a checkpoint topic means the same to all who read it, whenever they begin: which files there are, whose the topic
 * is, what a purge may take. Method: records by hand, as a log would give them.
 */
import { describe, expect, test } from '@jest/globals'
import { chunksOf, type IndexRecord, keys, StoreIndex, values } from '../../connectors/kafka/store-index.ts'

type Entry = readonly [key: string | null, value: string | null]

const file = (chunks: readonly bigint[], partition = 1): string =>
  values.file({ partition, bytes: chunks.length * 10, chunkBytes: 10, checksum: '00000000', chunks })
const writing = (from: bigint, partition = 1): string =>
  values.writing({ by: 'a-0', producerId: 7n, partition, from, chunks: 2 })

/** At the offsets of their places. */
function records(...entries: readonly Entry[]): IndexRecord[] {
  return entries.map(([key, value], index) => ({ offset: BigInt(index), timestamp: 1_000 + index, key, value }))
}

function indexOf(given: readonly IndexRecord[]): StoreIndex {
  const index = new StoreIndex('store-0')
  for (const record of given) index.apply(record)
  return index
}

/** What the log cleaner may leave: of each key the last record. */
function compacted(given: readonly IndexRecord[]): IndexRecord[] {
  return given.filter(({ key }, index) => !given.slice(index + 1).some((later) => later.key === key))
}

const log = records(
  [keys.store('orders'), values.store()],
  [keys.writing('one/a'), writing(0n)],
  [keys.file('one/a'), file([0n, 1n, 5n])],
  [keys.writing('one/a'), null],
  [keys.file('one/b'), file([7n])],
  [keys.file('two/c'), file([8n, 9n], 2)],
  [keys.file('three/d'), file([10n])],
  [keys.file('three/d'), null],
  [keys.writing('four/e'), writing(10n, 2)],
)

describe('what is there', () => {
  test.each([
    ['read from the beginning', log],
    ['compacted', compacted(log)],
  ])('%s: files, the first of a name; announcements; whose it is', (_, given) => {
    const index = indexOf(given)
    expect(index.pipeline).toBe('orders')
    expect(index.position).toBe(9n)
    expect(index.names()).toEqual(['one', 'two'])
    expect(index.fileOf('one')).toMatchObject({ id: 'one/a', chunks: [0n, 1n, 5n], bytes: 30 })
    expect(index.file('one/b')).toMatchObject({ late: true })
    expect(index.filesOf('one')).toHaveLength(2)
    expect(index.fileOf('three')).toBeUndefined()
    expect(index.writings).toMatchObject([{ id: 'four/e', by: 'a-0', producerId: 7n, from: 10n, sinceMs: 1_008 }])
  })

  test('who came too late does not take the place of a file that goes', () => {
    const gone = { offset: 9n, timestamp: 0, key: keys.file('one/a'), value: null }
    const index = indexOf([...log, gone])
    expect(index.fileOf('one')).toBeUndefined()
    expect(index.names()).toEqual(['two'])
    index.apply({ offset: 10n, timestamp: 0, key: keys.file('one/f'), value: file([20n]) })
    expect(index.fileOf('one')).toMatchObject({ id: 'one/f' })
    expect(index.file('one/b')).toMatchObject({ late: true })
  })

  test('the first pipeline has the topic, however often it says so', () => {
    const index = indexOf(
      records(
        [keys.store('orders'), values.store()],
        [keys.store('other'), values.store()],
        [keys.store('orders'), values.store()],
      ),
    )
    expect([index.pipeline, index.ownerAt]).toEqual(['orders', 2n])
  })
})

test('what may be purged ends in front of the first chunk of any file, and of whatever may still be written', () => {
  const index = indexOf(log)
  expect([index.floorOf(1), index.floorOf(2), index.floorOf(3)]).toEqual([0n, 8n, undefined])
  expect([index.endOf(1), index.endOf(2), index.endOf(3)]).toEqual([11n, 10n, 0n])
  expect(index.floor).toBe(2n)
  index.apply({ offset: 9n, timestamp: 0, key: keys.file('two/c'), value: null })
  expect(index.floorOf(2)).toBe(10n)
})

test('a chunk’s offsets are kept as runs; an empty file has none', () => {
  expect(JSON.parse(file([3n, 4n, 5n, 9n])).at).toEqual([3, 3, 9, 1])
  expect(indexOf(records([keys.file('empty/a'), file([])])).fileOf('empty')).toMatchObject({ bytes: 0, chunks: [] })
  expect([chunksOf(0, 10), chunksOf(1, 10), chunksOf(10, 10), chunksOf(11, 10)]).toEqual([0, 1, 1, 2])
})

describe('what is not ours is refused, and met again by who reads on', () => {
  test.each<Entry>([
    [null, 'x'],
    ['order-1', 'paid'],
    ['order-1', null],
    ['file/without-nonce', file([1n])],
    [keys.file('one/a'), 'not JSON'],
    [keys.file('one/a'), 'null'],
    [keys.file('one/a'), '{"f":1}'],
    [keys.file('one/a'), file([1n]).replace('"bytes":10', '"bytes":1000')],
    [keys.file('one/a'), file([1n]).replace('[1,1]', '[1,1e12]')],
    [keys.writing('one/a'), '{"f":1,"by":"a-0"}'],
  ])('%s: %s', (key, value) => {
    const index = new StoreIndex('store-0')
    const [record] = records([key, value])
    const foreign = expect.objectContaining({ code: 'STORE_FOREIGN_FILE' })
    for (let times = 0; times < 2; times++) expect(() => record && index.apply(record)).toThrow(foreign)
    expect(index.position).toBe(0n)
  })

  test('a later format is told from a stranger’s record', () => {
    const [record] = records([keys.file('one/a'), '{"f":2}'])
    expect(() => record && new StoreIndex('store-0').apply(record)).toThrow(
      expect.objectContaining({ code: 'CHECKPOINT_MISMATCH', message: expect.stringContaining('store-0@0') }),
    )
  })
})
