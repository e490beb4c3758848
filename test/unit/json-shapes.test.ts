/**
 * Goal: objects of a known shape are what JSON.parse gives, and nothing else is taken for one. Method: each length of what is looked
 * at in words (the bytes around values, strings, digits) with each byte changed, JSON.parse beside it; processes that can make no code.
 */
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, jest, test } from '@jest/globals'
import { kafkaSink, kafkaSource } from '../../connectors/kafka/index.ts'
import { json, nullable, type Serde, utf8 } from '../../src/index.ts'
import { JsonProjection } from '../../src/state/json-projection.ts'
import { JsonScan } from '../../src/state/json-scan.ts'
import { JsonShape } from '../../src/state/json-shape.ts'
import { JsonShapes } from '../../src/state/json-shapes.ts'
import { readTogether, unread } from '../support/json-texts.ts'
import { TaskRunner } from '../support/task-runner.ts'
import { twicePipeline } from '../support/twice-pipeline.ts'

const root = join(import.meta.dirname, '..', '..')

/** Has seen these. */
function knowing(...texts: readonly string[]): JsonShapes {
  return taught(new JsonShapes(null, unread), texts)
}

function taught(shapes: JsonShapes, texts: readonly string[]): JsonShapes {
  for (const text of texts) {
    const window = Array.from({ length: 64 }, () => text)
    // What is not known is learned after ever more texts, and looked for ever more seldom.
    for (let i = 0; !readTogether(shapes, window); i++) expect(i).toBeLessThan(20_000)
  }
  return shapes
}

/** Among texts whose shape is known, so that it is looked at. */
function read(shapes: JsonShapes, text: string | Buffer, known: string): unknown {
  return readTogether(shapes, [text, ...Array<string>(7).fill(known)])?.[0]
}

describe('an object of a known shape', () => {
  test('has numbers of each spelling as JSON.parse has them', () => {
    const shapes = knowing('{"n":1}')
    const digits = '98765432109876543210'
    const numbers = [
      '0',
      '-0',
      '0.0',
      '-0.0',
      '0e0',
      '1e5',
      '1E-7',
      '-1.5e+3',
      '1e400',
      '0.1',
      '-12.50',
      '9007199254740993',
    ]
    for (let length = 1; length <= digits.length; length++) {
      numbers.push(digits.slice(0, length), `-${digits.slice(0, length)}`)
      for (let point = 1; point < length; point++)
        numbers.push(`${digits.slice(0, point)}.${digits.slice(point, length)}`)
      for (let zeros = 0; zeros < length; zeros++) numbers.push(`-0.${'0'.repeat(zeros)}${digits.slice(zeros, length)}`)
    }
    for (const number of numbers)
      expect([number, read(shapes, `{"n":${number}}`, '{"n":1}')]).toEqual([number, { n: JSON.parse(number) }])
    for (const wrong of [
      '00',
      '01',
      '-',
      '-01',
      '1.',
      '.5',
      '+1',
      '1e',
      '1e+',
      '1.e5',
      '- 1',
      '1 2',
      '0x1',
      'NaN',
      '1_0',
      ':',
      '/',
    ])
      expect([wrong, read(shapes, `{"n":${wrong}}`, '{"n":1}')]).toEqual([wrong, unread])
  })

  test('has strings of each length, with an escape or another letter anywhere', () => {
    const known = '{"s":"","n":1}'
    const shapes = knowing(known)
    for (let length = 0; length < 70; length++) {
      for (const piece of ['', '\\n', '\\u00e9', '\\\\', '\\"', 'ö', '🦊', '\\ud800']) {
        for (const at of new Set([0, Math.floor(length / 2), length])) {
          const text = `{"s":"${'x'.repeat(at)}${piece}${'x'.repeat(length - at)}","n":-7}`
          expect(read(shapes, text, known)).toEqual(JSON.parse(text))
        }
      }
      for (const piece of ['\n', '"', '\\', '\\x', '\\u12g4', '\\u12', '\0'])
        expect(read(shapes, `{"s":"${'x'.repeat(length)}${piece}","n":1}`, known)).toBe(unread)
    }
  })
})

describe('an object of a known shape, too,', () => {
  test('has all other values, none of them taken for its neighbour', () => {
    const known = '{"a":1,"b":1,"c":1,"d":1}'
    const shapes = knowing(known)
    const values = [
      'true',
      'false',
      'null',
      '[]',
      '{}',
      '[1,[2,{"a":[]}]]',
      '{"a":1,"__proto__":{"b":","}}',
      '"]"',
      '7',
      '1e3',
    ]
    for (const [index, a] of values.entries()) {
      for (const b of values) {
        const text = `{"a":${a},"b":${b},"c":${values[(index + 3) % values.length]},"d":${a}}`
        expect(read(shapes, text, known)).toEqual(JSON.parse(text))
      }
    }
    for (const wrong of ['tru', 'nul', 'falsey', 'undefined', '[', ']', '[1,]', '{"a"}', '1,"b":2', '"a","e":"b"', ''])
      expect(read(shapes, `{"a":1,"b":${wrong},"c":1,"d":1}`, known)).toBe(unread)
  })

  test('keeps the order of its names; names that are numbers come first, as JSON.parse has them', () => {
    for (const known of [
      '{"z":1,"a":2,"constructor":"c","toString":3}',
      '{"z":1,"7":"seven","a":2}',
      '{"7":1,"z":"last"}',
    ]) {
      const shapes = new JsonShapes(null, unread)
      for (let i = 0; i < 3; i++) readTogether(shapes, [known])
      expect(JSON.stringify(readTogether(shapes, [known])?.[0])).toBe(JSON.stringify(JSON.parse(known)))
    }
  })

  test('may be spelled with blanks and escapes, but as it was learned', () => {
    const known = ' { "a" : 1 ,\n\t"\\u0062" : "x" } \r\n'
    const shapes = knowing(known)
    expect(readTogether(shapes, [known, known.replace('1', '[22]')])).toEqual([JSON.parse(known), { a: [22], b: 'x' }])
    for (const other of [known.trim(), known.replace('\t', ' '), '{"a":1,"b":"x"}', `${known} `])
      expect(read(shapes, other, known)).toBe(unread)
  })

  test('may have objects within it', () => {
    const known = '{"a":{"b":1,"c":{"d":"x","7":[]}},"e":{ },"f":{"g":{"h":null}}}'
    const shapes = knowing(known)
    for (const text of [
      known,
      known.replace('1', '"]"').replace('"x"', '-0'),
      known.replace('{ }', '{"b":[1]}').replace('null', '{}'),
    ])
      expect(JSON.stringify(read(shapes, text, known))).toBe(JSON.stringify(JSON.parse(text)))
    for (const wrong of ['1,"x":2', '{', '1}', ''])
      expect([wrong, read(shapes, known.replace('1', wrong), known)]).toEqual([wrong, unread])
  })

  test('has arrays 64 deep, and deeper ones by JSON.parse', () => {
    const shapes = knowing('{"a":1,"b":2,"c":3}')
    const nested = (depth: number): string => `{"a":1,"b":${'['.repeat(depth)}${']'.repeat(depth)},"c":3}`
    expect(read(shapes, nested(64), '{"a":1,"b":2,"c":3}')).toEqual(JSON.parse(nested(64)))
    expect(read(shapes, nested(65), '{"a":1,"b":2,"c":3}')).toBe(unread)
  })

  test('may have objects within it that have other names each time', () => {
    const text = (i: number): string => `{"id":${i},"name":"some ${i}","tags":{"tag${i}":${i}}}`
    const shapes = new JsonShapes(null, unread)
    const window = (from: number): string[] => Array.from({ length: 64 }, (_, i) => text(from + i))
    for (let i = 0; !readTogether(shapes, window(100 * i)); i++) expect(i).toBeLessThan(10)
    expect(readTogether(shapes, window(7_000))).toEqual(window(7_000).map((each) => JSON.parse(each)))
  })
})

describe('an object of a few fields', () => {
  const known = '{"a":1,"b":{"c":[]},"d":"x","e":null}'
  const of = (...only: string[]): JsonShapes => taught(new JsonShapes(only, unread), [known])

  test('has these in their order, undefined where there is none', () => {
    const value = read(of('e', 'none', 'a', 'd'), known, known)
    expect(Object.entries(value as object)).toEqual([
      ['e', null],
      ['none', undefined],
      ['a', 1],
      ['d', 'x'],
    ])
    expect(read(of('none'), known, known)).toEqual({ none: undefined })
  })

  test('is none where another field is no JSON', () => {
    const shapes = of('a')
    expect(read(shapes, known.replace('[]', '[[],{}]').replace('"x"', '-1e5'), known)).toEqual({ a: 1 })
    for (const wrong of ['', '-', '01', '"\\x"', '"\n"', '[1,]', 'nul', '1,"a":2'])
      expect([wrong, read(shapes, known.replace('"x"', wrong), known)]).toEqual([wrong, unread])
  })
})

test('shapes of any length are told apart by each of their bytes', () => {
  for (let length = 1; length < 50; length++) {
    const known = `{"${'n'.repeat(length)}":1}`
    const shapes = knowing(known)
    expect(read(shapes, known.replace('1', '[2]'), known)).toEqual({ ['n'.repeat(length)]: [2] })
    for (let at = 0; at < known.length; at++) {
      if (known[at] === '1') continue
      const other = `${known.slice(0, at)}m${known.slice(at + 1)}`
      expect([other, read(shapes, other, known)]).toEqual([other, unread])
      expect(read(shapes, known.slice(0, at), known)).toBe(unread)
    }
    expect(read(shapes, `${known}}`, known)).toBe(unread)
  }
})

test('eight shapes are known at once, by turns', () => {
  const texts = Array.from({ length: 8 }, (_, i) => `{"${'x'.repeat(i)}":${i},"s":"${i}","y${i}":[${i}]}`)
  const shapes = knowing(...texts)
  const window = [...texts, ...texts.toReversed(), ...texts]
  expect(readTogether(shapes, window)).toEqual(window.map((text) => JSON.parse(text)))
})

test('what has ever new names is left to JSON.parse, and seldom looked at; a shape that comes later is learned', () => {
  const learned = jest.spyOn(JsonShape, 'of')
  const shapes = new JsonShapes(null, unread)
  let name = 0
  const anew = (): string[] => Array.from({ length: 64 }, () => `{"${name++}x":1}`)
  for (let i = 0; i < 1_000; i++) expect(readTogether(shapes, anew())).toBeUndefined()
  expect(learned.mock.calls.length).toBeLessThan(20)
  const window = Array.from({ length: 64 }, (_, n) => `{"n":${n}}`)
  let windows = 0
  for (; !readTogether(shapes, window); windows++) expect(windows).toBeLessThan(20_000)
  expect(readTogether(shapes, window)).toEqual(window.map((text) => JSON.parse(text)))
  learned.mockRestore()
})

test('a text without room is not learned again', () => {
  const text = `{"s":"${'x'.repeat(20_000)}","n":1}`
  const shapes = knowing('{"seldom":1}', text)
  const learned = jest.spyOn(JsonShape, 'of')
  const window = Array.from({ length: 64 }, () => text)
  for (let i = 0; i < 20; i++) expect(readTogether(shapes, window)?.at(-1)).toBe(unread)
  expect(learned).not.toHaveBeenCalled()
  learned.mockRestore()
  expect(readTogether(shapes, ['{"seldom":2}'])).toEqual([{ seldom: 2 }])
})

test('shapes that take many passes for a text are no gain', () => {
  const texts = Array.from({ length: 8 }, (_, i) => `{"id":1,"n${i}":2}`)
  const shapes = knowing(...texts)
  // They are tried the other way round: each is the last.
  const window = Array.from({ length: 64 }, (_, i) => texts[i % 8] as string)
  const windows = Array.from({ length: 20 }, () => readTogether(shapes, window))
  expect(windows.filter((values) => values === undefined).length).toBeGreaterThan(10)
})

test.each([
  ['no object', '[1]'],
  ['no JSON', '{"a":1'],
  ['an empty object', '{}'],
  ['a name that is no field like others', '{"__proto__":1}'],
  ['more names than are worth it', `{${Array.from({ length: 65 }, (_, i) => `"n${i}":1`)}}`],
  ['names longer than are worth it', `{"${'n'.repeat(5_000)}":1}`],
  ['mostly arrays', '{"a":[{"b":1},{"c":[1,2]}]}'],
  ['a name that is no field like others, in an object within it', '{"a":{"__proto__":1}}'],
  ['a name twice', '{"a":1,"b":2,"a":3}'],
  ['endless objects', `${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`],
])('%s: no shape is learned', (_, text) => {
  const shapes = new JsonShapes(null, unread)
  for (let i = 0; i < 2_000; i++) expect(readTogether(shapes, [text, text])).toBeUndefined()
})

test('a text for which there is no room is left to JSON.parse, and those beside it are read', () => {
  const known = '{"s":"","n":1}'
  const shapes = knowing(known)
  const long = (bytes: number): string => `{"s":"${'x'.repeat(bytes)}","n":2}`
  for (const bytes of [900_000, ...Array.from({ length: 400 }, (_, i) => (1 << 20) - 390 + i)]) {
    const text = long(bytes - long(0).length)
    const value = readTogether(shapes, [text, known, known, known])?.[0]
    if (value !== unread || bytes === 900_000) expect(value).toEqual(JSON.parse(text))
  }
  const lengths = [1_000, 400_000, 700_000, 2_000_000, 10]
  const values = readTogether(shapes, [known, ...lengths.map(long), known, known])
  const expected = lengths.map((length) =>
    length === 700_000 || length === 2_000_000 ? unread : { s: 'x'.repeat(length), n: 2 },
  )
  expect(values).toEqual([{ s: '', n: 1 }, ...expected, { s: '', n: 1 }, { s: '', n: 1 }])
})

test('of more shapes than are known at once those go that are found most seldom', () => {
  const often = '{"often":1}'
  const shapes = knowing(often)
  for (let i = 0; i < 20; i++) {
    const seldom = `{"seldom${i}":1}`
    for (let windows = 0; read(shapes, seldom, often) === unread; windows++) expect(windows).toBeLessThan(10_000)
    expect(read(shapes, seldom, often)).toEqual({ [`seldom${i}`]: 1 })
    expect(read(shapes, often, seldom)).toEqual({ often: 1 })
  }
})

test('what was found often once, and is no more, makes room', () => {
  const texts = (name: string): string[] => Array.from({ length: 8 }, (_, i) => `{"${name}${i}":${i}}`)
  const shapes = knowing(...texts('before'))
  for (let i = 0; i < 1_000; i++) readTogether(shapes, texts('before'))
  taught(shapes, texts('after'))
  expect(readTogether(shapes, texts('after'))).toEqual(texts('after').map((text) => JSON.parse(text)))
})

test('a shape is learned beside tombstones, which are no texts', () => {
  const shapes = new JsonShapes(null, unread)
  const windows = Array.from({ length: 8 }, () => readTogether(shapes, ['', '{"n":1}', '{"n":2}', '{"n":3}', '']))
  expect(windows.at(-1)).toEqual([unread, { n: 1 }, { n: 2 }, { n: 3 }, unread])
})

test('a shape is learned beside texts of which none can be', () => {
  const shapes = new JsonShapes(null, unread)
  const window = ['{"n":1}', '[1]', '{"n":2}', '{"n":3}', '[2]']
  for (let i = 0; !readTogether(shapes, window); i++) expect(i).toBeLessThan(1_000)
  expect(readTogether(shapes, window)).toEqual([{ n: 1 }, unread, { n: 2 }, { n: 3 }, unread])
})

test('shapes of two sources and a scan take turns in one memory', () => {
  const [one, other] = ['{"a":1,"b":"x"}', '{"longer":[1],"names":2}']
  const [ones, others, scan] = [knowing(one), knowing(other), new JsonScan(['b'])]
  for (let i = 0; i < 3; i++) {
    expect(readTogether(ones, [one, one])).toEqual([JSON.parse(one), JSON.parse(one)])
    expect(readTogether(others, [other])).toEqual([JSON.parse(other)])
    expect(scan.scan(Buffer.from(one), 0, one.length)).toBe(true)
  }
})

test('equal texts have objects of their own', () => {
  const text = '{"a":{"b":1},"c":[2],"d":"e"}'
  const [one, other] = readTogether(knowing(text), [text, text]) as { a: object; c: object }[]
  expect(one).toEqual(other)
  for (const same of [one === other, one?.a === other?.a, one?.c === other?.c]) expect(same).toBe(false)
})

const first = Array.from({ length: 200 }, (_, i) => `{"n":${i}}`)

const through = async (value: Serde<unknown>, ...records: (string | null)[]): Promise<TaskRunner> => {
  const runner = new TaskRunner((pipeline) => {
    const sink = kafkaSink({ topic: 'output', key: utf8, value: json<unknown>() })
    pipeline
      .from('in', kafkaSource({ topic: 'input', key: utf8, value, onDecodeError: 'skip' }))
      .map((read) => ({ read: read as object | null }))
      .to('out', sink)
  })
  await runner.start()
  runner.feed('input', ...first, ...records)
  runner.run()
  return runner
}

describe('a task whose records have one shape', () => {
  test('names the record that is no JSON, after those before it', async () => {
    const runner = new TaskRunner(twicePipeline('fail'))
    await runner.start()
    runner.feed('input', ...first, '{"n":7}', '{"n":8', '{"n":9}')
    runner.run()
    expect(runner.failures.map(String).join()).toContain('input-0@201')
    expect(runner.values).toEqual([...first.keys(), 7].map((n) => `{"twice":${2 * n}}`))
  })

  test('skips it alone, reads another shape and fails at no tombstone that it may skip', async () => {
    const runner = new TaskRunner(twicePipeline('skip'))
    await runner.start()
    runner.feed(
      'input',
      ...first,
      '{"n":1},{"n":2}',
      null,
      '{ "n" : 5 }',
      '{"n":6,"m":"]"}',
      '{"n":"',
      '{"}',
      '{"n":8}',
    )
    runner.run()
    expect(runner.values).toEqual([...first.keys(), 5, 6, 8].map((n) => `{"twice":${2 * n}}`))
  })
})

describe('a task whose records have one shape, too,', () => {
  test.each([
    ['whole', json()],
    ['a few fields of each', json<{ n: number }>().only('n')],
    ['or tombstones', nullable(json())],
  ])('has them read together: %s', async (_, value) => {
    const parsed = jest.spyOn(JSON, 'parse')
    const scanned = jest.spyOn(JsonProjection.prototype, 'decode')
    const { values } = await through(value)
    expect(parsed.mock.calls.length + scanned.mock.calls.length).toBeLessThan(80)
    expect(values).toEqual(first.map((text) => `{"read":${text}}`))
    for (const spy of [parsed, scanned]) spy.mockRestore()
  })

  test('of which a few fields are wanted: gives these, of another shape, too, and skips what is no object', async () => {
    const { values } = await through(json<{ n: number }>().only('n'), '{"m":1,"n":7}', '{"m":1}', '[1]', null, '{"n":8')
    expect(values.slice(-3)).toEqual(['{"read":{"n":199}}', '{"read":{"n":7}}', '{"read":{}}'])
  })

  test('and some are tombstones, which may be: they are null', async () => {
    const { values } = await through(nullable(json()), null, '{"n":7}', 'null', '', '{"m":[]}')
    expect(values.slice(-5)).toEqual(
      [199, null, 7, null, 'm'].map((n) => `{"read":${n === 'm' ? '{"m":[]}' : n === null ? null : `{"n":${n}}`}}`),
    )
  })
})

describe('a process', () => {
  const program = `
    import { JsonShapes } from './src/state/json-shapes.ts'
    const shapes = new JsonShapes(null, 'unread')
    const bytes = Buffer.from('{"a":1,"b":[2]}')
    const read = () => shapes.read(bytes, Int32Array.of(0, 15, 0, 15), 2)
    read()
    console.log(JSON.stringify(read() ?? null))`
  const run = async (text: string, ...more: string[]): Promise<string> => {
    const flags = ['--conditions=source', '--disable-warning=ExperimentalWarning', '--input-type=module', ...more]
    return (await promisify(execFile)(process.execPath, [...flags, '-e', text], { cwd: root })).stdout
  }

  test('that must make no code from texts puts objects together without', async () => {
    expect(await run(program, '--disallow-code-generation-from-strings')).toBe('[{"a":1,"b":[2]},{"a":1,"b":[2]}]\n')
  })

  test('that cannot run WebAssembly leaves all to JSON.parse', async () => {
    const without = program.replace('const shapes', 'delete globalThis.WebAssembly\n    const shapes')
    expect(await run(without)).toBe('null\n')
  })
})
