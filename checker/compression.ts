/**
 * The four codecs and the checksum of record batches, from the packages of package.json and node:zlib.
 * The checker's own copy: a wrong decoder in the connector must not make a wrong output look right.
 */
import { gunzipSync, zstdDecompressSync } from 'node:zlib'
import { crc32c } from '@node-rs/crc32'
import { decompressFrameSync } from 'lz4-napi'
import { uncompressSync } from 'snappy'
import { CheckerError } from './errors.ts'

const XERIAL = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00])
const XERIAL_HEADER_BYTES = 16

/** CRC-32C. */
export function checksum(bytes: Buffer): number {
  return crc32c(bytes)
}

/** @throws CheckerError CORRUPT_BATCH for an unknown codec or bytes that are not of it. */
export function decompress(codec: number, bytes: Buffer): Buffer {
  try {
    switch (codec) {
      case 0:
        return bytes
      case 1:
        return gunzipSync(bytes)
      case 2:
        return unsnappy(bytes)
      case 3:
        return decompressFrameSync(bytes)
      case 4:
        return zstdDecompressSync(bytes)
    }
  } catch (cause) {
    throw new CheckerError('CORRUPT_BATCH', `compressed records (codec ${codec}) could not be read`, { cause })
  }
  throw new CheckerError('CORRUPT_BATCH', `unknown compression codec ${codec}`)
}

/** Java frames snappy in blocks with a 16-byte header ("xerial"); others send one plain block. */
function unsnappy(bytes: Buffer): Buffer {
  if (!bytes.subarray(0, XERIAL.length).equals(XERIAL)) return asBuffer(uncompressSync(bytes))
  const blocks: Buffer[] = []
  for (let at = XERIAL_HEADER_BYTES; at < bytes.length; ) {
    const length = bytes.readInt32BE(at)
    blocks.push(asBuffer(uncompressSync(bytes.subarray(at + 4, at + 4 + length))))
    at += 4 + length
  }
  return Buffer.concat(blocks)
}

function asBuffer(bytes: string | Buffer): Buffer {
  return typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes
}
