// CRC32C (Castagnoli), Kafka's and our files' checksum. Node's zlib.crc32 is the other polynomial (IEEE) and cannot be
// used. Native where a prebuilt package exists for the platform; else slicing-by-8 in JavaScript (a tenth of the speed).
import { createRequire } from 'node:module'

type Crc = (bytes: Uint8Array, initial?: number) => number

/** For less, a native call costs more than it saves. */
const NATIVE_BYTES_MIN = 64

const SLICES = 8
/** By how many bytes follow, then by the byte. One array is twice as quick as eight. */
const TABLES = makeTables()

function makeTables(): Int32Array {
  const tables = new Int32Array(SLICES * 256)
  for (let n = 0; n < 256; n++) {
    let c = n
    for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ 0x82f63b78 : c >>> 1
    tables[n] = c
  }
  for (let n = 256; n < tables.length; n++) {
    const previous = tables[n - 256] as number
    tables[n] = (previous >>> 8) ^ (tables[previous & 255] as number)
  }
  return tables
}

/** The portable version, also the reference that a test holds the native one against. */
export function crc32cPortable(bytes: Uint8Array, initial = 0, start = 0, end: number = bytes.length): number {
  const at = (slice: number, byte: number): number => TABLES[slice * 256 + (byte & 255)] as number
  const byte = (index: number): number => bytes[index] as number
  let crc = ~initial
  let i = start
  for (; i + SLICES <= end; i += SLICES) {
    crc ^= byte(i) | (byte(i + 1) << 8) | (byte(i + 2) << 16) | (byte(i + 3) << 24)
    crc =
      at(7, crc) ^
      at(6, crc >>> 8) ^
      at(5, crc >>> 16) ^
      at(4, crc >>> 24) ^
      at(3, byte(i + 4)) ^
      at(2, byte(i + 5)) ^
      at(1, byte(i + 6)) ^
      at(0, byte(i + 7))
  }
  for (; i < end; i++) crc = (crc >>> 8) ^ at(0, crc ^ byte(i))
  return ~crc >>> 0
}

function load(): Crc {
  try {
    const native = createRequire(import.meta.url)('@node-rs/crc32') as { crc32c: Crc }
    return (bytes, initial) =>
      bytes.length < NATIVE_BYTES_MIN ? crc32cPortable(bytes, initial) : native.crc32c(bytes, initial) >>> 0
  } catch {
    return crc32cPortable
  }
}

/** CRC32C of `bytes` as an unsigned 32-bit number; pass the previous result as `initial` to go on. */
export const crc32c: Crc = load()

/** Of bytes from `start` to `end`. */
export function crc32cIn(bytes: Buffer, start: number, end: number, initial = 0): number {
  return end - start < NATIVE_BYTES_MIN
    ? crc32cPortable(bytes, initial, start, end)
    : crc32c(bytes.subarray(start, end), initial)
}

/** Of parts that follow one another. */
export function crc32cOf(parts: readonly Uint8Array[]): number {
  return parts.reduce((crc, part) => crc32c(part, crc), 0)
}

/** As it stands in pointers and manifests: eight hex digits. */
export function crcHex(value: number): string {
  return (value >>> 0).toString(16).padStart(8, '0')
}
