/** The input: bids in the manner of Nexmark, 210 bytes of JSON each, keys drawn evenly from 100,000 auctions. Equal seeds give equal bytes. */

import { type Bid, Random } from '../pipelines/nexmark/generator.ts'

export type { Bid }

export const auctions = 100_000
export const valueBytes = 210

const letters = 'abcdefghijklmnopqrstuvwxyz'
const channels = ['Google', 'Facebook', 'Baidu', 'Apple']
const firstAuction = 1_000
const begin = 1_700_000_000_000

export class Bids {
  readonly #random: Random
  #count = 0

  constructor(seed = 1) {
    this.#random = new Random(seed)
  }

  #word(length: number): string {
    let word = ''
    for (let i = 0; i < length; i++) word += letters[this.#random.below(26)]
    return word
  }

  /** Any text of so many bytes, with the key of the next bid. */
  text(bytes: number): { key: string; value: string } {
    const key = String(firstAuction + this.#random.below(auctions))
    return {
      key,
      value: this.#word(16)
        .repeat(Math.ceil(bytes / 16))
        .slice(0, bytes),
    }
  }

  /** The next bid as key and value. */
  next(): { key: string; value: string } {
    const auction = firstAuction + this.#random.below(auctions)
    const bid = {
      auction,
      bidder: 1_000 + this.#random.below(50_000),
      price: Math.round(10 ** (2 + this.#random.next() * 6)),
      channel: channels[this.#random.below(channels.length)] ?? '',
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
