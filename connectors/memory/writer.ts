// What a task in memory writes to a topic: held back until the checkpoint that it belongs to is committed.
import { ByteReader } from '../../src/base/byte-reader.ts'
import { ByteWriter } from '../../src/base/byte-writer.ts'
import { decodeHeaders } from '../../src/dataflow/batch.ts'
import type { PartitionWriter } from '../../src/dataflow/ports.ts'
import type { Encoder } from '../../src/state/serde.ts'
import type { MemoryLog, MemoryRecord } from './log.ts'

interface Held {
  readonly partition: number
  readonly record: MemoryRecord
}

export class HeldWriter implements PartitionWriter {
  readonly #log: MemoryLog
  /** Before the last barrier, and behind it. */
  #sealed: Held[] = []
  #open: Held[] = []
  readonly #value = new ByteWriter(256)
  #begun: { readonly partition: number; readonly timestamp: number; readonly key: Buffer | null } | undefined

  constructor(log: MemoryLog) {
    this.#log = log
  }

  get partitions(): number {
    return this.#log.partitions
  }

  begin(partition: number, timestamp: number, key: Buffer, keyAt: number, keyLength: number): ByteWriter {
    const own = keyLength < 0 ? null : Buffer.from(key.subarray(keyAt, keyAt + keyLength))
    this.#begun = { partition, timestamp, key: own }
    this.#value.reset()
    return this.#value
  }

  end(value: 'written' | 'null', headers: Buffer | null, headersAt: number, headersEnd: number): void {
    const begun = this.#begun
    this.#begun = undefined
    if (!begun) throw new Error('a record was ended that was not begun')
    const { partition, timestamp, key } = begun
    const record = {
      ...{ key, timestamp, value: value === 'null' ? null : this.#value.copy() },
      headers: headers ? decodeHeaders(headers, headersAt, headersEnd) : [],
    }
    this.#open.push({ partition, record })
  }

  undo(): void {
    this.#begun = undefined
  }

  copy(partition: number, timestamp: number, source: Buffer, start: number, end: number): void {
    const reader = new ByteReader(source, start, end)
    const part = (): Buffer | null => {
      const length = reader.varint()
      return length < 0 ? null : Buffer.from(reader.bytes(length))
    }
    const key = part()
    const value = part()
    const headers = decodeHeaders(source, reader.position, end)
    this.#open.push({ partition, record: { key, value, timestamp, headers } })
  }

  barrier(): void {
    this.#sealed = this.#open
    this.#open = []
  }

  /** What was written before the barrier is in the topic from here on. */
  commit(): void {
    for (const { partition, record } of this.#sealed) this.#log.append(partition, [record])
    this.#sealed = []
  }
}

/** null is null where the serde knows none. */
export function bytesBy(serde: Encoder<unknown>, value: unknown): Buffer | null {
  if (value === null && serde.nullable) return null
  const out = new ByteWriter(256)
  serde.encode(value, out)
  return out.copy()
}
