/**
 * Goal: the bench calls an output exact only if it is. Method: outputs made from a small input, right in every order that is
 * allowed and wrong in every way that matters, given to the checks through a reader of lists.
 */
import { describe, expect, test } from '@jest/globals'
import { expectBytes } from '../../bench/output-check.ts'
import { scenarioOf } from '../../bench/scenarios/all.ts'
import { lengthened } from '../../bench/throughput-series.ts'
import type { Reader } from '../../checker/reader.ts'
import type { RecordChunk } from '../../checker/record-log.ts'

type Entry = readonly [key: string, value: string]
/** By partition. */
type Topic = readonly (readonly Entry[])[]

function readerOf(topics: Readonly<Record<string, Topic>>): Reader {
  return {
    kind: 'raw',
    async readToEnd(names, onChunk) {
      for (const name of names) {
        for (const [partition, entries] of (topics[name] ?? []).entries()) {
          const record = (index: number) => {
            const [key, value] = entries[index] ?? ['', '']
            return { key: Buffer.from(key), value: Buffer.from(value) }
          }
          onChunk({ partition, count: entries.length, record } as unknown as RecordChunk)
        }
      }
    },
    follow: () => Promise.reject(new Error('not used here')),
  }
}

const bid = (auction: number, bidder: number, price: number): Entry => [
  String(auction),
  JSON.stringify({ auction, bidder, price }),
]

/** Bidder 7 gave 10 and 30, bidder 8 gave 20 and 5. */
const input: Topic = [
  [bid(1, 7, 10), bid(2, 8, 20)],
  [bid(3, 7, 30), bid(4, 8, 5)],
]

const totals = (bidder: string, count: number, sum: number, max: number): Entry => [
  bidder,
  JSON.stringify({ bidder, count, sum, max }),
]

async function verdictOn(output: Topic): Promise<boolean> {
  const expected = await scenarioOf('W4').expect(readerOf({ input, output }), 'input')
  expect(expected.records).toBe(4)
  return (await expected.check('output')).exact
}

describe('totals by another key', () => {
  const seven: readonly Entry[] = [totals('7', 1, 10, 10), totals('7', 2, 40, 30)]
  const eight: readonly Entry[] = [totals('8', 1, 20, 20), totals('8', 2, 25, 20)]

  test('are exact in any order of keys and of the prices of a key', async () => {
    expect(await verdictOn([seven, eight])).toBe(true)
    expect(await verdictOn([[...eight, ...seven]])).toBe(true)
    expect(await verdictOn([[totals('7', 1, 30, 30), totals('7', 2, 40, 30)], eight])).toBe(true)
  })

  test.each<[string, Topic]>([
    ['lost', [seven.slice(0, 1), eight]],
    ['doubled', [[...seven, ...seven.slice(1)], eight]],
    ['out of order', [seven.toReversed(), eight]],
    ['of a key in two partitions', [[...seven, ...eight.slice(0, 1)], eight.slice(1)]],
    ['with a price that nobody gave', [[totals('7', 1, 11, 11), totals('7', 2, 40, 29)], eight]],
    ['with a wrong maximum', [[totals('7', 1, 10, 10), totals('7', 2, 40, 10)], eight]],
    ['of a key that nobody has', [seven, eight, [totals('9', 1, 1, 1)]]],
    ['in another text', [seven, [['8', '{"bidder": "8","count":1,"sum":20,"max":20}'], ...eight.slice(1)]]],
  ])('an output %s is found', async (_what, output) => {
    expect(await verdictOn(output)).toBe(false)
  })
})

describe('outputs that keep their place', () => {
  test.each<[string, Topic, boolean]>([
    ['the same', input, true],
    ['swapped', [input[0]?.toReversed() ?? [], input[1] ?? []], false],
    ['in the other partition', input.toReversed(), false],
    ['lost', [input[0] ?? []], false],
  ])('%s', async (_what, output, exact) => {
    const expected = await expectBytes(readerOf({ input, output }), 'input', (_key, value) => value)
    expect((await expected.check('output')).exact).toBe(exact)
  })
})

test('a run whose window is too short is made with as many records as a power of two that makes it long enough, within limits', () => {
  expect(lengthened(1, 20_000, 20_000)).toBe(1)
  expect(lengthened(4, 30_000, 20_000)).toBe(4)
  expect(lengthened(1, 19_900, 20_000)).toBe(2)
  expect(lengthened(1, 11_000, 20_000)).toBe(4)
  expect(lengthened(1, 3_000, 20_000)).toBe(8)
  expect(lengthened(2, 6_000, 20_000)).toBe(8)
  expect(lengthened(4, 19_000, 20_000)).toBe(8)
  expect(lengthened(8, 10_000, 20_000)).toBe(8)
  expect(lengthened(1, 10, 20_000)).toBe(8)
})
