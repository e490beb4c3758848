// Goal: a topic of the pipeline's cluster is a checkpoint store like any other: the contract; a file is there whole or not at all,
// whatever dies in the middle; damage is loud; disk is given back. Method: a real broker, a topic for each test, clients of several
// workers in this process, Kafka's own client for what only strangers would write.
import { randomBytes } from 'node:crypto'
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import { KafkaCluster } from '../../connectors/kafka/cluster.ts'
import { kafkaSource } from '../../connectors/kafka/index.ts'
import { keys, values } from '../../connectors/kafka/store-index.ts'
import { StoreLog } from '../../connectors/kafka/store-log.ts'
import { JavaAdmin, JavaProducer, startBroker, type TestBroker } from '../../connectors/kafka/testing/index.ts'
import type { CheckpointStore } from '../../src/base/checkpoint-store.ts'
import { crc32c, crcHex } from '../../src/base/crc32c.ts'
import { silentLogger } from '../../src/base/log.ts'
import type { Cluster } from '../../src/dataflow/ports.ts'
import { bytes } from '../../src/index.ts'
import { storeConfigs } from '../../src/worker/job.ts'
import { checkpointStoreContract } from '../contract/checkpoint-store.ts'
import { until } from '../support/test-worker.ts'

const MIB = 1024 * 1024

let broker: TestBroker
let admin: JavaAdmin
let producer: JavaProducer
let cluster: Cluster
const others: AsyncDisposable[] = []

beforeAll(async () => {
  // The log cleaner looks often, so that a test need not wait for it.
  broker = await startBroker({ kind: 'java', settings: { 'log.cleaner.backoff.ms': '100' } })
  const { brokers } = broker
  ;[admin, producer] = await Promise.all([JavaAdmin.start({ brokers }), JavaProducer.start({ brokers })])
  cluster = await connect('here-0')
})
afterEach(async () => {
  for (const other of others.splice(0)) await other[Symbol.asyncDispose]()
})
afterAll(async () => {
  await cluster[Symbol.asyncDispose]()
  await Promise.all([admin.close(), producer.close()])
  await broker.close()
})

const { factory } = kafkaSource({ topic: 'any', key: bytes, value: bytes })

function connect(clientId: string): Promise<Cluster> {
  return factory.connect({ brokers: broker.brokers }, clientId, silentLogger)
}

/** Of another worker. */
async function another(clientId: string): Promise<Cluster> {
  const other = await connect(clientId)
  others.push(other)
  return other
}

let topics = 0
const newTopic = (): string => `store-${topics++}`

function storeIn(topic: string, on: Cluster = cluster, partitions = 2, configs: object = {}): CheckpointStore {
  const all = new Map([...storeConfigs, ...Object.entries<string>({ ...configs })])
  return on.checkpointStore({ topic, partitions: async () => partitions, configs: all })
}

async function openIn(topic: string, on?: Cluster, partitions?: number, configs?: object): Promise<CheckpointStore> {
  const store = storeIn(topic, on, partitions, configs)
  await store.open('orders')
  return store
}

const name = (id: number): string => `${String(id).padStart(20, '0')}-here-0-abc123.ckpt`

async function range(topic: string, partition: number): Promise<{ start: bigint; end: bigint }> {
  const row = (await admin.listOffsets(topic, 'read_uncommitted')).find((each) => each.partition === partition)
  return { start: row?.earliest ?? -1n, end: row?.latest ?? -1n }
}

describe('a topic keeps the contract of checkpoint stores', () => {
  const create = async () => {
    const topic = newTopic()
    return { open: () => storeIn(topic, cluster, 3), remove: async () => undefined }
  }
  test.each(checkpointStoreContract({ create }))('$name', ({ run }) => run())
})

describe('files of many chunks', () => {
  test('two workers write side by side into one partition; both files are whole, and so is every part of them', async () => {
    const topic = newTopic()
    const stores = [await openIn(topic), await openIn(topic, await another('there-0'))]
    const files = [randomBytes(7 * MIB), randomBytes(5 * MIB + 1)]
    const halves = (file: Buffer): Buffer[] => [file.subarray(0, 1_000_000), file.subarray(1_000_000)]
    await Promise.all(stores.map((store, index) => store.create(name(index), halves(files[index] ?? Buffer.alloc(0)))))
    const reader = storeIn(topic)
    for (const [index, file] of files.entries()) {
      const read = await reader.read(name(index))
      expect(read?.equals(file)).toBe(true)
      for (const [from, length] of [
        [0, 1],
        [900 * 1024 - 1, 2],
        [900 * 1024, 900 * 1024],
        [1_000_000, 4_000_000],
        [file.length - 10, 100],
      ] as const) {
        const part = await reader.readRange(name(index), from, length)
        expect(part?.equals(file.subarray(from, from + length))).toBe(true)
      }
    }
  })

  test('chunks keep below the topic’s max.message.bytes', async () => {
    const topic = newTopic()
    const store = await openIn(topic, cluster, 2, { 'max.message.bytes': '20000' })
    const file = randomBytes(300_000)
    await store.create(name(1), [file])
    expect((await store.read(name(1)))?.equals(file)).toBe(true)
  })
})

describe('a file is there whole, or not at all', () => {
  test('a broker that is killed and started again in the middle of create: whole when create resolves', async () => {
    const topic = newTopic()
    const store = await openIn(topic)
    const file = randomBytes(24 * MIB)
    const created = store.create(name(1), [file])
    await until('some of it is written', async () => (await range(topic, 1)).end > 2n)
    const [node] = broker.nodes
    await node?.kill()
    await node?.start()
    await created
    const { end } = await range(topic, 1)
    // Repeated under their sequence: no chunk stands there twice.
    expect(end).toBe(BigInt(Math.ceil(file.length / (900 * 1024))))
    const reader = await openIn(topic, await another('there-0'))
    expect((await reader.read(name(1)))?.equals(file)).toBe(true)
    await expect(reader.create(name(1), [Buffer.from('other')])).rejects.toMatchObject({ code: 'STORE_UNWRITABLE' })
  })

  test('a worker that dies in the middle of create leaves no file; its next life clears its place', async () => {
    const topic = newTopic()
    const reader = await openIn(topic, await another('there-0'))
    const dying = await connect('dying-0')
    const created = (await openIn(topic, dying)).create(name(1), [randomBytes(48 * MIB)])
    const refused = expect(created).rejects.toMatchObject({ code: 'STORE_UNWRITABLE' })
    await until('some of it is written', async () => (await range(topic, 1)).end > 2n)
    await dying[Symbol.asyncDispose]()
    await refused
    expect(await reader.list()).toEqual([])
    expect(await reader.read(name(1))).toBeUndefined()
    // While it may live, nobody purges what it has written.
    await reader.create(name(2), [Buffer.from('two')])
    await reader.delete(name(2))
    const next = await openIn(topic, await another('dying-0'))
    await next.create(name(1), [Buffer.from('whole')])
    expect((await range(topic, 1)).start).toBe(0n)
    await next.create(name(3), [Buffer.from('three')])
    await next.delete(name(3))
    await next.delete(name(1))
    await until('what it had written is gone', async () => (await range(topic, 1)).start > 2n)
  })

  test('what one attempt left in doubt is taken back before the next: the retry of create succeeds', async () => {
    const topic = newTopic()
    const store = await openIn(topic)
    await store.create(name(1), [Buffer.from('one')])
    // The second chunk is refused: 10 kB are too much now.
    await admin.alterConfigs({ name: topic }, { 'max.message.bytes': '5000' })
    const refused = { code: 'STORE_UNWRITABLE', message: expect.stringContaining(`${topic}-1`) }
    await expect(store.create(name(2), [randomBytes(10_000)])).rejects.toMatchObject(refused)
    expect(await store.list()).toEqual([name(1)])
    await admin.alterConfigs({ name: topic }, { 'max.message.bytes': null })
    await store.create(name(2), [Buffer.from('two')])
    expect((await store.read(name(2)))?.toString()).toBe('two')
  })
})

describe('damage is loud', () => {
  /** A file as a stranger's hand would leave it. */
  async function forged(topic: string, chunk: Buffer, checksum = crcHex(crc32c(chunk)), key?: string): Promise<void> {
    const id = `${name(9)}/forged`
    const { end } = await range(topic, 1)
    await producer.send({ topic, partition: 1, key: key ?? keys.chunk(id, 0), value: chunk })
    const file = { partition: 1, bytes: chunk.length, chunkBytes: 900 * 1024, checksum, chunks: [end] }
    await producer.flush()
    await producer.send({ topic, partition: 0, key: keys.file(id), value: values.file(file) })
    await producer.flush()
  }

  test('what is forged rightly is read: the other cases differ from it by one thing', async () => {
    const topic = newTopic()
    const store = await openIn(topic)
    await forged(topic, Buffer.from('content'))
    expect((await store.read(name(9)))?.toString()).toBe('content')
  })

  test('a checksum that differs', async () => {
    const topic = newTopic()
    const store = await openIn(topic)
    await forged(topic, Buffer.from('content'), '00000000')
    const damaged = { code: 'CHECKPOINT_CORRUPT', message: expect.stringContaining('its checksum is') }
    await expect(store.read(name(9))).rejects.toMatchObject(damaged)
  })

  test('another record in the place of a chunk', async () => {
    const topic = newTopic()
    const store = await openIn(topic)
    await forged(topic, Buffer.from('content'), undefined, 'other/1/0')
    const damaged = { code: 'CHECKPOINT_CORRUPT', message: expect.stringContaining(`topic ${topic}, partition 1`) }
    for (const read of [store.read(name(9)), store.readRange(name(9), 0, 3)])
      await expect(read).rejects.toMatchObject(damaged)
  })

  test('chunks that somebody else purged', async () => {
    const topic = newTopic()
    const store = await openIn(topic)
    await store.create(name(1), [randomBytes(3 * MIB)])
    await admin.deleteRecords(topic, 1, 1n)
    const damaged = { code: 'CHECKPOINT_CORRUPT', message: expect.stringContaining('chunk 0 (offset 0) is not in') }
    await expect(store.read(name(1))).rejects.toMatchObject(damaged)
    expect((await store.readRange(name(1), 2 * MIB, 10))?.length).toBe(10)
  })

  test('a topic that others write to', async () => {
    const topic = newTopic()
    await admin.createTopic(topic, { partitions: 2, configs: Object.fromEntries(storeConfigs) })
    await producer.send({ topic, partition: 0, key: 'order-1', value: 'paid' })
    await producer.flush()
    const foreign = { code: 'STORE_FOREIGN_FILE', message: expect.stringContaining(`${topic}-0@0`) }
    await expect(storeIn(topic).open('orders')).rejects.toMatchObject(foreign)
    await expect(storeIn(topic).list()).rejects.toMatchObject(foreign)
  })

  test('a topic that deletes by age, or has no place for files', async () => {
    const [short, narrow] = [newTopic(), newTopic()]
    await admin.createTopic(short, { partitions: 2, configs: { 'cleanup.policy': 'delete', 'retention.ms': '1000' } })
    await expect(storeIn(short).open('orders')).rejects.toMatchObject({ code: 'TOPIC_CONFIG_WRONG' })
    await admin.createTopic(narrow, { partitions: 1, configs: Object.fromEntries(storeConfigs) })
    await expect(storeIn(narrow).open('orders')).rejects.toMatchObject({ code: 'TOPIC_PARTITIONS_WRONG' })
  })

  test('a topic that was created again under an open store', async () => {
    const topic = newTopic()
    const store = await openIn(topic)
    await store.create(name(1), [Buffer.from('one')])
    await admin.deleteTopic(topic)
    await openIn(topic, await another('there-0'))
    await cluster.topics([topic])
    await expect(store.read(name(1))).rejects.toMatchObject({ code: 'TOPIC_ID_CHANGED' })
  })
})

describe('disk is given back', () => {
  test('the log starts behind what is deleted, in front of the oldest file that lives', async () => {
    const topic = newTopic()
    const store = await openIn(topic)
    for (const id of [1, 2, 3]) await store.create(name(id), [randomBytes(2 * MIB)])
    for (const id of [1, 2]) await store.delete(name(id))
    // Three chunks each.
    await until('the first two are gone', async () => (await range(topic, 1)).start === 6n)
    expect((await store.read(name(3)))?.length).toBe(2 * MIB)
    await store.delete(name(3))
    await until('nothing is left', async () => {
      const { start, end } = await range(topic, 1)
      return start === end
    })
  })

  test('the index, too, does not grow with the number of files that there were', async () => {
    const topic = newTopic()
    const store = await openIn(topic)
    for (let id = 1; id <= 150; id++) {
      await store.create(name(id), [Buffer.from(`file ${id}`)])
      if (id > 2) await store.delete(name(id - 2))
    }
    const { start, end } = await range(topic, 0)
    expect(end).toBeGreaterThan(590n)
    await until('it was purged', async () => (await range(topic, 0)).start > end - 400n)
    expect(start).toBeGreaterThan(0n)
    for (const reader of [store, storeIn(topic), await openIn(topic, await another('there-0'))]) {
      expect(await reader.list()).toEqual([name(149), name(150)])
      expect((await reader.read(name(149)))?.toString()).toBe('file 149')
      await expect(reader.open('order')).rejects.toMatchObject({ code: 'STORE_FOREIGN_FILE' })
    }
  })

  test('a create under way holds the purge back, however many files come and go meanwhile', async () => {
    const topic = newTopic()
    const [slow, quick] = [await openIn(topic), await openIn(topic, await another('there-0'))]
    const file = randomBytes(32 * MIB)
    const created = slow.create(name(1), [file])
    for (let id = 2; id < 20; id++) {
      await quick.create(name(id), [Buffer.from(`file ${id}`)])
      await quick.delete(name(id))
    }
    await created
    expect((await quick.read(name(1)))?.equals(file)).toBe(true)
  })

  test('behind a file that lives long the log cleaner takes what is deleted', async () => {
    const topic = newTopic()
    const eager = { 'segment.bytes': String(MIB), 'min.cleanable.dirty.ratio': '0.01', 'delete.retention.ms': '1000' }
    const store = await openIn(topic, cluster, 2, eager)
    await store.create(name(1), [Buffer.from('old')])
    for (let id = 2; id < 22; id++) {
      await store.create(name(id), [randomBytes(600_000)])
      await store.delete(name(id))
    }
    expect((await range(topic, 1)).start).toBe(0n)
    await using raw = new RawCluster(broker.brokers)
    const left = async (): Promise<number> => raw.bytesIn(topic, 1)
    // Twelve megabytes were written; the newest segment is never cleaned.
    await until('the cleaner has been there', async () => (await left()) < 3 * MIB, 30_000)
    expect((await store.read(name(1)))?.toString()).toBe('old')
    expect(await (await openIn(topic, await another('there-0'))).list()).toEqual([name(1)])
  })
})

/** What stands in a log, as it is. */
class RawCluster implements AsyncDisposable {
  readonly #cluster: KafkaCluster

  constructor(brokers: readonly string[]) {
    this.#cluster = new KafkaCluster({ brokers }, 'raw', silentLogger)
  }

  async bytesIn(topic: string, partition: number): Promise<number> {
    await this.#cluster.connect()
    const log = new StoreLog(this.#cluster, topic)
    const end = await log.end(partition)
    let sum = 0
    for (let at = await log.start(partition); at < end; ) {
      const fetched = await log.fetch(partition, at, MIB)
      if (fetched.kind === 'gone') throw new Error('the log was cut meanwhile')
      for (const { value } of fetched.records) sum += value?.length ?? 0
      if (fetched.next === at) break
      at = fetched.next
    }
    return sum
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cluster.close()
  }
}
