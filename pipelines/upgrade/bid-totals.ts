// The next version of pipelines/bid-totals.ts, for `npm run demo:savepoint`: the same pipeline, restored from a savepoint of the old one.
//
// What has changed: its keyed stage has six partitions instead of four, there is one state more, and
// state is on disk. What must not: the pipeline's name, the operator 'totals', and the states that it had.
import { definePipeline, f64, json, mapState, type Pipeline, utf8, valueState } from 'millrace'
import { kafkaSink, kafkaSource } from 'millrace/kafka'

interface Bid {
  readonly auction: number
  readonly bidder: number
  /** In cents. */
  readonly price: number
  readonly channel: string
  readonly url: string
  readonly dateTime: number
  readonly extra: string
}

interface Totals {
  readonly auction: string
  readonly count: number
  readonly sum: number
  readonly max: number
  /** Depends on the order of the bids: a lost, doubled or swapped bid shows in every later output. */
  readonly hash: number
  readonly bidder: number
  readonly bidsOfBidder: number
  readonly partition: number
  readonly offset: string
}

const FNV_PRIME = 16777619
const FNV_BASIS = 2166136261

const bidTotals: Pipeline = definePipeline(
  'bid-totals',
  (pipeline) => {
    pipeline
      .from('bids', kafkaSource({ topic: process.env.BIDS_TOPIC ?? 'bids', key: utf8, value: json<Bid>() }))
      .filter((bid) => bid.price > 0)
      .map(({ auction, bidder, price }, { partition, offset }) => ({
        auction,
        bidder,
        price,
        partition,
        offset: String(offset),
      }))
      .keyBy('auction', (bid) => String(bid.auction), { partitions: 6 })
      .withState({
        count: valueState(f64, 0),
        sum: valueState(f64, 0),
        max: valueState(f64, 0),
        hash: valueState(f64, FNV_BASIS),
        bidders: mapState(f64, f64),
        /** New: who bid last. Keys that were there before have none until their next bid. */
        lastBidder: valueState(f64),
      })
      .process<Totals>('totals', {
        onRecord({ bidder, price, partition, offset }, { key, state, emit }) {
          const count = state.count.get() + 1
          const sum = state.sum.get() + price
          const max = Math.max(state.max.get(), price)
          const hash = (Math.imul(state.hash.get(), FNV_PRIME) ^ price) >>> 0
          const bidsOfBidder = (state.bidders.get(bidder) ?? 0) + 1
          state.count.set(count)
          state.sum.set(sum)
          state.max.set(max)
          state.hash.set(hash)
          state.bidders.set(bidder, bidsOfBidder)
          state.lastBidder.set(bidder)
          emit({ auction: key, count, sum, max, hash, bidder, bidsOfBidder, partition, offset })
        },
      })
      .to('output', kafkaSink({ topic: process.env.TOTALS_TOPIC ?? 'bid-totals', key: utf8, value: json<Totals>() }))
  },
  { state: { backend: 'leveldb', folder: process.env.STATE_FOLDER ?? './.millrace-state' } },
)

export default bidTotals
