// A checkpoint store in a topic of the pipeline's own: workers on several hosts share it without a shared disk. Partition 0 is
// the index (store-index.ts), the others hold the files' bytes in chunks. A worker writes to one of these.
//
//   create   index: writing ─▶ data: chunk, chunk, … ─▶ index: file, end of writing (one batch) ─▶ read the index up to there
//   delete   index: end of file ─▶ in the background: data: end of each chunk, and purge
//
// The file exists from the instant in which its index record is acknowledged, and not before: what a crash interrupts is
// nobody's file. Whoever reads first catches up with the index, so that he sees all that was acknowledged before.
//
// Disk is given back in two ways. DeleteRecords moves a partition's start up to the first thing in it that somebody needs, a
// file or a `create` under way: that is why a create announces itself. And since a file may live long (the last one of a
// worker without input), chunks are tombstoned, too: the log cleaner takes what stands behind such a file.
import { bytesOf } from '../../src/base/byte-writer.ts'
import type { CheckpointStore } from '../../src/base/checkpoint-store.ts'
import { delay, monotonicMs, nonce } from '../../src/base/clock.ts'
import { crc32c, crc32cOf, crcHex } from '../../src/base/crc32c.ts'
import { type ErrorCode, isCode, MillraceError, messageOf } from '../../src/base/errors.ts'
import type { Logger } from '../../src/base/log.ts'
import { partitionOf } from '../../src/base/murmur2.ts'
import type { Cluster, TopicInfo, TopicStoreOptions } from '../../src/dataflow/ports.ts'
import type { KafkaCluster } from './cluster.ts'
import { ChunkReader, chunked, corrupt, ROOM_BYTES } from './store-chunks.ts'
import { chunksOf, keys, type StoredFile, values } from './store-index.ts'
import { LiveIndex } from './store-live-index.ts'
import { StoreLog } from './store-log.ts'
import { type Attempt, type OwnAttempts, StorePurge } from './store-purge.ts'

const CHUNK_BYTES_MAX = 900 * 1024
/** How long a topic that was created may take to be known. */
const CREATED_MS_MAX = 30_000

/** Settings without which files would be lost, or never go. */
const NEEDED = ['cleanup.policy', 'retention.ms', 'retention.bytes']

/** These say more than that the store could not be used. */
const OWN_CODES: readonly ErrorCode[] = [
  ...(['STORE_UNWRITABLE', 'STORE_FOREIGN_FILE', 'CHECKPOINT_CORRUPT', 'CHECKPOINT_MISMATCH'] as const),
  ...(['KAFKA_NOT_AUTHORIZED', 'KAFKA_AUTHENTICATION', 'TOPIC_ID_CHANGED'] as const),
]

export class KafkaCheckpointStore implements CheckpointStore {
  readonly location: string
  readonly #cluster: KafkaCluster
  readonly #admin: Pick<Cluster, 'topics' | 'topicConfigs' | 'createTopic'>
  readonly #options: TopicStoreOptions
  readonly #logger: Logger
  readonly #log: StoreLog
  readonly #index: LiveIndex
  readonly #chunks: ChunkReader
  readonly #purge: StorePurge
  #topic: TopicInfo | undefined
  #chunkBytes = 0
  /** Of the first file that this object announced. */
  #firstAt: bigint | undefined
  /** Under way, or failed: what has become of a failed one is decided by taking it back. */
  readonly #attempts = new Map<string, Attempt>()
  readonly #failed = new Map<string, Attempt>()

  constructor(
    cluster: KafkaCluster,
    admin: Pick<Cluster, 'topics' | 'topicConfigs' | 'createTopic'>,
    options: TopicStoreOptions,
    logger: Logger,
  ) {
    this.location = `topic ${options.topic}`
    this.#cluster = cluster
    this.#admin = admin
    this.#options = options
    this.#logger = logger
    this.#log = new StoreLog(cluster, options.topic)
    this.#index = new LiveIndex(this.#log, () => cluster.topic(options.topic)?.id)
    this.#chunks = new ChunkReader(this.#log, this.location)
    const own = (): OwnAttempts => ({ firstAt: this.#firstAt ?? 0n, attempts: this.#attempts })
    this.#purge = new StorePurge(this.#log, this.#index, cluster.clientId, own, logger)
  }

  async open(pipeline: string): Promise<string> {
    const { topic } = this.#options
    const info = (await this.#find()) ?? (await this.#make())
    if (info.partitions < 2) {
      const text = `checkpoint topic ${topic} has ${info.partitions} partition; it needs one for the index and one or more for the files: kafka-topics.sh --alter --topic ${topic} --partitions 2`
      throw new MillraceError('TOPIC_PARTITIONS_WRONG', text)
    }
    await this.#configure()
    await this.#index.catchUp()
    if (this.#index.now.pipeline === undefined) {
      await this.#index.note([{ key: keys.store(pipeline), value: values.store() }])
      await this.#index.catchUp()
      if (this.#index.now.pipeline !== pipeline) await this.#index.note([{ key: keys.store(pipeline), value: null }])
    }
    if (this.#index.now.pipeline === pipeline) return info.id
    const text = `checkpoint ${this.location} belongs to pipeline '${this.#index.now.pipeline}'; give each pipeline a store of its own (checkpoint.store)`
    throw new MillraceError('STORE_FOREIGN_FILE', text)
  }

  async #find(): Promise<TopicInfo | undefined> {
    const { topic } = this.#options
    this.#topic ??= (await this.#admin.topics([topic])).get(topic)
    return this.#topic
  }

  async #make(): Promise<TopicInfo> {
    const { topic, partitions, configs } = this.#options
    const count = await partitions()
    this.#logger.info({ topic, partitions: count }, 'creating checkpoint topic')
    await this.#admin.createTopic(topic, count, configs)
    const deadline = monotonicMs() + CREATED_MS_MAX
    for (;;) {
      const info = await this.#find()
      if (info) return info
      if (monotonicMs() > deadline)
        throw new MillraceError(
          'TOPIC_UNKNOWN',
          `checkpoint topic ${topic} was created but is not there; check the brokers' logs`,
        )
      await delay(20)
    }
  }

  /** What the topic's settings mean for us. @throws TOPIC_CONFIG_WRONG */
  async #configure(): Promise<void> {
    const { topic, configs } = this.#options
    const actual = (await this.#admin.topicConfigs([topic])).get(topic)
    for (const name of NEEDED) {
      const [wanted, found] = [configs.get(name), actual?.get(name)]
      if (wanted === undefined || found === undefined || inOrder(found) === inOrder(wanted)) continue
      const text = `checkpoint topic ${topic} has ${name}=${found}, needed is ${wanted}: files could be deleted while they are needed, or never. Run kafka-configs.sh --alter --topic ${topic} --add-config ${name}=[${wanted}]`
      throw new MillraceError('TOPIC_CONFIG_WRONG', text)
    }
    const limit = Number(actual?.get('max.message.bytes') ?? CHUNK_BYTES_MAX + ROOM_BYTES)
    this.#chunkBytes = Math.max(Math.min(CHUNK_BYTES_MAX, limit - ROOM_BYTES), 1024)
  }

  async create(name: string, parts: readonly Buffer[]): Promise<void> {
    await this.#guarded(`written (${name}, ${bytesOf(parts)} bytes)`, async () => {
      const info = await this.#find()
      if (!info) throw new Error('the topic is not there')
      if (this.#chunkBytes === 0) await this.#configure()
      await this.#takeBack([...this.#failed.values()])
      const id = `${name}/${nonce()}`
      const { clientId } = this.#cluster
      const key = Buffer.from(clientId)
      const partition = 1 + partitionOf(key, 0, key.length, info.partitions - 1)
      const attempt = { id, partition, chunks: chunksOf(bytesOf(parts), this.#chunkBytes) }
      this.#attempts.set(id, attempt)
      try {
        await this.#write(attempt, parts)
        const file = this.#index.now.file(id)
        if (file?.late !== false) {
          await this.#takeBack([attempt])
          throw new Error(file ? `${name} is there already` : 'it is gone already')
        }
        this.#attempts.delete(id)
      } catch (error) {
        if (this.#attempts.has(id)) this.#failed.set(id, attempt)
        throw error
      }
    })
  }

  /** When it resolves, the file is there, and the index read so far. */
  async #write({ id, partition, chunks: count }: Attempt, parts: readonly Buffer[]): Promise<void> {
    const by = this.#cluster.clientId
    const [indexed, appended] = [this.#index.now.endOf(partition), this.#log.knownEnd(partition)]
    const from = indexed > appended ? indexed : appended
    const { producerId } = await this.#log.identify()
    const announcement = values.writing({ by, producerId, partition, from, chunks: count })
    const announced = await this.#index.note([{ key: keys.writing(id), value: announcement }], producerId)
    this.#firstAt ??= announced
    const chunks: bigint[] = []
    for (const value of chunked(parts, this.#chunkBytes)) {
      const { offset } = await this.#log.append(partition, [{ key: keys.chunk(id, chunks.length), value }])
      chunks.push(offset)
    }
    const checksum = crcHex(crc32cOf(parts))
    const file = { partition, bytes: bytesOf(parts), chunkBytes: this.#chunkBytes, checksum, chunks }
    const done = [
      { key: keys.file(id), value: values.file(file) },
      { key: keys.writing(id), value: null },
    ]
    // As announced, or whoever takes us for dead could not shut us out.
    await this.#index.note(done, producerId)
    await this.#index.catchUp()
  }

  /** After it files of these attempts are not there, and none can come. */
  async #takeBack(attempts: readonly Attempt[]): Promise<void> {
    if (attempts.length === 0) return
    const ids = attempts.map(({ id }) => id)
    await this.#index.note(ids.flatMap((id) => [keys.file(id), keys.writing(id)]).map((key) => ({ key, value: null })))
    for (const id of ids) {
      this.#attempts.delete(id)
      this.#failed.delete(id)
    }
    this.#purge.add(attempts)
  }

  async read(name: string): Promise<Buffer | undefined> {
    return this.#guarded(`read (${name})`, () =>
      this.#look(name, async (file) => {
        const bytes = await this.#chunks.load(file, 0, file.bytes)
        const checksum = crcHex(crc32c(bytes))
        if (checksum === file.checksum) return bytes
        throw corrupt(file, `its checksum is ${checksum}, the index says ${file.checksum}`, this.location)
      }),
    )
  }

  async readRange(name: string, position: number, length: number): Promise<Buffer | undefined> {
    return this.#guarded(`read (${name})`, () => this.#look(name, (file) => this.#chunks.load(file, position, length)))
  }

  /** What `load` makes of a file. Somebody may delete it meanwhile: what is missing then is no damage. */
  async #look(name: string, load: (file: StoredFile) => Promise<Buffer>): Promise<Buffer | undefined> {
    if (!(await this.#find())) return undefined
    await this.#index.catchUp()
    for (;;) {
      const file = this.#index.now.fileOf(name)
      if (!file) return undefined
      try {
        return await load(file)
      } catch (error) {
        if (!isCode(error, 'CHECKPOINT_CORRUPT')) throw error
        await this.#index.catchUp('anew')
        if (this.#index.now.fileOf(name)?.id === file.id) throw error
      }
    }
  }

  async list(): Promise<string[]> {
    return this.#guarded('listed', async () => {
      if (!(await this.#find())) return []
      await this.#index.catchUp()
      return this.#index.now.names()
    })
  }

  async delete(name: string): Promise<void> {
    await this.#guarded(`cleaned up (${name})`, async () => {
      if (!(await this.#find())) return
      await this.#index.catchUp()
      const files = this.#index.now.filesOf(name)
      if (files.length === 0) return
      await this.#index.note(files.map(({ id }) => ({ key: keys.file(id), value: null })))
      this.#purge.add(files.map(({ id, partition, chunks }) => ({ id, partition, chunks: chunks.length })))
    })
  }

  /** @throws STORE_UNWRITABLE for what the brokers refuse, or do not do in time */
  async #guarded<T>(what: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      if (isCode(error, ...OWN_CODES)) throw error
      const text = `checkpoint store ${this.location} could not be ${what}: ${messageOf(error)}; check the brokers, the topic and its in-sync replicas`
      throw new MillraceError('STORE_UNWRITABLE', text, { cause: error })
    }
  }
}

/** A list setting reads the same in any order. */
const inOrder = (value: string): string => value.split(',').sort().join(',')
