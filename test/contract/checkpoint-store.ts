// The contract of every CheckpointStore, in each state of its life: new, with files, opened again by another process. What
// the suite cannot see is the implementor's to prove: that a file survives a power loss when `create` has resolved.
import { deepEqual, equal, ok, rejects } from 'node:assert/strict'
import { type CheckpointStore, MillraceError } from '../../src/connector.ts'
import type { ContractCase } from './contract-case.ts'

export interface CheckpointStoreHarness {
  /** A new, empty place. */
  create(): Promise<{
    /** The store at this place, as another process would open it. */
    open(): CheckpointStore
    remove(): Promise<void>
  }>
}

const code =
  (wanted: string) =>
  (error: unknown): boolean =>
    error instanceof MillraceError && error.code === wanted

const name = (id: number): string => `${String(id).padStart(20, '0')}-worker-0-abc123.ckpt`
const content = Buffer.from(Array.from({ length: 1000 }, (_, index) => (index * 31) & 255))

type Check = (store: CheckpointStore, again: () => CheckpointStore) => Promise<void>

/** What holds for a store whatever it has been through. */
const always: Readonly<Record<string, Check>> = {
  'what was created is read back, byte for byte': async (store, again) => {
    await store.create(name(7), [content])
    for (const reader of [store, again()]) {
      await reader.open('orders')
      deepEqual(await reader.read(name(7)), content)
    }
  },
  'parts follow one another, empty ones too': async (store) => {
    await store.create(name(7), [content.subarray(0, 3), Buffer.alloc(0), content.subarray(3)])
    deepEqual(await store.read(name(7)), content)
  },
  'an empty file is a file': async (store) => {
    await store.create(name(7), [Buffer.alloc(0)])
    equal((await store.read(name(7)))?.length, 0)
    ok((await store.list()).includes(name(7)))
  },
  'the bytes are the caller’s again when create has resolved': async (store) => {
    const bytes = Buffer.from(content)
    await store.create(name(7), [bytes])
    bytes.fill(0)
    deepEqual(await store.read(name(7)), content)
  },
  'what read gives is the caller’s': async (store) => {
    await store.create(name(7), [content])
    ;(await store.read(name(7)))?.fill(0)
    deepEqual(await store.read(name(7)), content)
  },
  'a name is created once: the second is refused and changes nothing': async (store, again) => {
    await store.create(name(7), [content])
    for (const writer of [store, again()]) {
      await writer.open('orders')
      await rejects(writer.create(name(7), [Buffer.from('other')]), code('STORE_UNWRITABLE'))
    }
    deepEqual(await store.read(name(7)), content)
  },
  'of several that create one name at once exactly one wins': async (store, again) => {
    const writers = [store, again(), store, again()]
    for (const writer of writers) await writer.open('orders')
    const outcomes = await Promise.allSettled(
      writers.map((writer, index) => writer.create(name(7), [Buffer.from([index])])),
    )
    const winners = outcomes.flatMap((outcome, index) => (outcome.status === 'fulfilled' ? [index] : []))
    equal(winners.length, 1)
    deepEqual(await store.read(name(7)), Buffer.from(winners))
  },
  'a part of a file': async (store) => {
    await store.create(name(7), [content])
    deepEqual(await store.readRange(name(7), 0, 1000), content)
    deepEqual(await store.readRange(name(7), 990, 10), content.subarray(990))
    deepEqual(await store.readRange(name(7), 17, 1), content.subarray(17, 18))
    equal((await store.readRange(name(7), 500, 0))?.length, 0)
  },
  'a part that reaches past the end is cut, never filled up': async (store) => {
    await store.create(name(7), [content])
    deepEqual(await store.readRange(name(7), 990, 100), content.subarray(990))
    equal((await store.readRange(name(7), 2000, 10))?.length, 0)
  },
  'what is not there is undefined': async (store) => {
    equal(await store.read(name(404)), undefined)
    equal(await store.readRange(name(404), 0, 10), undefined)
  },
  'deleting is idempotent, and a deleted file is gone for all': async (store, again) => {
    await store.create(name(7), [content])
    await store.delete(name(7))
    await store.delete(name(7))
    await store.delete(name(404))
    const other = again()
    await other.open('orders')
    for (const reader of [store, other]) {
      equal(await reader.read(name(7)), undefined)
      ok(!(await reader.list()).includes(name(7)))
    }
  },
  'the list is sorted: the order of names is the order of checkpoints': async (store) => {
    for (const id of [30, 9, 200]) await store.create(name(id), [content])
    const listed = (await store.list()).join(' ')
    equal(listed, listed.split(' ').sort().join(' '))
    ok(listed.includes(`${name(9)} ${name(30)} ${name(200)}`))
  },
  'all that open it get the same id': async (store, again) => {
    const id = await store.open('orders')
    ok(id.length > 0)
    equal(await again().open('orders'), id)
    equal(await store.open('orders'), id)
  },
  'another pipeline is refused': async (store, again) => {
    await rejects(again().open('order'), code('STORE_FOREIGN_FILE'))
    await rejects(store.open('orders-2'), code('STORE_FOREIGN_FILE'))
    await store.open('orders')
  },
}

type Life = 'a new store' | 'a store with files' | 'a store opened again'

async function inLife(life: Life, harness: CheckpointStoreHarness, check: Check): Promise<void> {
  const place = await harness.create()
  try {
    let store = place.open()
    await store.open('orders')
    if (life !== 'a new store') for (const id of [1, 2, 3]) await store.create(name(id), [Buffer.from(`file ${id}`)])
    if (life === 'a store opened again') {
      store = place.open()
      await store.open('orders')
    }
    const before = await store.list()
    await check(store, () => place.open())
    for (const file of before) ok((await store.list()).includes(file), `${file} is gone`)
  } finally {
    await place.remove()
  }
}

/** All cases for one implementation. */
export function checkpointStoreContract(harness: CheckpointStoreHarness): ContractCase[] {
  const lives: readonly Life[] = ['a new store', 'a store with files', 'a store opened again']
  const cases = lives.flatMap((life) =>
    Object.entries(always).map(([what, check]) => ({
      name: `${life}: ${what}`,
      run: () => inLife(life, harness, check),
    })),
  )
  const ids = async (): Promise<void> => {
    const places = [await harness.create(), await harness.create()] as const
    const [one, other] = [await places[0].open().open('orders'), await places[1].open().open('orders')]
    for (const place of places) await place.remove()
    ok(one !== other, 'workers with different stores must notice it')
  }
  return [...cases, { name: 'two stores have two ids', run: ids }]
}
