// Requests of the transaction protocol, "transactions v1" (KIP-98, KIP-447): versions that keep one epoch per
// InitProducerId and name fenced producers (90). EndTxn v5 and its kin (KIP-890, v2) are never mixed in.
import {
  type CommitOffset,
  type Membership,
  type PartitionCode,
  partitionCodes,
  writeCommit,
} from './group-requests.ts'
import {
  type Api,
  type ProtocolReader,
  type ProtocolWriter,
  readByTopic,
  writeByTopic,
  writePartitions,
} from './primitives.ts'

/** Who speaks to the transaction coordinator. */
export interface ProducerIdentity {
  readonly transactionalId: string
  readonly producerId: bigint
  readonly epoch: number
}

export const InitProducerId: Api<
  {
    transactionalId: string | null
    timeoutMs: number
    /** Only if this is still the id's producer (KIP-360): someone newer is not fenced. Default: whoever it is. */
    expected?: { readonly producerId: bigint; readonly epoch: number }
  },
  { readonly code: number; readonly producerId: bigint; readonly epoch: number }
> = {
  name: 'InitProducerId',
  key: 22,
  min: 4,
  max: 4,
  flexibleFrom: 2,
  encode(writer, { transactionalId, timeoutMs, expected }) {
    writer.nullableString(transactionalId)
    writer.int32(timeoutMs)
    writer.int64(expected?.producerId ?? -1n)
    writer.int16(expected?.epoch ?? -1)
    writer.tags()
  },
  decode(reader) {
    reader.int32()
    return { code: reader.int16(), producerId: reader.int64(), epoch: reader.int16() }
  },
}

function writeProducer(writer: ProtocolWriter, { transactionalId, producerId, epoch }: ProducerIdentity): void {
  writer.string(transactionalId)
  writer.int64(producerId)
  writer.int16(epoch)
}

export const AddPartitionsToTxn: Api<
  ProducerIdentity & { partitions: readonly { topic: string; partition: number }[] },
  PartitionCode[]
> = {
  name: 'AddPartitionsToTxn',
  key: 24,
  min: 3,
  max: 3,
  flexibleFrom: 3,
  encode(writer, request) {
    writeProducer(writer, request)
    writePartitions(writer, request.partitions)
    writer.tags()
  },
  decode(reader) {
    reader.int32()
    return partitionCodes(reader)
  },
}

export const AddOffsetsToTxn: Api<ProducerIdentity & { group: string }, { readonly code: number }> = {
  name: 'AddOffsetsToTxn',
  key: 25,
  min: 3,
  max: 3,
  flexibleFrom: 3,
  encode(writer, request) {
    writeProducer(writer, request)
    writer.string(request.group)
    writer.tags()
  },
  decode: throttledCode,
}

function throttledCode(reader: ProtocolReader): { readonly code: number } {
  reader.int32()
  return { code: reader.int16() }
}

/** The response's order differs from the request's: look codes up by topic and partition. */
export const TxnOffsetCommit: Api<
  ProducerIdentity & { membership: Membership; offsets: readonly CommitOffset[] },
  PartitionCode[]
> = {
  name: 'TxnOffsetCommit',
  key: 28,
  min: 3,
  max: 3,
  flexibleFrom: 3,
  encode(writer, request) {
    writer.string(request.transactionalId)
    writer.string(request.membership.group)
    writer.int64(request.producerId)
    writer.int16(request.epoch)
    writer.int32(request.membership.generation)
    writer.string(request.membership.member)
    writer.nullableString(request.membership.instance)
    writeByTopic(writer, request.offsets, (row) => writeCommit(writer, row))
    writer.tags()
  },
  decode(reader) {
    reader.int32()
    return partitionCodes(reader)
  },
}

export const EndTxn: Api<ProducerIdentity & { result: 'commit' | 'abort' }, { readonly code: number }> = {
  name: 'EndTxn',
  key: 26,
  min: 3,
  max: 3,
  flexibleFrom: 3,
  encode(writer, request) {
    writeProducer(writer, request)
    writer.boolean(request.result === 'commit')
    writer.tags()
  },
  decode: throttledCode,
}

export interface TransactionDescription {
  readonly code: number
  readonly transactionalId: string
  /** Empty, Ongoing, PrepareCommit, PrepareAbort, CompleteCommit, CompleteAbort, Dead, PrepareEpochFence. */
  readonly state: string
  readonly timeoutMs: number
  readonly producerId: bigint
  readonly epoch: number
  /** Empty once the transaction is complete. */
  readonly partitions: readonly { readonly topic: string; readonly partition: number }[]
}

export const DescribeTransactions: Api<{ ids: readonly string[] }, TransactionDescription[]> = {
  name: 'DescribeTransactions',
  key: 65,
  min: 0,
  max: 0,
  flexibleFrom: 0,
  encode(writer, { ids }) {
    writer.array(ids, (id) => writer.string(id))
    writer.tags()
  },
  decode(reader) {
    reader.int32()
    return reader.array(() => {
      const code = reader.int16()
      const transactionalId = reader.string()
      const state = reader.string()
      const timeoutMs = reader.int32()
      reader.int64()
      const producerId = reader.int64()
      const epoch = reader.int16()
      const topics = reader.array(() => {
        const topic = reader.string()
        const partitions = reader.array(() => ({ topic, partition: reader.int32() }))
        reader.tags()
        return partitions
      })
      reader.tags()
      return { code, transactionalId, state, timeoutMs, producerId, epoch, partitions: topics.flat() }
    })
  },
}

export interface ListedTransaction {
  readonly transactionalId: string
  readonly producerId: bigint
  readonly state: string
}

/** Each broker lists only the ids that it coordinates, and hides silently what ACLs forbid. */
export const ListTransactions: Api<
  { states: readonly string[]; pattern: string },
  {
    readonly code: number
    readonly unknownStates: readonly string[]
    readonly transactions: readonly ListedTransaction[]
  }
> = {
  name: 'ListTransactions',
  key: 66,
  min: 0,
  max: 2,
  flexibleFrom: 0,
  encode(writer, { states, pattern }, version) {
    writer.array(states, (state) => writer.string(state))
    writer.array([], () => {})
    if (version >= 1) writer.int64(-1n)
    if (version >= 2) writer.nullableString(pattern)
    writer.tags()
  },
  decode(reader) {
    reader.int32()
    const code = reader.int16()
    const unknownStates = reader.array(() => reader.string())
    const transactions = reader.array(() => {
      const row = { transactionalId: reader.string(), producerId: reader.int64(), state: reader.string() }
      reader.tags()
      return row
    })
    return { code, unknownStates, transactions }
  },
}

export interface ActiveProducer {
  readonly producerId: bigint
  readonly epoch: number
  readonly coordinatorEpoch: number
  /** Offset of the first record of the open transaction; −1: none is open. */
  readonly transactionStart: bigint
}

export interface DescribedProducers {
  readonly topic: string
  readonly partition: number
  readonly code: number
  readonly producers: readonly ActiveProducer[]
}

/** Ask the leader only: a follower answers 0 with a list of its own. */
export const DescribeProducers: Api<
  { partitions: readonly { topic: string; partition: number }[] },
  DescribedProducers[]
> = {
  name: 'DescribeProducers',
  key: 61,
  min: 0,
  max: 0,
  flexibleFrom: 0,
  encode(writer, { partitions }) {
    writePartitions(writer, partitions)
    writer.tags()
  },
  decode(reader) {
    reader.int32()
    return readByTopic(reader, (topic, partition) => {
      const code = reader.int16()
      reader.nullableString()
      return { topic, partition, code, producers: reader.array(() => activeProducer(reader)) }
    })
  },
}

function activeProducer(reader: ProtocolReader): ActiveProducer {
  const producerId = reader.int64()
  const epoch = reader.int32()
  reader.int32()
  reader.int64()
  const coordinatorEpoch = reader.int32()
  const transactionStart = reader.int64()
  reader.tags()
  return { producerId, epoch, coordinatorEpoch, transactionStart }
}

/** The repair of dropped markers. Needs ALTER or CLUSTER_ACTION on the cluster. */
export const WriteTxnMarkers: Api<
  {
    producerId: bigint
    epoch: number
    coordinatorEpoch: number
    result: 'commit' | 'abort'
    partitions: readonly { topic: string; partition: number }[]
  },
  PartitionCode[]
> = {
  name: 'WriteTxnMarkers',
  key: 27,
  min: 1,
  max: 1,
  flexibleFrom: 1,
  encode(writer, request) {
    writer.array([request], (marker) => {
      writer.int64(marker.producerId)
      writer.int16(marker.epoch)
      writer.boolean(marker.result === 'commit')
      writePartitions(writer, marker.partitions)
      writer.int32(marker.coordinatorEpoch)
      writer.tags()
    })
    writer.tags()
  },
  decode(reader) {
    const markers = reader.array(() => {
      reader.int64()
      const rows = partitionCodes(reader)
      reader.tags()
      return rows
    })
    return markers.flat()
  },
}
