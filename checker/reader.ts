/**
 * What a read_committed reader does, and which of the two there is.
 *
 * Kafka's own Java consumer is the witness that owes us nothing, so it is taken wherever Java and Kafka's jars are at
 * hand. Without them the raw reader asks the same questions over kafkajs's transport with a decoder and filter of its own.
 */
import { JavaReader } from './java-reader.ts'
import type { KafkaConnection } from './kafka.ts'
import { RawReader } from './raw-reader.ts'
import type { RecordChunk } from './record-log.ts'

/** Where to begin; partitions not named begin at the start of their log. topic → partition → offset. */
export type ReadStart = ReadonlyMap<string, ReadonlyMap<number, number>>

/** Receives the records of one partition, in offset order per partition. Must not throw. */
export type OnChunk = (chunk: RecordChunk) => void

/** A reader that goes on until it is stopped. */
export interface Follower {
  /** Set when it ended by itself. */
  readonly failure: Error | null
  /** Ends it; resolves when its process or connection is gone. Idempotent. */
  stop(): Promise<void>
}

/** A read_committed reader of whole topics. */
export interface Reader {
  readonly kind: 'java' | 'raw'
  /** Reads each partition up to the last stable offset it had at the start of the call. */
  readToEnd(topics: readonly string[], onChunk: OnChunk, start?: ReadStart): Promise<void>
  /** Reads on and on; resolves when it has begun to read. */
  follow(topics: readonly string[], onChunk: OnChunk): Promise<Follower>
}

export interface ReaderOptions {
  readonly connection: KafkaConnection
  /** Folder with Kafka's jars; without it there is only the raw reader. */
  readonly kafkaLibs?: string | undefined
  /** `auto` (default): Java if it can be used, else raw. */
  readonly reader?: 'auto' | 'java' | 'raw' | undefined
}

/** @throws CheckerError READER_FAILED if Java is demanded and cannot be used. */
export async function openReader(options: ReaderOptions): Promise<Reader> {
  const wanted = options.reader ?? 'auto'
  if (wanted === 'raw') return new RawReader(options.connection)
  try {
    return await JavaReader.open(options.connection, options.kafkaLibs)
  } catch (error) {
    if (wanted === 'java') throw error
    return new RawReader(options.connection)
  }
}
