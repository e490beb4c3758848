// Goal: what a record is made of survives (key, value, timestamp, headers, nulls, in every compression), sources begin where
// they are told to, and sinks put records where the user's functions say. Method: the command line as a child process;
// Kafka's own producer writes, and Kafka's own consumer or the checker's reader reads.
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import { fetch as fetchRaw } from '../../checker/requests.ts'
import { type JavaOutgoing, javaConsume, javaProduce } from '../../connectors/kafka/testing/index.ts'
import { Site } from '../support/site.ts'

/** By their number in a batch's attributes, from 1. */
const CODECS = ['gzip', 'snappy', 'lz4', 'zstd'] as const

let site: Site
beforeAll(async () => {
  site = await Site.open()
})
afterEach(() => site.clear())
afterAll(() => site[Symbol.asyncDispose]())

describe('sources', () => {
  const at = (timestamp: number): JavaOutgoing => ({ topic: '', value: `at ${timestamp}`, timestamp })

  test.each([
    ['earliest', 'earliest', ['at 1000', 'at 2000', 'at 3000', 'later']],
    ['latest', 'latest', ['later']],
    ['the first record at a timestamp or after it', { timestamp: 1_500 }, ['at 2000', 'at 3000', 'later']],
    ['a timestamp that is still to come', { timestamp: 9_000_000_000_000 }, ['later']],
  ] as const)('a pipeline that has never run begins at %s', async (_, start, expected) => {
    const subject = await site.subject('copy', { source: { start } })
    await site.send([1_000, 2_000, 3_000].map((timestamp) => ({ ...at(timestamp), topic: subject.input })))
    await subject.once()
    await subject.send(['later'])
    // From its own position now, whatever `start` says.
    await subject.once({}, { source: { start: 'earliest' } })
    expect(await subject.values()).toEqual(expected)
  })

  test('several topics are read as one stream', async () => {
    const subject = await site.subject('copy', { inputs: ['several-1', 'several-2'] })
    for (const topic of subject.case.inputs) {
      await site.createTopic(topic, 2)
      await site.send(Array.from({ length: 20 }, (_, n) => ({ topic, key: `k${n}`, value: `${topic}:${n}` })))
    }
    await subject.once()
    const expected = subject.case.inputs.flatMap((topic) => Array.from({ length: 20 }, (_, n) => `${topic}:${n}`))
    expect((await subject.values()).sort()).toEqual(expected.sort())
  })
})

describe('records', () => {
  const records: Omit<JavaOutgoing, 'topic'>[] = [
    {
      key: 'k',
      value: 'v',
      timestamp: 1_234,
      headers: [
        ['h', 'x'],
        ['h', 'twice'],
        ['none', null],
        ['raw', Buffer.from([0, 255])],
      ],
    },
    { key: null, value: 'without key', timestamp: 5_678 },
    { key: 'tombstone', value: null, timestamp: 9_012 },
    { key: null, value: null, timestamp: 3_456 },
    { key: '', value: '', timestamp: 0 },
    { key: 'ü', value: Buffer.from([0, 1, 254, 255]), timestamp: 1_700_000_000_000 },
  ]

  const shown = (record: {
    readonly key?: Uint8Array | string | null
    readonly value?: Uint8Array | string | null
    readonly timestamp?: number
    readonly headers?: readonly (readonly [string, Uint8Array | string | null])[]
  }) => ({
    key: hex(record.key),
    value: hex(record.value),
    timestamp: record.timestamp,
    headers: (record.headers ?? []).map(([name, value]) => [name, hex(value)]),
  })
  const hex = (bytes: Uint8Array | string | null | undefined): string | null =>
    bytes === null || bytes === undefined ? null : Buffer.from(bytes).toString('hex')

  test('headers, timestamps, null keys and tombstones are kept as they are', async () => {
    const subject = await site.subject('bytes')
    await site.send(records.map((record) => ({ ...record, topic: subject.input })))
    await subject.once()
    const read = await javaConsume({ brokers: site.broker.brokers, topics: [subject.output] })
    expect(read.records.map(shown)).toEqual(records.map(shown))
  })

  test('gzip, snappy, lz4 and zstd are read, and written so that Kafka reads them', async () => {
    const { brokers } = site.broker
    const subject = await site.feature('codecs', { inputs: [], output: 'unused' })
    const { name } = subject.case
    const many = Array.from({ length: 300 }, (_, n) => ({
      ...records[n % 2],
      value: `value ${n} `.repeat(20),
      key: `key ${n}`,
    }))
    for (const codec of CODECS) for (const end of ['in', 'out']) await site.createTopic(`${name}-${end}-${codec}`)
    await Promise.all(
      CODECS.map((compression) => {
        const topic = `${name}-in-${compression}`
        return javaProduce(
          { brokers, compression },
          many.map((record) => ({ ...record, topic })),
        )
      }),
    )
    await subject.once({}, { inputs: CODECS.map((codec) => `${name}-in-${codec}`) })
    const topics = CODECS.map((codec) => `${name}-out-${codec}`)
    const read = await javaConsume({ brokers, topics })
    for (const [index, topic] of topics.entries()) {
      expect(read.records.filter((record) => record.topic === topic).map(shown)).toEqual(many.map(shown))
      const [first] = await fetchRaw(site.kafka, 1, [{ topic, partition: 0, offset: 0 }], 1_000)
      // The lowest three bits of a batch's attributes, at byte 21.
      expect((first?.records.readInt16BE(21) ?? 0) & 7).toBe(index + 1)
    }
  })
})

test('a sink chooses topic, key, partition and headers per record', async () => {
  const subject = await site.feature('routes', { partitions: 3 })
  await site.createTopic(`${subject.output}-2`, 2)
  const values = ['1|alpha|2|x', '2|beta|1|y', '1|gamma|1|z', '2|delta|2|x']
  await subject.send(values, 0)
  await subject.once()
  const read = [...(await site.read(subject.output)), ...(await site.read(`${subject.output}-2`))]
  const shown = read.map(({ topic, partition, key, value, headers }) => ({
    at: `${topic.replace(subject.output, 'out')}-${partition}`,
    key: String(key),
    value: String(value),
    headers: headers.map((each) => `${each.name}=${each.value}`),
  }))
  const expected = [
    {
      at: 'out-1',
      key: 'gamma',
      value: '1|gamma|1|z',
      headers: ['header=z', 'nothing=null', `from=${subject.input}-0@2`],
    },
    {
      at: 'out-2',
      key: 'alpha',
      value: '1|alpha|2|x',
      headers: ['header=x', 'nothing=null', `from=${subject.input}-0@0`],
    },
    {
      at: 'out-2-0',
      key: 'delta',
      value: '2|delta|2|x',
      headers: ['header=x', 'nothing=null', `from=${subject.input}-0@3`],
    },
    {
      at: 'out-2-1',
      key: 'beta',
      value: '2|beta|1|y',
      headers: ['header=y', 'nothing=null', `from=${subject.input}-0@1`],
    },
  ]
  expect(shown).toEqual(expected)
})

describe('keys', () => {
  test('string, number, bigint and boolean keys meet wherever their records come from; −0 is 0', async () => {
    const subject = await site.feature('keys', { partitions: 2 })
    const numbers = ['1.5', '0', '-0', '1e300']
    const sent = Array.from({ length: 40 }, (_, n) => {
      const fields = [
        `"text":"t${n % 5}"`,
        `"number":${numbers[n % 4]}`,
        `"bigint":"${-(10n ** 17n) * BigInt(n % 3)}"`,
        `"flag":${n % 2 === 0}`,
      ]
      return { topic: subject.input, partition: n % 2, value: `{${fields.join(',')}}` }
    })
    await site.send(sent)
    const cli = subject.start(['run', '--leave', '--workers', '2'])
    await cli.runs(2)
    const hops = ['text', 'number', 'bigint', 'flag'].map((name) => `${subject.group}.hop.${name}`)
    for (const topics of [[subject.input], hops]) await subject.caughtUp(cli, topics)
    expect((await cli.stop()).code).toBe(0)
    const values = (await subject.values()).sort()
    const counted = (name: string, count: number): string[] =>
      Array.from({ length: count }, (_, index) => `${name}=${index + 1}`)
    const expected = [
      ...[0, 1, 2, 3, 4].flatMap((n) => counted(`text t${n}`, 8)),
      ...counted('number 1.5', 10),
      ...counted('number 0', 20),
      ...counted('number 1e+300', 10),
      ...counted('bigint 0', 14),
      ...counted('bigint -100000000000000000', 13),
      ...counted('bigint -200000000000000000', 13),
      ...counted('flag true', 20),
      ...counted('flag false', 20),
    ]
    expect(values).toEqual(expected.sort())
  })
})
