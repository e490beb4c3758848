/**
 * Goal: the figures that `npm start` prints mean what they say. Method: the pure parts of the demo, fed by hand: the
 * generator repeats itself for a seed, a recovery counts from the first *new* output of the victim's partitions only.
 */
import { describe, expect, test } from '@jest/globals'
import { chunkOf, type RecordChunk } from '../../checker/record-log.ts'
import { recoveryFigures } from '../../pipelines/demo/killer.ts'
import { demoDefaults, parseDemoOptions } from '../../pipelines/demo/options.ts'
import { OutputWatch } from '../../pipelines/demo/output-watch.ts'
import { NexmarkGenerator } from '../../pipelines/nexmark/generator.ts'

describe('the Nexmark generator', () => {
  const some = (seed: number, count: number) => {
    const generator = new NexmarkGenerator({ seed, bidsPerSecond: 1_000 })
    return Array.from({ length: count }, () => generator.nextEvent())
  }

  test('gives the same events for the same seed, and others for another', () => {
    expect(some(5, 500)).toEqual(some(5, 500))
    expect(some(6, 500)).not.toEqual(some(5, 500))
  })

  test('gives 1 person, 3 auctions and 46 bids in 50 events, in rising event time at the rate asked for', () => {
    const events = some(1, 5_000)
    const count = (kind: string) => events.filter((event) => event.kind === kind).length
    expect([count('person'), count('auction'), count('bid')]).toEqual([100, 300, 4_600])
    const times = events.map((event) => (event.kind === 'bid' ? event.bid.dateTime : event.dateTime))
    expect(times).toEqual([...times].sort((a, b) => a - b))
    expect((times.at(-1) ?? 0) - (times[0] ?? 0)).toBeCloseTo(4_600, -2)
  })

  test('bids are about 200 bytes, have a price, and are skewed', () => {
    const bids = some(1, 20_000).flatMap((event) => (event.kind === 'bid' ? [event.bid] : []))
    const bytes = bids.reduce((sum, bid) => sum + JSON.stringify(bid).length, 0) / bids.length
    expect(Math.round(bytes / 20) * 20).toBe(200)
    expect(bids.every((bid) => Number.isInteger(bid.price) && bid.price >= 100 && bid.price <= 1e8)).toBe(true)
    const perAuction = new Map<number, number>()
    for (const { auction } of bids) perAuction.set(auction, (perAuction.get(auction) ?? 0) + 1)
    expect(Math.max(...perAuction.values())).toBeGreaterThan((20 * bids.length) / perAuction.size)
  })
})

function output(
  arrivedAtMs: number,
  ...sources: readonly (readonly [partition: number, offset: number])[]
): RecordChunk {
  const records = sources.map(([partition, offset], i) => {
    const value = Buffer.from(JSON.stringify({ partition, offset: String(offset) }))
    return { topic: 'bid-totals', partition: 0, offset: i, timestamp: 0, key: null, value, headers: [] }
  })
  return chunkOf('bid-totals', 0, records, arrivedAtMs)
}

describe('recovery time', () => {
  test('ends with the first output of the victim’s partitions at or above what was committed', () => {
    const watch = new OutputWatch()
    const kill = watch.expectRecovery('host-1', 4, 1_000)
    watch.setThresholds(kill, new Map([[2, 50]]))
    watch.onChunk(output(1_100, [0, 900], [1, 900])) // another worker's partitions
    watch.onChunk(output(1_200, [2, 49])) // was on its way before the kill
    expect(kill.recoveredAtMs).toBeNull()
    watch.onChunk(output(1_300, [2, 49], [2, 50]))
    watch.onChunk(output(1_400, [2, 51]))
    expect([kill.recoveredAtMs, watch.lastRecoveryMs, watch.records]).toEqual([1_300, 300, 6])
  })

  test('does not miss what came before the committed offsets were known', () => {
    const watch = new OutputWatch()
    const kill = watch.expectRecovery('host-1', 4, 1_000)
    watch.onChunk(output(1_050, [2, 40]))
    watch.onChunk(output(1_060, [2, 60]))
    watch.setThresholds(kill, new Map([[2, 50]]))
    expect(kill.recoveredAtMs).toBe(1_060)
  })

  test('figures leave out recoveries that were not seen', () => {
    const kill = (atMs: number, recoveredAtMs: number | null) => {
      return { instance: 'a', pid: 1, atMs, thresholds: new Map(), recoveredAtMs }
    }
    expect(recoveryFigures([])).toEqual({ medianMs: undefined, maxMs: undefined })
    // One that was never seen is the longest of all.
    expect(recoveryFigures([kill(0, 300), kill(0, null), kill(0, 100)])).toEqual({ medianMs: 300, maxMs: undefined })
    expect(recoveryFigures([kill(0, 300), kill(0, null)])).toEqual({ medianMs: undefined, maxMs: undefined })
    expect(recoveryFigures([kill(0, 300), kill(0, 900), kill(0, 100)])).toEqual({ medianMs: 300, maxMs: 900 })
  })
})

describe('the command line', () => {
  test('has defaults, and takes whole numbers only', () => {
    expect(parseDemoOptions([])).toEqual(demoDefaults)
    expect(parseDemoOptions(['--records', '2_000', '--kills=0']).records).toBe(2_000)
    for (const bad of [['--records', '0'], ['--rate', 'x'], ['--seed', '-1'], ['--unknown'], ['--workers', '1.5']]) {
      expect(() => parseDemoOptions(bad)).toThrow(expect.objectContaining({ code: 'USAGE' }))
    }
  })
})
