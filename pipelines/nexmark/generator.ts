/**
 * Nexmark's stream of an auction site: of 50 events one is a new person, three are new auctions, 46 are bids. Half of the
 * bids go to the hot auction of the moment and three quarters come from the hot bidder, so keys are as uneven as in life.
 * The same seed gives the same events, timestamps included, on every machine.
 */

export interface Person {
  readonly kind: 'person'
  readonly id: number
  readonly name: string
  readonly emailAddress: string
  readonly city: string
  readonly dateTime: number
}

export interface Auction {
  readonly kind: 'auction'
  readonly id: number
  readonly itemName: string
  readonly initialBid: number
  readonly seller: number
  readonly category: number
  readonly dateTime: number
  readonly expires: number
}

/** What the topic carries as JSON, about 200 bytes. `price` is at least 100. */
export interface Bid {
  readonly auction: number
  readonly bidder: number
  readonly price: number
  readonly channel: string
  readonly url: string
  readonly dateTime: number
  readonly extra: string
}

export type NexmarkEvent = Person | Auction | { readonly kind: 'bid'; readonly bid: Bid }

export interface NexmarkOptions {
  readonly seed: number
  /** Event time of the first event, ms since 1970. Default: 2025-01-01, so that runs can be repeated exactly. */
  readonly startMs?: number
  /** Bids per second of event time. */
  readonly bidsPerSecond: number
}

const round = { events: 50, persons: 1, auctions: 3, bids: 46 }
const firstId = 1_000
const hotStride = 100
const activePersons = 1_000
const auctionsInFlight = 100
const idLead = 10
const hotChannels = ['Google', 'Facebook', 'Baidu', 'Apple']
const cities = ['Phoenix', 'Los Angeles', 'San Francisco', 'Boise', 'Portland', 'Bend', 'Redmond', 'Seattle', 'Kent']
const names = ['Peter', 'Paul', 'Luke', 'John', 'Saul', 'Vicky', 'Kate', 'Julie', 'Sarah', 'Deiter', 'Walter']
const letters = 'abcdefghijklmnopqrstuvwxyz'
/** A page of random letters from which every `extra` is a slice: cheaper than new letters for each bid. */
const pageLength = 4_096

/** A small seedable generator of uniform numbers (mulberry32). */
export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0
  }

  /** In [0, 1). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }

  /** A whole number in [0, below). */
  below(below: number): number {
    return Math.floor(this.next() * below)
  }

  pick<T>(items: readonly [T, ...T[]]): T {
    return items[this.below(items.length)] ?? items[0]
  }
}

export class NexmarkGenerator {
  readonly #random: Random
  readonly #startMs: number
  readonly #msPerEvent: number
  readonly #page: string
  #events = 0

  constructor(options: NexmarkOptions) {
    this.#random = new Random(options.seed)
    this.#startMs = options.startMs ?? Date.UTC(2025, 0, 1)
    this.#msPerEvent = (1_000 / options.bidsPerSecond) * (round.bids / round.events)
    this.#page = Array.from({ length: pageLength }, () => letters[this.#random.below(letters.length)]).join('')
  }

  nextEvent(): NexmarkEvent {
    const number = this.#events++
    const dateTime = Math.floor(this.#startMs + number * this.#msPerEvent)
    const place = number % round.events
    if (place < round.persons) return this.#person(number, dateTime)
    if (place < round.persons + round.auctions) return this.#auction(number, dateTime)
    return { kind: 'bid', bid: this.#bid(number, dateTime) }
  }

  /** The next event that is a bid. */
  nextBid(): Bid {
    for (;;) {
      const event = this.nextEvent()
      if (event.kind === 'bid') return event.bid
    }
  }

  #person(number: number, dateTime: number): Person {
    const id = firstId + lastPerson(number)
    const name = `${names[this.#random.below(names.length)]} ${letters[this.#random.below(26)]?.toUpperCase()}.`
    const city = cities[this.#random.below(cities.length)] ?? ''
    return { kind: 'person', id, name, emailAddress: `p${id}@example.org`, city, dateTime }
  }

  #auction(number: number, dateTime: number): Auction {
    const initialBid = this.#price()
    return {
      kind: 'auction',
      id: firstId + lastAuction(number),
      itemName: this.#letters(20),
      initialBid,
      seller: this.#bidder(number),
      category: 10 + this.#random.below(5),
      dateTime,
      expires: dateTime + 1_000 + this.#random.below(10_000),
    }
  }

  #bid(number: number, dateTime: number): Bid {
    const auction = this.#auctionOf(number)
    const bidder = this.#bidder(number)
    const channel = this.#channel()
    const url = `https://www.nexmark.com/${this.#letters(5)}/${this.#letters(5)}/item.htm?query=1`
    const extra = this.#letters(20 + this.#random.below(25))
    return { auction, bidder, price: this.#price(), channel, url, dateTime, extra }
  }

  #auctionOf(number: number): number {
    const last = lastAuction(number)
    if (this.#random.below(2) > 0) return firstId + last - (last % hotStride)
    const oldest = Math.max(0, last - auctionsInFlight)
    return firstId + oldest + this.#random.below(last - oldest + 1 + idLead)
  }

  #bidder(number: number): number {
    const last = lastPerson(number)
    if (this.#random.below(4) > 0) return firstId + last - (last % hotStride) + 1
    const active = Math.min(last + 1, activePersons)
    return firstId + last + 1 - active + this.#random.below(active + idLead)
  }

  #channel(): string {
    const hot = this.#random.below(2) > 0
    return (hot && hotChannels[this.#random.below(hotChannels.length)]) || `channel-${this.#random.below(10_000)}`
  }

  /** From 100 to 10^8, evenly over the orders of magnitude. */
  #price(): number {
    return Math.round(10 ** (this.#random.next() * 6) * 100)
  }

  #letters(length: number): string {
    const at = this.#random.below(pageLength - length)
    return this.#page.slice(at, at + length)
  }
}

/** How many persons there are by event `number`, counted from 0. */
function lastPerson(number: number): number {
  return Math.floor(number / round.events)
}

function lastAuction(number: number): number {
  const place = number % round.events
  const inRound = Math.min(Math.max(place - round.persons, 0), round.auctions - 1)
  return Math.floor(number / round.events) * round.auctions + inRound
}
