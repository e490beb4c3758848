/**
 * Goal: the checker itself can be trusted. Method: correct logs, in several interleavings, must pass; then one anomaly is
 * injected into a correct log and must be found, of the right kind, with the place where it begins.
 */
import { describe, expect, test } from '@jest/globals'
import { AnomalyCollector, type AnomalyKind, anomalyKinds, type Findings } from '../../checker/anomalies.ts'
import { bidTotalsModel } from '../../checker/models/bid-totals-model.ts'
import { keyedCountModel } from '../../checker/models/keyed-count-model.ts'
import { hashNext, hashStart, type Model } from '../../checker/models/model.ts'
import { passThroughModel } from '../../checker/models/pass-through-model.ts'
import { chunkOf, type LogRecord, PartitionLog, TopicLog } from '../../checker/record-log.ts'
import { probeHeader, replay } from '../../checker/replay.ts'
import { javaHashCode, offsetsPartitionOf } from '../../checker/requests.ts'
import { reportHanging } from '../../checker/stability.ts'
import { verdictLine, verdictOf } from '../../checker/verdict.ts'

const partitions = 3

function record(topic: string, partition: number, offset: number, key: string | null, value: object | null): LogRecord {
  const bytes = value === null ? null : Buffer.from(JSON.stringify(value))
  const timestamp = 1_700_000_000_000 + offset
  return { topic, partition, offset, timestamp, key: key === null ? null : Buffer.from(key), value: bytes, headers: [] }
}

function logOf(topic: string, records: readonly LogRecord[]): TopicLog {
  const log = new TopicLog(topic)
  for (let partition = 0; partition < partitions; partition++) {
    const mine = records.filter((one) => one.partition === partition)
    // Several chunks, as readers deliver them.
    for (let at = 0; at < mine.length; at += 7) log.add(chunkOf(topic, partition, mine.slice(at, at + 7)))
  }
  return log
}

/** A generator with a state of its own, so that a test's data is the same in every run. */
function randomInts(seed: number): (below: number) => number {
  let state = seed >>> 0
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}

/** Bids over three partitions; every tenth has no price. Offsets leave gaps where control batches would be. */
function bids(seed: number, count = 200): LogRecord[] {
  const int = randomInts(seed)
  const next = [0, 0, 0]
  return Array.from({ length: count }, (_, i) => {
    const partition = int(partitions)
    const offset = (next[partition] ?? 0) + (int(10) === 0 ? 1 : 0)
    next[partition] = offset + 1
    const value = { auction: 100 + int(9), bidder: 500 + int(4), price: i % 10 === 9 ? 0 : 1 + int(1000), channel: 'x' }
    return record('bids', partition, offset, String(value.bidder), value)
  })
}

/** A correct pipeline: reads the source partitions interleaved as `seed` says, keeps state, writes by key. */
function pipelineOutput<In, State>(inputs: readonly LogRecord[], model: Model<In, State>, seed: number): LogRecord[] {
  const int = randomInts(seed)
  const lanes = Array.from({ length: partitions }, (_, p) => inputs.filter((one) => one.partition === p))
  const states = new Map<string, State>()
  const next = [0, 0, 0]
  const output: LogRecord[] = []
  while (lanes.some((lane) => lane.length > 0)) {
    const source = lanes[int(partitions)]?.shift()
    const input = source && model.input(source)
    if (!source || input === undefined || input === null) continue
    const key = model.keyOf(input) ?? ''
    const state = states.get(key) ?? model.start()
    states.set(key, state)
    const { 'record key': _key, 'record timestamp': _timestamp, ...fields } = model.next(state, input, source)
    const partition = Math.abs(javaHashCode(key)) % partitions
    const offset = (next[partition] ?? 0) + (int(12) === 0 ? 1 : 0)
    next[partition] = offset + 1
    output.push({ ...record('totals', partition, offset, key, fields), timestamp: source.timestamp })
  }
  return output
}

function judge<In, State>(
  inputs: readonly LogRecord[],
  outputs: readonly LogRecord[],
  model: Model<In, State>,
): { findings: Findings; counts: ReturnType<typeof replay>; line: string } {
  const anomalies = new AnomalyCollector()
  const counts = replay([logOf('bids', inputs)], logOf('totals', outputs), model, anomalies)
  const findings = anomalies.findings()
  return { findings, counts, line: verdictLine(verdictOf(model.name, 'raw', counts, findings)) }
}

function kindsOf(findings: Findings): AnomalyKind[] {
  return anomalyKinds.filter((kind) => findings[kind].count > 0)
}

const where = (one: LogRecord | undefined): string => `${one?.topic}-${one?.partition}@${one?.offset}`

/** Moves the content of records to other places in the log: offsets stay where they are, contents follow `order`. */
function rearranged(
  outputs: readonly LogRecord[],
  partition: number,
  order: (mine: LogRecord[]) => LogRecord[],
): LogRecord[] {
  const mine = outputs.filter((one) => one.partition === partition)
  const moved = order([...mine]).map((one, offset) => ({ ...one, partition, offset }))
  return [...outputs.filter((one) => one.partition !== partition), ...moved]
}

/** Fields that a test changes in one output. */
function changed(one: LogRecord, fields: Record<string, unknown>): LogRecord {
  return { ...one, value: Buffer.from(JSON.stringify({ ...JSON.parse(String(one.value)), ...fields })) }
}

describe('a correct run passes', () => {
  test.each([1, 2, 3, 4, 5])('bid totals, interleaving %i of the same input', (seed) => {
    const inputs = bids(7)
    const { findings, counts, line } = judge(inputs, pipelineOutput(inputs, bidTotalsModel, seed), bidTotalsModel)
    expect(kindsOf(findings)).toEqual([])
    expect(counts).toMatchObject({ in: 200, out: 180, filtered: 20, keys: 9 })
    expect(line).toBe(
      'verdict in=200 out=180 lost=0 duplicated=0 reordered=0 hanging=0 kills=- recovery_ms_median=- recovery_ms_max=- records_per_s=-',
    )
  })

  test('the interleavings really differ, so the expected values are not the same either', () => {
    const inputs = bids(7)
    const values = [1, 2].map((seed) =>
      pipelineOutput(inputs, bidTotalsModel, seed)
        .map((one) => String(one.value))
        .sort(),
    )
    expect(values[0]).not.toEqual(values[1])
  })

  test('keyed counts, with a hash chain written down by hand', () => {
    const inputs = [0, 1, 2].map((n) => record('bids', 0, n, 'a', { k: 'a', n }))
    const h = [hashNext(hashStart, 0)]
    for (const n of [1, 2]) h.push(hashNext(h[n - 1] ?? 0, n))
    expect(h[0]).toBe(Math.imul(2166136261, 16777619) >>> 0)
    const outputs = inputs.map((one, n) => {
      return record('totals', 1, n, 'a', { k: 'a', n, h: h[n], count: n + 1, partition: 0, offset: String(one.offset) })
    })
    expect(kindsOf(judge(inputs, outputs, keyedCountModel).findings)).toEqual([])
  })

  test('pass-through with null keys and tombstones, and the checker’s own probe is no output', () => {
    const inputs = [
      record('bids', 0, 0, null, { a: 1 }),
      record('bids', 0, 2, 'k', null),
      record('bids', 1, 0, null, { b: 1 }),
    ]
    const outputs = inputs.map((one, offset) => {
      const headers = [header('src-partition', one.partition), header('src-offset', one.offset)]
      return { ...one, topic: 'totals', partition: 0, offset, headers }
    })
    const probe = { ...record('totals', 0, 3, null, {}), headers: [header(probeHeader, 'plain')] }
    const { findings, counts } = judge(inputs, [...outputs, probe], passThroughModel)
    expect(kindsOf(findings)).toEqual([])
    expect(counts.out).toBe(3)
  })
})

function header(name: string, value: number | string) {
  return { name, value: Buffer.from(String(value)) }
}

const inputs = bids(11)
const outputs = pipelineOutput(inputs, bidTotalsModel, 3)
const keyOf = (one: LogRecord) => String(one.key)
/** An output in the middle whose key has several more before and after it. */
const victim = outputs.filter((one) => one.partition === 1)[20] ?? outputs[0]
if (!victim) throw new Error('no output to spoil')
const sourceOf = (one: LogRecord) => {
  const value = JSON.parse(String(one.value))
  return `bids-${value.partition}@${value.offset}`
}

describe('a record too few, too many or out of order is found where it begins', () => {
  test('drop one', () => {
    const { findings, line } = judge(
      inputs,
      outputs.filter((one) => one !== victim),
      bidTotalsModel,
    )
    expect(findings.lost).toMatchObject({ count: 1, first: { where: sourceOf(victim) } })
    // Its effect on the key is still visible in the next output of that key.
    const next = outputs.find((one) => keyOf(one) === keyOf(victim) && one.offset > victim.offset)
    expect(findings['stale-state']).toMatchObject({ count: 1, first: { where: where(next) } })
    expect(line).toContain(' lost=2 ')
  })

  test('an input that the pipeline skipped altogether', () => {
    const skipped = inputs.find((one) => `bids-${one.partition}@${one.offset}` === sourceOf(victim))
    const rest = inputs.filter((one) => one !== skipped)
    const { findings } = judge(inputs, pipelineOutput(rest, bidTotalsModel, 3), bidTotalsModel)
    expect(kindsOf(findings)).toEqual(['lost'])
    expect(findings.lost).toMatchObject({ count: 1, first: { where: sourceOf(victim) } })
  })

  test('duplicate one', () => {
    const copy = { ...victim, offset: 5_000 }
    const { findings } = judge(inputs, [...outputs, copy], bidTotalsModel)
    expect(kindsOf(findings)).toEqual(['duplicated'])
    expect(findings.duplicated).toMatchObject({ count: 1, first: { where: where(copy) } })
  })

  test('swap two of a key', () => {
    const sameLane = (a: LogRecord, b: LogRecord) =>
      keyOf(a) === keyOf(b) && sourceOf(a).split('@')[0] === sourceOf(b).split('@')[0]
    let second = -1
    const spoiled = rearranged(outputs, victim.partition, (mine) => {
      const first = mine.indexOf(victim)
      second = mine.findIndex((one, i) => i > first && sameLane(one, victim))
      const swapped = mine[second]
      if (swapped) mine.splice(first, 1, swapped)
      mine.splice(second, 1, victim)
      return mine
    })
    const { findings } = judge(inputs, spoiled, bidTotalsModel)
    expect(second).toBeGreaterThan(0)
    expect(findings.lost.count + findings.duplicated.count).toBe(0)
    // Between the two may be others of the same lane, which then come after the later one as well.
    expect(findings.reordered.count).toBeGreaterThanOrEqual(1)
    expect(findings.reordered.first?.where.startsWith(`totals-${victim.partition}@`)).toBe(true)
    expect(findings['stale-state'].first?.where).toBe(`totals-${victim.partition}@20`)
  })

  test('swap two neighbours of a key: reported at the second', () => {
    const small = [0, 1, 2, 3].map((n) => record('bids', 0, n, 'a', { k: 'a', n }))
    const good = pipelineOutput(small, keyedCountModel, 1)
    const partition = good[0]?.partition ?? 0
    const spoiled = rearranged(good, partition, ([a, b, c, d]) => [a, c, b, d].filter((one) => one !== undefined))
    const { findings } = judge(small, spoiled, keyedCountModel)
    expect(findings.reordered).toMatchObject({ count: 1, first: { where: `totals-${partition}@2` } })
  })

  test('one key in two output partitions', () => {
    const moved = { ...victim, partition: 2, offset: 9_000 }
    const { findings } = judge(inputs, [...outputs.filter((one) => one !== victim), moved], bidTotalsModel)
    expect(findings.reordered.count).toBeGreaterThanOrEqual(1)
  })
})

describe('an output without a rightful source is found where it begins', () => {
  test('leak an aborted batch: outputs of inputs that no read_committed reader has', () => {
    const aborted = [0, 1, 2].map((i) =>
      record('bids', 2, 7_000 + i, '500', { auction: 100, bidder: 500, price: 5 + i }),
    )
    const leaked = pipelineOutput(aborted, bidTotalsModel, 1).map((one, i) => ({ ...one, offset: 6_000 + i }))
    const { findings, line } = judge(inputs, [...outputs, ...leaked], bidTotalsModel)
    expect(kindsOf(findings)).toEqual(['aborted-read'])
    expect(findings['aborted-read']).toMatchObject({ count: 3, first: { where: where(leaked[0]) } })
    expect(line).toContain(' duplicated=3 ')
  })

  test.each<[string, Partial<LogRecord>]>([
    ['an unknown source', { value: Buffer.from('{"partition":77,"offset":"1"}') }],
    ['no source at all', { value: Buffer.from('{"count":1}') }],
    ['no JSON', { value: Buffer.from('nonsense') }],
    ['a tombstone', { value: null }],
  ])('an output with %s', (_name, change) => {
    const foreign = { ...victim, offset: 6_000, ...change }
    const { findings } = judge(inputs, [...outputs, foreign], bidTotalsModel)
    expect(kindsOf(findings)).toEqual(['aborted-read'])
    expect(findings['aborted-read'].first?.where).toBe(where(foreign))
  })

  test('an output for an input that had to be filtered', () => {
    const filtered = inputs.find((one) => JSON.parse(String(one.value)).price === 0)
    const foreign = {
      ...changed(victim, { partition: filtered?.partition, offset: String(filtered?.offset) }),
      offset: 6_000,
    }
    const { findings } = judge(inputs, [...outputs, foreign], bidTotalsModel)
    expect(kindsOf(findings)).toEqual(['aborted-read'])
  })
})

describe('wrong contents are found where they begin', () => {
  test.each([
    ['hash', 1],
    ['count', 1],
    ['sum', -4],
    ['max', 0],
    ['bidsOfBidder', 99],
    ['bidder', 1],
    ['auction', 'x'],
  ] as const)('a wrong %s', (field, value) => {
    const spoiled = outputs.map((one) => (one === victim ? changed(one, { [field]: value }) : one))
    const { findings } = judge(inputs, spoiled, bidTotalsModel)
    expect(kindsOf(findings)).toEqual(['stale-state'])
    expect(findings['stale-state']).toMatchObject({ count: 1, first: { where: where(victim) } })
    expect(findings['stale-state'].first?.detail).toContain(`${field} is`)
  })

  test.each<[string, Partial<LogRecord>]>([
    ['key', { key: Buffer.from('other') }],
    ['timestamp', { timestamp: 1 }],
  ])('a wrong record %s', (name, change) => {
    const spoiled = outputs.map((one) => (one === victim ? { ...one, ...change } : one))
    const { findings } = judge(inputs, spoiled, bidTotalsModel)
    expect(findings['stale-state']).toMatchObject({ count: 1, first: { where: where(victim) } })
    expect(findings['stale-state'].first?.detail).toContain(`record ${name}`)
  })

  test('stale state: from the middle on a key goes on with an old checkpoint', () => {
    const states = new Map<string, number>()
    const spoiled = outputs.map((one) => {
      const seen = (states.get(keyOf(one)) ?? 0) + 1
      states.set(keyOf(one), seen)
      if (keyOf(one) !== keyOf(victim) || seen < 6) return one
      return changed(one, { count: seen - 3 })
    })
    const { findings } = judge(inputs, spoiled, bidTotalsModel)
    expect(kindsOf(findings)).toEqual(['stale-state'])
    expect(findings['stale-state'].count).toBe(1)
  })
})

describe('what no output shows', () => {
  test('hidden tail: the last stable offset lags, or a transaction is open', () => {
    const anomalies = new AnomalyCollector()
    const end = { topic: 'totals', highWatermark: 30 }
    reportHanging(
      [
        { ...end, partition: 0, lastStableOffset: 30 },
        { ...end, partition: 2, lastStableOffset: 12 },
      ],
      [{ transactionalId: 'millrace.x.a-0.1', producerId: 5n, state: 'Ongoing' }],
      anomalies,
    )
    const findings = anomalies.findings()
    expect(findings.hanging).toMatchObject({ count: 2, first: { where: 'totals-2@12' } })
  })

  test('an empty run is no success', () => {
    const anomalies = new AnomalyCollector()
    const counts = replay([new TopicLog('bids')], new TopicLog('totals'), bidTotalsModel, anomalies)
    expect(verdictOf('bid-totals', 'raw', counts, anomalies.findings()).ok).toBe(false)
  })
})

describe('smaller parts', () => {
  test('a partition log finds records by offset over chunks and gaps', () => {
    const log = new PartitionLog()
    const offsets = [2, 3, 7, 8, 20]
    log.add(
      chunkOf(
        't',
        0,
        offsets.slice(0, 3).map((offset) => record('t', 0, offset, 'k', { offset })),
      ),
    )
    log.add(chunkOf('t', 0, []))
    log.add(
      chunkOf(
        't',
        0,
        offsets.slice(3).map((offset) => record('t', 0, offset, null, null)),
      ),
    )
    for (let offset = 0; offset < 25; offset++) expect(log.indexOf(offset)).toBe(offsets.indexOf(offset))
    expect(offsets.map((_, i) => log.at(i).offset)).toEqual(offsets)
    expect(log.at(3).key).toBeNull()
    expect(() => log.at(5)).toThrow(RangeError)
  })

  test('a group’s offsets partition is found as the broker does', () => {
    // Values of Java's String.hashCode.
    expect([javaHashCode(''), javaHashCode('hello'), javaHashCode('polygenelubricants')]).toEqual([
      0,
      99_162_322,
      -(2 ** 31),
    ])
    expect(offsetsPartitionOf('polygenelubricants', 50)).toBe(0)
    expect(offsetsPartitionOf('hello', 50)).toBe(22)
  })
})
