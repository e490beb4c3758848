// Goal: blocks give what a sorted array gives, whatever comes and goes. Method: random insertions, deletions and ranges beside an array, with
// far more than a block takes.
import { expect, test } from '@jest/globals'
import { OrderedBlocks } from '../../src/state/heap/ordered-blocks.ts'
import { randomOf } from '../support/feed.ts'

const textOf = (n: number): string => String(n).padStart(5, '0')

test.each([1, 2, 3, 4])('seed %i', (seed) => {
  const random = randomOf(seed)
  const below = (limit: number): number => Math.floor(random() * limit)
  const begin = [
    ...new Set(Array.from({ length: [0, 1, 700, 3_000][seed - 1] as number }, () => textOf(below(20_000)))),
  ]
  const blocks = new OrderedBlocks(begin, (text) => text)
  const model = new Set(begin)
  for (let step = 0; step < 6_000; step++) {
    const text = textOf(below(20_000))
    // By turns it grows and shrinks.
    if (!model.has(text)) {
      if ((step >> 11) % 2 === 0) model.add(text)
      if ((step >> 11) % 2 === 0) blocks.insert(text)
    }
    const [some] = (step >> 11) % 2 === 1 ? blocks.first(text, null, 1) : []
    if (some) {
      model.delete(some)
      blocks.delete(some)
    }
    if (step % 100 === 0) agree(blocks, model, [text, textOf(below(20_000))])
  }
})

function agree(blocks: OrderedBlocks<string>, model: ReadonlySet<string>, [a, b]: readonly [string, string]): void {
  const [from, to] = a < b ? [a, b] : [b, a]
  const sorted = [...model].sort()
  for (const [low, high] of [
    ['', null],
    [from, to],
    [from, null],
    ['', to],
    [to, from],
  ] as const) {
    const wanted = sorted.filter((each) => each >= low && (high === null || each < high))
    const forward: string[] = []
    for (let at = low; ; ) {
      const some = blocks.first(at, high, 7)
      forward.push(...some)
      const last = some.at(-1)
      if (last === undefined) break
      at = `${last}\0`
    }
    expect(forward).toEqual(wanted)
    const backward: string[] = []
    for (let at = high; ; ) {
      const some = blocks.last(low, at, 7)
      backward.push(...some)
      const last = some.at(-1)
      if (last === undefined) break
      at = last
    }
    expect(backward.reverse()).toEqual(wanted)
  }
}
