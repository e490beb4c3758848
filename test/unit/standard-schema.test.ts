/**
 * Goal: with a schema no value is taken that the schema refuses, on whatever way it goes, and what is taken is what the schema makes of
 * it. Method: zod, valibot and TypeBox themselves, through serdes and through a task; a value that nobody looks at must not slip by as bytes.
 */
import { describe, expect, test } from '@jest/globals'
import type { Static, TSchema } from 'typebox'
import Type from 'typebox'
import { Compile } from 'typebox/compile'
import { Default } from 'typebox/value'
import * as valibot from 'valibot'
import { z } from 'zod'
import { kafkaSink, kafkaSource } from '../../connectors/kafka/index.ts'
import { PipelineTester } from '../../connectors/memory/index.ts'
import { ByteWriter } from '../../src/base/byte-writer.ts'
import {
  definePipeline,
  json,
  nullable,
  object,
  type PipelineBuilder,
  type Serde,
  type StandardSchema,
  utf8,
  valueState,
} from '../../src/index.ts'
import { TaskRunner } from '../support/task-runner.ts'

const ofZod = z.object({ id: z.string(), amount: z.number().positive(), currency: z.string().default('EUR') })
const ofValibot = valibot.object({
  id: valibot.string(),
  amount: valibot.pipe(valibot.number(), valibot.minValue(0.01)),
  currency: valibot.optional(valibot.string(), 'EUR'),
})

/** TypeBox has validators, and leaves it to its users to give them the common shape. */
function standard<T extends TSchema>(schema: T): StandardSchema<unknown, Static<T>> {
  const validator = Compile(schema)
  const validate: StandardSchema<unknown, Static<T>>['~standard']['validate'] = (given) => {
    const value = Default(schema, given)
    if (validator.Check(value)) return { value: value as Static<T> }
    const issues = validator.Errors(value).map(({ message, instancePath }) => ({
      message,
      path: instancePath.split('/').slice(1),
    }))
    return { issues }
  }
  return { '~standard': { version: 1, vendor: 'typebox', validate } }
}
const ofTypebox = Type.Object({
  id: Type.String(),
  amount: Type.Number({ exclusiveMinimum: 0 }),
  currency: Type.String({ default: 'EUR' }),
})

interface Order {
  id: string
  amount: number
  currency: string
}

const serdes: Readonly<Record<string, Serde<Order>>> = {
  zod: json(ofZod),
  valibot: json(ofValibot),
  typebox: json(standard(ofTypebox)),
}
const decode = (serde: Serde<unknown>, text: string): unknown =>
  serde.decode(Buffer.from(text), 0, Buffer.byteLength(text))

describe.each(Object.entries(serdes))('%s', (_, serde) => {
  test('a value is what the schema makes of it', () => {
    expect(decode(serde, '{"id":"a","amount":2}')).toEqual({ id: 'a', amount: 2, currency: 'EUR' })
  })

  test('issues are told with their places, syntax errors as ever', () => {
    expect(() => decode(serde, '{"id":7,"amount":-1}')).toThrow(/^id: .*; amount: /)
    expect(() => decode(serde, '{"id":')).toThrow(SyntaxError)
  })

  test('it writes JSON like any other, and state knows it as json', () => {
    const out = new ByteWriter()
    serde.encode({ id: 'a', amount: 1, currency: 'X' }, out)
    expect([out.view().toString(), serde.id]).toEqual(['{"id":"a","amount":1,"currency":"X"}', 'json'])
  })
})

test('an asynchronous schema is refused, and its failure is nobody’s surprise', () => {
  expect(() => decode(json(z.string().refine(async () => true)), '"x"')).toThrow(/the schema \(zod\) is asynchronous/)
  const failing: StandardSchema = {
    '~standard': { version: 1, vendor: 'mine', validate: () => Promise.reject(new Error('later')) },
  }
  expect(() => decode(json(failing), '"x"')).toThrow(/the schema \(mine\) is asynchronous/)
})

test('many issues are not all told', () => {
  const strict = json(z.array(z.string()))
  expect(() => decode(strict, JSON.stringify([1, 2, 3, 4, 5, 6, 7]))).toThrow(/^0: .*4: .*; and 2 more$/)
})

test.each([
  ['as it is', json(ofZod) as Serde<unknown>],
  ['nullable', nullable(json(ofZod)) as Serde<unknown>],
])('a value that no function looks at is checked on its way to a sink, %s', async (_, value) => {
  const build = (pipeline: PipelineBuilder): void =>
    pipeline.from('in', kafkaSource({ topic: 'input', key: utf8, value, onDecodeError: 'fail' })).to(
      'out',
      kafkaSink({
        topic: 'output',
        key: utf8,
        value: (value.nullable ? nullable(json()) : json()) as Serde<unknown>,
      }),
    )
  const runner = new TaskRunner(build)
  await runner.start()
  runner.feed('input', '{"id":"a","amount":1}')
  runner.run()
  expect(runner.values).toEqual(['{"id":"a","amount":1,"currency":"EUR"}'])
  runner.feed('input', '{"id":"a","amount":0}')
  runner.run()
  expect(String(runner.failures[0])).toMatch(
    /DECODE_FAILED: source 'in': the value of input-0@1 is not .*json.*: amount: /,
  )
  expect(runner.values).toHaveLength(1)
})

test('what is refused is skipped where the user chose so', async () => {
  const runner = new TaskRunner((pipeline) =>
    pipeline
      .from('in', kafkaSource({ topic: 'input', key: utf8, value: json(ofZod), onDecodeError: 'skip' }))
      .keyByRecordKey()
      .withState({ last: valueState(json(ofZod)), both: valueState(object({ order: json(ofZod) })) })
      .map('sum', (order, { state }) => {
        const before = state.last.get()?.amount ?? 0
        state.last.set({ ...order, amount: order.amount + before })
        return before + order.amount
      })
      .to('out', kafkaSink({ topic: 'output', key: utf8, value: json<number>() })),
  )
  await runner.start()
  runner.feed('input', '{"id":"a","amount":1}', '{"amount":1}', '[]', '{"id":"b","amount":2}')
  runner.run()
  expect([runner.values, runner.failures, runner.task.recordsSkipped]).toEqual([['1', '3'], [], 2])
})

test('what a schema has made is not checked again: through a repartition topic, as state, after a crash', async () => {
  const cents = z.object({ id: z.string(), amount: z.string().transform((text) => Number(text) * 100) })
  const orders = definePipeline('orders', (pipeline) => {
    pipeline
      .from('in', kafkaSource({ topic: 'input', key: nullable(utf8), value: json(cents), onDecodeError: 'fail' }))
      .keyBy('id', ({ id }) => id)
      .withState({ last: valueState(json(cents)), both: valueState(object({ order: json(cents) })) })
      .map('sum', (order, { state }) => {
        const amount = order.amount + (state.last.get()?.amount ?? 0) + (state.both.get()?.order.amount ?? 0)
        state.last.set(order)
        state.both.set({ order })
        return amount
      })
      .to('out', kafkaSink({ topic: 'output', key: utf8, value: json<number>() }))
  })
  await using tester = await PipelineTester.start(orders)
  for (const amount of ['1', '2']) {
    tester.send('input', { value: { id: 'a', amount } as never })
    await tester.settle()
    await tester.crash()
  }
  expect(tester.output('output').map(({ value }) => value)).toEqual([100, 400])
})
