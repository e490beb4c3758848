// The contract of every TwoPhaseCommitSink: a prepared transaction survives its writer and is kept until told; commit, abort
// and recover may be repeated; nothing is visible before its commit, and nothing twice.
import { deepEqual } from 'node:assert/strict'
import {
  checkpointId,
  type RecordContext,
  type TransactionHandle,
  type TwoPhaseCommitSink,
} from '../../src/connector.ts'
import type { ContractCase } from './contract-case.ts'

export interface TwoPhaseSinkHarness {
  /** A new, empty place on the other system. */
  create(): Promise<{
    /** A writer of operator and partition, as a new process opens it: what was open before was left by a crash. */
    open(operator: string, partition: number): TwoPhaseCommitSink
    /** What readers of the other system see, in the order of the commits. */
    visible(): Promise<readonly unknown[]>
    remove(): Promise<void>
  }>
}

type Place = Awaited<ReturnType<TwoPhaseSinkHarness['create']>>

const record: RecordContext = {
  key: 'key',
  timestamp: 0,
  headers: [],
  topic: 'input',
  partition: 0,
  offset: 0n,
}

/** Handles lie in the checkpoint file as JSON. */
const stored = (handle: TransactionHandle): TransactionHandle => JSON.parse(JSON.stringify(handle)) as TransactionHandle

async function prepared(
  sink: TwoPhaseCommitSink,
  id: number,
  ...values: readonly string[]
): Promise<TransactionHandle> {
  await sink.begin()
  for (const value of values) sink.write(value, record)
  return stored(await sink.prepare(checkpointId(id)))
}

async function sees(place: Place, ...values: readonly string[]): Promise<void> {
  deepEqual([...(await place.visible())], values)
}

async function writer(place: Place, partition = 0, operator = 'sink'): Promise<TwoPhaseCommitSink> {
  const sink = place.open(operator, partition)
  await sink.recover([])
  return sink
}

const life: Readonly<Record<string, (place: Place) => Promise<void>>> = {
  'nothing is visible before its commit, then all of it in order': async (place) => {
    const sink = await writer(place)
    await sink.begin()
    sink.write('a', record)
    await sees(place)
    sink.write('b', record)
    const handle = stored(await sink.prepare(checkpointId(1)))
    await sees(place)
    await sink.commit(handle)
    await sees(place, 'a', 'b')
    await sink.close()
  },
  'a commit may be repeated': async (place) => {
    const sink = await writer(place)
    const handle = await prepared(sink, 1, 'a')
    for (let i = 0; i < 3; i++) await sink.commit(handle)
    await sees(place, 'a')
    await sink.close()
  },
  'a transaction without records': async (place) => {
    const sink = await writer(place)
    await sink.commit(await prepared(sink, 1))
    await sink.commit(await prepared(sink, 2, 'a'))
    await sees(place, 'a')
    await sink.close()
  },
  'the next transaction is written while the one before waits': async (place) => {
    const sink = await writer(place)
    const first = await prepared(sink, 1, 'a')
    await sink.begin()
    sink.write('b', record)
    await sink.commit(first)
    await sees(place, 'a')
    await sink.commit(stored(await sink.prepare(checkpointId(2))))
    await sees(place, 'a', 'b')
    await sink.close()
  },
  'begin may be repeated': async (place) => {
    const sink = await writer(place)
    await sink.begin()
    sink.write('a', record)
    await sink.begin()
    await sink.commit(stored(await sink.prepare(checkpointId(1))))
    await sees(place, 'a')
    await sink.close()
  },
}

const aborts: Readonly<Record<string, (place: Place) => Promise<void>>> = {
  'an abort of what is open': async (place) => {
    const sink = await writer(place)
    await sink.begin()
    sink.write('a', record)
    await sink.abort()
    await sink.abort()
    await sink.commit(await prepared(sink, 1, 'b'))
    await sees(place, 'b')
    await sink.close()
  },
  'an abort of what is prepared, repeated': async (place) => {
    const sink = await writer(place)
    const handle = await prepared(sink, 1, 'a')
    await sink.abort(handle)
    await sink.abort(handle)
    await sink.commit(await prepared(sink, 2, 'b'))
    await sees(place, 'b')
    await sink.close()
  },
  'an abort of what is open leaves what is prepared alone': async (place) => {
    const sink = await writer(place)
    const handle = await prepared(sink, 1, 'a')
    await sink.begin()
    sink.write('b', record)
    await sink.abort()
    await sink.commit(handle)
    await sees(place, 'a')
    await sink.close()
  },
  'an end without prepare shows nothing; close may be repeated': async (place) => {
    const sink = await writer(place)
    await sink.begin()
    sink.write('a', record)
    await sink.close()
    await sink.close()
    await sees(place)
  },
}

const crashes: Readonly<Record<string, (place: Place) => Promise<void>>> = {
  'what is prepared survives its writer': async (place) => {
    const handle = await prepared(await writer(place), 1, 'a')
    const next = place.open('sink', 0)
    await next.recover([handle])
    await sees(place, 'a')
    await next.close()
  },
  'close keeps what is prepared': async (place) => {
    const sink = await writer(place)
    const handle = await prepared(sink, 1, 'a')
    await sink.close()
    const next = place.open('sink', 0)
    await next.commit(handle)
    await sees(place, 'a')
    await next.close()
  },
  'recovery commits what the checkpoint has and aborts everything later': async (place) => {
    const sink = await writer(place)
    const first = await prepared(sink, 1, 'a')
    const second = await prepared(sink, 2, 'late')
    await sink.begin()
    sink.write('later', record)
    const next = place.open('sink', 0)
    await next.recover([first])
    await sees(place, 'a')
    await next.abort(second)
    await next.commit(await prepared(next, 2, 'b'))
    await sees(place, 'a', 'b')
    await next.close()
  },
  'recovery of what is committed already changes nothing': async (place) => {
    const sink = await writer(place)
    const handle = await prepared(sink, 1, 'a')
    await sink.commit(handle)
    for (let i = 0; i < 2; i++) {
      const next = place.open('sink', 0)
      await next.recover([handle])
      await next.recover([handle])
      await next.close()
    }
    await sees(place, 'a')
  },
  'a crash inside recovery: the next recovery ends it': async (place) => {
    const sink = await writer(place)
    const handles = [await prepared(sink, 1, 'a'), await prepared(sink, 1, 'b')]
    const half = place.open('sink', 0)
    await half.commit(handles[0] ?? {})
    const next = place.open('sink', 0)
    await next.recover(handles)
    await sees(place, 'a', 'b')
    await next.close()
  },
  'recovery without a checkpoint aborts all': async (place) => {
    await prepared(await writer(place), 1, 'a')
    const next = place.open('sink', 0)
    await next.recover([])
    await sees(place)
    await next.close()
  },
  'recovery leaves other partitions and operators alone': async (place) => {
    const other = await prepared(await writer(place, 1), 1, 'b')
    const stranger = await prepared(await writer(place, 0, 'other'), 1, 'c')
    const sink = await writer(place, 0)
    await sees(place)
    await sink.commit(await prepared(sink, 1, 'a'))
    await place.open('sink', 1).recover([other])
    await place.open('other', 0).recover([stranger])
    await sees(place, 'a', 'b', 'c')
    await sink.close()
  },
}

/** All cases for one implementation. */
export function twoPhaseSinkContract(harness: TwoPhaseSinkHarness): ContractCase[] {
  return Object.entries({ ...life, ...aborts, ...crashes }).map(([name, check]) => ({
    name,
    run: async () => {
      const place = await harness.create()
      try {
        await check(place)
      } finally {
        await place.remove()
      }
    },
  }))
}
