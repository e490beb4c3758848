// The time that stands in front of a value that expires: by which clock, and when it was written (or read), in ms since 1970.
//
//   u8 clock · f64 time
import type { ByteWriter } from '../base/byte-writer.ts'
import type { Ttl } from './descriptors.ts'
import { decodeState, encodeState, type Serde } from './serde.ts'

export const STAMP_BYTES = 9
/** Nobody knows: it was written before entries expired, or by another clock. It counts from when it is seen next. */
export const UNKNOWN_MS = -1
const clocks: readonly Ttl['clock'][] = ['processing-time', 'record-time']

/** The name of a format whose values have a time in front. */
export const stamped = (format: string): string => `ttl(${format})`

/** By a clock that shows `nowMs`. */
export function isExpired(atMs: number, nowMs: number, { ttlMs }: Ttl): boolean {
  return atMs !== UNKNOWN_MS && nowMs >= atMs + ttlMs
}

/** It has no time, and can be given one. */
export function lacksTime(atMs: number, nowMs: number): boolean {
  return atMs === UNKNOWN_MS && nowMs !== UNKNOWN_MS
}

/** A value that expires, as state keeps it. It never changes. */
export class Stamped {
  readonly atMs: number
  readonly value: unknown

  constructor(atMs: number, value: unknown) {
    this.atMs = atMs
    this.value = value
  }
}

export function writeUnknownStamp(out: ByteWriter): void {
  out.uint8(0)
  out.f64(UNKNOWN_MS)
}

/** The time of a written value by `clock`, or that it is unknown. */
export function stampOf(bytes: Buffer, clock: Ttl['clock'], start = 0): number {
  return clocks[bytes[start] as number] === clock ? bytes.readDoubleBE(start + 1) : UNKNOWN_MS
}

export function stampedSerde(inner: Serde<unknown>, clock: Ttl['clock']): Serde<unknown> {
  const tag = clocks.indexOf(clock)
  return {
    id: stamped(inner.id),
    nullable: false,
    copies: inner.copies ?? false,
    appends: inner.appends ?? false,
    encode(given, out) {
      const { atMs, value } = given as Stamped
      out.uint8(tag)
      out.f64(atMs)
      encodeState(inner, value, out)
    },
    decode(from, start, end) {
      if (end - start < STAMP_BYTES) throw new RangeError(`${inner.id} with a time: ${end - start} bytes`)
      return new Stamped(stampOf(from, clock, start), decodeState(inner, from, start + STAMP_BYTES, end))
    },
  }
}
