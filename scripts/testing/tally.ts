// What came out of a group of tests. Only what was carried out counts as passed.

export interface Tally {
  readonly passed: number
  readonly failed: number
  readonly skipped: number
  /** One line each, for the end of the report. */
  readonly failures: readonly string[]
  /** What was left out, and why. */
  readonly notRun: readonly string[]
}

export const nothing: Tally = { passed: 0, failed: 0, skipped: 0, failures: [], notRun: [] }

export const success: Tally = { ...nothing, passed: 1 }

export function failure(text: string): Tally {
  return { ...nothing, failed: 1, failures: [text] }
}

export function count(one: Tally, other: Tally): Tally {
  return {
    passed: one.passed + other.passed,
    failed: one.failed + other.failed,
    skipped: one.skipped + other.skipped,
    failures: [...one.failures, ...other.failures],
    notRun: [...one.notRun, ...other.notRun],
  }
}

/** The last line of every run. */
export function summary({ passed, failed, skipped }: Tally): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`
}
