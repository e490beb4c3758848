/** Why the checker could not give a verdict at all; `code` ends up in `verdict error=<CODE>`. */
export type CheckerErrorCode =
  | 'USAGE'
  | 'BROKER_UNREACHABLE'
  | 'UNKNOWN_TOPIC'
  | 'RECORDS_DELETED'
  | 'BROKER_REFUSED'
  | 'CORRUPT_BATCH'
  | 'READER_FAILED'

export class CheckerError extends Error {
  readonly code: CheckerErrorCode

  constructor(code: CheckerErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'CheckerError'
    this.code = code
  }
}

/** The message of anything thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
