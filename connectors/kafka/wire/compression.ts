// The four codecs of Kafka's record batches. gzip and zstd are Node's own zlib; snappy and lz4 come prebuilt through npm
// and are imported here only. What a batch may expand to is bounded: hostile bytes must not take the memory.
import { constants, gunzipSync, gzipSync, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import * as lz4 from 'lz4-napi'
import * as snappy from 'snappy'
import { MillraceError, messageOf } from '../../../src/base/errors.ts'

export type Compression = 'none' | 'gzip' | 'snappy' | 'lz4' | 'zstd'

const NAMES: readonly Compression[] = ['none', 'gzip', 'snappy', 'lz4', 'zstd']
const UNPACKED_BYTES_MAX = 256 * 1024 * 1024

export function compressionOf(attributes: number): Compression | undefined {
  return NAMES[attributes & 7]
}

export function compressionBits(compression: Compression): number {
  return NAMES.indexOf(compression)
}

export function compress(compression: Compression, bytes: Buffer): Buffer {
  switch (compression) {
    case 'none':
      return bytes
    case 'gzip':
      return gzipSync(bytes, { level: 1 })
    case 'snappy':
      return snappy.compressSync(bytes)
    case 'lz4':
      return lz4.compressFrameSync(bytes)
    case 'zstd':
      return zstdCompressSync(bytes, { params: { [constants.ZSTD_c_compressionLevel]: 1 } })
  }
}

/** @throws BATCH_CORRUPT */
export function decompress(compression: Compression, bytes: Buffer): Buffer {
  try {
    switch (compression) {
      case 'none':
        return bytes
      case 'gzip':
        return gunzipSync(bytes, { maxOutputLength: UNPACKED_BYTES_MAX })
      case 'snappy':
        return unsnappy(bytes)
      case 'lz4':
        return lz4.decompressFrameSync(bytes)
      case 'zstd':
        return zstdDecompressSync(bytes, { maxOutputLength: UNPACKED_BYTES_MAX })
    }
  } catch (error) {
    if (error instanceof MillraceError) throw error
    throw new MillraceError('BATCH_CORRUPT', `${compression} data cannot be unpacked: ${messageOf(error)}`, {
      cause: error,
    })
  }
}

/** Java frames snappy in the xerial way: a 16-byte header, then blocks with a length each. */
const XERIAL = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0])

function unsnappy(bytes: Buffer): Buffer {
  if (bytes.length < 16 || !bytes.subarray(0, 8).equals(XERIAL)) return snappyBlock(bytes)
  const blocks: Buffer[] = []
  let at = 16
  let total = 0
  while (at < bytes.length) {
    const length = at + 4 <= bytes.length ? bytes.readUInt32BE(at) : -1
    if (length < 0 || at + 4 + length > bytes.length) {
      throw new MillraceError('BATCH_CORRUPT', `a snappy block of ${length} bytes at byte ${at} leaves the batch`)
    }
    const block = snappyBlock(bytes.subarray(at + 4, at + 4 + length))
    total += block.length
    if (total > UNPACKED_BYTES_MAX) throw tooLarge(total)
    blocks.push(block)
    at += 4 + length
  }
  return Buffer.concat(blocks)
}

/** A raw snappy block begins with its unpacked length: checked before anything is allocated. */
function snappyBlock(bytes: Buffer): Buffer {
  let length = 0
  for (let i = 0; i < 5; i++) {
    const byte = bytes[i]
    if (byte === undefined) throw new MillraceError('BATCH_CORRUPT', 'a snappy block ends inside its length')
    length += (byte & 127) * 2 ** (7 * i)
    if (byte < 128) break
  }
  if (length > UNPACKED_BYTES_MAX) throw tooLarge(length)
  return snappy.uncompressSync(bytes, { asBuffer: true }) as Buffer
}

function tooLarge(bytes: number): MillraceError {
  return new MillraceError(
    'BATCH_CORRUPT',
    `a batch would unpack to ${bytes} bytes; the limit is ${UNPACKED_BYTES_MAX}`,
  )
}
