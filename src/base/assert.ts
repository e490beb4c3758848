import { AssertionError } from 'node:assert'

/**
 * Checks an invariant of the engine, in production too; the message begins with the invariant's number (`I3: …`).
 * Nobody catches an `AssertionError` in order to continue: the worker process ends.
 */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionError({ message, stackStartFn: assert })
}

/** Ends a `switch` over a discriminated union: a forgotten case does not compile. */
export function assertNever(value: never): never {
  throw new AssertionError({ message: `unexpected variant ${JSON.stringify(value)}`, stackStartFn: assertNever })
}
