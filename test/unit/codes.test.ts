/**
 * Goal: no answer of a broker is without a class, and the classes that recovery depends on are the right ones. Method:
 * every code that Kafka has, and some that it may get, goes through the table.
 */
import { describe, expect, test } from '@jest/globals'
import { Code, codeName, kafkaError, retryClass } from '../../connectors/kafka/wire/codes.ts'
import { errorTable, MillraceError } from '../../src/base/errors.ts'

const every = [...Array.from({ length: 132 }, (_, index) => index - 1), 133, 9999, -32_768, 32_767]

test('every code from −1 to 130, and unknown ones, become a coded error that keeps the code', () => {
  for (const code of every) {
    const error = kafkaError(code, 'Produce to topic-0')
    expect(error).toBeInstanceOf(MillraceError)
    expect(Object.keys(errorTable)).toContain(error.code)
    expect(error.kafkaCode).toBe(code)
    expect(error.message).toContain('Produce to topic-0')
    expect(error.message).toContain(codeName(code))
    expect(codeName(code)).toContain(`(${code})`)
  }
})

test('what may be repeated is retried, what may not is not', () => {
  for (const code of every) {
    expect(kafkaError(code, 'x').disposition === 'retry').toBe(retryClass(code) !== undefined)
  }
})

describe('the classes that recovery depends on', () => {
  test.each([
    [Code.INVALID_PRODUCER_EPOCH, 'TRANSACTION_FENCED'],
    [Code.PRODUCER_FENCED, 'TRANSACTION_FENCED'],
    [Code.ILLEGAL_GENERATION, 'GENERATION_STALE'],
    [Code.UNKNOWN_MEMBER_ID, 'GENERATION_STALE'],
    [Code.REBALANCE_IN_PROGRESS, 'GENERATION_STALE'],
    [Code.FENCED_INSTANCE_ID, 'INSTANCE_FENCED'],
    [Code.TOPIC_AUTHORIZATION_FAILED, 'KAFKA_NOT_AUTHORIZED'],
    [Code.OFFSET_OUT_OF_RANGE, 'OFFSET_OUT_OF_RANGE'],
    [Code.UNSTABLE_OFFSET_COMMIT, 'KAFKA_RETRIABLE'],
    [Code.CONCURRENT_TRANSACTIONS, 'KAFKA_RETRIABLE'],
    [-1, 'KAFKA_ERROR'],
    [9999, 'KAFKA_ERROR'],
  ])('%d is %s', (code, own) => {
    expect(kafkaError(code, 'x').code).toBe(own)
  })

  test('a lost coordinator is looked up again, a lost leader too', () => {
    for (const code of [Code.NOT_COORDINATOR, Code.COORDINATOR_NOT_AVAILABLE])
      expect(retryClass(code)).toBe('coordinator')
    for (const code of [Code.NOT_LEADER_OR_FOLLOWER, Code.FENCED_LEADER_EPOCH])
      expect(retryClass(code)).toBe('metadata')
    expect(retryClass(Code.COORDINATOR_LOAD_IN_PROGRESS)).toBe('again')
  })
})
