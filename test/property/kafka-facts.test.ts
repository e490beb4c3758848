/**
 * Goal: where another program of the Kafka world must agree with us (partitions of keys, error codes, the messages
 * inside the group protocol), it does. Method: Kafka's own Java classes answer the same questions.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { ProbeProcess } from '../../connectors/kafka/testing/probe-process.ts'
import { Code, retryClass } from '../../connectors/kafka/wire/codes.ts'
import {
  decodeAssignment,
  decodeSubscription,
  encodeAssignment,
  encodeSubscription,
} from '../../connectors/kafka/wire/group-requests.ts'
import { murmur2 } from '../../src/base/murmur2.ts'

let java: ProbeProcess
beforeAll(async () => {
  java = await ProbeProcess.start('facts', [])
})
afterAll(() => java.close())

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64')
const bytesOf = (text: unknown): Buffer => Buffer.from(String(text), 'base64')

test('a key goes to the partition where a Java producer puts it', async () => {
  const property = fc.asyncProperty(fc.uint8Array({ maxLength: 64 }), fc.nat(5), async (key, before) => {
    const { hash } = await java.request({ murmur2: base64(key) })
    expect(murmur2(key, 0, key.length)).toBe(hash)
    const inside = Buffer.concat([Buffer.alloc(before, 0xa5), key, Buffer.from('behind')])
    expect(murmur2(inside, before, key.length)).toBe(hash)
  })
  await fc.assert(property, { numRuns: 300 })
})

describe('error codes', () => {
  test('carry the names of Kafka, and we repeat only what Kafka calls retriable', async () => {
    const { errors } = await java.request({ errors: true })
    const all = errors as readonly { code: number; name: string; retriable: boolean }[]
    const byCode = new Map(all.map((each) => [each.code, each]))
    for (const [name, code] of Object.entries(Code)) expect(byCode.get(code)?.name).toContain(name)
    const repeated = all.filter(({ code }) => retryClass(code) !== undefined)
    expect(repeated.filter((each) => !each.retriable)).toEqual([])
    expect(repeated.length).toBeGreaterThan(10)
  })
})

const topicArbitrary = fc.stringMatching(/^[a-zA-Z0-9._-]{1,20}$/)
const topicsArbitrary = fc.uniqueArray(topicArbitrary, { maxLength: 6 })
const userDataArbitrary = fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes))
const partitionsArbitrary = fc.uniqueArray(fc.tuple(fc.constantFrom('one', 'two', 'three'), fc.nat(40)), {
  maxLength: 12,
  selector: ([topic, partition]) => `${topic}-${partition}`,
})

describe('the messages inside the group protocol', () => {
  test('a subscription of ours is read by Kafka, and one of Kafka by us', async () => {
    const property = fc.asyncProperty(topicsArbitrary, userDataArbitrary, async (topics, userData) => {
      const read = await java.request({ subscription: base64(encodeSubscription(topics, userData)) })
      expect(read).toEqual({ topics, userData: base64(userData) })
      const { b } = await java.request({ subscribe: topics, userData: base64(userData) })
      expect(decodeSubscription(bytesOf(b))).toEqual({ topics: [...topics].sort(), userData })
    })
    await fc.assert(property, { numRuns: 100 })
  })

  test('an assignment of ours is read by Kafka, and one of Kafka by us', async () => {
    const property = fc.asyncProperty(partitionsArbitrary, userDataArbitrary, async (pairs, userData) => {
      const partitions = pairs.map(([topic, partition]) => ({ topic, partition }))
      const bytes = encodeAssignment(partitions, userData)
      const read = await java.request({ assignment: base64(bytes) })
      expect(new Set(read.partitions as unknown[])).toEqual(new Set(pairs))
      expect(read.userData).toBe(base64(userData))
      const { b } = await java.request({ assign: pairs, userData: base64(userData) })
      const back = decodeAssignment(bytesOf(b))
      expect(new Set(back.partitions)).toEqual(new Set(partitions))
      expect(back.userData).toEqual(userData)
    })
    await fc.assert(property, { numRuns: 100 })
  })
})
