/**
 * What the output must be where records come together from several partitions: their order there is nobody's promise, so
 * that partitions cannot be compared as a whole. Each key's outputs are replayed instead: they lie in one partition, counts
 * go up from 1 without a gap, each sum grows by the price of one of the key's inputs, each maximum follows from it, the text is
 * that of these totals to the byte, and in the end every input has been used once. A record that is lost, doubled, wrong or
 * out of its key's order breaks one of these.
 */
import type { Reader } from '../checker/reader.ts'
import type { Bid } from './bids.ts'
import { type Expected, nothing, type Verdict } from './output-check.ts'

export interface KeyTotals {
  readonly count: number
  readonly sum: number
  readonly max: number
}

/** What the inputs of one key come to, in any order. */
interface KeyPrices {
  count: number
  sum: number
  max: number
  /** A sum over hashes of the prices: another multiset of prices of the same count and sum has another one. */
  prices: number
}

const none = { count: 0, sum: 0, max: 0, prices: 0 }

/** How a workload's records are grouped and written. */
export interface TotalsFormat {
  keyOf(bid: Bid): string
  /** The output's value. */
  textOf(key: string, totals: KeyTotals): string
}

export async function expectTotals(reader: Reader, input: string, format: TotalsFormat): Promise<Expected> {
  const expected = new Map<string, KeyPrices>()
  let records = 0
  await reader.readToEnd([input], (chunk) => {
    for (let index = 0; index < chunk.count; index++) {
      const bid = JSON.parse((chunk.record(index).value ?? nothing).toString()) as Bid
      take(entryOf(expected, format.keyOf(bid)), bid.price)
      records++
    }
  })
  return { records, check: (topic) => check(reader, topic, format, expected) }
}

async function check(
  reader: Reader,
  topic: string,
  { textOf }: TotalsFormat,
  expected: ReadonlyMap<string, KeyPrices>,
): Promise<Verdict> {
  const seen = new Map<string, KeyPrices>()
  const homes = new Map<string, number>()
  let recordsOut = 0
  let follows = true
  await reader.readToEnd([topic], (chunk) => {
    for (let index = 0; index < chunk.count; index++) {
      const record = chunk.record(index)
      const key = (record.key ?? nothing).toString()
      const text = (record.value ?? nothing).toString()
      const home = homes.get(key) ?? chunk.partition
      homes.set(key, home)
      const totals = entryOf(seen, key)
      take(totals, (JSON.parse(text) as KeyTotals).sum - totals.sum)
      follows &&= home === chunk.partition && textOf(key, totals) === text
      recordsOut++
    }
  })
  return { exact: follows && sameTotals(seen, expected), recordsOut }
}

function entryOf(entries: Map<string, KeyPrices>, key: string): KeyPrices {
  let entry = entries.get(key)
  if (!entry) {
    entry = { ...none }
    entries.set(key, entry)
  }
  return entry
}

function take(entry: KeyPrices, price: number): void {
  entry.count++
  entry.sum += price
  entry.max = Math.max(entry.max, price)
  entry.prices = (entry.prices + hash(price)) >>> 0
}

/** Murmur's last steps: every bit of a price reaches every bit of its hash. */
function hash(price: number): number {
  let mixed = Math.imul(price ^ (price >>> 16), 0x85ebca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
  return mixed ^ (mixed >>> 16)
}

function sameTotals(seen: ReadonlyMap<string, KeyPrices>, expected: ReadonlyMap<string, KeyPrices>): boolean {
  if (seen.size !== expected.size) return false
  for (const [key, { count, sum, max, prices }] of expected) {
    const other = seen.get(key)
    if (other?.count !== count || other.sum !== sum || other.max !== max || other.prices !== prices) return false
  }
  return true
}
