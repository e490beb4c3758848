// Structured logs: one JSON line each on stdout. The only file that imports pino.
import { pino } from 'pino'

/** What the engine needs of a logger; pino's call shape (fields first, then the sentence). */
export interface Logger {
  debug(fields: object, message?: string): void
  info(fields: object, message?: string): void
  warn(fields: object, message?: string): void
  error(fields: object, message?: string): void
  child(fields: object): Logger
}

/** `level`: debug, info, warn, error, silent (default `MILLRACE_LOG_LEVEL`, else info). Written synchronously: a crash loses no line. */
export function createLogger(fields: object = {}, level: string = process.env.MILLRACE_LOG_LEVEL ?? 'info'): Logger {
  const destination = pino.destination({ dest: 1, sync: true })
  return pino({ level, base: fields, timestamp: pino.stdTimeFunctions.isoTime, errorKey: 'error' }, destination)
}

/** For tests and for library use without output. */
export const silentLogger: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => silentLogger }
