/**
 * Goal: the checker's reader without Java hides exactly the aborted records and refuses damaged bytes. Method: the filter
 * is compared with a plain simulation of transactions over random logs; a batch goes through the decoder bit by bit.
 */
import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { ByteWriter } from '../../checker/bytes.ts'
import { checksum } from '../../checker/compression.ts'
import { AbortedFilter, type BatchHeader, decodeRecords, splitBatches } from '../../checker/record-batches.ts'

/** A log of transactions as a broker would have it, and what a read_committed reader may see of it. */
interface SimulatedLog {
  readonly batches: readonly BatchHeader[]
  readonly visible: ReadonlySet<number>
  readonly aborted: readonly { producerId: bigint; firstOffset: number; lastOffset: number }[]
}

type Step = readonly [producer: number, action: 'data' | 'data' | 'plain' | 'commit' | 'abort', records: number]

function simulate(steps: readonly Step[]): SimulatedLog {
  const batches: BatchHeader[] = []
  const visible = new Set<number>()
  const aborted: { producerId: bigint; firstOffset: number; lastOffset: number }[] = []
  const open = new Map<number, number[]>()
  let offset = 0
  const append = (producer: number, size: number, transactional: boolean, control: boolean) => {
    const producerId = BigInt(producer)
    batches.push({ baseOffset: offset, lastOffset: offset + size - 1, producerId, transactional, control })
    offset += size
    return offset - size
  }
  const end = (producer: number, outcome: 'commit' | 'abort') => {
    const mine = open.get(producer)
    if (!mine) return
    open.delete(producer)
    const marker = append(producer, 1, true, true)
    if (outcome === 'commit') for (const base of mine) visible.add(base)
    else aborted.push({ producerId: BigInt(producer), firstOffset: mine[0] ?? 0, lastOffset: marker })
  }
  for (const [producer, action, size] of steps) {
    if (action === 'commit' || action === 'abort') end(producer, action)
    else if (action === 'plain') visible.add(append(100, size, false, false))
    else open.set(producer, [...(open.get(producer) ?? []), append(producer, size, true, false)])
  }
  for (const producer of [...open.keys()]) end(producer, 'commit')
  return { batches, visible, aborted }
}

describe('the aborted-transaction filter', () => {
  test('agrees with a simulation, from any start, with the list in any order', () => {
    const step = fc.tuple(
      fc.nat(3),
      fc.constantFrom('data' as const, 'data' as const, 'plain' as const, 'commit' as const, 'abort' as const),
      fc.integer({ min: 1, max: 4 }),
    )
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 80 }),
        fc.nat(),
        fc.nat(),
        fc.infiniteStream(fc.nat()),
        (steps, startSeed, lengthSeed, ranks) => {
          const log = simulate(steps)
          if (log.batches.length === 0) return
          const start = startSeed % log.batches.length
          const some = log.batches.slice(start, start + 1 + (lengthSeed % log.batches.length))
          const from = some[0]?.baseOffset ?? 0
          const to = some.at(-1)?.lastOffset ?? 0
          const listed = log.aborted
            .filter((one) => one.lastOffset >= from && one.firstOffset <= to)
            .map((one) => ({ one, rank: Number(ranks.next().value) }))
            .sort((a, b) => a.rank - b.rank)
            .map(({ one }) => one)
          const filter = new AbortedFilter(listed)
          const admitted = some.filter((batch) => filter.admits(batch)).map((batch) => batch.baseOffset)
          const expected = some.map((batch) => batch.baseOffset).filter((base) => log.visible.has(base))
          expect(admitted).toEqual(expected)
        },
      ),
      { numRuns: 2_000 },
    )
  })
})

/** A batch of one record, by hand. */
function batchBytes(baseOffset: number, value: string): Buffer {
  const zigzag = (size: number) => Buffer.from([size * 2])
  const key = Buffer.from('key')
  const body = Buffer.concat([
    Buffer.from([0, 6, 0]),
    zigzag(key.length),
    key,
    zigzag(value.length),
    Buffer.from(value),
    Buffer.from([0]),
  ])
  const record = Buffer.concat([zigzag(body.length), body])
  const checked = Buffer.concat([
    new ByteWriter().int16(0).int32(0).int64(1_000).int64(1_000).int64(-1).int16(-1).int32(-1).int32(1).toBuffer(),
    record,
  ])
  const crc = Buffer.alloc(4)
  crc.writeUInt32BE(checksum(checked))
  const head = new ByteWriter()
    .int64(baseOffset)
    .int32(9 + checked.length)
    .int32(0)
    .int8(2)
    .toBuffer()
  return Buffer.concat([head, crc, checked])
}

describe('the record-batch decoder', () => {
  const two = Buffer.concat([batchBytes(5, 'first'), batchBytes(9, 'second')])

  test('reads records with offset, timestamp, key and value, and starts inside a set', () => {
    const chunks = [...splitBatches(two)].map((batch) => decodeRecords('t', 0, batch, 6, 0))
    expect(chunks.map((chunk) => chunk.count)).toEqual([0, 1])
    const [only] = [chunks[1]?.record(0)]
    expect([only?.offset, only?.timestamp, String(only?.key), String(only?.value)]).toEqual([9, 1_003, 'key', 'second'])
  })

  test('ends quietly at a batch that is cut', () => {
    for (let length = 0; length < two.length; length++) {
      const whole = [...splitBatches(two.subarray(0, length))].length
      expect(whole).toBe(length >= batchBytes(5, 'first').length ? 1 : 0)
    }
  })

  test('refuses any flipped bit behind the checksum', () => {
    const good = batchBytes(5, 'first')
    for (let byte = 17; byte < good.length; byte++) {
      const bad = Buffer.from(good)
      bad[byte] = (bad[byte] ?? 0) ^ 0x10
      expect(() => [...splitBatches(bad)]).toThrow(expect.objectContaining({ code: 'CORRUPT_BATCH' }))
    }
  })
})
