/**
 * Goal: every error code tells what it means, what happens next, and how the process ends. Method: the table itself is
 * held to its rules; exit codes: 1 run-time failure, 2 usage, plan or configuration, 3 data, 4 fenced, 5 unreachable.
 */
import { describe, expect, test } from '@jest/globals'
import { type ErrorCode, errorTable, isCode, MillraceError, messageOf } from '../../src/base/errors.ts'

const codes = Object.keys(errorTable) as ErrorCode[]

describe('the table', () => {
  test.each(codes)('%s has a meaning, a disposition and an exit code', (code) => {
    const { meaning, disposition, exit } = errorTable[code]
    expect(code).toMatch(/^[A-Z]+(_[A-Z]+)*$/)
    expect(meaning.length).toBeGreaterThan(15)
    expect(meaning).not.toMatch(/\.$/)
    expect(['retry', 'restart', 'fatal']).toContain(disposition)
    expect([1, 2, 3, 4, 5]).toContain(exit)
  })

  test('meanings are all different', () => {
    expect(new Set(codes.map((code) => errorTable[code].meaning)).size).toBe(codes.length)
  })

  test('only what stops the worker names a cause other than a run-time failure', () => {
    for (const code of codes) {
      if (errorTable[code].disposition !== 'fatal') expect([code, errorTable[code].exit]).toEqual([code, 1])
    }
  })

  test('exit 4 is a fenced instance, exit 5 an unreachable broker, and nothing else', () => {
    const exitsWith = (exit: number) => codes.filter((code) => errorTable[code].exit === exit)
    expect(exitsWith(4)).toEqual(['INSTANCE_FENCED'])
    expect(exitsWith(5)).toEqual(['KAFKA_UNREACHABLE'])
  })

  test('doubt about data stops loudly: no restart may read past it', () => {
    const data = codes.filter((code) =>
      /^(CHECKPOINT_(CORRUPT|MISSING|MISMATCH)|OFFSETS?_|MARKERS_|BATCH_|LOG_)/.test(code),
    )
    expect(data.length).toBeGreaterThan(8)
    for (const code of data) expect([code, errorTable[code]]).toMatchObject([code, { disposition: 'fatal', exit: 3 }])
  })
})

describe('an error', () => {
  test('carries code, disposition, exit code, cause and Kafka’s code', () => {
    const cause = new Error('socket')
    const error = new MillraceError('KAFKA_UNREACHABLE', 'nobody answers', { cause, kafkaCode: 13 })
    expect(error).toBeInstanceOf(Error)
    expect(error).toMatchObject({ name: 'MillraceError', code: 'KAFKA_UNREACHABLE', disposition: 'fatal', exitCode: 5 })
    expect(error.cause).toBe(cause)
    expect(error.kafkaCode).toBe(13)
    expect(error.message).toBe('KAFKA_UNREACHABLE: nobody answers')
    expect('cause' in new MillraceError('USAGE', 'x')).toBe(false)
  })

  test('is told apart by code, never by message', () => {
    const error: unknown = new MillraceError('USAGE', 'x')
    expect(isCode(error, 'USAGE', 'PLAN_INVALID')).toBe(true)
    expect(isCode(error, 'PLAN_INVALID')).toBe(false)
    expect(isCode(new Error('USAGE'), 'USAGE')).toBe(false)
    expect([messageOf(error), messageOf('text'), messageOf(undefined)]).toEqual(['USAGE: x', 'text', 'undefined'])
  })
})
