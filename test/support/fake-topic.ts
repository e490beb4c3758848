/**
 * A topic in memory, as a broker keeps it: producers' epochs and sequences, DeleteRecords, compaction by batches. Requests can be
 * lost, their answers can be lost, and a request can arrive late, when its sender has given it up long ago.
 */
import type { CallOptions, KafkaCluster } from '../../connectors/kafka/cluster.ts'
import { Code, kafkaError } from '../../connectors/kafka/wire/codes.ts'
import { decodeBatch, readBatches } from '../../connectors/kafka/wire/record-batch.ts'
import { MillraceError } from '../../src/base/errors.ts'
import { KEY_AT, KEY_LENGTH, STRIDE, VALUE_LENGTH } from '../../src/dataflow/batch.ts'
import type { Cluster } from '../../src/dataflow/ports.ts'

interface Batch {
  readonly base: bigint
  readonly next: bigint
  readonly bytes: Buffer
}

interface Partition {
  batches: Batch[]
  start: bigint
  end: bigint
  readonly producers: Map<bigint, { epoch: number; nextSequence: number; lastBase: bigint }>
}

interface Produced {
  readonly batches: readonly { readonly partition: number; readonly batch: Buffer }[]
}

interface Asked {
  readonly partition: number
  readonly offset?: bigint
  readonly timestamp?: bigint
}

export type Fault = 'none' | 'lost' | 'answer-lost' | 'late'

export class FakeTopic {
  readonly name: string
  readonly partitions: readonly Partition[]
  /** Asked for every append. */
  fault: () => Fault = () => 'none'
  /** Turns of the loop that a request takes. */
  turns: () => number = () => 0
  #nextProducer = 0n
  #late: { readonly partition: number; readonly batch: Buffer }[] = []

  constructor(name: string, partitions: number) {
    this.name = name
    this.partitions = Array.from({ length: partitions }, () => ({
      batches: [],
      start: 0n,
      end: 0n,
      producers: new Map(),
    }))
  }

  #partition(index: number): Partition {
    const found = this.partitions[index]
    if (!found) throw new Error(`no partition ${index}`)
    return found
  }

  readonly admin: Pick<Cluster, 'topics' | 'topicConfigs' | 'createTopic'> = {
    topics: async () =>
      new Map([[this.name, { name: this.name, id: 'its id', partitions: this.partitions.length, replication: 3 }]]),
    // Chunks of 1 KiB.
    topicConfigs: async () => new Map([[this.name, new Map([['max.message.bytes', '5120']])]]),
    createTopic: async () => undefined,
  }

  /** What a worker holds of the cluster, until it dies. */
  client(clientId: string): { readonly cluster: KafkaCluster; readonly die: () => void } {
    let dead = false
    const call = async (api: { name: string }, request: unknown, options: CallOptions<unknown>): Promise<unknown> => {
      for (let left = this.turns(); left > 0; left--) await Promise.resolve()
      if (dead) return new Promise(() => {})
      const answer = this.#answer(api.name, request)
      const code = api.name === 'Produce' ? (answer as { code: number }[])[0]?.code : 0
      if (code && !options.accept?.(code)) throw kafkaError(code, 'appending')
      return answer
    }
    const cluster = { clientId, call, topic: () => undefined } as unknown as KafkaCluster
    const die = (): void => {
      dead = true
    }
    return { cluster, die }
  }

  #answer(api: string, request: unknown): unknown {
    if (api === 'InitProducerId') return { code: 0, producerId: this.#nextProducer++, epoch: 0 }
    if (api === 'Produce') return this.#produce(request as Produced)
    if (api === 'ListOffsets') {
      const [row] = (request as { topics: { partitions: Asked[] }[] }).topics[0]?.partitions ?? []
      const { start, end } = this.#partition(row?.partition ?? 0)
      return [{ code: 0, offset: row?.timestamp === -2n ? start : end }]
    }
    if (api === 'DeleteRecords') {
      const [row] = (request as { offsets: Asked[] }).offsets
      const partition = this.#partition(row?.partition ?? 0)
      if ((row?.offset ?? 0n) > partition.start) partition.start = row?.offset ?? 0n
      partition.batches = partition.batches.filter(({ next }) => next > partition.start)
      return [{ code: 0 }]
    }
    const [row] = (request as { partitions: Asked[] }).partitions
    return { code: 0, partitions: [this.#fetch(row?.partition ?? 0, row?.offset ?? 0n)] }
  }

  #fetch(index: number, offset: bigint): object {
    const { batches, start, end } = this.#partition(index)
    if (offset < start || offset > end) return { code: 1 }
    const found = batches.filter(({ next }) => next > offset).slice(0, 3)
    return { code: 0, highWatermark: end, records: Buffer.concat(found.map(({ bytes }) => bytes)) }
  }

  #produce({ batches: [given] }: Produced): unknown {
    const { partition, batch } = given ?? { partition: 0, batch: Buffer.alloc(0) }
    const fault = this.fault()
    if (fault === 'late') this.#late.push({ partition, batch: Buffer.from(batch) })
    if (fault === 'lost' || fault === 'late') throw unknown()
    const base = this.#append(partition, Buffer.from(batch))
    if (fault === 'answer-lost') throw unknown()
    return [typeof base === 'bigint' ? { code: 0, baseOffset: base } : { code: base }]
  }

  /** Its offset, or the code of its refusal. */
  #append(index: number, batch: Buffer): bigint | number {
    const partition = this.#partition(index)
    const [header] = readBatches(batch, this.name)
    if (!header) throw new Error('no batch')
    const { producerId, producerEpoch: epoch, baseSequence, count } = header
    const known = partition.producers.get(producerId)
    if (known && epoch < known.epoch) return Code.INVALID_PRODUCER_EPOCH
    if (known && epoch === known.epoch && baseSequence + count === known.nextSequence) return known.lastBase
    if (known && baseSequence !== (epoch === known.epoch ? known.nextSequence : 0)) return Code.OUT_OF_ORDER_SEQUENCE
    const base = partition.end
    batch.writeBigInt64BE(base, 0)
    partition.end += BigInt(count)
    partition.batches.push({ base, next: partition.end, bytes: batch })
    partition.producers.set(producerId, { epoch, nextSequence: baseSequence + count, lastBase: base })
    return base
  }

  /** What was given up and is still on its way arrives now. */
  arrive(): void {
    for (const { partition, batch } of this.#late.splice(0)) this.#append(partition, batch)
  }

  /** Takes batches of which every record was replaced; the last one stays, as the active segment does. */
  compact(index: number): void {
    const partition = this.#partition(index)
    const last = new Map<string, bigint>()
    for (const { bytes, base } of partition.batches) for (const key of keysOf(bytes)) last.set(key, base)
    const newest = partition.batches.at(-1)
    partition.batches = partition.batches.filter(
      (each) => each === newest || keysOf(each.bytes).some((key) => last.get(key) === each.base),
    )
  }

  /** Records with a value between start and end. */
  valuesIn(index: number): number {
    const { batches } = this.#partition(index)
    return batches.reduce(
      (sum, { bytes }) => sum + fieldsOf(bytes, VALUE_LENGTH).filter((length) => length >= 0).length,
      0,
    )
  }
}

function unknown(): MillraceError {
  return new MillraceError('KAFKA_REQUEST_TIMEOUT', 'no answer; the outcome is unknown')
}

function fieldsOf(bytes: Buffer, column: number): number[] {
  const [header] = readBatches(bytes, 'fake')
  if (!header) return []
  const { count, fields } = decodeBatch(bytes, header, 'fake', 0)
  return Array.from({ length: count }, (_, index) => fields[index * STRIDE + column] ?? 0)
}

function keysOf(bytes: Buffer): string[] {
  const lengths = fieldsOf(bytes, KEY_LENGTH)
  return fieldsOf(bytes, KEY_AT).map((at, index) => bytes.toString('latin1', at, at + (lengths[index] ?? 0)))
}
