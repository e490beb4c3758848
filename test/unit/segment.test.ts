// Goal: rows of state come back as they were written, however many there are and however large one is. Method: segments of
// more than one piece, replayed.
import { expect, test } from '@jest/globals'
import { f64, type ListState, listState, type Serde, utf8, type ValueState, valueState } from '../../src/index.ts'
import { HeapStore } from '../../src/state/heap/store.ts'
import {
  type KeyWriter,
  Row,
  releaseSegment,
  SegmentWriter,
  type StateIdentity,
  VALUE_BYTES_MAX,
} from '../../src/state/segment.ts'
import { replaySegment } from '../../src/state/segment-reader.ts'
import { TaskOnHeap } from '../support/task-on-heap.ts'

/** A slot for each name. */
const names: string[] = []
const keys: KeyWriter = { writeKey: (slot, out) => out.utf8(names[slot] as string) }
function slotOf(name: string): number {
  const known = names.indexOf(name, names.length - 3)
  return known >= 0 ? known : names.push(name) - 1
}

const identity = (name: string): StateIdentity => ({
  operator: 'op',
  name,
  kind: 'value',
  key: 'utf8',
  serde: 'utf8',
  mapKey: '',
})

/** What is written, and what a replay gives. */
function written(rows: readonly (readonly [state: number, key: string, value: string])[]): {
  readonly parts: readonly Buffer[]
  readonly replayed: unknown[]
} {
  const writer = new SegmentWriter()
  for (const name of ['a', 'b']) writer.register(identity(name))
  for (const [state, name, value] of rows) {
    writer.row(state, Row.PUT, keys, slotOf(name), null, (out) => out.utf8(value))
  }
  const parts = writer.finish('drop-empty') ?? []
  const replayed: unknown[] = []
  replaySegment(Buffer.concat(parts), ({ name }) => ({
    apply: (_op, key, _at, value) => replayed.push([name === 'a' ? 0 : 1, key.view.toString(), value?.toString()]),
  }))
  return { parts, replayed }
}

test('rows of several pieces, two states of a key in turn, come back in order', () => {
  const rows = Array.from({ length: 40_000 }, (_, n) => [n % 2, `key-${n >> 1}`, `value ${n}`] as const)
  const { parts, replayed } = written(rows)
  expect(parts.length).toBeGreaterThan(3)
  expect(replayed).toEqual(rows)
})

test('a row larger than a piece is one row among others', () => {
  const rows = [1, 300_000, 5, 3_000_000, 0, 2].map((length, n) => [0, `key-${n}`, 'x'.repeat(length)] as const)
  expect(written(rows).replayed).toEqual(rows)
})

test('a row that its serde breaks off leaves nothing behind: written again, it is there once', () => {
  const writer = new SegmentWriter()
  writer.register(identity('a'))
  const put = (name: string, value: string): void =>
    writer.row(0, Row.PUT, keys, slotOf(name), null, (out) => {
      out.utf8(value.slice(0, 3))
      if (value === 'broken') throw new TypeError('cannot be written')
      out.utf8(value.slice(3))
    })
  put('k', 'before')
  expect(() => put('k', 'broken')).toThrow('cannot be written')
  expect(() => put('other', 'broken')).toThrow('cannot be written')
  put('other', 'repaired')
  put('k', 'after')
  const rows: unknown[] = []
  replaySegment(Buffer.concat(writer.finish('drop-empty') ?? []), () => ({
    apply: (_op, key, _at, value) => rows.push([key.view.toString(), value?.toString()]),
  }))
  expect(rows).toEqual([
    ['k', 'before'],
    ['other', 'repaired'],
    ['k', 'after'],
  ])
})

test('memory that was given back is used again, and what was not is left alone', () => {
  const rows = (text: string) => Array.from({ length: 60_000 }, (_, n) => [0, `key-${n}`, `${text} ${n}`] as const)
  const kept = written(rows('kept'))
  const given = written(rows('given'))
  const memory = new Set(given.parts.map(({ buffer }) => buffer))
  releaseSegment(given.parts)
  expect(() => releaseSegment(given.parts)).toThrow('I2')
  const next = written(rows('next'))
  expect(next.parts.filter(({ buffer }) => memory.has(buffer)).length).toBeGreaterThan(2)
  expect(next.replayed).toEqual(rows('next'))
  const again: unknown[] = []
  replaySegment(Buffer.concat(kept.parts), () => ({
    apply: (_op, key, _at, value) => again.push([0, key.view.toString(), value?.toString()]),
  }))
  expect(again).toEqual(rows('kept'))
})

test('a number of rows that the bytes cannot hold reserves no memory for them, and is told', () => {
  const states = { total: valueState(f64) }
  const made = new HeapStore('op', states, utf8 as Serde<unknown>)
  made.setKey('k')
  ;(made.handles as { total: ValueState<number, undefined> }).total.set(1)
  const writer = new SegmentWriter()
  made.freeze(writer, 0, 0)
  while (!made.encode(() => true));
  const [head = Buffer.alloc(0), ...rows] = writer.finish('keep-empty') ?? []
  // The last byte of the head: one row.
  const claims = Buffer.concat([head.subarray(0, -1), Buffer.from([0xff, 0xff, 0xff, 0xff, 0x07]), ...rows])
  const restored = new HeapStore('op', states, utf8 as Serde<unknown>)
  const before = restored.rows.words.length
  const replay = (): void => replaySegment(claims, (each) => restored.replay.target(each))
  expect(replay).toThrow('a state segment ends early')
  expect(restored.rows.words.length).toBe(before)
})

test('no row, no segment', () => {
  expect(new SegmentWriter().finish('drop-empty')).toBeNull()
  expect(new SegmentWriter().finish('keep-empty')?.map((part) => part.length)).toEqual([3, 0, 0])
})

test('a value over the limit is refused by its operator and state, and nothing of it is written; a list of such a size is not one value', () => {
  const states = { value: valueState(utf8), list: listState(utf8) }
  const long = 'x'.repeat(VALUE_BYTES_MAX / 64)
  const task = new TaskOnHeap(states, utf8 as Serde<unknown>)
  const { value, list } = task.handles as { value: ValueState<string, undefined>; list: ListState<string> }
  task.setKey('a')
  for (let n = 0; n < 65; n++) list.add(long)
  value.set(long)
  task.freeze()
  task.complete()
  value.set(long.repeat(65))
  task.freeze()
  expect(() => task.complete()).toThrow(
    /^STATE_VALUE_INVALID: operator 'operator', state 'value': a value cannot be written as utf8: it takes \d+ bytes, the limit is 67108864; keep a list or a map/,
  )
})
