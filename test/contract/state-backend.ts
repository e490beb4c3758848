// The contract of every state backend: the handles behave the same in each state of its life, a snapshot has exactly what
// was there at the barrier (I2), and what was restored goes on as if nothing had happened.
import { deepEqual, equal, ok } from 'node:assert/strict'
import {
  json,
  nullable,
  type Serde,
  type StateDescriptor,
  type StateDescriptors,
  utf8,
  withMigration,
} from '../../src/index.ts'
import type { ContractCase } from './contract-case.ts'
import { barrier } from './state-barrier.ts'
import { behaviour, fill } from './state-behaviour.ts'
import { type Check, type StateBackend, Subject, states } from './state-subject.ts'

export interface StateBackendHarness {
  open(states: StateDescriptors, key: Serde<unknown>): StateBackend | Promise<StateBackend>
}

const lives = [
  'fresh',
  'restored',
  'after a crash between barrier and snapshot',
  'after a migration',
  'under a freeze',
] as const
type Life = (typeof lives)[number]

/** The states as code of before declared them: every value was JSON. */
const before: StateDescriptors = mapped((state) => ({ ...state, serde: json() }))
/** As they are, able to read what was written before. */
const since: StateDescriptors = mapped((state) =>
  withMigration(state, { version: 2, older: { 1: json() }, migrate: (old) => old as never }),
)

function mapped(change: (state: StateDescriptor<unknown>) => StateDescriptor<unknown>): StateDescriptors {
  return Object.fromEntries(Object.entries(states).map(([name, state]) => [name, change(state)]))
}

/** The keys `k` and `l` are as unused in every life: there was something, and it was cleared. */
async function inLife(life: Life, subject: Subject): Promise<void> {
  if (life === 'fresh') return
  for (const key of ['k', 'l']) {
    const state = subject.at(key)
    state.value.set(77)
    state.list.add(77)
    state.map.set('old', 77)
    state.value.clear()
    state.list.clear()
    state.map.clear()
  }
  subject.at('other').value.set(1)
  await subject.snapshot()
  if (life === 'under a freeze') {
    for (const key of ['k', 'l']) subject.at(key).itemMap.set('x', { count: 1 })
    for (const key of ['k', 'l']) subject.at(key).itemMap.clear()
    subject.backend.freeze()
    return
  }
  if (life === 'after a crash between barrier and snapshot') {
    subject.at('k').value.set(99)
    subject.at('k').map.set('late', 99)
    subject.backend.freeze()
    subject.at('l').list.add(99)
  }
  await subject.crash(life === 'after a migration' ? since : undefined)
}

/** Every kind of state, read as its next version, goes on from there: in memory, in a checkpoint of its own, and again. */
async function migrated(subject: Subject): Promise<void> {
  const filled = fill(subject)
  await subject.snapshot()
  for (let life = 0; life < 2; life++) {
    await subject.crash(since)
    filled()
  }
  subject.at('a').list.add(3)
  subject.at('new').value.set(1)
  await subject.snapshot()
  await subject.crash(since)
  deepEqual([[...subject.at('a').list.get()], subject.at('new').value.get()], [[1, 2, 3], 1])
  subject.at('a').list.set([1, 2])
  filled()
}

async function keysGo(subject: Subject): Promise<void> {
  for (let round = 0; round < 5; round++) {
    for (const key of ['a', 'b', 'c']) {
      const state = subject.at(`${key}${round}`)
      state.value.set(1)
      state.list.addAll([])
      state.map.set('x', 1)
      state.map.delete('x')
      state.value.clear()
    }
    await subject.snapshot()
  }
  subject.at('last').value.set(1)
  await subject.snapshot()
  equal(subject.backend.keyCount, 1, 'a key without state takes no memory')
}

/** A record without key is a key of its own, and not the empty one. */
async function nullKeys(subject: Subject): Promise<void> {
  subject.at(null).value.set(1)
  subject.at('').value.set(2)
  await subject.snapshot()
  await subject.crash()
  deepEqual([subject.at(null).value.get(), subject.at('').value.get()], [1, 2])
}

async function objectKeys(subject: Subject): Promise<void> {
  subject.at({ x: 1 }).value.set(1)
  subject.at({ x: 2 }).list.add(2)
  for (let round = 0; round < 2; round++) {
    deepEqual([subject.at({ x: 1 }).value.get(), [...subject.at({ x: 2 }).list.get()]], [1, [2]])
    equal(subject.backend.keyCount, 2)
    await subject.snapshot()
    await subject.crash()
  }
}

/** A value that no serde writes must not get lost in a `catch` of the user's: the snapshot fails. */
async function unwritable(subject: Subject): Promise<void> {
  subject.at('k').item.set({ count: 1n } as never)
  subject.backend.freeze()
  try {
    subject.at('k').item.get()
  } catch {
    // A user's function that goes on regardless.
  }
  let failed = false
  try {
    await subject.backend.complete()
  } catch {
    failed = true
  }
  ok(failed, 'the snapshot must fail: it cannot hold the value')
}

/** All cases for one implementation. */
export function stateBackendContract(harness: StateBackendHarness): ContractCase[] {
  const open = async (key: Serde<never>, declared: StateDescriptors = states): Promise<Subject> =>
    new Subject(await harness.open(declared, key as Serde<unknown>))
  const text = utf8 as Serde<never>
  const everywhere = lives.flatMap((life) =>
    Object.entries(behaviour).map(([what, check]) => ({
      name: `${life}: ${what}`,
      run: async () => {
        const subject = await open(text, life === 'after a migration' ? before : states)
        await inLife(life, subject)
        if (what === 'all of it comes back after a crash' && life === 'under a freeze') await subject.backend.complete()
        await check(subject)
      },
    })),
  )
  const single: readonly (readonly [string, Serde<never>, Check])[] = [
    ...Object.entries(barrier).map(([what, check]) => [`barrier: ${what}`, text, check] as const),
    ['keys without state are forgotten', text, keysGo],
    ['a null key is not the empty one', nullable(utf8) as Serde<never>, nullKeys],
    ['keys may be objects: equal bytes, equal keys', json() as Serde<never>, objectKeys],
    ['a value that cannot be written fails the snapshot, whoever stumbled over it first', text, unwritable],
  ]
  return [
    ...everywhere,
    ...single.map(([name, key, check]) => ({ name, run: async () => check(await open(key)) })),
    {
      name: 'state of every kind is read as its next version, as often as a crash makes it necessary',
      run: async () => migrated(await open(text, before)),
    },
  ]
}
