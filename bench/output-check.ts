/**
 * What the output must be, byte for byte. Where a system keeps key, partition and order, the plain work, run over the input
 * alone, gives every output partition exactly: a count and a checksum over its keys and values in order show a record that
 * is lost, doubled, swapped or wrong.
 */
import { crc32 } from 'node:zlib'
import type { Reader } from '../checker/reader.ts'
import type { LogRecord } from '../checker/record-log.ts'

/** One record in, the value of one record out; key and timestamp stay. */
export type PlainWork = (key: Buffer, value: Buffer) => Buffer | string

export interface Verdict {
  readonly exact: boolean
  readonly recordsOut: number
}

/** What a workload must make of one input. */
export interface Expected {
  /** Of the input, and of every output. */
  readonly records: number
  /** Reads an output to its end (read_committed). */
  check(topic: string): Promise<Verdict>
}

interface PartitionDigest {
  readonly records: number
  readonly checksum: number
}

/** By partition. */
type TopicDigest = readonly PartitionDigest[]

export const nothing: Buffer = Buffer.alloc(0)

/** What `work` must give, byte for byte and in order. */
export async function expectBytes(reader: Reader, input: string, work: PlainWork): Promise<Expected> {
  const expected = await digestTopic(reader, input, ({ key, value }) => work(key ?? nothing, value ?? nothing))
  return {
    records: recordsOf(expected),
    async check(topic) {
      const digest = await digestTopic(reader, topic, ({ value }) => value ?? nothing)
      return { exact: JSON.stringify(digest) === JSON.stringify(expected), recordsOut: recordsOf(digest) }
    },
  }
}

async function digestTopic(
  reader: Reader,
  topic: string,
  contentOf: (record: LogRecord) => Buffer | string,
): Promise<TopicDigest> {
  const digests: { records: number; checksum: number }[] = []
  await reader.readToEnd([topic], (chunk) => {
    digests[chunk.partition] ??= { records: 0, checksum: 0 }
    const digest = digests[chunk.partition]
    if (!digest) return
    for (let index = 0; index < chunk.count; index++) {
      const record = chunk.record(index)
      digest.records++
      digest.checksum = crc32(contentOf(record), crc32(record.key ?? nothing, digest.checksum))
    }
  })
  return digests
}

function recordsOf(digest: TopicDigest): number {
  return digest.reduce((sum, partition) => sum + partition.records, 0)
}
