// Record batches coded and decoded by Kafka's own classes (MemoryRecords, MemoryRecordsBuilder): the other side of
// every test of our codec.
import { base64, fromBase64, type JavaHeader } from './java-probe.ts'
import { type ProbeLine, ProbeProcess } from './probe-process.ts'

export type JavaCompression = 'none' | 'gzip' | 'snappy' | 'lz4' | 'zstd'

export interface JavaDecodedRecord {
  readonly offset: bigint
  readonly timestamp: number
  readonly sequence: number
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: readonly JavaHeader[]
  /** Only in control batches. */
  readonly controlType?: string
  /** Only in end-of-transaction markers. */
  readonly coordinatorEpoch?: number
}

export interface JavaDecodedBatch {
  /** The checksum is right. Where it is wrong, `records` is empty and the other fields are as the bytes say. */
  readonly valid: boolean
  /** Why the records of a batch with a right checksum could not be read; absent when they could. */
  readonly error?: string
  readonly magic: number
  readonly sizeBytes: number
  readonly baseOffset: bigint
  readonly lastOffset: bigint
  readonly producerId: bigint
  readonly producerEpoch: number
  readonly baseSequence: number
  readonly lastSequence: number
  readonly transactional: boolean
  readonly control: boolean
  readonly compression: JavaCompression
  readonly timestampType: 'CreateTime' | 'LogAppendTime' | 'NoTimestampType'
  readonly maxTimestamp: number
  readonly leaderEpoch: number
  readonly records: readonly JavaDecodedRecord[]
}

export interface JavaDecoded {
  readonly batches: readonly JavaDecodedBatch[]
  /** Bytes at the end that are not a whole batch. */
  readonly trailingBytes: number
}

/** What both kinds of batch carry. Absent fields are Kafka's "none": -1, offset 0. */
export interface JavaBatchHead {
  readonly baseOffset?: bigint
  readonly producerId?: bigint
  readonly producerEpoch?: number
  readonly leaderEpoch?: number
}

export interface JavaDataBatch extends JavaBatchHead {
  readonly records: readonly {
    /** Default: one after the record before. */
    readonly offset?: bigint
    /** Default 0. */
    readonly timestamp?: number
    readonly key?: Uint8Array | string | null
    readonly value?: Uint8Array | string | null
    readonly headers?: readonly (readonly [name: string, value: Uint8Array | string | null])[]
  }[]
  readonly compression?: JavaCompression
  /** Level of gzip, lz4 or zstd. */
  readonly level?: number
  readonly baseSequence?: number
  readonly transactional?: boolean
  /** Makes the batch's timestamp type LogAppendTime, with this time in milliseconds. */
  readonly logAppendTime?: number
}

export interface JavaControlBatch extends JavaBatchHead {
  readonly control: 'commit' | 'abort'
  readonly timestamp?: number
  readonly coordinatorEpoch?: number
}

/** Two long-lived processes, each started at its first use. Requests may overlap; answers keep their order. */
export class JavaCodec implements AsyncDisposable {
  #decoder: Promise<ProbeProcess> | undefined
  #encoder: Promise<ProbeProcess> | undefined

  /** @throws JavaProbeError when Kafka refuses the bytes as a whole (a batch too small, an unknown magic, …) */
  async decode(bytes: Uint8Array): Promise<JavaDecoded> {
    this.#decoder ??= ProbeProcess.start('decode-batches', [])
    const line = await (await this.#decoder).request({ b: base64(bytes) })
    const batches = line.batches as readonly BatchLine[]
    return { batches: batches.map(parseBatch), trailingBytes: Number(line.trailing) }
  }

  /** One after the other into one buffer. @throws JavaProbeError when Kafka refuses to build them */
  async encode(...batches: readonly (JavaDataBatch | JavaControlBatch)[]): Promise<Buffer> {
    this.#encoder ??= ProbeProcess.start('encode-batches', [])
    const line = await (await this.#encoder).request({ all: batches.map(batchRequest) })
    return fromBase64(line.b) ?? Buffer.alloc(0)
  }

  async close(): Promise<void> {
    await (await this.#decoder)?.close()
    await (await this.#encoder)?.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close().catch(() => undefined)
  }
}

function batchRequest(batch: JavaDataBatch | JavaControlBatch): ProbeLine {
  const head = {
    baseOffset: numberOf(batch.baseOffset),
    pid: numberOf(batch.producerId),
    epoch: batch.producerEpoch,
    leaderEpoch: batch.leaderEpoch,
  }
  if ('control' in batch) {
    return { ...head, control: batch.control, ts: batch.timestamp, coordinatorEpoch: batch.coordinatorEpoch }
  }
  const { compression, level, transactional, logAppendTime } = batch
  const records = batch.records.map((record) => ({
    o: numberOf(record.offset),
    ts: record.timestamp,
    k: base64(record.key),
    v: base64(record.value),
    h: (record.headers ?? []).map(([name, value]) => [name, base64(value)]),
  }))
  return { ...head, records, compression, level, transactional, logAppendTime, sequence: batch.baseSequence }
}

function numberOf(value: bigint | undefined): number | undefined {
  return value === undefined ? undefined : Number(value)
}

interface BatchLine extends Omit<JavaDecodedBatch, 'records' | 'baseOffset' | 'lastOffset'> {
  readonly baseOffset: number
  readonly lastOffset: number
  readonly pid: number
  readonly epoch: number
  readonly size: number
  readonly records?: readonly DecodedRecordLine[]
}

interface DecodedRecordLine {
  readonly o: number
  readonly ts: number
  readonly seq: number
  readonly k: string | null
  readonly v: string | null
  readonly h: readonly [string, string | null][]
  readonly controlType?: string
  readonly coordinatorEpoch?: number
}

function parseBatch(line: BatchLine): JavaDecodedBatch {
  return {
    valid: line.valid,
    ...(line.error === undefined ? {} : { error: line.error }),
    magic: line.magic,
    sizeBytes: line.size,
    baseOffset: BigInt(line.baseOffset),
    lastOffset: BigInt(line.lastOffset),
    producerId: BigInt(line.pid),
    producerEpoch: line.epoch,
    baseSequence: line.baseSequence,
    lastSequence: line.lastSequence,
    transactional: line.transactional,
    control: line.control,
    compression: line.compression,
    timestampType: line.timestampType,
    maxTimestamp: line.maxTimestamp,
    leaderEpoch: line.leaderEpoch,
    records: (line.records ?? []).map(parseDecodedRecord),
  }
}

function parseDecodedRecord(line: DecodedRecordLine): JavaDecodedRecord {
  return {
    offset: BigInt(line.o),
    timestamp: line.ts,
    sequence: line.seq,
    key: fromBase64(line.k),
    value: fromBase64(line.v),
    headers: line.h.map(([name, value]) => [name, fromBase64(value)]),
    ...(line.controlType === undefined ? {} : { controlType: line.controlType }),
    ...(line.coordinatorEpoch === undefined ? {} : { coordinatorEpoch: line.coordinatorEpoch }),
  }
}
