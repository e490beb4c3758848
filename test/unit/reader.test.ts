/**
 * Goal: what a fetch brought is verified before anything of it is believed, and its memory is used again only when nobody
 * reads it any more. Method: the real reader on a cluster in this process, whose fetch answers are crafted here.
 */
import { expect, test } from '@jest/globals'
import type { KafkaCluster } from '../../connectors/kafka/cluster.ts'
import { KafkaReader } from '../../connectors/kafka/reader.ts'
import { Code } from '../../connectors/kafka/wire/codes.ts'
import type { FetchedPartition, FetchRequest, FetchResponse } from '../../connectors/kafka/wire/data-requests.ts'
import { takeFrame } from '../../connectors/kafka/wire/response-memory.ts'
import { MillraceError } from '../../src/base/errors.ts'
import { operatorId } from '../../src/base/ids.ts'
import { type Logger, silentLogger } from '../../src/base/log.ts'
import type { ColumnarBatch } from '../../src/dataflow/batch.ts'
import type { ReaderElement } from '../../src/dataflow/ports.ts'
import { StreamRecord, TaskContext } from '../../src/dataflow/record.ts'
import { bytes, type Serde, utf8 } from '../../src/state/serde.ts'
import { buildBatch, forgeBatch, reseal } from '../support/batches.ts'
import { codeOf } from '../support/hostile.ts'

const frameBytes = 100_000

/** One batch of two records at `offset`, of producer 7. */
function batchAt(offset: bigint, options: { transactional?: boolean; padding?: number } = {}): Buffer {
  const value = (n: bigint): Buffer => Buffer.from(`value ${n}${' '.repeat(options.padding ?? 0)}`)
  const record = (n: bigint) => ({ timestamp: 0, key: Buffer.from('k'), value: value(n), headers: [] })
  const seal = { producerId: 7n, epoch: 0, baseSequence: 0, compression: 'none' } as const
  const batch = buildBatch([record(offset), record(offset + 1n)], {
    ...seal,
    transactional: options.transactional ?? false,
  })
  batch.writeBigInt64BE(offset, 0)
  return batch
}

function abortMarkerAt(offset: bigint): Buffer {
  // A record: key = version 0, type 0 (abort); value = version 0, coordinator epoch 0.
  const body = Buffer.from([15 * 2, 0, 0, 0, 8, 0, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0])
  body[0] = (body.length - 1) * 2
  return forgeBatch({ body, count: 1, attributes: 0x30, baseOffset: offset })
}

type Answer = { readonly records?: Buffer } & Partial<
  Pick<FetchedPartition, 'aborted' | 'code' | 'diverged' | 'lastStableOffset'>
>

/** The reader on a cluster that answers each fetch with the next of `answers`, then never again. */
class Bench {
  readonly frames: Buffer[] = []
  readonly asked: bigint[] = []
  readonly warnings: string[] = []
  readonly reader: KafkaReader
  readonly #answers: Answer[]
  topicId = 'first'
  #left: number
  #fail: (error: Error) => void = (error) => {
    throw error
  }
  #ready: () => void = () => {}

  /** Begins at 0, or at an offset that is given among the answers. */
  constructor(...told: (Answer | bigint)[]) {
    const answers = told.filter((each) => typeof each !== 'bigint')
    this.#answers = answers
    this.#left = answers.length
    const connection = { send: (_: unknown, request: FetchRequest) => this.#fetch(request) }
    const cluster = {
      topic: () => ({ id: this.topicId }),
      refreshLeaders: async () => undefined,
      leader: async () => ({ node: 1, epoch: 0 }),
      node: async () => connection,
    }
    const fail = (error: Error): void => this.#fail(error)
    const log: Logger = { ...silentLogger, warn: (_: unknown, text?: string) => void this.warnings.push(text ?? '') }
    this.reader = new KafkaReader(cluster as unknown as KafkaCluster, log, () => this.#arrived(), fail, 0)
    this.reader.assign([
      { topic: 't', partition: 0, offset: told.find((each) => typeof each === 'bigint') ?? 0n, leaderEpoch: -1 },
    ])
  }

  #fetch(request: FetchRequest): Promise<FetchResponse> {
    this.asked.push(request.partitions[0]?.offset ?? -1n)
    const answer = this.#answers.shift()
    if (!answer) return new Promise((_, reject) => (this.loseConnection = reject))
    const frame = takeFrame(frameBytes)
    this.frames.push(frame)
    answer.records?.copy(frame, 10)
    const records = answer.records ? frame.subarray(10, 10 + answer.records.length) : null
    const offsets = { highWatermark: 100n, lastStableOffset: 100n, logStartOffset: 0n }
    const row = { topic: 't', partition: 0, code: 0, ...offsets, aborted: [], diverged: null, ...answer, records }
    return Promise.resolve({ code: 0, partitions: [row], frame })
  }

  #arrived(): void {
    if (--this.#left === 0) this.#ready()
  }

  /** When all answers are there. */
  async fetched(): Promise<this> {
    if (this.#left > 0) await new Promise<void>((resolve) => (this.#ready = resolve))
    return this
  }

  loseConnection: (error: Error) => void = () => undefined

  /** When the fetch that gets no answer is under way. */
  async waiting(): Promise<void> {
    while (this.asked.length <= this.frames.length) await new Promise((resolve) => setImmediate(resolve))
  }

  /** The first error that the reader reports. */
  failed(): Promise<Error> {
    return new Promise((resolve) => (this.#fail = resolve))
  }

  poll(): ReaderElement | undefined {
    return this.reader.poll('t', 0)
  }

  batch(): ColumnarBatch {
    const element = this.poll()
    if (element?.kind !== 'batch') throw new Error(`a batch expected, ${element?.kind} found`)
    return element.batch
  }
}

const recordOf = (batch: ColumnarBatch, serde: Serde<unknown>, index = 0): StreamRecord =>
  new StreamRecord(
    { operator: operatorId('in'), context: new TaskContext(operatorId('in')), key: serde, value: serde, ahead: null },
    batch,
    index,
  )

const flipped = (batch: Buffer): Buffer => {
  batch[batch.length - 1] = (batch[batch.length - 1] ?? 0) ^ 1
  return batch
}

test('nothing behind a damaged batch is given, of the same response or of a later one', async () => {
  const first = { records: Buffer.concat([batchAt(0n), flipped(batchAt(2n)), batchAt(4n)]) }
  const bench = await new Bench(first, { records: batchAt(6n) }).fetched()
  expect(bench.asked.slice(0, 2)).toEqual([0n, 6n])
  expect(bench.batch().nextOffset).toBe(2n)
  expect(codeOf(() => bench.poll())).toBe('BATCH_CORRUPT')
  expect(bench.poll()).toBeUndefined()
  expect(bench.poll()).toBeUndefined()
  bench.reader.stop()
})

test('a damaged batch is noticed even if it is of an aborted transaction or lies before the position', async () => {
  const aborted = [{ producerId: 7n, firstOffset: 0n }]
  const dropped = await new Bench({ records: flipped(batchAt(0n, { transactional: true })), aborted }).fetched()
  expect(() => dropped.poll()).toThrow('checksum')
  const passed = await new Bench({ records: Buffer.concat([flipped(batchAt(0n)), batchAt(2n)]) }, 2n).fetched()
  expect(() => passed.poll()).toThrow('checksum')
  for (const bench of [dropped, passed]) bench.reader.stop()
})

test('offsets that no checksum covers must rise: a batch that claims an earlier one stops the partition', async () => {
  const early = batchAt(4n)
  early.writeBigInt64BE(0n, 0)
  const backwards = batchAt(0n)
  backwards.writeInt32BE(-1, 23)
  for (const last of [early, reseal(backwards)]) {
    const bench = new Bench({ records: Buffer.concat([batchAt(0n), batchAt(2n), last]) })
    expect(await bench.failed()).toMatchObject({ code: 'BATCH_CORRUPT' })
    bench.reader.stop()
  }
})

test.each([
  ['out of range', { code: Code.OFFSET_OUT_OF_RANGE }],
  ['a truncated log', { diverged: { epoch: 1, endOffset: 1n } }],
])('a position from a damaged batch is told as damage, not as %s', async (_, refusal) => {
  const damaged = batchAt(2n)
  damaged.writeInt32BE(2 ** 30, 23)
  const bench = new Bench({ records: Buffer.concat([batchAt(0n), damaged]) }, refusal)
  expect(await bench.failed()).toMatchObject({ code: 'BATCH_CORRUPT' })
  expect(bench.asked[1]).toBe(2n + 2n ** 30n + 1n)
  expect(bench.poll()).toBeUndefined()
  bench.reader.stop()
})

test('batches of an aborted transaction and markers are progress; what follows the marker is read', async () => {
  const aborted = [{ producerId: 7n, firstOffset: 0n }]
  const records = Buffer.concat([
    batchAt(0n, { transactional: true }),
    abortMarkerAt(2n),
    batchAt(3n, { transactional: true }),
  ])
  const bench = await new Bench({ records, aborted }).fetched()
  expect(bench.poll()).toMatchObject({ kind: 'progress', nextOffset: 2n })
  expect(bench.poll()).toMatchObject({ kind: 'progress', nextOffset: 3n })
  expect(recordOf(bench.batch(), utf8).value).toBe('value 3')
  expect(bench.poll()).toBeUndefined()
  bench.reader.stop()
})

test('the memory of a response is used again when all its batches are released and it is read to its end', async () => {
  const bench = await new Bench({ records: Buffer.concat([batchAt(0n), batchAt(2n)]) }).fetched()
  const [frame] = bench.frames
  const free = (): boolean => {
    const taken = takeFrame(frameBytes)
    return taken === frame
  }
  const [one, two] = [bench.batch(), bench.batch()]
  one.release()
  expect(bench.poll()).toBeUndefined()
  expect(free()).toBe(false)
  two.release()
  expect(free()).toBe(true)
  bench.reader.stop()
})

test('a batch of which somebody has a view keeps its memory; headers and decoded values are copies', async () => {
  const bench = await new Bench({ records: batchAt(0n) }).fetched()
  const batch = bench.batch()
  const view = recordOf(batch, bytes).value as Buffer
  expect(bench.poll()).toBeUndefined()
  batch.release()
  expect(takeFrame(frameBytes)).not.toBe(bench.frames[0])
  expect(view.toString()).toBe('value 0')
  bench.reader.stop()
})

test('a record that is read after its batch was released says so, with the remedy', async () => {
  const bench = await new Bench({ records: batchAt(0n) }).fetched()
  const batch = bench.batch()
  const [decoded, kept] = [recordOf(batch, utf8), recordOf(batch, utf8, 1)]
  expect(decoded.value).toBe('value 0')
  batch.release()
  expect(decoded.value).toBe('value 0')
  for (const part of ['value', 'key', 'timestamp', 'offset', 'headers'] as const)
    expect(codeOf(() => kept[part])).toBe('CALL_OVER')
  expect(() => kept.value).toThrow('t-0@0 was read after the function that got it had returned')
  expect(() => batch.release()).toThrow('released twice')
  bench.reader.stop()
})

test('a transaction that stays open is told, with the offset and the remedy; one that moves on is not', async () => {
  const first = { records: batchAt(0n), lastStableOffset: 2n }
  const moving = new Bench(first, { lastStableOffset: 2n }, { lastStableOffset: 5n }, 0n)
  await moving.waiting()
  expect(moving.warnings).toEqual([])
  const stuck = new Bench(first, { lastStableOffset: 2n }, { lastStableOffset: 2n }, { lastStableOffset: 2n })
  await stuck.waiting()
  expect(stuck.warnings.length).toBeGreaterThan(0)
  expect(stuck.warnings[0]).toMatch(/t-0: for 0 s a transaction at offset 2 has been open.*find-hanging --topic t/)
  for (const bench of [moving, stuck]) bench.reader.stop()
})

test('a topic that was created again while its leader was looked for is not read on', async () => {
  const bench = await new Bench({ records: batchAt(0n) }).fetched()
  const failed = bench.failed()
  await bench.waiting()
  bench.topicId = 'second'
  bench.loseConnection(new MillraceError('KAFKA_CONNECTION_LOST', 'the broker went away'))
  expect(await failed).toMatchObject({ code: 'TOPIC_ID_CHANGED', message: expect.stringContaining('millrace reset') })
  bench.reader.stop()
})
