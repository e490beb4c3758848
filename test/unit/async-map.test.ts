/**
 * Goal: asynchronous calls keep the order that was asked for, never more run than allowed, and a barrier divides them: what
 * stood before it leaves before it, what is behind it is held. Method: calls that the test ends one by one, Jest's clock.
 */
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals'
import fc from 'fast-check'
import { MillraceError } from '../../src/base/errors.ts'
import { operatorId } from '../../src/base/ids.ts'
import type { AsyncMapOptions } from '../../src/dataflow/functions.ts'
import { AsyncMapOperator } from '../../src/dataflow/operators/async-map.ts'
import { barrierOf, Collector, recordOf } from '../support/dataflow.ts'

beforeEach(() => void jest.useFakeTimers())
afterEach(() => void jest.useRealTimers())

const turn = (): Promise<void> => jest.advanceTimersByTimeAsync(0)

function start(options: Partial<AsyncMapOptions> = {}) {
  const out = new Collector()
  const calls: { value: unknown; signal: AbortSignal; settled: PromiseWithResolvers<unknown> }[] = []
  const wakes = jest.fn()
  const settings = {
    capacity: 3,
    timeoutMs: 1_000,
    order: 'ordered' as const,
    retry: { attempts: 0, delayMs: 0 },
    ...options,
  }
  const fn = (value: unknown, _record: unknown, signal: AbortSignal): Promise<unknown> => {
    const settled = Promise.withResolvers<unknown>()
    calls.push({ value, signal, settled })
    return settled.promise
  }
  const operator = new AsyncMapOperator(operatorId('look-up'), fn, settings, out, wakes)
  /** Ends the last call for `value`, and lets results leave. */
  const end = async (value: unknown, error?: Error): Promise<void> => {
    const call = calls.findLast((each) => each.value === value)
    if (!call) throw new Error(`no call for ${String(value)}`)
    if (error) call.settled.reject(error)
    else call.settled.resolve(`<${String(value)}>`)
    await turn()
    operator.drain()
  }
  const push = (...values: readonly unknown[]): void => {
    for (const value of values) operator.push(recordOf(value))
  }
  return { out, calls, wakes, operator, end, push, started: () => calls.map((call) => call.value) }
}

describe('order and capacity', () => {
  test('ordered: a result waits for those before it', async () => {
    const { out, end, push } = start()
    push(1, 2, 3)
    await end(3)
    await end(2)
    expect(out.seen).toEqual([])
    await end(1)
    expect(out.seen).toEqual(['<1>', '<2>', '<3>'])
  })

  test('unordered: results leave as they come', async () => {
    const { out, end, push } = start({ order: 'unordered' })
    push(1, 2, 3)
    await end(3)
    await end(1)
    await end(2)
    expect(out.seen).toEqual(['<3>', '<1>', '<2>'])
  })

  test.each(['ordered', 'unordered'] as const)('%s: never more calls than allowed run at once', async (order) => {
    const { operator, end, push, started } = start({ order, capacity: 2 })
    push(1)
    expect(operator.full).toBe(false)
    push(2, 3, 4)
    expect(operator.full).toBe(true)
    expect(started()).toEqual([1, 2])
    await end(1)
    expect(started()).toEqual([1, 2, 3])
    await end(3)
    expect(started()).toEqual([1, 2, 3, 4])
    await end(2)
    await end(4)
    expect([operator.empty, operator.full]).toEqual([true, false])
  })

  test('a result wakes the task and leaves only in its turn', async () => {
    const { out, calls, wakes, operator, push } = start()
    push(1)
    calls[0]?.settled.resolve('late')
    await turn()
    expect(wakes).toHaveBeenCalledTimes(1)
    expect(out.seen).toEqual([])
    operator.drain()
    expect(out.seen).toEqual(['late'])
  })
})

describe('a barrier', () => {
  test('passes at once where nothing is under way', () => {
    const { out, operator } = start()
    operator.barrier(barrierOf(1))
    expect(out.seen).toEqual(['|1|'])
    expect(operator.empty).toBe(true)
  })

  test.each(['ordered', 'unordered'] as const)(
    '%s: waits for all before it; all behind it may start and are held',
    async (order) => {
      const { out, operator, end, push, started } = start({ order, capacity: 4 })
      push(1, 2)
      operator.barrier(barrierOf(1))
      push(3, 4)
      expect(started()).toEqual([1, 2, 3, 4])
      await end(3)
      await end(2)
      expect(out.seen).toEqual(order === 'ordered' ? [] : ['<2>'])
      expect(operator.empty).toBe(false)
      await end(1)
      expect(out.seen).toEqual([...(order === 'ordered' ? ['<1>', '<2>'] : ['<2>', '<1>']), '|1|', '<3>'])
      await end(4)
      expect(out.seen.at(-1)).toBe('<4>')
    },
  )

  test('two barriers in a row, and one at the end', async () => {
    const { out, operator, end, push } = start({ order: 'unordered' })
    push(1)
    operator.barrier(barrierOf(1))
    operator.barrier(barrierOf(2))
    push(2)
    operator.barrier(barrierOf(3))
    await end(2)
    expect(out.seen).toEqual([])
    await end(1)
    expect(out.seen).toEqual(['<1>', '|1|', '|2|', '<2>', '|3|'])
    expect(operator.empty).toBe(true)
  })
})

test('any script: sides and order are kept, with any capacity and any order of ends', async () => {
  const script = fc.array(fc.oneof({ weight: 3, arbitrary: fc.constant('value') }, fc.constant('barrier')), {
    maxLength: 25,
  })
  const order = fc.constantFrom('ordered' as const, 'unordered' as const)
  const property = fc.asyncProperty(
    script,
    order,
    fc.integer({ min: 1, max: 4 }),
    fc.infiniteStream(fc.nat(99)),
    async (steps, kind, capacity, picks) => {
      const { out, calls, operator, end, push } = start({ order: kind, capacity })
      const sent = steps.map((step, index) => (step === 'value' ? index + 1 : `|${index + 1}|`))
      for (const each of sent) {
        if (typeof each === 'number') push(each)
        else operator.barrier(barrierOf(Number(each.slice(1, -1))))
      }
      const ended = new Set<unknown>()
      while (ended.size < sent.filter((each) => typeof each === 'number').length) {
        const running = calls.map((call) => call.value).filter((value) => !ended.has(value))
        expect(running.length).toBeLessThanOrEqual(capacity)
        const value = running[Number(picks.next().value) % running.length]
        ended.add(value)
        await end(value)
      }
      const expected = sent.map((each) => (typeof each === 'number' ? `<${each}>` : each))
      const section = (list: readonly unknown[]): string[] =>
        list
          .map(String)
          .join(' ')
          .split(/\|\d+\|/)
          .map((part) => part.trim().split(' ').sort().join(' '))
      if (kind === 'ordered') expect(out.seen).toEqual(expected)
      else expect(section(out.seen)).toEqual(section(expected))
      expect(operator.empty).toBe(true)
    },
  )
  await fc.assert(property, { numRuns: 200 })
})

describe('failures', () => {
  test('a failed call ends the attempt, with operator, place and cause', async () => {
    const { end, push, operator } = start()
    push(7)
    const cause = new Error('no such row')
    await expect(end(7, cause)).rejects.toMatchObject({ code: 'ASYNC_FAILED', cause })
    expect(() => operator.drain()).toThrow(/look-up.*input-0@7.*no such row/)
  })

  test('a retry comes after its pause, as often as allowed', async () => {
    const { out, calls, end, push, started } = start({ retry: { attempts: 2, delayMs: 50 } })
    push(1)
    await end(1, new Error('first'))
    await jest.advanceTimersByTimeAsync(49)
    expect(started()).toEqual([1])
    await jest.advanceTimersByTimeAsync(1)
    expect(started()).toEqual([1, 1])
    await end(1, new Error('second'))
    await jest.advanceTimersByTimeAsync(50)
    await end(1)
    expect(out.seen).toEqual(['<1>'])
    expect(calls).toHaveLength(3)
  })

  test('retries end: the message counts the tries', async () => {
    const { end, push } = start({ retry: { attempts: 1, delayMs: 0 } })
    push(1)
    await end(1, new Error('first'))
    await turn()
    await expect(end(1, new Error('second'))).rejects.toThrow(/after 2 tries: second/)
  })

  test('a call that takes too long fails, and its signal tells it', async () => {
    const { calls, operator, push } = start()
    push(1)
    expect(calls[0]?.signal.aborted).toBe(false)
    await jest.advanceTimersByTimeAsync(1_000)
    expect(calls[0]?.signal.aborted).toBe(true)
    expect(() => operator.drain()).toThrow('no result in 1000 ms')
  })

  test('a function that throws instead of rejecting', async () => {
    const out = new Collector()
    const fn = (): never => {
      throw new Error('at once')
    }
    const options = { capacity: 1, timeoutMs: 10, order: 'ordered', retry: { attempts: 0, delayMs: 0 } } as const
    const operator = new AsyncMapOperator(operatorId('look-up'), fn, options, out, () => {})
    operator.push(recordOf(1))
    await turn()
    expect(() => operator.drain()).toThrow('at once')
    expect(jest.getTimerCount()).toBe(0)
  })

  test('a record that cannot be decoded is no failed call: it is not tried again, and keeps its own code', async () => {
    const calls = jest.fn()
    const fn = async (value: unknown): Promise<unknown> => calls(value)
    const options = { capacity: 1, timeoutMs: 10, order: 'ordered', retry: { attempts: 5, delayMs: 1_000 } } as const
    const operator = new AsyncMapOperator(operatorId('look-up'), fn, options, new Collector(), () => {})
    const record = recordOf('x')
    const undecodable = new MillraceError('DECODE_FAILED', 'not JSON')
    Object.defineProperty(record, 'value', {
      get: () => {
        throw undecodable
      },
    })
    operator.push(record)
    await turn()
    expect(() => operator.drain()).toThrow(undecodable)
    expect(calls).not.toHaveBeenCalled()
  })
})

describe('after dispose', () => {
  test('late results and late failures do nothing', async () => {
    const { out, calls, wakes, operator, push } = start()
    push(1, 2)
    operator.dispose()
    calls[0]?.settled.resolve('late')
    calls[1]?.settled.reject(new Error('late'))
    await turn()
    operator.drain()
    expect(out.seen).toEqual([])
    expect(wakes).not.toHaveBeenCalled()
    expect(calls.map((call) => call.signal.aborted)).toEqual([true, true])
    expect(jest.getTimerCount()).toBe(0)
  })

  test('no retry begins', async () => {
    const { calls, operator, push } = start({ retry: { attempts: 3, delayMs: 100 } })
    push(1)
    calls[0]?.settled.reject(new Error('broken'))
    await turn()
    operator.dispose()
    await jest.advanceTimersByTimeAsync(1_000)
    expect(calls).toHaveLength(1)
  })
})
