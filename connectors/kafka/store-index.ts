// What the index partition of a checkpoint topic says, as a function of its records: nothing here reads or writes. Keys:
//
//   store/<pipeline>            whose topic it is
//   writing/<name>/<nonce>      chunks of a file are on their way: what may be purged stops in front of them
//   file/<name>/<nonce>         a file, whole and durable; written in one batch with the end of `writing`
//
// A value of null ends what its key began. The first record of a file's name wins, in the order of the log: who comes later
// finds that out by reading up to his own record, and takes it back. Compaction keeps the order and drops only what a later
// record of the same key replaced, so whoever begins at the log's start comes to the same state.
import { MillraceError } from '../../src/base/errors.ts'

const FORMAT = 1
/** Of one file: more is damage. */
const CHUNKS_MAX = 2 ** 24

export interface IndexRecord {
  readonly offset: bigint
  /** As its writer's clock says. */
  readonly timestamp: number
  readonly key: string | null
  readonly value: string | null
}

/** A `create` under way, or one that was interrupted. */
export interface Writing {
  /** Name and nonce. */
  readonly id: string
  /** The client that writes, and its producer id in the index: who takes it for dead shuts that out. */
  readonly by: string
  readonly producerId: bigint
  /** Of the chunks, all of which will stand at `from` or behind it. */
  readonly partition: number
  readonly from: bigint
  readonly chunks: number
  readonly sinceMs: number
  /** In the index. */
  readonly offset: bigint
}

export interface StoredFile {
  readonly id: string
  readonly name: string
  readonly partition: number
  readonly bytes: number
  /** All chunks are so long, but the last. */
  readonly chunkBytes: number
  /** CRC32C of all of it. */
  readonly checksum: string
  /** Offset of each chunk. */
  readonly chunks: readonly bigint[]
  /** In the index. */
  readonly offset: bigint
  /** Its name was there already. */
  readonly late: boolean
}

export const keys = {
  store: (pipeline: string): string => `store/${pipeline}`,
  writing: (id: string): string => `writing/${id}`,
  file: (id: string): string => `file/${id}`,
  /** In a data partition. */
  chunk: (id: string, index: number): string => `${id}/${index}`,
}

export const values = {
  store: (): string => JSON.stringify({ f: FORMAT }),
  writing: ({ by, producerId, partition, from, chunks }: Omit<Writing, 'id' | 'sinceMs' | 'offset'>): string =>
    JSON.stringify({ f: FORMAT, by, producer: Number(producerId), partition, from: Number(from), chunks }),
  file: (file: Pick<StoredFile, 'partition' | 'bytes' | 'chunkBytes' | 'checksum' | 'chunks'>): string => {
    const { partition, bytes, chunkBytes, checksum, chunks } = file
    return JSON.stringify({ f: FORMAT, partition, bytes, chunkBytes, checksum, at: runsOf(chunks) })
  },
}

export class StoreIndex {
  readonly #where: string
  readonly #owners = new Map<string, bigint>()
  readonly #writings = new Map<string, Writing>()
  readonly #files = new Map<string, StoredFile>()
  readonly #ends = new Map<number, bigint>()
  /** The offset of the next record. */
  position = 0n

  /** `where`: topic and partition, for messages. */
  constructor(where: string) {
    this.#where = where
  }

  /** @throws STORE_FOREIGN_FILE, CHECKPOINT_MISMATCH */
  apply(record: IndexRecord): void {
    const { kind, id } = this.#split(record)
    const fields = record.value === null ? undefined : this.#fields(record, record.value)
    if (!fields) this.#mapOf(kind).delete(id)
    else if (kind === 'store') this.#owners.set(id, record.offset)
    else if (kind === 'writing') this.#writings.set(id, this.#writing(record, id, fields))
    else this.#add(this.#file(record, id, fields))
    // Not before: what was refused is met again.
    this.position = record.offset + 1n
  }

  #mapOf(kind: 'store' | 'writing' | 'file'): Map<string, unknown> {
    return kind === 'store' ? this.#owners : kind === 'writing' ? this.#writings : this.#files
  }

  #add(file: StoredFile): void {
    this.#files.set(file.id, file)
    const last = file.chunks.at(-1)
    if (last !== undefined && last >= this.endOf(file.partition)) this.#ends.set(file.partition, last + 1n)
  }

  #split({ key, offset }: IndexRecord): { kind: 'store' | 'writing' | 'file'; id: string } {
    const match = /^(store|writing|file)\/(.+)$/s.exec(key ?? '')
    const [, kind, id] = match ?? []
    const known = kind === 'store' || kind === 'writing' || kind === 'file'
    if (!known || id === undefined || (kind !== 'store' && id.lastIndexOf('/') < 1)) throw this.#foreign(offset)
    return { kind, id }
  }

  #fields({ offset }: IndexRecord, value: string): Readonly<Record<string, unknown>> {
    let fields: Readonly<Record<string, unknown>> | null
    try {
      fields = JSON.parse(value) as Readonly<Record<string, unknown>> | null
    } catch {
      throw this.#foreign(offset)
    }
    if (typeof fields !== 'object' || fields === null || typeof fields.f !== 'number') throw this.#foreign(offset)
    if (fields.f === FORMAT) return fields
    const text = `${this.#where}@${offset} has format ${fields.f}; this release reads ${FORMAT}: run the release that wrote it`
    throw new MillraceError('CHECKPOINT_MISMATCH', text)
  }

  #writing({ offset, timestamp }: IndexRecord, id: string, fields: Readonly<Record<string, unknown>>): Writing {
    const { by, producer, partition, from, chunks } = fields
    if (typeof by !== 'string' || !isCount(producer)) throw this.#foreign(offset)
    if (!isCount(partition) || !isCount(from) || !isCount(chunks)) throw this.#foreign(offset)
    const producerId = BigInt(producer)
    return { id, by, producerId, partition, from: BigInt(from), chunks, sinceMs: timestamp, offset }
  }

  #file({ offset }: IndexRecord, id: string, fields: Readonly<Record<string, unknown>>): StoredFile {
    const { partition, bytes, chunkBytes, checksum, at } = fields
    const chunks = offsetsOf(at)
    if (!isCount(partition) || !isCount(bytes) || !isCount(chunkBytes) || typeof checksum !== 'string' || !chunks)
      throw this.#foreign(offset)
    if (chunks.length !== chunksOf(bytes, chunkBytes)) throw this.#foreign(offset)
    const name = id.slice(0, id.lastIndexOf('/'))
    const known = this.#files.get(id)
    const late = known?.late ?? this.fileOf(name) !== undefined
    return { id, name, partition, bytes, chunkBytes, checksum, chunks, offset, late }
  }

  #foreign(offset: bigint): MillraceError {
    const text = `${this.#where}@${offset} is no record of a checkpoint store; the topic must be Millrace's alone: move what else writes to it, delete the topic and \`millrace reset\``
    return new MillraceError('STORE_FOREIGN_FILE', text)
  }

  /** undefined: nobody's yet. */
  get pipeline(): string | undefined {
    const [first] = this.#owners.keys()
    return first
  }

  /** The file of a name; undefined: not there. */
  fileOf(name: string): StoredFile | undefined {
    return [...this.#files.values()].find((file) => file.name === name && !file.late)
  }

  file(id: string): StoredFile | undefined {
    return this.#files.get(id)
  }

  /** All that bears a name, those that came too late, too. */
  filesOf(name: string): StoredFile[] {
    return [...this.#files.values()].filter((file) => file.name === name)
  }

  names(): string[] {
    return [...new Set([...this.#files.values()].flatMap(({ name, late }) => (late ? [] : [name])))].sort()
  }

  get writings(): readonly Writing[] {
    return [...this.#writings.values()]
  }

  /** A data partition is at least so long. */
  endOf(partition: number): bigint {
    return this.#ends.get(partition) ?? 0n
  }

  /** What stands before it in a data partition belongs to nobody; undefined: nothing in it does. */
  floorOf(partition: number): bigint | undefined {
    const files = [...this.#files.values()].filter((file) => file.partition === partition)
    const writings = this.writings.filter((writing) => writing.partition === partition)
    return lowest([...files.flatMap(({ chunks }) => chunks.slice(0, 1)), ...writings.map(({ from }) => from)])
  }

  /** The same of the index itself, without the records that say whose it is. */
  get floor(): bigint | undefined {
    return lowest([...this.#files.values(), ...this.#writings.values()].map(({ offset }) => offset))
  }

  /** Where the record stands that says whose the topic is. */
  get ownerAt(): bigint | undefined {
    const [first] = this.#owners.values()
    return first
  }
}

/** How many chunks a file has. */
export function chunksOf(bytes: number, chunkBytes: number): number {
  return bytes === 0 ? 0 : Math.ceil(bytes / chunkBytes)
}

/** Offsets as `[first, how many, first, how many, …]`: a worker's chunks mostly follow one another. */
function runsOf(offsets: readonly bigint[]): number[] {
  const runs: number[] = []
  for (const [index, offset] of offsets.entries()) {
    if (index > 0 && offset === (offsets[index - 1] ?? 0n) + 1n) runs[runs.length - 1] = (runs.at(-1) ?? 0) + 1
    else runs.push(Number(offset), 1)
  }
  return runs
}

/** undefined: that is none. */
function offsetsOf(runs: unknown): bigint[] | undefined {
  if (!Array.isArray(runs) || runs.length % 2 !== 0 || !runs.every(isCount)) return undefined
  const offsets: bigint[] = []
  for (let at = 0; at < runs.length; at += 2) {
    const [first = 0, count = 0] = runs.slice(at, at + 2) as number[]
    if (count > CHUNKS_MAX) return undefined
    for (let index = 0; index < count; index++) offsets.push(BigInt(first + index))
  }
  return offsets
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0

function lowest(offsets: readonly bigint[]): bigint | undefined {
  return offsets.reduce<bigint | undefined>((low, each) => (low === undefined || each < low ? each : low), undefined)
}
