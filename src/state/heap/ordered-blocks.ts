// Things in the order of a text that each of them has, in blocks: one comes or goes in about the same time, however many there are.
import { firstWhere } from '../../base/search.ts'

const BLOCK_MAX = 512

export class OrderedBlocks<T> {
  readonly #orderOf: (item: T) => string
  /** In order, none of them empty. */
  readonly #blocks: T[][] = []

  /** No two of `items` have the same order. */
  constructor(items: readonly T[], orderOf: (item: T) => string) {
    this.#orderOf = orderOf
    const sorted = [...items].sort((a, b) => (orderOf(a) < orderOf(b) ? -1 : 1))
    for (let at = 0; at < sorted.length; at += BLOCK_MAX / 2) this.#blocks.push(sorted.slice(at, at + BLOCK_MAX / 2))
  }

  /** One of an order that is not there. */
  insert(item: T): void {
    const order = this.#orderOf(item)
    const at = Math.min(this.#blockWith(order), this.#blocks.length - 1)
    const block = this.#blocks[at]
    if (!block) {
      this.#blocks.push([item])
      return
    }
    block.splice(this.#firstAt(block, order), 0, item)
    if (block.length > BLOCK_MAX) this.#blocks.splice(at + 1, 0, block.splice(BLOCK_MAX / 2))
  }

  /** One that is there. */
  delete(item: T): void {
    const order = this.#orderOf(item)
    const at = this.#blockWith(order)
    const block = this.#blocks[at]
    if (!block) return
    block.splice(this.#firstAt(block, order), 1)
    if (block.length === 0) this.#blocks.splice(at, 1)
  }

  /** From `from` on, below `to` (null: to the end): `count` of them at most, one at least if there is one. */
  first(from: string, to: string | null, count: number): readonly T[] {
    const block = this.#blocks[this.#blockWith(from)]
    if (!block) return []
    const start = this.#firstAt(block, from)
    return block.slice(start, Math.min(start + count, this.#firstAt(block, to)))
  }

  /** The same from the other end, the last one first. */
  last(from: string, to: string | null, count: number): readonly T[] {
    const above =
      to === null ? this.#blocks.length : firstWhere(this.#blocks, ([first]) => this.#orderOf(first as T) >= to)
    const block = this.#blocks[above - 1]
    if (!block) return []
    const end = this.#firstAt(block, to)
    return block.slice(Math.max(this.#firstAt(block, from), end - count), end).reverse()
  }

  /** The first block that ends at `order` or behind. */
  #blockWith(order: string): number {
    return firstWhere(this.#blocks, (block) => this.#orderOf(block.at(-1) as T) >= order)
  }

  /** Where `order` stands or would stand; null: behind all. */
  #firstAt(block: readonly T[], order: string | null): number {
    return order === null ? block.length : firstWhere(block, (item) => this.#orderOf(item) >= order)
  }
}
