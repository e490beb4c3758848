// Goal: with `verify`, a store that gives something else than was written is noticed before anything is committed. Method: a store in memory that
// gives back a changed byte, less, more, or nothing.
import { expect, test } from '@jest/globals'
import { checkpointId, taskId } from '../../src/base/ids.ts'
import { silentLogger } from '../../src/base/log.ts'
import { MemoryStore } from '../../src/checkpoint/store.ts'
import { CheckpointWriter, type CheckpointWriterEnvironment } from '../../src/worker/checkpoint-writer.ts'

const damages: Readonly<Record<string, (bytes: Buffer) => Buffer | undefined>> = {
  'one byte': (bytes) => Buffer.from(bytes.map((byte, at) => (at === bytes.length >> 1 ? byte ^ 1 : byte))),
  'the last byte': (bytes) => bytes.subarray(0, -1),
  'one more byte': (bytes) => Buffer.concat([bytes, Buffer.alloc(1)]),
  'all of it': () => undefined,
}

class DamagedStore extends MemoryStore {
  damage: (bytes: Buffer) => Buffer | undefined = (bytes) => bytes

  override async read(name: string): Promise<Buffer | undefined> {
    const bytes = await super.read(name)
    return bytes && this.damage(bytes)
  }
}

async function written(
  verify: boolean,
  damage: (bytes: Buffer) => Buffer | undefined,
  store: DamagedStore = new DamagedStore(),
): Promise<unknown> {
  await store.open('tested')
  store.damage = damage
  const env = {
    ...{ plan: { pipeline: 'tested' }, settings: { mode: 'at-least-once', verify }, topology: { topics: new Map() } },
    ...{ store, instance: 'a', incarnation: 'b', log: silentLogger },
  }
  const writer = new CheckpointWriter(env as unknown as CheckpointWriterEnvironment)
  const snapshot = {
    ...{ task: taskId('count', 0), positions: [], handles: [], mark: 'delta' as const, keepsSegments: true },
    segment: [Buffer.alloc(1_000, 1), Buffer.alloc(500, 2)],
  }
  return writer.write(checkpointId(1), null as never, [{ snapshot: snapshot as never, parent: null, chain: [] }])
}

test.each(Object.keys(damages))('%s', async (name) => {
  const damage = damages[name] as (bytes: Buffer) => Buffer | undefined
  const store = new DamagedStore()
  await expect(written(true, damage, store)).rejects.toThrow(
    /^STORE_UNWRITABLE: checkpoint file .* nothing of it is committed; check the disk or the storage behind it/,
  )
  // It would stop whoever goes through all files.
  expect(await store.list()).toEqual([])
  await expect(written(false, damage)).resolves.toMatchObject({ bytes: expect.any(Number) })
})

test('what is as it was written passes', async () => {
  await expect(written(true, (bytes) => bytes)).resolves.toMatchObject({ bytes: expect.any(Number) })
})
