/**
 * Goal: values parsed together are what each would be by itself, and text that is not JSON by itself is never accepted because
 * of its neighbours. Method: JSON.parse of each text is the judge, over texts that join into JSON in every way we know, and over
 * random pieces of JSON put together at random.
 */
import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { kafkaSink, kafkaSource } from '../../connectors/kafka/index.ts'
import { json, type Serde, utf8 } from '../../src/index.ts'
import { parseMany } from '../../src/state/json-many.ts'
import { TaskRunner } from '../support/task-runner.ts'
import { twicePipeline } from '../support/twice-pipeline.ts'

/** With bytes between the texts, as in a batch. */
function together(texts: readonly (string | Buffer)[]): unknown[] | undefined {
  const pieces: Buffer[] = []
  const places = new Int32Array(2 * texts.length)
  let at = 0
  for (const [index, text] of texts.entries()) {
    const bytes = Buffer.from(text)
    pieces.push(Buffer.from(']}"'), bytes)
    places[2 * index] = at + 3
    places[2 * index + 1] = at + 3 + bytes.length
    at += 3 + bytes.length
  }
  return parseMany(Buffer.concat(pieces), places, texts.length)
}

const each = (texts: readonly (string | Buffer)[]): unknown[] | undefined => {
  try {
    return texts.map((text) => JSON.parse(text.toString()))
  } catch {
    return undefined
  }
}

describe('values parsed together', () => {
  test('are those of their texts: escapes, spaces, nested objects, other letters, numbers of every kind, names twice', () => {
    const texts = [
      '{}',
      '{"a":1,"b":{"c":{}},"d":"]}"}',
      ' {"a":1}'.trim(),
      '{ "a" : "\\u005b \\n \\"" }\n\t ',
      '{"größe":"🦊","n":-0,"e":1e400,"x":0.1,"t":true,"z":null}',
      '{"a":1,"a":2,"__proto__":{"b":1}}',
    ]
    expect(together(texts)).toEqual(each(texts))
  })

  test.each([
    ['two values in one text, one value in two', ['{"a":1},{"b":2}', '{"v":1}', '{"c":"}', '{"}']],
    ['two values in one text', ['{"a":1},{"b":2}', '{"v":1}']],
    ['an object that goes on in the next text', ['{"a":{}', '{}}']],
    ['an array that goes on in the next text', ['{"a":1},{"b":2}', '{"c":[{}', '{}]}']],
    ['a name that the next text begins', ['{"a":1,"b":1}', '{"c":1', '"d":1}']],
    ['a string over the comma', ['{"a":"', '{"}']],
    ['an escape before the comma', ['{"a":"\\', '{"}']],
    ['no text', ['{"a":1}', '', '{"b":1}']],
    ['space only', ['{"a":1}', ' ', '{"b":1}']],
    ['a comma at the end', ['{"a":1},', '{"b":1}']],
    ['an array closed too early', ['{"a":1}]', '{"b":1}']],
    ['half of a letter', [Buffer.from('{"a":"ö"}').subarray(0, 7), '{"b":1}']],
  ])('none of them is accepted for its neighbours: %s', (_, texts) => {
    expect(each(texts)).toBeUndefined()
    expect(together(texts)).toBeUndefined()
  })

  test('leave arrays, numbers, strings and null to a parse of their own', () => {
    for (const text of ['{"a":[]}', '{"a":"["}', '1', '"a"', 'null', '[]']) {
      expect(together(['{"b":1}', text])).toBeUndefined()
    }
  })

  test('agree with JSON.parse of each, whatever pieces of JSON the texts are made of', () => {
    const piece = fc.constantFrom('{', '}', '{}', '[', ']', ',', ':', '"', '\\', '"a"', '"a":', '{"a":', '1', '\n', ' ')
    const text = fc.oneof(
      { weight: 2, arbitrary: fc.array(piece, { maxLength: 9 }).map((pieces) => `{${pieces.join('')}`) },
      {
        weight: 1,
        arbitrary: fc
          .dictionary(fc.string({ maxLength: 3 }), fc.jsonValue({ maxDepth: 1 }))
          .map((o) => JSON.stringify(o)),
      },
    )
    fc.assert(
      fc.property(fc.array(text, { minLength: 2, maxLength: 6 }), (texts) => {
        const values = together(texts)
        if (values) expect(values).toEqual(each(texts))
      }),
      { numRuns: 20_000 },
    )
  })
})

describe('a task that decodes ahead', () => {
  test('names the record that is no JSON, after those before it', async () => {
    const runner = new TaskRunner(twicePipeline('fail'))
    await runner.start()
    runner.feed('input', '{"n":1}', '{"n":2}', '{"n":3', '{"n":4}')
    runner.run()
    expect(runner.failures.map(String).join()).toContain('input-0@2')
    expect(runner.values).toEqual(['{"twice":2}', '{"twice":4}'])
  })

  test('skips it alone', async () => {
    const runner = new TaskRunner(twicePipeline('skip'))
    await runner.start()
    runner.feed('input', '{"n":1}', '{"n":2},{"n":2}', '{"n":[3]}', '{"n":4}', '{"n":"', '{"}')
    runner.run()
    expect(runner.values).toEqual(['{"twice":2}', '{"twice":6}', '{"twice":8}'])
  })

  test('leaves a serde that was made from json() to its own decode', async () => {
    const positive: Serde<{ n: number }> = {
      ...json<{ n: number }>(),
      decode: (from, start, end) => {
        const value = JSON.parse(from.toString('utf8', start, end)) as { n: number }
        if (value.n < 0) throw new RangeError('negative')
        return value
      },
    }
    const runner = new TaskRunner((pipeline) => {
      const source = kafkaSource({ topic: 'input', key: utf8, value: positive, onDecodeError: 'skip' })
      const sink = kafkaSink({ topic: 'output', key: utf8, value: json<unknown>() })
      pipeline
        .from('in', source)
        .map(({ n }) => n)
        .to('out', sink)
    })
    await runner.start()
    runner.feed('input', '{"n":1}', '{"n":-2}', '{"n":3}')
    runner.run()
    expect(runner.values).toEqual(['1', '3'])
  })

  test('fails at a tombstone, wherever it stands', async () => {
    const runner = new TaskRunner(twicePipeline('fail'))
    await runner.start()
    runner.feed('input', '{"n":1}', null, '{"n":3}')
    runner.run()
    expect(runner.failures.map(String).join()).toContain('input-0@1 is not json: it is null')
  })

  test('gives each branch of a fan-out a value of its own', async () => {
    const runner = new TaskRunner((pipeline) => {
      const source = pipeline.from('in', kafkaSource({ topic: 'input', key: utf8, value: json<{ n: number }>() }))
      const sink = (topic: string) => kafkaSink({ topic, key: utf8, value: json<unknown>() })
      const grow = (value: { n: number }) => {
        value.n++
        return { ...value }
      }
      source.map(grow).to('one', sink('output'))
      source.map(grow).to('two', sink('other'))
    })
    await runner.start()
    runner.feed('input', '{"n":1}', '{"n":5}', '{"n":9}')
    runner.run()
    const to = (topic: string) =>
      runner.written.map((each) => typeof each !== 'string' && each.topic === topic && each.value).filter(Boolean)
    for (const topic of ['output', 'other']) expect(to(topic)).toEqual(['{"n":2}', '{"n":6}', '{"n":10}'])
  })
})
