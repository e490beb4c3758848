/**
 * Goal: a savepoint is whole or not there, and any damage is told before a byte of it is used. Method: folders written, cut,
 * changed byte by byte, and left half-written.
 */
import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { kafkaSink, kafkaSource } from '../../connectors/kafka/index.ts'
import { checkpointId, taskId } from '../../src/base/ids.ts'
import {
  listSavepoints,
  readSavepoint,
  readSegments,
  type Savepoint,
  type TaskToSave,
  writeSavepoint,
} from '../../src/checkpoint/savepoint.ts'
import { definePipeline, f64, json, mapState, type StateDescriptors, utf8, valueState } from '../../src/index.ts'
import { makePlan } from '../../src/plan/plan.ts'
import { checkDiff, diffSavepoint } from '../../src/worker/savepoint-plan.ts'

let folder = ''
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-savepoint-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const head = { pipeline: 'p', millrace: '0.1.0', taken: '2026-01-02T03:04:05.678Z', topics: {}, hops: [] }
const identity = { operator: 'o', name: 's', kind: 'value', key: 'utf8', serde: 'f64', mapKey: '' } as const

function taskOf(partition: number, segments: readonly string[]): TaskToSave {
  return {
    task: taskId('in', partition),
    stage: 'in',
    partition,
    checkpoint: checkpointId(7).toString(),
    positions: [{ topic: 't', partition, offset: 2n ** 60n, leaderEpoch: 3 }],
    handles: [],
    hop: false,
    states: () => [identity],
    async *read() {
      for (const segment of segments) yield Buffer.from(segment)
    },
  }
}

async function contentOf(place: string): Promise<string[][]> {
  const { tasks } = await readSavepoint(place)
  const all: string[][] = []
  for (const task of tasks) {
    const segments: string[] = []
    for await (const segment of readSegments(place, task)) segments.push(segment.toString())
    all.push(segments)
  }
  return all
}

const tasks = [taskOf(0, ['first', 'second']), taskOf(1, [])]

test('what was written comes back: positions beyond 2^53, segments, tasks without state', async () => {
  const place = join(folder, 'a')
  const written = await writeSavepoint(place, head, tasks)
  expect(await readSavepoint(place)).toEqual(written)
  expect(written.tasks[0]?.positions[0]?.offset).toBe(2n ** 60n)
  expect(await contentOf(place)).toEqual([['first', 'second'], []])
})

test('one that breaks off leaves nothing', async () => {
  const broken: TaskToSave = {
    ...taskOf(1, []),
    async *read() {
      yield Buffer.from('begun')
      throw new Error('the store is gone')
    },
  }
  await expect(writeSavepoint(join(folder, 'a'), head, [taskOf(0, ['x']), broken])).rejects.toThrow(
    /SAVEPOINT_INVALID: .*the store is gone/,
  )
  expect(await readdir(folder)).toEqual([])
})

test('a process that dies on the way leaves no savepoint', async () => {
  let seen: unknown
  const looking: TaskToSave = {
    ...taskOf(0, []),
    async *read() {
      seen = [await listSavepoints(folder), (await readdir(folder)).map((name) => name.startsWith('.a.'))]
      yield Buffer.from('x')
    },
  }
  await writeSavepoint(join(folder, 'a'), head, [looking])
  expect(seen).toEqual([[], [true]])
})

test('no byte of it may change', async () => {
  const place = join(folder, 'a')
  await writeSavepoint(place, head, tasks)
  for (const name of ['savepoint.json', '0.rows']) {
    const sound = await readFile(join(place, name))
    for (let at = 0; at < sound.length; at += name === '0.rows' ? 1 : 7) {
      const changed = Buffer.from(sound)
      changed[at] = (changed[at] as number) ^ 1
      await writeFile(join(place, name), changed)
      await expect(contentOf(place)).rejects.toThrow(/^SAVEPOINT_INVALID: savepoint .*a: /)
    }
    await writeFile(join(place, name), sound)
  }
  await truncate(join(place, '0.rows'), 8)
  await expect(contentOf(place)).rejects.toThrow(/0\.rows, the state of task in\/0, ends at 8: it is cut/)
})

test('a list of them: the oldest first, damaged ones by name, other folders not at all', async () => {
  for (const [name, taken] of [
    ['b', '2026-02-01'],
    ['a', '2026-03-01'],
  ] as const)
    await writeSavepoint(join(folder, name), { ...head, taken }, [])
  await writeSavepoint(join(folder, 'c'), head, [])
  await writeFile(join(folder, 'c', 'savepoint.json'), '{}')
  await writeFile(join(folder, 'other'), '')
  const found = await listSavepoints(folder)
  expect(found.map(({ folder: at }) => at.slice(-1))).toEqual(['c', 'b', 'a'])
  expect(String(found[0]?.savepoint)).toMatch(/SAVEPOINT_INVALID/)
})

describe('against a module', () => {
  const planOf = (name: string, states: StateDescriptors) =>
    makePlan(
      definePipeline(
        name,
        (pipeline) => {
          pipeline
            .from('in', kafkaSource({ topic: 't', key: utf8, value: json<number>() }))
            .keyByRecordKey()
            .withState(states)
            .map('o', (value) => value)
            .to('out', kafkaSink({ topic: 'out', key: utf8, value: json<number>() }))
        },
        { kafka: { brokers: ['x:1'] } },
      ),
    )
  const saved = (): Savepoint => ({
    ...head,
    tasks: [{ ...taskOf(0, []), states: [identity], file: '0.rows', segments: [] }],
  })
  const none = { droppedState: false, otherPipeline: false }

  test('the same states, one new, one gone', () => {
    const diff = diffSavepoint(saved(), planOf('p', { s: valueState(f64), m: mapState(utf8, f64) }))
    expect(diff).toMatchObject({ restored: ['o.s'], added: ['o.m'], dropped: [], incompatible: [] })
    checkDiff(diff, none)
    const without = diffSavepoint(saved(), planOf('p', { m: mapState(utf8, f64) }))
    expect(() => checkDiff(without, none)).toThrow(/SAVEPOINT_REFUSED: .*o\.s.*--allow-dropped-state/)
    checkDiff(without, { ...none, droppedState: true })
  })

  test('another serde, and no flag helps', () => {
    const diff = diffSavepoint(saved(), planOf('p', { s: valueState(utf8) }))
    expect(() => checkDiff(diff, { droppedState: true, otherPipeline: true })).toThrow(
      /STATE_INCOMPATIBLE: o\.s: saved is value of f64, key utf8; the module has value of utf8/,
    )
  })

  test('another pipeline', () => {
    const diff = diffSavepoint(saved(), planOf('q', { s: valueState(f64) }))
    expect(() => checkDiff(diff, none)).toThrow(/SAVEPOINT_REFUSED: .*'p', the module is 'q'.*--renamed/)
    checkDiff(diff, { ...none, otherPipeline: true })
  })
})
