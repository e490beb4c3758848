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

import type { CheckpointStore } from '../../src/base/checkpoint-store.ts'
import { delay, monotonicMs, nonce, wallMs } from '../../src/base/clock.ts'
import { crc32c, crc32cOf, crcHex } from '../../src/base/crc32c.ts'
import { type ErrorCode, isCode, MillraceError, messageOf } from '../../src/base/errors.ts'
import type { Logger } from '../../src/base/log.ts'
import { partitionOf } from '../../src/base/murmur2.ts'
import { bytesOf } from '../../src/checkpoint/file.ts'
import type { Cluster, TopicInfo, TopicStoreOptions } from '../../src/dataflow/ports.ts'
import type { KafkaCluster } from './cluster.ts'
import { chunksOf, keys, type StoredFile, StoreIndex, values, type Writing } from './store-index.ts'
import { type NewRecord, StoreLog } from './store-log.ts'

const INDEX = 0
const CHUNK_BYTES_MAX = 900 * 1024
/** Of a chunk's key, record and batch. */
const ROOM_BYTES = 4096
const INDEX_FETCH_BYTES = 1024 * 1024
const DATA_FETCH_BYTES_MAX = 8 * 1024 * 1024
/** Who did not look at the index for so long begins it anew: the log cleaner may have dropped tombstones meanwhile. */
const INDEX_AGE_MS_MAX = 10 * 60_000
/** A `create` that began so long ago was interrupted. If it was not, it fails, and is tried again. */
const WRITING_MS_MAX = 15 * 60_000
/** A new leader shows what was acknowledged within a few fetches of its followers. */
const READABLE_MS_MAX = 30_000
/** Index records that nobody needs are purged when they are so many. */
const INDEX_DEAD_MIN = 256n
const TOMBSTONES_PER_BATCH = 1_000

/** Settings without which files would be lost, or never go. */
const NEEDED = ['cleanup.policy', 'retention.ms', 'retention.bytes']

/** These say more than that the store could not be used. */
const OWN_CODES: readonly ErrorCode[] = [
  ...(['STORE_UNWRITABLE', 'STORE_FOREIGN_FILE', 'CHECKPOINT_CORRUPT', 'CHECKPOINT_MISMATCH'] as const),
  ...(['KAFKA_NOT_AUTHORIZED', 'KAFKA_AUTHENTICATION', 'TOPIC_ID_CHANGED'] as const),
]

type Attempt = Pick<Writing, 'id' | 'partition' | 'chunks'>

export class KafkaCheckpointStore implements CheckpointStore {
  readonly location: string
  readonly #cluster: KafkaCluster
  readonly #admin: Pick<Cluster, 'topics' | 'topicConfigs' | 'createTopic'>
  readonly #options: TopicStoreOptions
  readonly #logger: Logger
  readonly #log: StoreLog
  #index: StoreIndex
  /** On the monotonic clock. */
  #indexedAtMs = Number.NEGATIVE_INFINITY
  #catching: Promise<void> = Promise.resolve()
  #topic: TopicInfo | undefined
  #chunkBytes = 0
  /** Of the first file that this object announced. */
  #firstAt: bigint | undefined
  /** Under way, or failed: what has become of a failed one is decided by taking it back. */
  readonly #attempts = new Map<string, Attempt>()
  readonly #failed = new Map<string, Attempt>()
  /** Their chunks are still to be tombstoned. */
  readonly #dead = new Map<string, Attempt>()
  readonly #purged = new Map<number, bigint>()
  #purging: Promise<void> | undefined

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
    this.#index = this.#newIndex()
  }

  #newIndex(): StoreIndex {
    return new StoreIndex(`${this.#options.topic}-${INDEX}`)
  }

  async open(pipeline: string): Promise<string> {
    const { topic } = this.#options
    const info = (await this.#find()) ?? (await this.#make())
    if (info.partitions < 2) {
      const text = `checkpoint topic ${topic} has ${info.partitions} partition; it needs one for the index and one or more for the files: kafka-topics.sh --alter --topic ${topic} --partitions 2`
      throw new MillraceError('TOPIC_PARTITIONS_WRONG', text)
    }
    await this.#configure()
    await this.#catchUp()
    if (this.#index.pipeline === undefined) {
      await this.#note([{ key: keys.store(pipeline), value: values.store() }])
      await this.#catchUp()
      if (this.#index.pipeline !== pipeline) await this.#note([{ key: keys.store(pipeline), value: null }])
    }
    if (this.#index.pipeline === pipeline) return info.id
    const text = `checkpoint ${this.location} belongs to pipeline '${this.#index.pipeline}'; give each pipeline a store of its own (checkpoint.store)`
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
    const deadline = monotonicMs() + READABLE_MS_MAX
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
        const file = this.#index.file(id)
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
    const [indexed, appended] = [this.#index.endOf(partition), this.#log.knownEnd(partition)]
    const from = indexed > appended ? indexed : appended
    const { producerId } = await this.#log.identify()
    const announcement = values.writing({ by, producerId, partition, from, chunks: count })
    const announced = await this.#note([{ key: keys.writing(id), value: announcement }], producerId)
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
    await this.#note(done, producerId)
    await this.#catchUp()
  }

  /** After it files of these attempts are not there, and none can come. */
  async #takeBack(attempts: readonly Attempt[]): Promise<void> {
    if (attempts.length === 0) return
    const ids = attempts.map(({ id }) => id)
    await this.#note(ids.flatMap((id) => [keys.file(id), keys.writing(id)]).map((key) => ({ key, value: null })))
    for (const id of ids) {
      this.#attempts.delete(id)
      this.#failed.delete(id)
    }
    this.#giveBack(attempts)
  }

  async #dropChunks({ id, partition, chunks }: Attempt): Promise<void> {
    for (let from = 0; from < chunks; from += TOMBSTONES_PER_BATCH) {
      const count = Math.min(TOMBSTONES_PER_BATCH, chunks - from)
      const tombstones = Array.from({ length: count }, (_, index) => ({
        key: keys.chunk(id, from + index),
        value: null,
      }))
      await this.#log.append(partition, tombstones)
    }
  }

  /** Appends to the index; gives the first record's offset. What nobody else has come before is applied at once. */
  async #note(
    records: readonly { readonly key: string; readonly value: string | null }[],
    as?: bigint,
  ): Promise<bigint> {
    const encoded: NewRecord[] = records.map(({ key, value }) => ({
      key,
      value: value === null ? null : [Buffer.from(value)],
    }))
    const { offset, ms } = await this.#log.append(INDEX, encoded, as)
    if (this.#index.position === offset)
      for (const [index, record] of records.entries())
        this.#index.apply({ ...record, offset: offset + BigInt(index), timestamp: ms })
    return offset
  }

  /** What was acknowledged before the call is in the index when it resolves. */
  #catchUp(): Promise<void> {
    const next = this.#catching.catch(() => undefined).then(() => this.#readIndex())
    this.#catching = next
    return next
  }

  async #readIndex(): Promise<void> {
    const { topic } = this.#options
    const beganMs = monotonicMs()
    const end = await this.#log.end(INDEX)
    const id = this.#cluster.topic(topic)?.id
    if (id !== undefined && this.#topic && id !== this.#topic.id) {
      const text = `checkpoint topic ${topic} was deleted and created again (id ${this.#topic.id}, now ${id}): its files are gone. Restore the pipeline from a savepoint, or \`millrace reset\``
      throw new MillraceError('TOPIC_ID_CHANGED', text)
    }
    if (end < this.#index.position || beganMs - this.#indexedAtMs > INDEX_AGE_MS_MAX) this.#index = this.#newIndex()
    while (this.#index.position < end) {
      if (monotonicMs() - beganMs > READABLE_MS_MAX)
        throw new Error(`${topic}-${INDEX} cannot be read from ${this.#index.position} to ${end}`)
      const index = this.#index
      const from = index.position
      const fetched = await this.#log.fetch(INDEX, from, INDEX_FETCH_BYTES)
      if (fetched.kind === 'gone') {
        // Purged beyond what we had read; all that lives stands behind.
        this.#index = this.#newIndex()
        this.#index.position = await this.#log.start(INDEX)
        continue
      }
      for (const { offset, timestamp, key, value } of fetched.records) {
        if (offset < index.position) continue
        index.apply({ offset, timestamp, key: key?.toString() ?? null, value: value?.toString() ?? null })
      }
      // The last records may be ones that compaction took.
      const read = fetched.next > from || fetched.end < end ? fetched.next : end
      if (read > index.position) index.position = read
    }
    this.#indexedAtMs = beganMs
  }

  async read(name: string): Promise<Buffer | undefined> {
    return this.#guarded(`read (${name})`, () =>
      this.#look(name, async (file) => {
        const bytes = await this.#load(file, 0, file.bytes)
        const checksum = crcHex(crc32c(bytes))
        if (checksum === file.checksum) return bytes
        throw corrupt(file, `its checksum is ${checksum}, the index says ${file.checksum}`, this.location)
      }),
    )
  }

  async readRange(name: string, position: number, length: number): Promise<Buffer | undefined> {
    return this.#guarded(`read (${name})`, () => this.#look(name, (file) => this.#load(file, position, length)))
  }

  /** What `load` makes of a file. Somebody may delete it meanwhile: what is missing then is no damage. */
  async #look(name: string, load: (file: StoredFile) => Promise<Buffer>): Promise<Buffer | undefined> {
    if (!(await this.#find())) return undefined
    await this.#catchUp()
    for (;;) {
      const file = this.#index.fileOf(name)
      if (!file) return undefined
      try {
        return await load(file)
      } catch (error) {
        if (!isCode(error, 'CHECKPOINT_CORRUPT')) throw error
        this.#index = this.#newIndex()
        await this.#catchUp()
        if (this.#index.fileOf(name)?.id === file.id) throw error
      }
    }
  }

  /** The chunks that are needed, and no others. @throws CHECKPOINT_CORRUPT */
  async #load(file: StoredFile, position: number, length: number): Promise<Buffer> {
    const end = Math.min(position + length, file.bytes)
    if (end <= position) return Buffer.alloc(0)
    const bytes = Buffer.allocUnsafeSlow(end - position)
    const [first, last] = [Math.floor(position / file.chunkBytes), chunksOf(end, file.chunkBytes)]
    for (let next = first; next < last; ) {
      const chunks = await this.#chunks(file, next, last)
      for (const chunk of chunks) {
        const at = next * file.chunkBytes
        const wanted = Math.min(file.chunkBytes, file.bytes - at)
        if (chunk.length !== wanted)
          throw corrupt(file, `chunk ${next} has ${chunk.length} of ${wanted} bytes`, this.location)
        chunk.copy(bytes, Math.max(at - position, 0), Math.max(position - at, 0), end - at)
        next++
      }
    }
    return bytes
  }

  /** From chunk `from` on, at least one and at most up to `to`: what one fetch gives. @throws CHECKPOINT_CORRUPT */
  async #chunks(file: StoredFile, from: number, to: number): Promise<Buffer[]> {
    const deadline = monotonicMs() + READABLE_MS_MAX
    const budget = Math.min((to - from) * (file.chunkBytes + ROOM_BYTES), DATA_FETCH_BYTES_MAX)
    for (;;) {
      const offset = file.chunks[from] ?? 0n
      const fetched = await this.#log.fetch(file.partition, offset, budget)
      const missing = (): MillraceError =>
        corrupt(file, `chunk ${from} (offset ${offset}) is not in the log`, this.location)
      if (fetched.kind === 'gone') throw missing()
      const chunks = chunksIn(fetched.records, file, from, to, this.location)
      if (chunks.length > 0) return chunks
      if (fetched.next > offset || fetched.end > offset || monotonicMs() > deadline) throw missing()
    }
  }

  async list(): Promise<string[]> {
    return this.#guarded('listed', async () => {
      if (!(await this.#find())) return []
      await this.#catchUp()
      return this.#index.names()
    })
  }

  async delete(name: string): Promise<void> {
    await this.#guarded(`cleaned up (${name})`, async () => {
      if (!(await this.#find())) return
      await this.#catchUp()
      const files = this.#index.filesOf(name)
      if (files.length === 0) return
      await this.#note(files.map(({ id }) => ({ key: keys.file(id), value: null })))
      this.#giveBack(files.map(({ id, partition, chunks }) => ({ id, partition, chunks: chunks.length })))
    })
  }

  /** What nobody's index record names any more. Not waited for: what fails is tried again with what comes next. */
  #giveBack(attempts: readonly Attempt[]): void {
    for (const attempt of attempts) this.#dead.set(attempt.id, attempt)
    this.#purging ??= this.#purge()
  }

  async #purge(): Promise<void> {
    try {
      while (this.#dead.size > 0) {
        const partitions = new Set<number>()
        for (const attempt of [...this.#dead.values()]) {
          await this.#dropChunks(attempt)
          this.#dead.delete(attempt.id)
          partitions.add(attempt.partition)
        }
        // Before the index is read: who announces himself later than we read writes behind these ends.
        const ends = [...partitions].map((partition) => [partition, this.#log.knownEnd(partition)] as const)
        await this.#catchUp()
        await this.#reap()
        for (const [partition, end] of ends) {
          const floor = this.#index.floorOf(partition)
          await this.#purgeUpTo(partition, floor !== undefined && floor < end ? floor : end)
        }
        await this.#purgeIndex()
      }
    } catch (error) {
      const text = 'purging the checkpoint topic failed; trying again later'
      this.#logger.warn({ topic: this.#options.topic, error: messageOf(error) }, text)
    } finally {
      this.#purging = undefined
    }
  }

  async #purgeUpTo(partition: number, offset: bigint): Promise<void> {
    if (offset <= (this.#purged.get(partition) ?? 0n)) return
    await this.#log.purge(partition, offset)
    this.#purged.set(partition, offset)
  }

  async #purgeIndex(): Promise<void> {
    const { pipeline, floor, ownerAt, position } = this.#index
    if (pipeline === undefined || ownerAt === undefined) return
    const needed = floor ?? position
    if (needed - (this.#purged.get(INDEX) ?? 0n) < INDEX_DEAD_MIN) return
    // Whose topic it is shall not be lost: said again, behind everything, if it stands in the way.
    if (ownerAt < needed) await this.#note([{ key: keys.store(pipeline), value: values.store() }])
    await this.#purgeUpTo(INDEX, needed)
  }

  /**
   * Ends what interrupted `create`s have left, of this worker's earlier lives at once. A writer that lives after all is shut out of
   * the index by it: its file is there before, or never.
   */
  async #reap(): Promise<void> {
    const { clientId } = this.#cluster
    const firstAt = this.#firstAt ?? 0n
    const tooOld = wallMs() - WRITING_MS_MAX
    for (const writing of this.#index.writings) {
      const dead = writing.sinceMs < tooOld || (writing.by === clientId && writing.offset < firstAt)
      if (!dead || this.#attempts.has(writing.id)) continue
      const end = { key: keys.writing(writing.id), value: null }
      await this.#log.shutOut(writing.producerId, INDEX, end)
      // Shut out before for another file of his: then that was the last word in his name.
      await this.#note([end])
      await this.#catchUp()
      // It may have come through just before.
      if (!this.#index.file(writing.id)) this.#dead.set(writing.id, writing)
    }
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

/** The chunks from `from` on that stand one after another in these records; those of other files may stand between. */
function chunksIn(
  records: Iterable<{ readonly offset: bigint; readonly key: Buffer | null; readonly value: Buffer | null }>,
  file: StoredFile,
  from: number,
  to: number,
  location: string,
): Buffer[] {
  const chunks: Buffer[] = []
  try {
    for (const { offset, key, value } of records) {
      const next = from + chunks.length
      if (next === to || offset > (file.chunks[next] ?? 0n)) break
      if (offset < (file.chunks[next] ?? 0n)) continue
      if (key?.toString() !== keys.chunk(file.id, next) || !value)
        throw corrupt(file, `offset ${offset} holds another record than its chunk ${next}`, location)
      chunks.push(value)
    }
  } catch (error) {
    if (!isCode(error, 'BATCH_CORRUPT', 'CODEC_UNKNOWN')) throw error
    throw corrupt(file, messageOf(error), location)
  }
  return chunks
}

function corrupt(file: StoredFile, what: string, location: string): MillraceError {
  const text = `checkpoint file ${file.name} in ${location}, partition ${file.partition}: ${what}; restore the pipeline from a savepoint, or start again with \`millrace reset\``
  return new MillraceError('CHECKPOINT_CORRUPT', text)
}

/** Pieces of `bytes`, each a list of views of the parts; the last one may be shorter. */
function* chunked(parts: readonly Buffer[], bytes: number): Generator<Buffer[]> {
  let chunk: Buffer[] = []
  let room = bytes
  for (const part of parts) {
    for (let at = 0; at < part.length; ) {
      const taken = Math.min(room, part.length - at)
      chunk.push(part.subarray(at, at + taken))
      at += taken
      room -= taken
      if (room > 0) continue
      yield chunk
      chunk = []
      room = bytes
    }
  }
  if (chunk.length > 0) yield chunk
}

/** A list setting reads the same in any order. */
const inOrder = (value: string): string => value.split(',').sort().join(',')
