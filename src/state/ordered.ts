// Numbers as bytes that sort as the numbers do, for keys of maps: two's complement and IEEE 754 do not, below zero.
import { fixed, type Serde } from './serde.ts'

const SIGN = 0x80000000
const bits = new DataView(new ArrayBuffer(8))

/** A 32-bit integer: big-endian, the sign turned round. */
const int32: Serde<number> = {
  id: 'ordered.int32',
  nullable: false,
  copies: true,
  appends: true,
  encode(value, out) {
    if (value !== (value | 0)) throw new RangeError(`ordered.int32: ${value} is not a 32-bit integer`)
    out.uint32(value ^ SIGN)
  },
  decode(from, start, end) {
    fixed('ordered.int32', start, end, 4)
    return from.readInt32BE(start) ^ SIGN
  },
}

const SIGN_64 = 1n << 63n

/** A 64-bit integer as bigint: big-endian, the sign turned round. */
const int64: Serde<bigint> = {
  id: 'ordered.int64',
  nullable: false,
  copies: true,
  appends: true,
  encode(value, out) {
    if (typeof value !== 'bigint' || BigInt.asIntN(64, value) !== value)
      throw new RangeError(`ordered.int64: ${value} is out of range`)
    out.int64(BigInt.asIntN(64, value ^ SIGN_64))
  },
  decode(from, start, end) {
    fixed('ordered.int64', start, end, 8)
    return BigInt.asIntN(64, from.readBigUInt64BE(start) ^ SIGN_64)
  },
}

/** A 64-bit float: big-endian, the sign turned round, below zero every other bit, too. −0 is 0; NaN has no place. */
const f64: Serde<number> = {
  id: 'ordered.f64',
  nullable: false,
  copies: true,
  appends: true,
  encode(value, out) {
    if (typeof value !== 'number' || Number.isNaN(value))
      throw new TypeError(`ordered.f64: ${value} has no place in an order`)
    bits.setFloat64(0, value === 0 ? 0 : value)
    const high = bits.getUint32(0)
    const isNegative = high >= SIGN
    out.uint32(isNegative ? ~high : high ^ SIGN)
    out.uint32(isNegative ? ~bits.getUint32(4) : bits.getUint32(4))
  },
  decode(from, start, end) {
    fixed('ordered.f64', start, end, 8)
    const high = from.readUInt32BE(start)
    const low = from.readUInt32BE(start + 4)
    const isNegative = high < SIGN
    bits.setUint32(0, isNegative ? ~high : high ^ SIGN)
    bits.setUint32(4, isNegative ? ~low : low)
    return bits.getFloat64(0)
  },
}

/**
 * Serdes whose bytes are in the order of the numbers, for keys of a map that is gone through by ranges. The other built-in ones are in order as
 * they are: `utf8` by code points, `uuid`, `bytes`, `boolean`.
 * @example mapState(ordered.int64, json<Trade>()) … for (const trade of state.trades.values({ from: 1_000n, to: 2_000n }))
 */
export const ordered: {
  readonly int32: Serde<number>
  readonly int64: Serde<bigint>
  readonly f64: Serde<number>
} = { int32, int64, f64 }
