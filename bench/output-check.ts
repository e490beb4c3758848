/**
 * What the output must be, byte for byte. Millrace and the loop keep key, partition and order, so that the plain work, run
 * over the input alone, gives every output partition exactly: a count and a checksum over its keys and values in order
 * show a record that is lost, doubled, swapped or wrong.
 */
import { crc32 } from 'node:zlib'
import type { Reader } from '../checker/reader.ts'
import type { LogRecord } from '../checker/record-log.ts'
import type { PlainWork } from './scenarios/scenario.ts'

export interface PartitionDigest {
  readonly records: number
  readonly checksum: number
}

/** By partition. */
export type TopicDigest = readonly PartitionDigest[]

const nothing = Buffer.alloc(0)

/** Reads a topic to its end (read_committed) and digests it; `work`: what would be made of it. */
export async function digestTopic(reader: Reader, topic: string, work?: PlainWork): Promise<TopicDigest> {
  const digests: { records: number; checksum: number }[] = []
  const madeOf = ({ key, value }: LogRecord): Buffer | string => {
    if (!work) return value ?? nothing
    return work(key ?? nothing, value ?? nothing)
  }
  await reader.readToEnd([topic], (chunk) => {
    digests[chunk.partition] ??= { records: 0, checksum: 0 }
    const digest = digests[chunk.partition]
    if (!digest) return
    for (let index = 0; index < chunk.count; index++) {
      const record = chunk.record(index)
      digest.records++
      digest.checksum = crc32(madeOf(record), crc32(record.key ?? nothing, digest.checksum))
    }
  })
  return digests
}

export function recordsOf(digest: TopicDigest): number {
  return digest.reduce((sum, partition) => sum + partition.records, 0)
}

export function sameDigest(one: TopicDigest, other: TopicDigest): boolean {
  return JSON.stringify(one) === JSON.stringify(other)
}
