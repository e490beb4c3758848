/**
 * Goal: a task names operator and record in every error, never passes over a record that it could not decode, and divides
 * its work at a barrier: positions, state and output of a checkpoint belong together. Method: one task of a small pipeline
 * over logs in memory, driven step by step.
 */
import { describe, expect, test } from '@jest/globals'
import { kafkaSink, kafkaSource } from '../../connectors/kafka/index.ts'
import { MemoryLedger, memorySink } from '../../connectors/memory/index.ts'
import { checkpointId } from '../../src/base/ids.ts'
import { bytes, f64, json, type PipelineBuilder, type Stream, utf8, valueState } from '../../src/index.ts'
import { TaskRunner } from '../support/task-runner.ts'

interface Value {
  readonly n: number
}

const source = (pipeline: PipelineBuilder, onDecodeError: 'fail' | 'skip' = 'fail'): Stream<Value, string> =>
  pipeline.from('in', kafkaSource({ topic: 'input', key: utf8, value: json<Value>(), onDecodeError }))
const sink = kafkaSink({ topic: 'output', key: utf8, value: json<unknown>() })

/** Its keys are three bytes long: no f64. */
const numbered = (pipeline: PipelineBuilder): Stream<Value, number> =>
  pipeline.from('in', kafkaSource({ topic: 'input', key: f64, value: json<Value>() }))
const unnumbered = kafkaSink({ topic: 'output', key: f64, value: json<number>(), keyOf: () => 1 })

const boom = (value: Value): Value => {
  if (value.n === 3) throw new Error('three!')
  return value
}
const feedFour = (runner: TaskRunner): void => runner.feed('input', '{"n":1}', '{"n":2}', '{"n":3}', '{"n":4}')

async function started(build: (pipeline: PipelineBuilder) => void): Promise<TaskRunner> {
  const runner = new TaskRunner(build)
  await runner.start()
  return runner
}

const builds: Readonly<Record<string, readonly [operator: string, (pipeline: PipelineBuilder) => void]>> = {
  map: [
    'in.map-1',
    (p) =>
      source(p)
        .map(boom)
        .to('out', sink as never),
  ],
  filter: [
    'in.filter-1',
    (p) =>
      source(p)
        .filter((value) => boom(value).n > 0)
        .to('out', sink as never),
  ],
  flatMap: [
    'in.flat-map-1',
    (p) =>
      source(p)
        .flatMap((value) => [boom(value)])
        .to('out', sink as never),
  ],
  'the iterator of flatMap': [
    'in.flat-map-1',
    (p) =>
      source(p)
        .flatMap(function* (value) {
          yield value
          yield boom(value)
        })
        .map((value) => value)
        .to('out', sink as never),
  ],
  'keyed map': [
    'counts',
    (p) =>
      source(p)
        .keyByRecordKey()
        .withState({})
        .map('counts', boom)
        .to('out', sink as never),
  ],
  'behind an emit': [
    'counts.map-1',
    (p) =>
      source(p)
        .keyByRecordKey()
        .withState({})
        .process<Value>('counts', { onRecord: (value, { emit }) => emit(value) })
        .map(boom)
        .to('out', sink as never),
  ],
  'after an emit': [
    'counts',
    (p) =>
      source(p)
        .keyByRecordKey()
        .withState({})
        .process<Value>('counts', {
          onRecord(value, { emit }) {
            emit(value)
            boom(value)
          },
        })
        .map((value) => value)
        .to('out', sink as never),
  ],
  'a sink’s keyOf': [
    'out',
    (p) =>
      source(p).to(
        'out',
        kafkaSink({ topic: 'output', key: utf8, value: json<Value>(), keyOf: (v) => String(boom(v).n) }),
      ),
  ],
}

describe('an error in a function names operator and record', () => {
  test.each(Object.entries(builds))('%s', async (_, [operator, build]) => {
    const runner = await started(build)
    feedFour(runner)
    runner.run()
    expect(runner.failures).toMatchObject([
      { code: 'OPERATOR_FAILED', cause: expect.objectContaining({ message: 'three!' }) },
    ])
    expect(runner.failures[0]?.message).toContain(`'${operator}' failed at input-0@2: `)
  })

  test('a key that cannot be one', async () => {
    const runner = await started((p) =>
      source(p)
        .keyBy('by', (value) => value.n / value.n - 1 || Number.NaN)
        .to('out', sink as never),
    )
    feedFour(runner)
    runner.run()
    expect(runner.failures).toMatchObject([
      { code: 'KEY_INVALID', message: expect.stringMatching(/'by'.*input-0@0.*NaN/) },
    ])
  })

  test('a value that the sink’s serde cannot write', async () => {
    const runner = await started((p) =>
      source(p)
        .map(() => 1n)
        .to('out', sink as never),
    )
    feedFour(runner)
    runner.run()
    expect(runner.failures).toMatchObject([
      { code: 'SERIALIZE_FAILED', message: expect.stringMatching(/'out'.*input-0@0/) },
    ])
  })
})

describe('a record that cannot be decoded', () => {
  const bad = (runner: TaskRunner): void => runner.feed('input', '{"n":1}', 'not JSON', null, '{"n":4}')
  const failed = { code: 'DECODE_FAILED', message: expect.stringContaining('input-0@1') }

  test('fails the task and names the record', async () => {
    const runner = await started((p) =>
      source(p)
        .map((value) => value.n)
        .to('out', sink as never),
    )
    bad(runner)
    runner.run()
    expect(runner.failures).toMatchObject([failed])
  })

  test('fails the task also if a function caught the error', async () => {
    const runner = await started((p) =>
      numbered(p)
        .map((_, record) => {
          try {
            return record.key
          } catch {
            return -1
          }
        })
        .to('out', unnumbered),
    )
    runner.feed('input', '{"n":1}')
    runner.run()
    expect(runner.failures).toMatchObject([
      { code: 'DECODE_FAILED', message: expect.stringContaining('key of input-0@0') },
    ])
  })

  test('fails the task if an asynchronous function caught the error of a key', async () => {
    const runner = await started((p) =>
      numbered(p)
        .asyncMap('look-up', async (_, record) => {
          await Promise.resolve()
          try {
            return record.key
          } catch {
            return -1
          }
        })
        .to('out', unnumbered),
    )
    runner.feed('input', '{"n":1}')
    runner.run()
    await new Promise((resolve) => setImmediate(resolve))
    runner.run()
    expect(runner.failures).toMatchObject([
      { code: 'DECODE_FAILED', message: expect.stringContaining('key of input-0@0') },
    ])
    expect(runner.values).toEqual([])
  })

  test('is counted and left out with `skip`, and its offset is passed', async () => {
    const runner = await started((p) =>
      source(p, 'skip')
        .map((value) => value.n)
        .to('out', sink as never),
    )
    bad(runner)
    runner.run()
    expect(runner.failures).toEqual([])
    expect(runner.values).toEqual(['1', '4'])
    expect(runner.task.recordsSkipped).toBe(2)
    expect(runner.task.positions).toMatchObject([{ offset: 4n }])
  })
})

describe('positions', () => {
  const copy = (p: PipelineBuilder): void =>
    source(p).to('out', kafkaSink({ topic: 'output', key: utf8, value: json<Value>() }))

  test('a restart inside a batch begins at its position', async () => {
    const runner = new TaskRunner(copy)
    feedFour(runner)
    await runner.start({ positions: [{ topic: 'input', partition: 0, offset: 2n, leaderEpoch: -1 }] })
    runner.run()
    expect(runner.values).toEqual(['{"n":3}', '{"n":4}'])
    expect(runner.task.recordsIn).toBe(2)
  })

  test('offsets without records move the position (I10), and that alone is worth a checkpoint', async () => {
    const runner = await started(copy)
    runner.log('input').appendInvisible(0, 5)
    expect(runner.task.changed).toBe(false)
    runner.run()
    expect(runner.task.changed).toBe(true)
    expect(runner.checkpoint(1).positions).toMatchObject([{ offset: 5n }])
    expect(runner.task.changed).toBe(false)
  })

  test('unchanged values are copied as bytes, not written anew', async () => {
    const runner = await started(copy)
    runner.feed('input', '{ "n" : 1.0 }')
    runner.run()
    expect(runner.values).toEqual(['{ "n" : 1.0 }'])
  })

  test('a task without a position for an input does not start (I11)', async () => {
    await expect(new TaskRunner(copy).start({ positions: [] })).rejects.toThrow('I11')
  })
})

describe('a barrier', () => {
  const counting = (p: PipelineBuilder): void =>
    source(p)
      .keyByRecordKey()
      .withState({ count: valueState(f64, 0) })
      .map('counts', (_, { state }) => {
        state.count.set(state.count.get() + 1)
        return state.count.get()
      })
      .to('out', sink as never)

  test('divides output, positions and state alike; a restore goes on from there', async () => {
    const runner = await started(counting)
    runner.feed('input', '{"n":1}', '{"n":2}')
    runner.run()
    runner.task.inject(checkpointId(1))
    runner.feed('input', '{"n":3}')
    runner.run()
    while (runner.task.encode(Number.POSITIVE_INFINITY));
    expect(runner.values).toEqual(['1', '2', '|output 1|', '3'])
    expect(runner.delivered).toEqual([1n])
    const [ack] = runner.acks
    expect(ack).toMatchObject({ checkpoint: 1n, positions: [{ offset: 2n }], mark: 'delta' })
    const next = new TaskRunner(counting, {}, [...runner.logs.values()])
    await next.start(ack, ack?.segment ? [Buffer.concat(ack.segment)] : [])
    next.run()
    expect(next.values).toEqual(['3'])
  })

  test('a second one before the first is encoded is an error of the engine', async () => {
    const runner = await started(counting)
    runner.task.inject(checkpointId(1))
    expect(() => runner.task.inject(checkpointId(2))).toThrow('I1')
  })

  test('nothing of a disposed task speaks any more', async () => {
    const runner = await started(counting)
    runner.feed('input', '{"n":1}')
    runner.run()
    runner.task.inject(checkpointId(1))
    runner.task.dispose()
    runner.feed('input', '{"n":2}')
    runner.run()
    runner.task.encode(Number.POSITIVE_INFINITY)
    expect(runner.acks).toEqual([])
    expect(runner.values).toEqual(['1', '|output 1|'])
  })
})

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

describe('a sink on another system', () => {
  const build = (ledger: MemoryLedger) => (p: PipelineBuilder) =>
    source(p)
      .map((value) => value.n)
      .to('ledger', memorySink(ledger))

  test('its handle is in the snapshot; records behind the barrier wait for the next transaction', async () => {
    const ledger = new MemoryLedger()
    const runner = await started(build(ledger))
    runner.feed('input', '{"n":1}')
    runner.run()
    runner.task.inject(checkpointId(1))
    runner.feed('input', '{"n":2}')
    runner.run()
    runner.task.encode(Number.POSITIVE_INFINITY)
    expect(runner.acks).toEqual([])
    await turn()
    while (runner.task.encode(Number.POSITIVE_INFINITY));
    const [ack] = runner.acks
    expect(ack?.handles).toMatchObject([{ operator: 'ledger', handle: { checkpoint: '1' } }])
    expect(ledger.visible).toEqual([])
    await runner.task.commitHandles(ack?.handles ?? [])
    expect(ledger.visible).toEqual([1])
    expect(runner.task.changed).toBe(true)
  })

  test('a restore commits what the checkpoint has, and the rest is written again', async () => {
    const ledger = new MemoryLedger()
    const runner = await started(build(ledger))
    runner.feed('input', '{"n":1}')
    runner.run()
    runner.task.inject(checkpointId(1))
    runner.feed('input', '{"n":2}')
    await turn()
    runner.run()
    while (runner.task.encode(Number.POSITIVE_INFINITY));
    const [ack] = runner.acks
    runner.task.dispose()
    const next = new TaskRunner(build(ledger), {}, [...runner.logs.values()])
    const handles = new Map(ack?.handles.map(({ operator, handle }) => [operator, [handle]]))
    await next.start(ack, [], handles)
    expect(ledger.visible).toEqual([1])
    next.run()
    next.task.inject(checkpointId(2))
    await turn()
    while (next.task.encode(Number.POSITIVE_INFINITY));
    await next.task.commitHandles(next.acks[0]?.handles ?? [])
    expect(ledger.visible).toEqual([1, 2])
  })

  test('a roll-back aborts what is open', async () => {
    const ledger = new MemoryLedger()
    const runner = await started(build(ledger))
    runner.feed('input', '{"n":1}')
    runner.run()
    await runner.task.abort()
    expect([ledger.visible, ledger.pending]).toEqual([[], []])
  })
})

test('while a sink on another system is full nothing is read, and a barrier passes all the same', async () => {
  const ledger = new MemoryLedger()
  const memory = memorySink<unknown, number>(ledger)
  let sink = { full: false }
  const open: typeof memory.open = (context) => {
    const opened = Object.assign(memory.open(context), { full: false })
    sink = opened
    return opened
  }
  const runner = await started((p) =>
    source(p)
      .map((value) => value.n)
      .to('ledger', { ...memory, open }),
  )
  const checkpoint = async (id: number): Promise<void> => {
    runner.task.inject(checkpointId(id))
    await turn()
    while (runner.task.encode(Number.POSITIVE_INFINITY));
    await runner.task.commitHandles(runner.acks.at(-1)?.handles ?? [])
  }
  runner.feed('input', '{"n":1}')
  runner.run()
  sink.full = true
  runner.feed('input', '{"n":2}')
  runner.run()
  await checkpoint(1)
  runner.run()
  expect([ledger.visible, runner.task.changed]).toEqual([[1], false])
  sink.full = false
  runner.run()
  await checkpoint(2)
  expect(ledger.visible).toEqual([1, 2])
})

describe('the memory of a batch', () => {
  const values = ['{"n":1}', '{"n":2}', '{"n":3}']
  const fed = async (build: (p: PipelineBuilder) => void, more: readonly string[] = []): Promise<TaskRunner> => {
    const runner = await started(build)
    runner.feed('input', ...values)
    runner.feed('input', ...more)
    runner.run()
    await new Promise((resolve) => setImmediate(resolve))
    runner.run()
    expect(runner.failures).toEqual([])
    return runner
  }

  test('is given back when the last record has left the chain, and only then', async () => {
    const runner = await fed(
      (p) =>
        source(p)
          .filter(({ n }) => n !== 2)
          .to('out', sink as never),
      ['{"n":4}'],
    )
    expect(runner.values).toEqual(['{"n":1}', '{"n":3}', '{"n":4}'])
    expect(runner.released).toBe(2)
  })

  test('is kept where records wait in a queue', async () => {
    const waits = await fed((p) =>
      source(p)
        .asyncMap('look-up', async ({ n }, { key }) => `${key} ${n}`)
        .to('out', sink as never),
    )
    expect(waits.values).toEqual(['"key 1"', '"key 2"', '"key 3"'])
    expect(waits.released).toBe(0)
    const meets = await fed((p) => {
      const one = source(p)
      one
        .filter(({ n }) => n > 1)
        .union(one.filter(({ n }) => n <= 1))
        .to('out', sink as never)
    })
    expect(meets.values).toEqual(values)
    expect(meets.released).toBe(0)
  })

  test('is kept where a serde gave a view of it', async () => {
    const seen: Buffer[] = []
    const raw = (p: PipelineBuilder) => p.from('in', kafkaSource({ topic: 'input', key: utf8, value: bytes }))
    const through = kafkaSink({ topic: 'output', key: utf8, value: bytes })
    const looked = await fed((p) =>
      raw(p)
        .filter((value) => seen.push(value) > 0)
        .to('out', through),
    )
    expect(seen.map(String)).toEqual(values)
    expect(looked.released).toBe(0)
    const unseen = await fed((p) => raw(p).to('out', through))
    expect(unseen.values).toEqual(values)
    expect(unseen.released).toBe(1)
  })

  test('a null that the serde does not know is refused on its way through, too', async () => {
    const runner = await started((p) => source(p).to('out', sink as never))
    runner.feed('input', '{"n":1}', null)
    runner.run()
    expect(runner.failures).toMatchObject([{ code: 'DECODE_FAILED', message: expect.stringContaining('input-0@1') }])
  })
})

test('emit is over when its function has returned: a late one names the operator and the remedy', async () => {
  let late: (value: unknown) => void = () => undefined
  const runner = await started((p) =>
    source(p)
      .keyByRecordKey()
      .withState({ count: valueState(f64, 0) })
      .process('keeps', {
        onRecord(_, { emit }) {
          late = emit
          emit(1)
        },
      })
      .to('out', sink as never),
  )
  feedFour(runner)
  runner.run()
  expect(runner.values).toEqual(['1', '1', '1', '1'])
  expect(() => late(2)).toThrow("operator 'keeps': the context was used after its function had returned")
  expect(runner.values).toHaveLength(4)
})
