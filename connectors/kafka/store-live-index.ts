// The index of a checkpoint topic as this worker knows it: read up to its end whenever somebody must see the newest, and written to.
import { monotonicMs } from '../../src/base/clock.ts'
import { MillraceError } from '../../src/base/errors.ts'
import { StoreIndex } from './store-index.ts'
import type { NewRecord, StoreLog } from './store-log.ts'

/** The index's partition. */
export const INDEX = 0
const FETCH_BYTES = 1024 * 1024
/** Who did not look at the index for so long begins it anew: the log cleaner may have dropped tombstones meanwhile. */
const AGE_MS_MAX = 10 * 60_000
/** A new leader shows what was acknowledged within a few fetches of its followers. */
export const READABLE_MS_MAX = 30_000

export interface NewIndexRecord {
  readonly key: string
  readonly value: string | null
}

export class LiveIndex {
  readonly #log: StoreLog
  readonly #idOf: () => string | undefined
  #current: StoreIndex
  #id: string | undefined
  /** On the monotonic clock. */
  #readAtMs = Number.NEGATIVE_INFINITY
  #catching: Promise<void> = Promise.resolve()

  /** `idOf`: of the topic, as far as it is known. */
  constructor(log: StoreLog, idOf: () => string | undefined) {
    this.#log = log
    this.#idOf = idOf
    this.#current = this.#fresh()
  }

  #fresh(): StoreIndex {
    return new StoreIndex(`${this.#log.topic}-${INDEX}`)
  }

  /** As of the last `catchUp`. */
  get now(): StoreIndex {
    return this.#current
  }

  /** Appends to the index; gives the first record's offset. What nobody else has come before is applied at once. */
  async note(records: readonly NewIndexRecord[], as?: bigint): Promise<bigint> {
    const encoded: NewRecord[] = records.map(({ key, value }) => ({
      key,
      value: value === null ? null : [Buffer.from(value)],
    }))
    const { offset, ms } = await this.#log.append(INDEX, encoded, as)
    if (this.#current.position === offset)
      for (const [index, record] of records.entries())
        this.#current.apply({ ...record, offset: offset + BigInt(index), timestamp: ms })
    return offset
  }

  /**
   * What was acknowledged before the call is in the index when it resolves. `anew`: from the log's start, whatever was read before.
   * Nobody ever sees a part of it: a purge decides by what it does not find.
   */
  catchUp(how: 'on' | 'anew' = 'on'): Promise<void> {
    const next = this.#catching.catch(() => undefined).then(() => this.#read(how))
    this.#catching = next
    return next
  }

  async #read(how: 'on' | 'anew'): Promise<void> {
    const { topic } = this.#log
    const beganMs = monotonicMs()
    const end = await this.#log.end(INDEX)
    this.#checkTopic()
    const stale = how === 'anew' || end < this.#current.position || beganMs - this.#readAtMs > AGE_MS_MAX
    let index = stale ? this.#fresh() : this.#current
    while (index.position < end) {
      if (monotonicMs() - beganMs > READABLE_MS_MAX)
        throw new Error(`${topic}-${INDEX} cannot be read from ${index.position} to ${end}`)
      const from = index.position
      const fetched = await this.#log.fetch(INDEX, from, FETCH_BYTES)
      if (fetched.kind === 'gone') {
        // Purged beyond what we had read; all that lives stands behind.
        index = this.#fresh()
        index.position = await this.#log.start(INDEX)
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
    this.#current = index
    this.#readAtMs = beganMs
  }

  /** @throws TOPIC_ID_CHANGED */
  #checkTopic(): void {
    const id = this.#idOf()
    this.#id ??= id
    if (id === undefined || id === this.#id) return
    const text = `checkpoint topic ${this.#log.topic} was deleted and created again (id ${this.#id}, now ${id}): its files are gone. Restore the pipeline from a savepoint, or \`millrace reset\``
    throw new MillraceError('TOPIC_ID_CHANGED', text)
  }
}
