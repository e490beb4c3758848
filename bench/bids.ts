/** The input: bids in the manner of Nexmark, 210 bytes of JSON each, keys drawn evenly from 100,000 auctions. Equal seeds give equal bytes. */

export interface Bid {
  readonly auction: number
  readonly bidder: number
  readonly price: number
  readonly channel: string
  readonly url: string
  readonly dateTime: number
  readonly extra: string
}

export const auctions = 100_000
export const valueBytes = 210

const letters = 'abcdefghijklmnopqrstuvwxyz'
const channels = ['Google', 'Facebook', 'Baidu', 'Apple']
const firstAuction = 1_000
const begin = 1_700_000_000_000

/** Mulberry32: small, quick, and the same everywhere. */
function random(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

export class Bids {
  readonly #random: () => number
  #count = 0

  constructor(seed = 1) {
    this.#random = random(seed)
  }

  #below(limit: number): number {
    return Math.floor(this.#random() * limit)
  }

  #word(length: number): string {
    let word = ''
    for (let i = 0; i < length; i++) word += letters[this.#below(26)]
    return word
  }

  /** The next bid as key and value. */
  next(): { key: string; value: string } {
    const auction = firstAuction + this.#below(auctions)
    const bid = {
      auction,
      bidder: 1_000 + this.#below(50_000),
      price: Math.round(10 ** (2 + this.#random() * 6)),
      channel: channels[this.#below(channels.length)] ?? '',
      url: `https://www.nexmark.com/${this.#word(5)}/item.htm?query=1`,
      dateTime: begin + this.#count++,
      extra: '',
    }
    const text = JSON.stringify(bid)
    // `extra` is the last field: `"}` ends the text.
    const value = `${text.slice(0, -2)}${this.#word(valueBytes - text.length)}"}`
    return { key: String(auction), value }
  }
}
