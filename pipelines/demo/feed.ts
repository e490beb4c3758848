/**
 * Writes the bids at an even rate. Plain writes (acks from all replicas, no transaction): how the input came to be is none
 * of the pipeline's business, and the checker reads the input topic itself. Each call carries at most 1,000 records and is
 * awaited, which keeps clear of kafkajs's slow grouping of large batches.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { KafkaAccess } from '../../checker/kafka.ts'
import { type Bid, NexmarkGenerator } from '../nexmark/generator.ts'
import { DemoError } from './options.ts'

const callRecordsMax = 1_000
const callsPerSecond = 40

export interface FeedOptions {
  readonly topic: string
  readonly records: number
  readonly rate: number
  readonly seed: number
}

export class Feed {
  readonly total: number
  /** Records acknowledged so far. */
  sent = 0
  /** Wall clock of the first write; 0 before it. */
  startedAtMs = 0
  done = false
  readonly #kafka: KafkaAccess
  readonly #options: FeedOptions

  constructor(kafka: KafkaAccess, options: FeedOptions) {
    this.#kafka = kafka
    this.#options = options
    this.total = options.records
  }

  /** Since the first write; 0 before it. */
  get elapsedMs(): number {
    return this.startedAtMs === 0 ? 0 : Date.now() - this.startedAtMs
  }

  /** Writes everything. @throws DemoError FEED_FAILED; AbortError when `signal` says so */
  async run(signal: AbortSignal): Promise<void> {
    const { topic, records, rate, seed } = this.#options
    const bids = new NexmarkGenerator({ seed, bidsPerSecond: rate })
    const producer = this.#kafka.producer()
    try {
      await producer.connect()
      this.startedAtMs = Date.now()
      while (this.sent < records) {
        const due = Math.min(records, Math.ceil(((Date.now() - this.startedAtMs) * rate) / 1_000))
        const wanted = Math.min(due - this.sent, callRecordsMax)
        if (wanted >= Math.min(rate / callsPerSecond, records - this.sent, callRecordsMax)) {
          const messages = Array.from({ length: wanted }, () => message(bids.nextBid()))
          await producer.sendBatch({ acks: -1, topicMessages: [{ topic, messages }] })
          this.sent += wanted
          signal.throwIfAborted()
        } else {
          await sleep(5, undefined, { signal })
        }
      }
      this.done = true
    } catch (cause) {
      if (signal.aborted) throw signal.reason
      const said = cause instanceof Error ? cause.message : String(cause)
      throw new DemoError('FEED_FAILED', `writing bids to ${topic} failed after ${this.sent}: ${said}`, { cause })
    } finally {
      await producer.disconnect().catch(() => undefined)
    }
  }
}

function message(bid: Bid) {
  return { key: String(bid.bidder), value: JSON.stringify(bid), timestamp: String(bid.dateTime) }
}
