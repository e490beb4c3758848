/**
 * Goal: where streams meet, a barrier divides what was before it from what came behind it, on every input (I1); nothing is
 * lost, doubled or reordered within an input; what is held back is bounded. Method: gates fed by hand, and random
 * interleavings of inputs.
 */
import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { InputGate } from '../../src/dataflow/operators/input-gate.ts'
import { FanOut } from '../../src/dataflow/operators/stateless.ts'
import { barrierOf, Collector, recordOf } from '../support/dataflow.ts'

function gateOf(mode: 'exactly-once' | 'at-least-once', inputs: number, capacity = 10) {
  const out = new Collector()
  const gate = new InputGate(mode, capacity, out)
  return { out, gate, inputs: Array.from({ length: inputs }, () => gate.input()) }
}

describe('exactly-once', () => {
  test('an input past its barrier is held back until the others deliver theirs', () => {
    const { out, gate, inputs } = gateOf('exactly-once', 2)
    const [left, right] = inputs
    left?.push(recordOf('a1'))
    left?.barrier(barrierOf(1))
    left?.push(recordOf('a2'))
    right?.push(recordOf('b1'))
    expect(out.seen).toEqual(['a1', 'b1'])
    expect(gate.empty).toBe(false)
    right?.barrier(barrierOf(1))
    expect(out.seen).toEqual(['a1', 'b1', '|1|', 'a2'])
    expect(gate.empty).toBe(true)
  })

  test('it is full at its bound, and says so only to the sources', () => {
    const { out, gate, inputs } = gateOf('exactly-once', 2, 2)
    const [left, right] = inputs
    left?.barrier(barrierOf(1))
    for (const value of [1, 2]) {
      expect(gate.full).toBe(false)
      left?.push(recordOf(value))
    }
    expect(gate.full).toBe(true)
    right?.barrier(barrierOf(1))
    expect(gate.full).toBe(false)
    expect(out.seen).toEqual(['|1|', 1, 2])
  })

  test('the same barrier twice on one input, and another one meanwhile, are errors of the engine', () => {
    const { inputs } = gateOf('exactly-once', 3)
    inputs[0]?.barrier(barrierOf(1))
    expect(() => inputs[0]?.barrier(barrierOf(1))).toThrow('I1')
    expect(() => inputs[1]?.barrier(barrierOf(2))).toThrow('I1')
  })

  test('a diamond: both ways of one stream meet again, with one barrier', () => {
    const { out, inputs } = gateOf('exactly-once', 2)
    const fan = new FanOut(inputs)
    fan.push(recordOf(1))
    fan.barrier(barrierOf(1))
    fan.push(recordOf(2))
    fan.barrier(barrierOf(2))
    expect(out.seen).toEqual([1, 1, '|1|', 2, 2, '|2|'])
  })
})

test('at-least-once holds nothing back, and passes the barrier when all have delivered it', () => {
  const { out, gate, inputs } = gateOf('at-least-once', 2, 1)
  inputs[0]?.barrier(barrierOf(1))
  inputs[0]?.push(recordOf('a2'))
  expect(gate.full).toBe(false)
  inputs[1]?.push(recordOf('b1'))
  inputs[1]?.barrier(barrierOf(1))
  inputs[1]?.push(recordOf('b2'))
  expect(out.seen).toEqual(['a2', 'b1', '|1|', 'b2'])
})

describe('any interleaving of inputs', () => {
  const INPUTS = 3
  const BARRIERS = 3
  /** Per input: how many records stand between its barriers. */
  const counts = fc.array(fc.array(fc.nat(4), { minLength: BARRIERS + 1, maxLength: BARRIERS + 1 }), {
    minLength: INPUTS,
    maxLength: INPUTS,
  })

  /** Feeds the gate in the order that `picks` says; a barrier waits until the one before it is through. */
  function feed(mode: 'exactly-once' | 'at-least-once', plan: readonly (readonly number[])[], picks: Iterator<number>) {
    const { out, gate, inputs } = gateOf(mode, INPUTS)
    const scripts = plan.map((sections, input) =>
      sections.flatMap((count, section) => [
        ...Array.from({ length: count }, (_, index) => `${input}:${section}:${index}`),
        ...(section < BARRIERS ? [section + 1] : []),
      ]),
    )
    let passed = 0
    while (scripts.some((script) => script.length > 0)) {
      const ready = scripts.flatMap((script, input) => {
        const next = script[0]
        return next === undefined || (typeof next === 'number' && next > passed + 1) ? [] : [input]
      })
      const input = ready[Number(picks.next().value) % ready.length] ?? 0
      const next = scripts[input]?.shift()
      if (typeof next === 'number') inputs[input]?.barrier(barrierOf(next))
      else inputs[input]?.push(recordOf(next))
      passed = out.seen.filter((each) => String(each).startsWith('|')).length
    }
    return { seen: out.seen.map(String), gate, all: plan }
  }

  const orderOf = (seen: readonly string[], input: number): string[] =>
    seen.filter((each) => each.startsWith(`${input}:`))

  test('exactly-once: every record is on the side of the barrier where its input had it', () => {
    const property = fc.property(counts, fc.infiniteStream(fc.nat(99)), (plan, picks) => {
      const { seen, gate } = feed('exactly-once', plan, picks)
      expect(seen.filter((each) => each.startsWith('|'))).toEqual(['|1|', '|2|', '|3|'])
      let section = 0
      for (const each of seen) {
        if (each.startsWith('|')) section++
        else expect(each.split(':')[1]).toBe(String(section))
      }
      expect(gate.empty).toBe(true)
    })
    fc.assert(property, { numRuns: 500 })
  })

  test.each(['exactly-once', 'at-least-once'] as const)(
    '%s: each input keeps its order, nothing is lost or doubled',
    (mode) => {
      const property = fc.property(counts, fc.infiniteStream(fc.nat(99)), (plan, picks) => {
        const { seen } = feed(mode, plan, picks)
        for (const [input, sections] of plan.entries()) {
          const sent = sections.flatMap((count, section) =>
            Array.from({ length: count }, (_, index) => `${input}:${section}:${index}`),
          )
          expect(orderOf(seen, input)).toEqual(sent)
        }
      })
      fc.assert(property, { numRuns: 300 })
    },
  )
})
