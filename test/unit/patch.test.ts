/**
 * Goal: `patch` is the same as a `map` that spreads the value and sets fields, wherever it stands in a chain. Method: one task
 * of a small pipeline over logs in memory; where the short way is possible, the input is spelled so that its output shows it.
 */
import { describe, expect, test } from '@jest/globals'
import { kafkaSink, kafkaSource } from '../../connectors/kafka/index.ts'
import { json, nullable, type PipelineBuilder, type Serde, type Stream, utf8 } from '../../src/index.ts'
import { TaskRunner } from '../support/task-runner.ts'

interface Bid {
  readonly price: number
  readonly item?: string
}

const text = '{ "price":20, "id":12345678901234567890 }'
const source = (p: PipelineBuilder, onDecodeError: 'fail' | 'skip' = 'fail'): Stream<Bid, string> =>
  p.from('in', kafkaSource({ topic: 'input', key: utf8, value: json<Bid>(), onDecodeError }))
const sink = kafkaSink({ topic: 'output', key: utf8, value: json<unknown>() }) as never

async function outputs(build: (p: PipelineBuilder) => void, ...values: string[]): Promise<(string | null)[]> {
  const { written } = await ran(build, ...values)
  return written.map((row) => (typeof row === 'string' ? row : row.value))
}

async function ran(build: (p: PipelineBuilder) => void, ...values: string[]): Promise<TaskRunner> {
  const runner = new TaskRunner(build)
  await runner.start()
  runner.feed('input', ...values)
  runner.run()
  return runner
}

const fee = ({ price }: { price: number }): { fee: number } => ({ fee: price / 40 })
/** The text, its fee set and nothing else touched. */
const short = '{ "price":20, "id":12345678901234567890,"fee":0.5 }'
/** The same by way of an object. */
const long = '{"price":20,"id":12345678901234567000,"fee":0.5}'

describe('the rest of the text is copied', () => {
  test.each<[string, (stream: Stream<Bid, string>) => Stream<never, string>]>([
    ['from source to sink', (s) => s.patch(['price'], fee) as never],
    ['behind a filter that looks at the value', (s) => s.filter((v) => v.price > 0).patch(['price'], fee) as never],
    ['in front of one', (s) => s.patch(['price'], fee).filter((v) => v.fee === 0.5 && v.price === 20) as never],
    [
      'by two patches, the second reading what the first set',
      (s) =>
        s
          .patch(['price'], ({ price }) => ({ price: price + 1, fee: 0 }))
          .patch(['price', 'fee'], ({ price, fee: none }) => ({ price: price - 1, fee: none + 0.5 })) as never,
    ],
    [
      'by two patches with a look between',
      (s) =>
        s
          .patch([], () => ({ fee: 9 }))
          .filter((v) => v.fee === 9)
          .patch(['fee'], (v) => ({ fee: v.fee / 18 })) as never,
    ],
  ])('%s', async (_, build) => {
    expect(await outputs((p) => build(source(p)).to('out', sink), text)).toEqual([short])
  })

  test('for each branch its own', async () => {
    const build = (p: PipelineBuilder): void => {
      const bids = source(p).patch([], () => ({ fee: 1 }))
      bids.patch(['fee'], (v) => ({ fee: v.fee + 1 })).to('one', sink)
      bids.to('two', sink)
      bids.map((v) => v.fee).to('three', sink)
    }
    const rows = await outputs(build, '{"price": 1}')
    expect(rows).toEqual(['{"price": 1,"fee":2}', '{"price": 1,"fee":1}', '1'])
  })

  test('into a repartition topic', async () => {
    const build = (p: PipelineBuilder): void => {
      source(p)
        .patch(['price'], fee)
        .keyBy('by', (v) => v.fee)
        .to('out', kafkaSink({ topic: 'output', key: json<number>(), value: json<unknown>() }) as never)
    }
    expect(await outputs(build, text)).toEqual([short])
  })
})

describe('between queues, each record has its own fields', () => {
  /** One object for all records: what a map would give must not depend on when it is looked at. */
  const reused = (): ((v: { price: number }) => { fee: number }) => {
    const out = { fee: 0 }
    return ({ price }) => {
      out.fee = price
      return out
    }
  }
  const three = ['{"price":1}', '{"price":2}', '{"price":3}']

  test('asyncMap', async () => {
    const runner = new TaskRunner((p) =>
      source(p)
        .patch(['price'], reused())
        .asyncMap('later', async (v) => ({ seen: v.fee }), { capacity: 1 })
        .to('out', sink),
    )
    await runner.start()
    runner.feed('input', ...three)
    const arrived = (): number => runner.written.length
    for (let turn = 0; turn < 100 && arrived() < 3; turn++) {
      runner.run()
      await new Promise(setImmediate)
    }
    expect(runner.written.map((row) => (row as { value: string }).value)).toEqual(
      three.map((_, i) => `{"seen":${i + 1}}`),
    )
  })

  test('union', async () => {
    const build = (p: PipelineBuilder): void => {
      const bids = source(p).patch(['price'], reused())
      bids
        .filter((v) => v.price !== 2)
        .union(bids.filter((v) => v.price === 2))
        .to('out', sink)
    }
    const rows = await outputs(build, ...three)
    expect(rows.toSorted()).toEqual(three.map((text, i) => `${text.slice(0, -1)},"fee":${i + 1}}`))
  })

  test('a keyed operator', async () => {
    const build = (p: PipelineBuilder): void =>
      source(p)
        .patch(['price'], reused())
        .keyByRecordKey()
        .withState({})
        .map('seen', (v) => v.fee)
        .to('out', sink)
    expect(await outputs(build, ...three)).toEqual(['1', '2', '3'])
  })
})

describe('it is a map where no text can be copied', () => {
  const words: Serde<unknown> = {
    id: 'words',
    nullable: false,
    encode: (value, out) => out.utf8(`words ${JSON.stringify(value)}`),
    decode: (bytes, start, end) => JSON.parse(bytes.toString('utf8', start, end)) as unknown,
  }

  test('behind a map', async () => {
    const build = (p: PipelineBuilder): void =>
      source(p)
        .map((v) => ({ ...v }))
        .patch(['price'], fee)
        .to('out', sink)
    expect(await outputs(build, text)).toEqual([long])
  })

  test('in front of a map', async () => {
    const build = (p: PipelineBuilder): void =>
      source(p)
        .patch(['price'], fee)
        .map((v) => ({ ...v, more: 1 }))
        .to('out', sink)
    expect(await outputs(build, text)).toEqual([`${long.slice(0, -1)},"more":1}`])
  })

  test('to a sink of another format, and from a source of another', async () => {
    const other = kafkaSink({ topic: 'output', key: utf8, value: words }) as never
    expect(await outputs((p) => source(p).patch(['price'], fee).to('out', other), text)).toEqual([`words ${long}`])
    const from = (p: PipelineBuilder): void =>
      p
        .from('in', kafkaSource({ topic: 'input', key: utf8, value: words as Serde<Bid> }))
        .patch(['price'], fee)
        .to('out', sink)
    expect(await outputs(from, text)).toEqual([long])
  })

  test('from a source that reads a few fields only, or may give null', async () => {
    const only = (p: PipelineBuilder): void =>
      p
        .from('in', kafkaSource({ topic: 'input', key: utf8, value: json<Bid>().only('price') }))
        .patch(['price'], fee)
        .to('out', sink)
    expect(await outputs(only, text)).toEqual(['{"price":20,"fee":0.5}'])
    const maybe = (p: PipelineBuilder): void =>
      p
        .from('in', kafkaSource({ topic: 'input', key: utf8, value: nullable(json<Bid>()) }))
        .filter((v) => v !== null)
        .patch(['price'], fee)
        .to('out', sink)
    expect(await outputs(maybe, text)).toEqual([long])
  })

  test('a field called toJSON decides how the object is written', async () => {
    const build = (p: PipelineBuilder): void =>
      source(p)
        .patch(['price'], ({ price }) => ({ toJSON: () => price }))
        .to('out', sink)
    expect(await outputs(build, text)).toEqual(['20'])
  })

  test('a field set to undefined is left out', async () => {
    const build = (p: PipelineBuilder): void =>
      source(p)
        .patch([], () => ({ price: undefined, a: 1 }))
        .to('out', sink)
    expect(await outputs(build, text, '{}')).toEqual(['{"id":12345678901234567000,"a":1}', '{"a":1}'])
  })
})

describe('faults', () => {
  test('a text that is not JSON is named with its record, though only one field is read', async () => {
    const runner = await ran((p) => source(p).patch(['price'], fee).to('out', sink), text, '{"price":1,"x":tru}')
    expect(runner.failures).toMatchObject([{ code: 'DECODE_FAILED', message: expect.stringContaining('input-0@1') }])
    expect(runner.written).toHaveLength(1)
  })

  test('skip passes over it', async () => {
    const build = (p: PipelineBuilder): void => source(p, 'skip').patch(['price'], fee).to('out', sink)
    expect(await outputs(build, '{"price":1,"x":tru}', text, '{')).toEqual([short])
  })

  test.each(['5', 'null', '[1]', '"text"'])('%s has no fields', async (value) => {
    const runner = await ran((p) => source(p).patch(['price'], fee).to('out', sink), value)
    const text = expect.stringMatching(/'in.patch-1'.*input-0@0.*an object with price expected/)
    expect(runner.failures).toMatchObject([{ code: 'OPERATOR_FAILED', message: text }])
  })

  test('a function that returns no object', async () => {
    const runner = await ran(
      (p) =>
        source(p)
          .patch(['price'], (() => 5) as never)
          .to('out', sink),
      text,
    )
    expect(runner.failures).toMatchObject([
      { code: 'OPERATOR_FAILED', message: expect.stringMatching(/'in.patch-1'.*input-0@0.*an object/) },
    ])
  })

  test('a value that JSON cannot write', async () => {
    const runner = await ran(
      (p) =>
        source(p)
          .patch([], () => ({ big: 1n }))
          .to('out', sink),
      text,
    )
    expect(runner.failures).toMatchObject([{ code: 'SERIALIZE_FAILED', message: expect.stringContaining('input-0@0') }])
  })

  test('a field named twice is refused before anything runs', () => {
    expect(() => new TaskRunner((p) => source(p).patch(['price', 'price'], fee).to('out', sink))).toThrow(
      expect.objectContaining({ code: 'OPTION_INVALID', message: expect.stringContaining("behind 'in'") }),
    )
  })
})
