/** The expected output of pipelines/bid-totals.ts, recomputed: the main job's model. */
import { hashNext, hashStart, jsonObject, jsonOutput, type Model } from './model.ts'

interface Bid {
  readonly auction: number
  readonly bidder: number
  readonly price: number
}

interface AuctionState {
  count: number
  sum: number
  max: number
  hash: number
  readonly bidsOf: Map<number, number>
}

export const bidTotalsModel: Model<Bid, AuctionState> = {
  name: 'bid-totals',
  input(record) {
    const bid = jsonObject(record.value)
    const price = Number(bid?.price)
    return price > 0 ? { auction: Number(bid?.auction), bidder: Number(bid?.bidder), price } : null
  },
  keyOf: (bid) => String(bid.auction),
  output: jsonOutput,
  start: () => ({ count: 0, sum: 0, max: 0, hash: hashStart, bidsOf: new Map() }),
  next(state, bid, source) {
    const bidsOfBidder = (state.bidsOf.get(bid.bidder) ?? 0) + 1
    state.bidsOf.set(bid.bidder, bidsOfBidder)
    state.count += 1
    state.sum += bid.price
    state.max = Math.max(state.max, bid.price)
    state.hash = hashNext(state.hash, bid.price)
    const { count, sum, max, hash } = state
    const auction = String(bid.auction)
    const from = { partition: source.partition, offset: String(source.offset) }
    const record = { 'record key': auction, 'record timestamp': source.timestamp }
    return { ...record, auction, count, sum, max, hash, bidder: bid.bidder, bidsOfBidder, ...from }
  },
}
