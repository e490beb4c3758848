// Damage for decoders' tests, and what a decoder may do with it.
import { expect } from '@jest/globals'
import fc from 'fast-check'
import { MillraceError } from '../../src/base/errors.ts'

/** Changes to bytes, drawn before the bytes are known: positions are fractions of the length. */
export type Damage = readonly { readonly kind: DamageKind; readonly where: number; readonly what: Uint8Array }[]
type DamageKind = 'overwrite' | 'insert' | 'remove' | 'cut' | 'flip'

/** Varints that are large, negative, longer than any varint, and counts that no input can hold. */
const hostilePieces = [
  [0xff, 0xff, 0xff, 0xff, 0x0f],
  [0xfe, 0xff, 0xff, 0xff, 0x0f],
  [0xff, 0xff, 0xff, 0xff, 0x7f],
  [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
  [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
  [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00],
  [0x7f, 0xff, 0xff, 0xff],
  [0x80, 0x00, 0x00, 0x00],
  [0xff, 0xff, 0xff, 0xfe],
  [0x01],
  [0x03],
  [0x00],
].map((piece) => Uint8Array.from(piece))

export const damageArbitrary: fc.Arbitrary<Damage> = fc.array(
  fc.record({
    kind: fc.constantFrom<DamageKind>('overwrite', 'overwrite', 'insert', 'remove', 'cut', 'flip', 'flip'),
    where: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
    what: fc.oneof(fc.constantFrom(...hostilePieces), fc.uint8Array({ minLength: 1, maxLength: 12 })),
  }),
  { minLength: 1, maxLength: 4 },
)

/** A damaged copy. */
export function damaged(bytes: Buffer, damage: Damage): Buffer {
  let out = Buffer.from(bytes)
  for (const { kind, where, what } of damage) {
    const at = Math.floor(where * out.length)
    if (kind === 'overwrite') out.set(what.subarray(0, out.length - at), at)
    else if (kind === 'insert') out = Buffer.concat([out.subarray(0, at), what, out.subarray(at)])
    else if (kind === 'remove') out = Buffer.concat([out.subarray(0, at), out.subarray(at + what.length)])
    else if (kind === 'cut') out = Buffer.from(out.subarray(0, at))
    else if (out.length > 0) out[at] = (out[at] ?? 0) ^ (1 << ((what[0] ?? 0) & 7))
  }
  return out
}

/** Runs a decoder: it returns, or throws a coded error; any other exception fails the test. */
export function codedOrValue<T>(decode: () => T): T | MillraceError {
  try {
    return decode()
  } catch (error) {
    if (error instanceof MillraceError) return error
    throw new Error('a decoder threw something that has no code', { cause: error })
  }
}

/** The code of the error that `run` must throw. */
export function codeOf(run: () => unknown): string {
  try {
    run()
  } catch (error) {
    expect(error).toBeInstanceOf(MillraceError)
    return (error as MillraceError).code
  }
  return 'none was thrown'
}
