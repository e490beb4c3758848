/**
 * Goal: a timer fires once, at its time or soon after, in the order of times, for its key; what it does is in the same checkpoint as
 * its end, so that a crash neither loses it nor lets it count twice. Method: one task over a log in memory, with a clock of the
 * test's own, restored on the heap and on disk.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals'
import { kafkaSink, kafkaSource } from '../../connectors/kafka/index.ts'
import { taskId } from '../../src/base/ids.ts'
import { silentLogger } from '../../src/base/log.ts'
import { definePipeline, f64, json, nullable, type PipelineBuilder, utf8, valueState } from '../../src/index.ts'
import { makePlan } from '../../src/plan/plan.ts'
import { LevelBackend } from '../../src/state/leveldb/backend.ts'
import { TimerQueue } from '../../src/state/timers.ts'
import { type RunnerOptions, TaskRunner } from '../support/task-runner.ts'

let now = 1_000
let spy: ReturnType<typeof jest.spyOn>
beforeEach(() => {
  now = 1_000
  spy = jest.spyOn(Date, 'now').mockImplementation(() => now)
})
afterEach(() => spy.mockRestore())

interface Ask {
  readonly set?: readonly number[]
  readonly delete?: readonly number[]
}

/** Records set and delete timers; a timer tells its key, its time and how many fired before. */
const build = (pipeline: PipelineBuilder): void =>
  pipeline
    .from('in', kafkaSource({ topic: 'input', key: nullable(utf8), value: json<Ask>() }))
    .keyByRecordKey()
    .withState({ fired: valueState(f64, 0) })
    .process<string>('alarm', {
      onRecord(ask, { timers }) {
        for (const time of ask.set ?? []) timers.set(time)
        for (const time of ask.delete ?? []) timers.delete(time)
      },
      onTimer(time, { key, state, emit, timers }) {
        state.fired.set(state.fired.get() + 1)
        if (time === 5_000) timers.set(timers.now() + 100)
        emit(`${key}@${time} ${state.fired.get()}`)
      },
    })
    .to('out', kafkaSink({ topic: 'output', key: nullable(utf8), value: json<string>() }))

/** Of `before` come the log, and the positions and state of its last checkpoint. */
async function started(options: RunnerOptions = {}, before?: TaskRunner): Promise<TaskRunner> {
  const runner = new TaskRunner(build, options, before && [...before.logs.values()])
  const ack = before?.acks.at(-1)
  await runner.start(ack, ack?.segment ? [Buffer.concat(ack.segment)] : [])
  return runner
}

function ask(runner: TaskRunner, key: string | null, value: Ask): void {
  const bytes = { key: key === null ? null : Buffer.from(key), value: Buffer.from(JSON.stringify(value)) }
  runner.log('input').append(0, [bytes])
  runner.run()
}

function at(runner: TaskRunner, time: number): (string | null)[] {
  now = time
  const before = runner.values.length
  runner.run()
  expect(runner.failures).toEqual([])
  return runner.values.slice(before).map((text) => text && (JSON.parse(text) as string))
}

test('timers fire in the order of their times, not before, and once', async () => {
  const runner = await started()
  ask(runner, 'b', { set: [3_000, 2_000] })
  ask(runner, 'a', { set: [2_500, 2_000] })
  expect(at(runner, 1_999)).toEqual([])
  expect(at(runner, 2_600)).toEqual(['b@2000 1', 'a@2000 1', 'a@2500 2'])
  expect(at(runner, 2_700)).toEqual([])
  expect(at(runner, 9_000)).toEqual(['b@3000 2'])
  expect(at(runner, 9_001)).toEqual([])
})

test('what is emitted has the timer’s key', async () => {
  const runner = await started()
  ask(runner, 'b', { set: [2_000] })
  ask(runner, null, { set: [2_001] })
  at(runner, 3_000)
  expect(runner.written).toMatchObject([
    { key: 'b', value: '"b@2000 1"' },
    { key: null, value: '"null@2001 1"' },
  ])
})

test('set twice is once; deleted is not at all; set again is again', async () => {
  const runner = await started()
  ask(runner, 'a', { set: [2_000, 2_000, 2_100] })
  ask(runner, 'a', { delete: [2_100, 7_777] })
  ask(runner, 'b', { set: [2_200], delete: [2_200] })
  ask(runner, 'b', { set: [2_200] })
  expect(at(runner, 3_000)).toEqual(['a@2000 1', 'b@2200 1'])
})

test('times are whole milliseconds, rounded up', async () => {
  const runner = await started()
  ask(runner, 'a', { set: [2_000.25, 2_001] })
  expect(at(runner, 2_000)).toEqual([])
  expect(at(runner, 2_001)).toEqual(['a@2001 1'])
  ask(runner, 'a', { set: [3_000.5] })
  ask(runner, 'a', { delete: [3_000.5] })
  expect(at(runner, 4_000)).toEqual([])
})

test('one that is over already fires at once; a function may set the next one', async () => {
  const runner = await started()
  ask(runner, 'a', { set: [5] })
  expect(at(runner, 1_000)).toEqual([])
  expect(runner.values).toEqual(['"a@5 1"'])
  ask(runner, 'a', { set: [5_000] })
  expect(at(runner, 5_500)).toEqual(['a@5000 2'])
  expect(at(runner, 5_599)).toEqual([])
  expect(at(runner, 5_600)).toEqual(['a@5600 3'])
})

test('a function that ever sets the next one starves no records', async () => {
  let left = 4
  const runner = new TaskRunner((pipeline) =>
    pipeline
      .from('in', kafkaSource({ topic: 'input', key: utf8, value: json<Ask>() }))
      .keyByRecordKey()
      .withState({})
      .process<string>('alarm', {
        onRecord({ set = [] }, { timers, emit }) {
          for (const time of set) timers.set(time)
          emit('record')
        },
        onTimer(time, { timers, emit }) {
          if (left-- > 0) timers.set(time - 1)
          emit('timer')
        },
      })
      .to('out', kafkaSink({ topic: 'output', key: utf8, value: json<string>() })),
  )
  await runner.start()
  ask(runner, 'a', { set: [1_500] })
  runner.feed('input', '{}')
  expect(at(runner, 2_000)).toEqual(['timer', 'record', 'timer', 'timer', 'timer', 'timer'])
})

test('a wrong time is the function’s error, and without onTimer there are no timers', async () => {
  const runner = await started()
  ask(runner, 'a', { set: [null as never] })
  expect(String(runner.failures[0])).toMatch(/OPERATOR_FAILED: operator 'alarm' failed at input-0@0: a timer's time/)
  const without = new TaskRunner((pipeline) =>
    pipeline
      .from('in', kafkaSource({ topic: 'input', key: utf8, value: json<Ask>() }))
      .keyByRecordKey()
      .withState({})
      .process<string>('alarm', { onRecord: (_, { timers }) => timers.set(1) })
      .to('out', kafkaSink({ topic: 'output', key: utf8, value: json<string>() })),
  )
  await without.start()
  without.feed('input', '{}')
  without.run()
  expect(String(without.failures[0])).toMatch(
    /PLAN_INVALID: operator 'alarm' uses timers, and its function has no onTimer/,
  )
})

test('names that begin with $ are not the user’s', () => {
  const plan = () =>
    makePlan(
      definePipeline('p', (pipeline) =>
        pipeline
          .from('in', kafkaSource({ topic: 'input', key: utf8, value: json<Ask>() }))
          .keyByRecordKey()
          .withState({ $mine: valueState(f64) })
          .map('o', (value) => value)
          .to('out', kafkaSink({ topic: 'output', key: utf8, value: json<Ask>() })),
      ),
    )
  expect(plan).toThrow(/PLAN_INVALID[\s\S]*'\$mine' of 'o': names that begin with \$/)
})

describe.each([
  ['heap', 0],
  ['leveldb', 1],
  ['leveldb', 2 ** 20],
] as const)('after a crash, on %s with a cache of %d bytes', (backend, cacheBytesMax) => {
  let folder = ''
  const opened: LevelBackend[] = []
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'millrace-timers-'))
  })
  afterEach(async () => {
    for (const each of opened.splice(0)) await each.close()
    await rm(folder, { recursive: true, force: true })
  })

  async function options(instance: string): Promise<RunnerOptions> {
    if (backend === 'heap') return {}
    const level = await LevelBackend.open({
      ...{ folder, pipeline: 'p', instance, cacheBytesMax, log: silentLogger },
    })
    opened.push(level)
    return { disk: await level.open(taskId('in', 0)) }
  }

  test('what fired before the barrier does not fire again; what did behind it, and what is pending, does', async () => {
    const runner = await started(await options('a'))
    ask(runner, 'a', { set: [2_000, 3_000, 4_000] })
    expect(at(runner, 2_000)).toEqual(['a@2000 1'])
    runner.checkpoint(1)
    await runner.task.committed('one')
    expect(at(runner, 3_000)).toEqual(['a@3000 2'])
    runner.task.dispose()
    const again = await started(await options('b'), runner)
    expect(at(again, 3_500)).toEqual(['a@3000 2'])
    expect(at(again, 4_000)).toEqual(['a@4000 3'])
  })
})

test('the queue gives the earliest first, whatever came when', () => {
  const queue = new TimerQueue()
  const times = Array.from({ length: 500 }, (_, index) => (index * 7_919) % 211)
  for (const [turn, time] of times.entries()) queue.push(time, `${turn}`)
  const given = times.map(() => queue.pop() as { time: number; key: string })
  const wanted = times
    .map((time, turn) => ({ time, key: `${turn}` }))
    .sort((a, b) => a.time - b.time || Number(a.key) - Number(b.key))
  expect(given.map(({ time, key }) => ({ time, key }))).toEqual(wanted)
  expect([queue.pop(), queue.nextTime, queue.length]).toEqual([undefined, Number.POSITIVE_INFINITY, 0])
})

test('the queue lets go of what is deleted, and a timer that is set again is there again', () => {
  const queue = new TimerQueue()
  const count = 10_000
  for (let time = 0; time < count; time++) queue.push(time, `key${time}`)
  const kept = (time: number) => time % 10 === 0 || time % 10 === 7
  for (let time = 0; time < count; time++) if (time % 10 !== 0) queue.delete(time, `key${time}`)
  expect(queue.length).toBe(count / 10)
  for (let time = 7; time < count; time += 10) queue.push(time, `key${time}`)
  expect(queue.length).toBe(count / 5)
  const given: number[] = []
  let looks = 0
  for (; queue.length > 0; looks++) {
    const due = queue.pop()
    if (due) given.push(due.time)
  }
  expect(given).toEqual(Array.from({ length: count }, (_, time) => time).filter(kept))
  // No more than every second one was dead.
  expect(looks).toBeLessThan(given.length * 2 + 1_001)
})
